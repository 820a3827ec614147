//! Matching the cluster to the rows before the first claim, and before the first one after the database was changed for
//! another line of itself (`longshore.event_epoch()`).
//!
//! The line is read first, then the cluster is listed, then the rows are asked: what is claimed and created meanwhile by
//! others has its row before its Job. A claim is made only in the line that was matched, by the same statement
//! ([`crate::store::claims::claim_and_look`]), so a change in between is never missed.

use crate::{
    cluster::seen::Phase,
    error::chain,
    store::{
        Error,
        records::{self, Marks},
        stream,
    },
};

use super::Scheduler;

impl Scheduler {
    /// Compares once; errors are logged here, and it is tried again.
    pub(super) async fn recover(&self) {
        if let Err(err) = self.match_rows().await {
            tracing::warn!(error = chain(&err), "could not compare the cluster with the rows; trying again");
        }
    }

    async fn match_rows(&self) -> Result<(), Error> {
        let now = async { stream::now(&mut *self.db.conn().await?).await };
        let line = self.db.within(now).await?.epoch;
        let mut live = match self.cluster.list(&self.instance).await {
            Ok(jobs) => jobs,
            Err(err) => {
                tracing::warn!(error = %err, "could not list the cluster to compare it with the rows; trying again");
                return Ok(());
            }
        };
        live.retain(|it| it.phase == Phase::Active);
        let marks: Vec<Marks> = live.iter().map(|it| Marks::of(it.attempt, it.nonce, &it.uid)).collect();
        let unknown = async { records::unknown(&mut *self.db.conn().await?, &marks).await };
        let unknown = self.db.within(unknown).await?;
        let mut names: Vec<String> =
            unknown.iter().filter_map(|at| live.get(*at)).map(|it| format!("{}/{}", it.namespace, it.name)).collect();
        if names.is_empty() {
            self.recovery.matched(line);
            return Ok(());
        }
        names.sort();
        if self.recovery.waits_for(names)
            && let Some(problem) = self.recovery.problem()
        {
            tracing::error!(problem, "nothing is claimed: the cluster is ahead of the rows");
        }
        Ok(())
    }
}
