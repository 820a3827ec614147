//! Matching the rows to the cluster: load both sides, decide, apply, for whatever changed, and for everything on a period.
//!
//! Every replica can do this for every job, and what one of them records first, the others lose the race for. So that they
//! do not all race all the time, each job has one living replica that follows its changes at once ([`Peers`]), besides the
//! one that created it; the others look at it in their periodic pass over everything, and nothing depends on which of them
//! is alive. A pass that dies anywhere is repeated by the next one, which finds the world as it was left: each step records
//! what is already true in the cluster, or asks the cluster for what is already recorded.

pub mod clean;
pub mod decide;
mod leftover;
mod peers;
mod settle;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{
        Cluster,
        seen::{Phase, SeenJob},
        view::View,
    },
    error::chain,
    id::{AttemptNo, JobId, KubeUid, Nonce, ReplicaId},
    metrics::{Loop, Metrics, Statement},
    store::{
        Db, Error, claims, jobs,
        moves::Moves,
        records::{self, Record},
        replicas,
        signals::Signals,
    },
};

use clean::{Task, Tasks};
use decide::Rules;
use leftover::{Leftover, dispose};
pub use peers::Peers;

/// How soon a job is looked at again that waits for something no watch tells.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the replica whose job it is may be late with removing a Kubernetes Job before another one does it.
const LATE: Duration = Duration::from_secs(30);
/// The most jobs that are settled at a time: their moves share statements, and some of them wait for an answer of the API
/// server.
const AT_ONCE: usize = 64;
/// The least time between the beginnings of two passes: what changes meanwhile shares the next one. Short enough not to
/// be felt, and a pass that comes after some rest waits for nothing.
const BREATH: Duration = Duration::from_millis(10);
/// How long what was read of the living replicas is taken for true: a preference hangs on it, and nothing else.
const PEERS_KNOWN: Duration = Duration::from_secs(1);
/// How long a pass waits after the database or the cluster failed it.
const PAUSE: Duration = Duration::from_secs(1);

/// Settings of the reconciler.
#[derive(Debug, Clone)]
pub struct Config {
    /// How often everything is looked at, whatever changed.
    pub period: Duration,
    /// How long a finished Kubernetes Job is kept for people to look at.
    pub keep_finished: Duration,
    /// How long it is kept at least, as what a create that is late meets.
    pub keep_at_least: Duration,
    pub rules: Rules,
}

/// One replica's reconciler.
pub struct Reconciler {
    pub replica: ReplicaId,
    pub db: Arc<Db>,
    pub moves: Arc<Moves>,
    pub cluster: Arc<Cluster>,
    pub view: Arc<View>,
    pub signals: Arc<Signals>,
    pub tasks: Arc<Tasks>,
    pub config: Config,
    /// When to look at which jobs again, whether or not something changed.
    pub again: HashMap<JobId, Instant>,
    /// Kubernetes Jobs that nobody here knows, told once each.
    pub reported: HashSet<KubeUid>,
    pub peers: Peers,
    /// When the peers were read.
    pub peers_read_at: Option<Instant>,
    /// Whether someone asked for a job to be cancelled since it was last looked for.
    pub cancel_heard: bool,
    pub metrics: Arc<Metrics>,
}

