//! Matching the cluster to the rows before the first claim, and before the first one after the database was changed for
//! another line of itself (`longshore.event_epoch()`).
//!
//! What lives is every Job that is not over, and every one of which a pod may still run, though the Job itself be deleted.
//! The line is read first, then the cluster is listed, pods before Jobs, then the rows are asked: what is claimed and
//! created meanwhile by others has its row before its Job, and that before its pods. A claim is made only in the line that
//! was matched, by the same statement ([`crate::store::claims::claim_and_look`]), so a change in between is never missed.

use std::collections::HashMap;

use crate::{
    cluster::{
        answer::Failure,
        pod::SeenPod,
        seen::{Phase, SeenJob},
    },
    error::chain,
    id::KubeUid,
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
        let listed = async {
            let pods = self.cluster.list_live_pods(&self.instance).await?;
            Ok::<_, Failure>(living(self.cluster.list(&self.instance).await?, &pods))
        };
        let live = match listed.await {
            Ok(live) => live,
            Err(err) => {
                tracing::warn!(error = %err, "could not list the cluster to compare it with the rows; trying again");
                return Ok(());
            }
        };
        let (names, marks): (Vec<String>, Vec<Marks>) = live.into_iter().unzip();
        let unknown = async { records::unknown(&mut *self.db.conn().await?, &marks).await };
        let unknown = self.db.within(unknown).await?;
        let mut names: Vec<String> = unknown.iter().filter_map(|at| names.get(*at)).cloned().collect();
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

/// The Jobs that are not over, or of which a pod may still run, even if they are gone themselves: as `namespace/name`, and
/// with what they say. Whoever deletes a Job leaves its pods behind for as long as they take to end.
fn living(jobs: Vec<SeenJob>, pods: &[SeenPod]) -> Vec<(String, Marks)> {
    let mut owners: HashMap<&KubeUid, &SeenPod> = pods.iter().map(|it| (&it.owner, it)).collect();
    let mut live = Vec::new();
    for it in jobs {
        let has_pods = owners.remove(&it.uid).is_some();
        if has_pods || it.phase == Phase::Active {
            let marks = Marks::of(it.attempt, it.nonce, &it.uid);
            live.push((format!("{}/{}", it.namespace, it.name), marks));
        }
    }
    live.extend(owners.into_values().map(|it| {
        let marks = Marks { job: it.job, attempt: None, nonce: None, uid: it.owner.clone() };
        (format!("{}/{}", it.namespace, it.owner_name), marks)
    }));
    live
}
