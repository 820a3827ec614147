//! Matching the rows to the cluster: load both sides, decide, apply, for whatever changed, and for everything on a period.
//!
//! Every replica can do this for every job, and what one of them records first, the others lose the race for. So that they
//! do not all race all the time, each job has one living replica that follows its changes at once ([`Peers`]), besides the
//! one that created it; the others look at it in their periodic pass over everything, and nothing depends on which of them is alive. A pass that dies anywhere is repeated by the next one, which finds the world as it was left:
//! each step records what is already true in the cluster, or asks the cluster for what is already recorded.

pub mod decide;
mod peers;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{
        Cluster, Deleted,
        answer::Failure,
        seen::{Phase, Seen},
        view::View,
    },
    error::chain,
    id::{JobId, KubeUid, ReplicaId},
    lifecycle::{Cancelled, Facts, Failed, LeadsTo, Running, State, Stopping, Succeeded},
    store::{
        Conn, Db, Error,
        jobs::{self, Holder, Job, Moved, advance},
        replicas,
        signals::{Signal, Signals},
    },
};

use decide::{End, Leftover, Step, decide, dispose};
pub use peers::Peers;

/// How soon a job is looked at again that waits for something no watch tells.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the replica whose job it is may be late with removing a Kubernetes Job before another one does it.
const LATE: Duration = Duration::from_secs(30);
/// How often a job is moved on within one pass at most. From created to its end it takes three steps.
const STEPS: usize = 6;
/// How long a pass waits after the database or the cluster failed it.
const PAUSE: Duration = Duration::from_secs(1);

/// Settings of the reconciler.
#[derive(Debug, Clone)]
pub struct Config {
    /// How often everything is looked at, whatever changed.
    pub period: Duration,
    /// How long a finished Kubernetes Job is kept for people to look at.
    pub keep_finished: Duration,
}

/// One replica's reconciler.
pub struct Reconciler {
    pub replica: ReplicaId,
    pub db: Arc<Db>,
    pub cluster: Arc<Cluster>,
    pub view: Arc<View>,
    pub signals: Arc<Signals>,
    pub config: Config,
    /// Jobs to look at in the next pass, besides those that changed.
    pub again: HashSet<JobId>,
    /// Kubernetes Jobs that nobody here knows, told once each.
    pub reported: HashSet<KubeUid>,
    pub peers: Peers,
}

