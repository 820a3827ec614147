//! When this replica cannot reach the API server, and others perhaps can: it claims nothing more, and does not sit on the
//! slots that it holds.
//!
//! Why nobody creates twice. What is let go of is this replica's own, by a statement that names its version; and it is let
//! go of by the one task that sends its requests, after the last of them was answered or given up, so that nothing is sent
//! under it afterwards. While nothing is heard, nothing is sent either: when it is let go of, the last request was given up
//! more than two leases ago, a longer time than lies between a replica's death and the take-over of what it left. Should
//! such a request still arrive, it has the name, nonce and hash of the survivor's own, and one of the two meets the other.
//!
//! Which of the two ways is chosen by what was sent. Where nothing can have been made, the job is pending again, as if it
//! had not been claimed; else another replica goes on with the same attempt, as after a death. A crash before the
//! statement leaves a claim of a dead replica; one after it, a claim of nobody or none at all: each is taken up by the same
//! passes as ever.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    id::JobId,
    lease::Tenure,
    lifecycle::Claimed,
    store::{
        Error,
        claims::{self, HandBack, NeverMade},
        jobs::Job,
        replicas,
        signals::Signal,
    },
};

use super::{CUT_OFF, MOST_WAITING, Next, Scheduler};

const WHY: &str = "the replica cannot reach the Kubernetes API server";

impl Scheduler {
    /// Whether nothing was heard of the API server for so long that this replica should leave to others what they may be
    /// able to create.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cluster.reach.silent_for() >= self.lease.longest_silence()
    }

    /// A pass of a replica that does not see the cluster: it claims nothing, but what is due in the rows alone is done, and
    /// each claim of its own has a task that creates it or lets go of it.
    pub(super) async fn tick_blind(
        &self,
        thorough: bool,
        in_flight: &[JobId],
        tenure: Tenure,
        stop: &CancellationToken,
    ) -> Result<Next, Error> {
        if thorough {
            let mut conn = self.db.conn().await?;
            self.due(&mut conn).await?;
            let read_at = Instant::now();
            let room = MOST_WAITING.saturating_sub(in_flight.len());
            for work in claims::mine(&mut conn, self.replica, in_flight, room as i64).await? {
                self.spawn(work, read_at, tenure, stop.clone());
            }
        }
        Ok(Next::Soon(CUT_OFF))
    }

    /// Lets go of a claim, if nothing was heard for long, and another replica is there to take it up; answers whether it did.
    /// To be called by whoever sends the requests for it, and while none is under way.
    pub(super) async fn lets_go(&self, job: &Job<Claimed>, never_made: &mut Option<NeverMade>) -> Result<bool, Error> {
        if self.cluster.reach.silent_for() < self.lease.lets_go_after() {
            return Ok(false);
        }
        let let_go = async {
            let mut conn = self.db.conn().await?;
            if !replicas::another_claims(&mut conn, self.replica).await? {
                return Ok::<_, Error>(None);
            }
            let done = match never_made.take() {
                Some(proof) => claims::hand_back(&mut conn, self.replica, job, WHY, proof).await?,
                None => claims::let_go(&mut conn, self.replica, job, WHY).await?,
            };
            Ok(Some(done))
        };
        match self.db.within(let_go).await? {
            None => return Ok(false),
            // Somebody moved it, or wants it cancelled: a later pass looks again.
            Some(HandBack::Lost) => {}
            Some(HandBack::Done) => {
                tracing::warn!(job = %job.id(), "let go of a claim: the Kubernetes API server cannot be reached from here");
                self.creating.trust(job.state().nonce);
                self.signals.raise(Signal::Freed);
            }
        }
        Ok(true)
    }
}
