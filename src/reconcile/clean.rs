//! Clearing the cluster of what is over: the end of each log that is to be kept is saved first, then the Kubernetes Job is
//! removed, many of them by one request.
//!
//! What is to be done is worked out from rows and cluster by the reconciler, again and again; this is only the list of what
//! it found and has not been done yet. A crash loses the list and nothing else: the next pass makes it anew.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Cluster, logs::Tail, seen::SeenJob, view::View},
    error::chain,
    id::{AttemptNo, JobId, KubeUid},
    metrics::{Loop, Metrics},
    store::{
        Db, claims,
        logs::{self, Kept},
        signals::{Signal, Signals},
    },
};

/// How long removals are gathered, so that one request takes many: nobody waits for them.
const GATHER: Duration = Duration::from_millis(500);
/// How often to look whether there is anything to do.
const IDLE: Duration = Duration::from_secs(10);
/// The most Jobs that one request removes: it names them all in its URL, 40 bytes each.
const AT_ONCE: usize = 100;
/// The most logs that are read at a time.
const LOGS_AT_ONCE: usize = 4;
/// How long what was done is remembered, until the watch shows it.
const REMEMBER: Duration = Duration::from_secs(30);
/// The pauses before a log that could not be read is asked for again; after them it is given up for missing, because the
/// Kubernetes Job, and the quota and the memory that it takes, are not kept for ever for a log.
const LOG_PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// One thing to do about one Kubernetes Job.
#[derive(Debug, Clone)]
pub enum Task {
    SaveLog {
        job: JobId,
        attempt: AttemptNo,
        namespace: String,
        pod: Option<String>,
        container: Option<String>,
    },
    /// `alone`: no other Kubernetes Job carries the labels of that attempt, by which many are removed at once.
    Remove {
        job: JobId,
        attempt: AttemptNo,
        seen: SeenJob,
        alone: bool,
    },
}

/// What is to be done, and what was done lately.
#[derive(Default)]
pub struct Tasks {
    logs: Mutex<HashMap<KubeUid, Entry>>,
    removals: Mutex<HashMap<KubeUid, Entry>>,
    /// Whether the last removal failed.
    failing: AtomicBool,
    added: Notify,
    log_added: Notify,
}

struct Entry {
    /// None: it is being done, or was.
    task: Option<Task>,
    since: Instant,
}

impl Tasks {
    /// Adds what is not there yet.
    pub fn add(&self, uid: KubeUid, task: Task) {
        let (map, added) = match task {
            Task::SaveLog { .. } => (&self.logs, &self.log_added),
            Task::Remove { .. } => (&self.removals, &self.added),
        };
        let mut map = locked(map);
        let is_new = map.get(&uid).is_none_or(|it| it.task.is_none() && it.since.elapsed() > REMEMBER);
        if is_new {
            map.insert(uid, Entry { task: Some(task), since: Instant::now() });
            added.notify_one();
        }
    }

    /// Whether all that was to be removed was, as far as is known.
    fn are_done(&self) -> bool {
        !self.failing.load(Ordering::Relaxed) && locked(&self.removals).values().all(|it| it.task.is_none())
    }

    fn take(map: &Mutex<HashMap<KubeUid, Entry>>) -> Vec<(KubeUid, Task)> {
        let mut map = locked(map);
        map.retain(|_, it| it.task.is_some() || it.since.elapsed() <= REMEMBER);
        map.iter_mut().filter_map(|(uid, it)| it.task.take().map(|task| (uid.clone(), task))).collect()
    }

    /// It did not go well: whoever finds it next may add it again at once.
    fn forget(map: &Mutex<HashMap<KubeUid, Entry>>, uid: &KubeUid) {
        locked(map).remove(uid);
    }
}

/// A map of tasks is whole after every statement.
fn locked(map: &Mutex<HashMap<KubeUid, Entry>>) -> MutexGuard<'_, HashMap<KubeUid, Entry>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A Kubernetes Job that is over.
type Finished = (KubeUid, JobId, SeenJob);

/// One replica's cleaner.
pub struct Cleaner {
    pub instance: Arc<str>,
    pub db: Arc<Db>,
    pub cluster: Arc<Cluster>,
    pub view: Arc<View>,
    pub signals: Arc<Signals>,
    pub tasks: Arc<Tasks>,
    pub metrics: Arc<Metrics>,
}