impl Reconciler {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut everything_at = Instant::now();
        while !stop.is_cancelled() {
            let everything = Instant::now() >= everything_at;
            if everything {
                everything_at = Instant::now() + self.config.period;
            }
            if let Err(err) = self.tick(everything).await {
                tracing::warn!(error = chain(&err), "a pass of reconciling was cut short");
                // What changed was taken in vain; look at everything once the trouble is over.
                everything_at = Instant::now();
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                continue;
            }
            let next =
                if self.again.is_empty() { everything_at } else { everything_at.min(Instant::now() + LOOK_AGAIN) };
            tokio::select! {
                () = self.view.changed() => {}
                () = self.signals.cancel() => {}
                () = sleep_until(next) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One pass: over every holder and every Kubernetes Job, or over those for which something changed.
    pub async fn tick(&mut self, everything: bool) -> Result<(), Error> {
        let mut changed = self.view.take_changed();
        changed.extend(std::mem::take(&mut self.again));
        if !self.view.is_complete(&self.cluster.namespaces) {
            self.again = changed;
            return Ok(());
        }
        let mut conn = self.db.conn().await?;
        self.peers = Peers::new(self.replica, self.db.within(replicas::alive(&mut conn)).await?);
        changed.retain(|id| self.peers.is_mine(*id) || self.view.follows(*id));
        let ids: Vec<JobId> = changed.iter().copied().collect();
        let holders = match everything {
            true => self.db.within(jobs::holding(&mut conn)).await?,
            false => self.db.within(jobs::holding_among(&mut conn, &ids)).await?,
        };
        let held: HashSet<JobId> = holders.iter().map(|it| it.head().id).collect();
        for over in changed.difference(&held) {
            self.view.let_go(*over);
        }
        for holder in holders {
            let id = holder.head().id;
            match self.settle(&mut conn, holder).await {
                // One row that cannot be moved must not keep the pass from all others.
                Err(err @ (Error::Statement(_) | Error::Unknown { .. } | Error::Busy(_))) => {
                    tracing::error!(job = %id, error = chain(&err), "left a job alone for now");
                    self.again.insert(id);
                }
                done => done?,
            }
        }
        self.clear_away(&mut conn, (!everything).then_some(&changed)).await
    }

    /// Takes one job as far as it can go now.
    async fn settle(&mut self, conn: &mut Conn, mut holder: Holder) -> Result<(), Error> {
        if !self.cluster.covers(&holder.head().namespace) {
            return Ok(());
        }
        let mut confirmed = None;
        for _ in 0..STEPS {
            let seen = confirmed.take().unwrap_or_else(|| self.see(&holder));
            let step = decide(&holder, &seen);
            if step == Step::Confirm {
                confirmed = self.confirm(&holder, seen).await;
                if confirmed.is_some() {
                    continue;
                }
            }
            match self.apply(conn, holder, step).await? {
                Some(moved) => holder = moved,
                None => break,
            }
        }
        Ok(())
    }

    fn see(&self, holder: &Holder) -> Seen {
        let head = holder.head();
        self.view.attempt(&head.namespace, &head.kube_name(), holder.nonce(), holder.uid())
    }

    /// Asks the API server itself: for the Job where the watch does not show it, and for pods that still live. None when
    /// that is not known, or is no news; then it is asked again soon.
    async fn confirm(&self, holder: &Holder, seen: Seen) -> Option<Seen> {
        let head = holder.head();
        let name = head.kube_name();
        let asked = async {
            let lives = async || self.cluster.has_live_pods(&head.namespace, head.id, head.attempt, &name).await;
            if let Seen::Present(sight) = seen {
                return Ok((!lives().await?).then_some(Seen::Ended(sight)));
            }
            match self.cluster.find(&head.namespace, &name).await? {
                // Someone took it out of the watch's sight; it is what it is.
                Some(found) if Some(&found.uid) == holder.uid() => {
                    let sight = self.view.sight_of(&found);
                    Ok(Some(if found.phase != Phase::Active && !lives().await? {
                        Seen::Ended(Box::new(sight))
                    } else {
                        Seen::Present(Box::new(sight))
                    }))
                }
                // A late repetition of our own create: it has to go before the slot is free.
                Some(found) if found.nonce == Some(holder.nonce()) => {
                    if !found.deleting {
                        self.cluster.stop(&found).await?;
                    }
                    Ok(None)
                }
                Some(_) | None => Ok::<_, Failure>((!lives().await?).then_some(Seen::Gone)),
            }
        };
        asked.await.unwrap_or_else(|err| {
            tracing::debug!(job = %head.id, error = %err, "could not confirm how a Kubernetes Job is");
            None
        })
    }

    /// Does one step. Answers the job as it is then, where another step may follow at once.
    async fn apply(&mut self, conn: &mut Conn, holder: Holder, step: Step) -> Result<Option<Holder>, Error> {
        let id = holder.head().id;
        Ok(match (step, holder) {
            (Step::Wait, _) => None,
            (Step::LookAgain | Step::Confirm, _) => {
                self.again.insert(id);
                None
            }
            (Step::Start(facts), Holder::Created(job)) => {
                let to = Running { nonce: job.state().nonce, uid: job.state().uid.clone() };
                done(self.db.within(advance(conn, self.replica, job, to, &facts)).await?, Holder::Running)
            }
            (Step::Stop(ending), Holder::Created(job)) => {
                let to = Stopping { nonce: job.state().nonce, uid: job.state().uid.clone(), ending };
                done(self.db.within(advance(conn, self.replica, job, to, &Facts::default())).await?, Holder::Stopping)
            }
            (Step::Stop(ending), Holder::Running(job)) => {
                let to = Stopping { nonce: job.state().nonce, uid: job.state().uid.clone(), ending };
                done(self.db.within(advance(conn, self.replica, job, to, &Facts::default())).await?, Holder::Stopping)
            }
            (Step::Delete(seen), Holder::Stopping(_)) => {
                if let Err(err) = self.cluster.stop(&seen).await {
                    tracing::warn!(job = %id, error = %err, "could not delete a Kubernetes Job; trying again");
                }
                self.again.insert(id);
                None
            }
            (Step::Finish(End::Stopped, facts), Holder::Stopping(job)) => {
                let to = Cancelled { ending: job.state().ending.clone() };
                self.finish(conn, job, to, &facts).await?;
                None
            }
            (Step::Finish(end, facts), Holder::Created(job)) => self.end(conn, job, end, &facts).await?,
            (Step::Finish(end, facts), Holder::Running(job)) => self.end(conn, job, end, &facts).await?,
            (Step::Finish(end, facts), Holder::Stopping(job)) => self.end(conn, job, end, &facts).await?,
            (step, holder) => {
                tracing::error!(job = %id, ?step, ?holder, "decided on a step that this state does not have");
                None
            }
        })
    }

    async fn end<From>(&self, conn: &mut Conn, job: Job<From>, end: End, facts: &Facts) -> Result<Option<Holder>, Error>
    where
        From: LeadsTo<Succeeded> + LeadsTo<Failed>,
    {
        match end {
            End::Succeeded(ending) => self.finish(conn, job, Succeeded { ending }, facts).await?,
            End::Failed(ending) => self.finish(conn, job, Failed { ending }, facts).await?,
            End::Stopped => tracing::error!(job = %job.id(), "a job that was not being stopped cannot end as stopped"),
        }
        Ok(None)
    }

    async fn finish<From, To>(&self, conn: &mut Conn, job: Job<From>, to: To, facts: &Facts) -> Result<(), Error>
    where
        From: LeadsTo<To>,
        To: State,
    {
        let id = job.id();
        if let Moved::Done(_) = self.db.within(advance(conn, self.replica, job, to, facts)).await? {
            tracing::info!(job = %id, state = To::NAME.name(), "a job ended");
            self.signals.raise(Signal::Work);
            self.signals.raise(Signal::Ended);
        }
        Ok(())
    }

    /// Removes Kubernetes Jobs whose outcome is recorded, and stops those of attempts that are over.
    async fn clear_away(&mut self, conn: &mut Conn, ids: Option<&HashSet<JobId>>) -> Result<(), Error> {
        let seen = self.view.jobs_of(ids);
        let unique: HashSet<JobId> = seen.iter().map(|(id, ..)| *id).collect();
        let unique: Vec<JobId> = unique.into_iter().collect();
        let records = self.db.within(jobs::records(conn, &unique)).await?;
        let records: HashMap<_, _> = records.into_iter().map(|it| ((it.job, it.attempt), it)).collect();
        let keep_secs = self.config.keep_finished.as_secs_f64();
        for (id, attempt, job) in seen {
            let record = records.get(&(id, attempt));
            // A replica that is not the job's own steps in only when that one is late.
            let late_secs = if self.peers.is_mine(id) { 0.0 } else { LATE.as_secs_f64() };
            let done = match dispose(record, &job, keep_secs + late_secs) {
                Leftover::Keep => Ok(Deleted::Accepted),
                Leftover::Remove => self.cluster.remove(&job).await,
                Leftover::Stop => {
                    tracing::warn!(job = %id, attempt, name = job.name, "stopping a Kubernetes Job whose attempt is over");
                    self.cluster.stop(&job).await
                }
                Leftover::Report => {
                    self.report(&job.name, job.uid, job.phase);
                    Ok(Deleted::Absent)
                }
            };
            if let Err(err) = done {
                tracing::warn!(job = %id, error = %err, "could not delete a Kubernetes Job; trying again");
                self.again.insert(id);
            }
        }
        Ok(())
    }

    fn report(&mut self, name: &str, uid: KubeUid, phase: Phase) {
        if self.reported.insert(uid) {
            tracing::error!(
                name,
                ?phase,
                "a Kubernetes Job carries this installation's labels and no row knows it; left alone"
            );
        }
    }
}

fn done<S>(moved: Moved<S>, holder: impl FnOnce(Job<S>) -> Holder) -> Option<Holder> {
    match moved {
        Moved::Done(job) => Some(holder(job)),
        Moved::Lost => None,
    }
}