impl Reconciler {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut everything_at = Instant::now();
        self.metrics.nothing_to_do(Loop::Observe);
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let everything = begun >= everything_at;
            if everything {
                everything_at = begun + self.config.period;
            }
            if let Err(err) = self.tick(everything).await {
                tracing::warn!(error = chain(&err), "a pass of reconciling was cut short");
                // What changed was taken in vain; look at everything once the trouble is over.
                everything_at = Instant::now();
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                continue;
            }
            stop.run_until_cancelled(sleep_until(begun + BREATH)).await;
            let next = self.again.values().min().map_or(everything_at, |it| everything_at.min(*it));
            tokio::select! {
                () = self.view.changed() => {}
                () = self.signals.cancel() => self.cancel_heard = true,
                () = sleep_until(next) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One pass: over every holder and every Kubernetes Job, or over those for which something changed.
    pub async fn tick(&mut self, everything: bool) -> Result<(), Error> {
        if !self.view.is_complete(&self.cluster.namespaces) {
            // Whatever changes meanwhile is kept by the view.
            return Ok(());
        }
        let metrics = self.metrics.clone();
        let (pass, since) = (metrics.pass(Loop::Observe), self.view.take_changed_at());
        self.take_in(everything).await?;
        if let Some(since) = since {
            metrics.reconciled(since.elapsed());
        }
        pass.succeeded();
        Ok(())
    }

    async fn take_in(&mut self, everything: bool) -> Result<(), Error> {
        let mut changed = self.view.take_changed();
        let now = Instant::now();
        if everything {
            // Every alarm that still has a job is set anew below. Those of jobs that are over, or another replica's, would
            // stay until they are due, which may be in a year, and be walked through in every pass.
            self.again.clear();
        }
        changed.extend(self.again.extract_if(|_, at| *at <= now).map(|it| it.0));
        let mut conn = self.db.conn().await?;
        if self.peers_read_at.is_none_or(|it| it.elapsed() >= PEERS_KNOWN) {
            self.peers = Peers::new(self.replica, self.db.within(replicas::watchers(&mut conn)).await?);
            self.peers_read_at = Some(now);
        }
        changed.retain(|id| self.peers.is_mine(*id) || self.view.follows(*id));
        let ids: Vec<JobId> = changed.iter().copied().collect();
        if ids.is_empty() && !everything && !self.cancel_heard {
            return Ok(());
        }
        let holders = match everything {
            true => self.metrics.timed(Statement::ReadHolders, self.db.within(jobs::holding(&mut conn))).await?,
            false => {
                let among = self.db.within(jobs::holding_among(&mut conn, &ids));
                self.metrics.timed(Statement::ReadHolders, among).await?
            }
        };
        // Both show every job whose cancelling is asked for.
        self.cancel_heard = false;
        drop(conn);
        let held: HashMap<JobId, (AttemptNo, Nonce)> =
            holders.iter().map(|it| (it.head().id, (it.head().attempt, it.nonce()))).collect();
        for over in changed.iter().filter(|id| !held.contains_key(id)) {
            self.view.let_go(*over);
        }
        let this = &*self;
        let settling = holders.into_iter().map(|it| async move { (it.head().id, this.settle(it).await) });
        let settled: Vec<_> = futures::stream::iter(settling).buffer_unordered(AT_ONCE).collect().await;
        for (id, settled) in settled {
            match settled {
                Ok(None) => {}
                Ok(Some(pause)) => self.look_again(id, pause),
                // One row that cannot be moved must not keep the pass from all others.
                Err(err @ (Error::Statement(_) | Error::Unknown { .. } | Error::Busy(_))) => {
                    tracing::error!(job = %id, error = chain(&err), "left a job alone for now");
                    self.look_again(id, LOOK_AGAIN);
                }
                Err(err) => return Err(err),
            }
        }
        self.clear_away((!everything).then_some(&changed), &held).await
    }

    fn look_again(&mut self, id: JobId, pause: Duration) {
        let at = Instant::now() + pause;
        self.again.entry(id).and_modify(|it| *it = at.min(*it)).or_insert(at);
    }

    /// Sees to it that Kubernetes Jobs whose outcome is recorded are removed, once what they alone can still tell is kept;
    /// and stops those of attempts that are over.
    ///
    /// `held`: the attempts that held a slot when this pass began. What runs for one of them needs no record.
    async fn clear_away(
        &mut self,
        ids: Option<&HashSet<JobId>>,
        held: &HashMap<JobId, (AttemptNo, Nonce)>,
    ) -> Result<(), Error> {
        let mut seen = self.view.jobs_of(ids);
        let mut named = HashMap::new();
        for (id, attempt, _) in &seen {
            *named.entry((*id, *attempt)).or_insert(0) += 1;
        }
        seen.retain(|(id, attempt, job)| {
            let is_held = held.get(id).is_some_and(|it| it.0 == *attempt && job.nonce == Some(it.1));
            !(is_held && job.phase == Phase::Active && named.get(&(*id, *attempt)) == Some(&1))
        });
        if seen.is_empty() {
            return Ok(());
        }
        let unique: HashSet<JobId> = seen.iter().map(|(id, ..)| *id).collect();
        let unique: Vec<JobId> = unique.into_iter().collect();
        let mut conn = self.db.conn().await?;
        let records = self.db.within(records::of(&mut conn, &unique)).await?;
        let records: HashMap<_, _> = records.into_iter().map(|it| ((it.job, it.attempt), it)).collect();
        let out_of_quota = self.db.within(claims::out_of_quota(&mut conn)).await?;
        drop(conn);
        for (id, attempt, job) in seen {
            let alone = named.get(&(id, attempt)) == Some(&1);
            let record = records.get(&(id, attempt));
            // A finished Job uses the quota that another one waits for.
            let keep = match out_of_quota.contains(&job.namespace) {
                true => self.config.keep_at_least,
                false => self.config.keep_finished,
            };
            // A replica that is not the job's own steps in only when that one is late.
            let late = if self.peers.is_mine(id) { Duration::ZERO } else { LATE };
            let todo = dispose(record, &job, (keep + late).as_secs_f64());
            self.do_away(id, attempt, job, (record, alone), todo).await;
        }
        Ok(())
    }

    /// `alone`: no other Kubernetes Job carries the labels of that attempt.
    async fn do_away(
        &mut self,
        id: JobId,
        attempt: AttemptNo,
        job: SeenJob,
        (record, alone): (Option<&Record>, bool),
        todo: Leftover,
    ) {
        match todo {
            Leftover::Keep => {}
            Leftover::SaveLog => {
                let (pod, container) = record.map(|it| (it.pod.clone(), it.container.clone())).unwrap_or_default();
                let namespace = job.namespace;
                self.tasks.add(job.uid, Task::SaveLog { job: id, attempt, namespace, pod, container });
            }
            Leftover::Remove => self.tasks.add(job.uid.clone(), Task::Remove { job: id, attempt, seen: job, alone }),
            Leftover::Stop => {
                tracing::warn!(job = %id, attempt, name = job.name, "stopping a Kubernetes Job whose attempt is over");
                if let Err(err) = self.cluster.stop(&job).await {
                    tracing::warn!(job = %id, error = %err, "could not delete a Kubernetes Job; trying again");
                    self.look_again(id, LOOK_AGAIN);
                }
            }
            Leftover::Report => self.report(&job.name, job.uid, job.phase),
        }
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