impl Cleaner {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            tokio::join!(self.save_logs(), self.remove(), self.idle());
        })
        .await;
    }

    /// Nothing to do is as good as done.
    async fn idle(&self) {
        self.metrics.nothing_to_do(Loop::Reap);
        loop {
            tokio::time::sleep(IDLE).await;
            if self.tasks.are_done() {
                self.metrics.nothing_to_do(Loop::Reap);
            }
        }
    }

    async fn save_logs(&self) {
        loop {
            self.tasks.log_added.notified().await;
            let saving = Tasks::take(&self.tasks.logs).into_iter().map(|(uid, task)| self.save(uid, task));
            futures::stream::iter(saving).buffer_unordered(LOGS_AT_ONCE).collect::<()>().await;
        }
    }

    async fn save(&self, uid: KubeUid, task: Task) {
        let Task::SaveLog { job, attempt, namespace, pod, container } = task else { return };
        let tail = match &pod {
            Some(pod) => self.read_log(job, &namespace, pod, container.as_deref()).await,
            None => None,
        };
        let kept = tail.zip(pod).map(|(tail, pod)| Kept {
            pod,
            container: container.unwrap_or_default(),
            tail: tail.text,
            truncated: tail.truncated,
        });
        let saved = async { logs::keep(&mut *self.db.conn().await?, job, attempt, kept.as_ref()).await };
        match self.db.within(saved).await {
            Ok(()) => self.view.look_again(job),
            Err(err) => {
                tracing::warn!(job = %job, attempt, error = chain(&err), "could not keep a log; trying again");
                Tasks::forget(&self.tasks.logs, &uid);
            }
        }
    }

    /// None: there is nothing to keep, or it cannot be had.
    async fn read_log(&self, job: JobId, namespace: &str, pod: &str, container: Option<&str>) -> Option<Tail> {
        for pause in LOG_PAUSES {
            match self.cluster.log_tail(namespace, pod, container).await {
                Ok(tail) => return tail,
                Err(err) => {
                    tracing::warn!(job = %job, namespace, pod, error = %err, "could not read a log; trying again")
                }
            }
            tokio::time::sleep(pause).await;
        }
        let last = self.cluster.log_tail(namespace, pod, container).await;
        let given_up = |err: &_| tracing::warn!(job = %job, namespace, pod, error = %err, "gave up reading a log");
        last.inspect_err(given_up).ok().flatten()
    }

    async fn remove(&self) {
        loop {
            self.tasks.added.notified().await;
            tokio::time::sleep(GATHER).await;
            let mut alike: HashMap<(String, AttemptNo), Vec<Finished>> = HashMap::new();
            for (uid, task) in Tasks::take(&self.tasks.removals) {
                let Task::Remove { job, attempt, seen, alone } = task else { continue };
                if !alone {
                    let namespace = seen.namespace.clone();
                    self.remove_some(&namespace, attempt, &[(uid, job, seen)]).await;
                    continue;
                }
                alike.entry((seen.namespace.clone(), attempt)).or_default().push((uid, job, seen));
            }
            for ((namespace, attempt), jobs) in alike {
                for some in jobs.chunks(AT_ONCE) {
                    self.remove_some(&namespace, attempt, some).await;
                }
            }
        }
    }

    async fn remove_some(&self, namespace: &str, attempt: AttemptNo, jobs: &[Finished]) {
        let pass = self.metrics.pass(Loop::Reap);
        let removed = match jobs {
            [(_, _, one)] => self.cluster.remove(one).await.map(|_| ()),
            many => {
                let ids: Vec<JobId> = many.iter().map(|it| it.1).collect();
                self.cluster.remove_all(namespace, attempt, &ids, &self.instance).await
            }
        };
        self.tasks.failing.store(removed.is_err(), Ordering::Relaxed);
        if let Err(err) = removed {
            tracing::warn!(jobs = jobs.len(), error = %err, "could not remove finished Kubernetes Jobs; trying again");
            for (uid, ..) in jobs {
                Tasks::forget(&self.tasks.removals, uid);
            }
            return;
        }
        pass.succeeded();
        // A quota counts finished Jobs too: the best of those who wait for it is next.
        let freed = async { claims::quota_freed(&mut *self.db.conn().await?, namespace).await };
        match self.db.within(freed).await {
            Ok(false) => {}
            Ok(true) => self.signals.raise(Signal::Pending),
            Err(err) => tracing::debug!(error = chain(&err), "could not hasten what waits for a quota"),
        }
    }
}
