//! Recording what became of a create, and giving back what was not begun.

use crate::{
    cluster::manifest::Identity,
    id::KubeUid,
    lifecycle::{
        AttemptEnd, Cancelled, Claimed, Created, Ending, Facts, Failed, LeadsTo, Reason, Scheduled, State, Wait,
        WaitCode,
    },
    retry::{self, Next},
    store::{
        Error,
        claims::{self, HandBack, NeverMade},
        jobs::Job,
        moves::Moved,
        signals::Signal,
        waits,
    },
};

use super::{STOPPING, Scheduler};

impl Scheduler {
    /// It ends before it ran, or is tried again if its policy says so.
    pub(super) async fn fail(&self, job: Job<Claimed>, reason: Reason, message: String) -> Result<(), Error> {
        tracing::info!(job = %job.id(), reason = reason.name(), why = message, "an attempt failed before it ran");
        let ending = Ending::new(reason, message);
        match retry::next(&job.head().policy, &job.head().tries(), &ending, None) {
            Next::End { counts } => {
                let end = AttemptEnd { ending: ending.clone(), counts, log: None };
                self.end(job, Failed { ending }, end).await
            }
            Next::Again { in_secs, counts, message } => {
                let code = if ending.reason == Reason::Quota { WaitCode::Quota } else { WaitCode::Backoff };
                let end = AttemptEnd { ending, counts, log: None };
                self.end(job, Scheduled { in_secs, wait: Wait::new(code, message) }, end).await
            }
        }
    }

    pub(super) async fn cancelled(&self, job: Job<Claimed>, message: &str) -> Result<(), Error> {
        let ending = Ending::new(Reason::Cancelled, message);
        let end = AttemptEnd { ending: ending.clone(), counts: None, log: None };
        self.end(job, Cancelled { ending }, end).await
    }

    /// Records that the attempt is over.
    async fn end<To: State>(&self, job: Job<Claimed>, to: To, end: AttemptEnd) -> Result<(), Error>
    where
        Claimed: LeadsTo<To>,
    {
        let id = job.id();
        match self.moves.end(job, to, &Facts::default(), &end).await? {
            Moved::Lost => tracing::debug!(job = %id, "another replica was first to record what became of a claim"),
            Moved::Done(_) => {
                self.signals.raise(Signal::Freed);
                self.signals.raise(Signal::Ended);
            }
        }
        Ok(())
    }

    /// Records that its Kubernetes Job exists.
    pub(super) async fn created(&self, job: Job<Claimed>, me: &Identity<'_>, uid: KubeUid) -> Result<(), Error> {
        let id = job.id();
        match self.moves.advance(job, Created { nonce: me.nonce, uid }, &Facts::default()).await? {
            Moved::Lost => tracing::debug!(job = %id, "another replica was first to record what became of a claim"),
            // The watch may have told of it while the row did not say so yet.
            Moved::Done(_) => self.view.follow_job(id),
        }
        Ok(())
    }

    /// Shows people why it is not created yet.
    pub(super) async fn tell(&self, job: &Job<Claimed>, why: &Wait) -> Result<(), Error> {
        let told = async {
            let mut conn = self.db.conn().await?;
            waits::tell(&mut conn, self.replica, job, Some(why)).await
        };
        self.db.within(told).await
    }

    pub(super) async fn hasten_next(&self, namespace: &str) -> Result<(), Error> {
        let freed = async { claims::quota_freed(&mut *self.db.conn().await?, namespace).await };
        if self.db.within(freed).await? {
            self.signals.raise(Signal::Pending);
        }
        Ok(())
    }

    pub(super) async fn put_aside(&self, job: &Job<Claimed>, why: &Wait, proof: NeverMade) -> Result<(), Error> {
        let put_aside = async {
            let mut conn = self.db.conn().await?;
            claims::put_aside(&mut conn, self.replica, job, why, proof).await
        };
        if self.db.within(put_aside).await? == HandBack::Done {
            tracing::info!(job = %job.id(), code = why.code.name(), "put a job aside");
            self.signals.raise(Signal::Freed);
        }
        Ok(())
    }

    /// A claim under which nothing was sent is given back; any other is left to the survivors, who find out.
    pub(super) async fn hand_back(&self, job: &Job<Claimed>, never_made: Option<NeverMade>) -> Result<(), Error> {
        let Some(never_made) = never_made else { return Ok(()) };
        let handed_back = async {
            let mut conn = self.db.conn().await?;
            claims::hand_back(&mut conn, self.replica, job, STOPPING, never_made).await
        };
        if self.db.within(handed_back).await? == HandBack::Done {
            tracing::info!(job = %job.id(), "handed a claim back");
            self.signals.raise(Signal::Freed);
        }
        Ok(())
    }
}
