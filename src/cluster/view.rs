//! What the watches show, kept: the Jobs and pods of this installation, trimmed, and which jobs they changed for.
//!
//! One list and one watch for Jobs and one of each for pods, per namespace. The watch is a hint, the list is the truth:
//! each watch is ended and begun anew with a list every `RELIST`, whatever it says of itself.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::api::{batch::v1::Job as KubeJob, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::id::{AttemptNo, JobId, KubeUid, Nonce};

use super::{
    Cluster, manifest, measure,
    pod::{self, SeenPod, Trouble},
    seen::{self, Seen, SeenJob, Sight},
};

/// How often everything is listed anew. A list of live objects is cheap; a missed event costs at most this.
const RELIST: Duration = Duration::from_secs(300);
/// How long the server lets a watch run. A watch that died without a word is noticed five seconds after that.
const WATCH_SECS: u32 = 60;
/// Objects per page of a list: the API server's own advice.
pub(super) const PAGE: u32 = 500;
/// How long a Job that has ended is given for its last pod to be seen, before it is taken at its word.
const SETTLE: Duration = Duration::from_secs(5);

type Key = (String, String);

/// Everything seen, and what changed since it was last asked.
#[derive(Default)]
pub struct View {
    seen: Mutex<Objects>,
    changed: Notify,
    /// Nobody in this process asks what changed.
    unasked: bool,
}

#[derive(Default)]
struct Objects {
    jobs: HashMap<Key, SeenJob>,
    /// What those Jobs say of themselves, for who asks for it as Kubernetes has it.
    statuses: HashMap<Key, Value>,
    pods: HashMap<Key, SeenPod>,
    pods_of: HashMap<KubeUid, HashSet<Key>>,
    /// When a Job was first seen to have ended.
    ended: HashMap<KubeUid, Instant>,
    /// The last that was seen of a pod that is gone, by its Job, which is still there.
    last_words: HashMap<KubeUid, SeenPod>,
    /// What the events about a Job that does not start said, or about that pod of it, and when they were read.
    inspected: HashMap<KubeUid, (Instant, KubeUid, Option<Trouble>)>,
    changed: HashSet<JobId>,
    /// When a watch first told of a change that nobody took in yet.
    changed_at: Option<Instant>,
    /// Jobs that this replica created, and did not see the end of.
    followed: HashSet<JobId>,
    listed: HashSet<(String, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Jobs,
    Pods,
}

impl Kind {
    const fn resource(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Pods => "pods",
        }
    }
}

impl View {
    /// One of a process in which nobody asks what changed: that would be kept for ever.
    pub fn unasked() -> Self {
        Self { unasked: true, ..Self::default() }
    }

    /// Ends when something changed. For one caller.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The jobs for which something changed since the last call.
    pub fn take_changed(&self) -> HashSet<JobId> {
        std::mem::take(&mut self.objects().changed)
    }

    /// When a watch first told of a change since this was last asked.
    pub fn take_changed_at(&self) -> Option<Instant> {
        self.objects().changed_at.take()
    }

    /// How long ago that Job was first seen to have ended, if it was.
    pub fn ended_since(&self, job: &KubeUid) -> Option<Duration> {
        self.objects().ended.get(job).map(Instant::elapsed)
    }

    /// Counts a job as this replica's to follow, and as changed just now.
    pub fn follow_job(&self, id: JobId) {
        if self.unasked {
            return;
        }
        let mut objects = self.objects();
        objects.followed.insert(id);
        objects.changed.insert(id);
        drop(objects);
        self.changed.notify_one();
    }

    /// Counts a job as changed just now.
    pub fn look_again(&self, id: JobId) {
        self.objects().changed.insert(id);
        self.changed.notify_one();
    }

    /// Whether [`Self::follow_job`] was said of it.
    pub fn follows(&self, id: JobId) -> bool {
        self.objects().followed.contains(&id)
    }

    /// Takes back [`Self::follow_job`].
    pub fn let_go(&self, id: JobId) {
        self.objects().followed.remove(&id);
    }

    /// Whether everything in `namespaces` was listed.
    pub fn is_complete(&self, namespaces: &[String]) -> bool {
        let objects = self.objects();
        namespaces.iter().all(|it| objects.is_listed(it))
    }

    /// What is seen of the attempt whose Kubernetes Job has this name and nonce, and this uid if it is known.
    pub fn attempt(&self, namespace: &str, name: &str, nonce: Nonce, uid: Option<&KubeUid>) -> Seen {
        let objects = self.objects();
        if !objects.is_listed(namespace) {
            return Seen::Unknown;
        }
        let found = objects.jobs.get(&(namespace.to_owned(), name.to_owned()));
        // Once the uid is known it says all; annotations can be edited.
        let ours = found.filter(|it| uid.map_or(it.nonce == Some(nonce), |uid| *uid == it.uid));
        match ours {
            Some(job) => Seen::Present(Box::new(objects.sight(job))),
            None => Seen::Absent { live_pods: uid.is_some_and(|uid| objects.pods_of(uid).any(|it| it.alive)) },
        }
    }

    /// What is seen of a Job that was just read, and that the watch may not show.
    pub fn sight_of(&self, job: &SeenJob) -> Sight {
        self.objects().sight(job)
    }

    /// The uid of a pod of that Job that has not started, if there is one: whom its events are about.
    pub fn waiting_pod(&self, job: &KubeUid) -> Option<KubeUid> {
        self.objects().waiting_pod(job).cloned()
    }

    /// Keeps what the events about a Job that does not start said, or `about` a pod of it.
    pub fn note_inspection(&self, job: &KubeUid, about: KubeUid, trouble: Option<Trouble>) {
        self.objects().inspected.insert(job.clone(), (Instant::now(), about, trouble));
    }

    /// The pod of an attempt that tells most, if one of them is there: the namespace's, of the Job of that name.
    pub fn telling_pod(&self, namespace: &str, kube_name: &str) -> Option<SeenPod> {
        let objects = self.objects();
        let job = objects.jobs.get(&(namespace.to_owned(), kube_name.to_owned()))?;
        objects.pods_of(&job.uid).max_by_key(|it| it.how_telling()).cloned()
    }

    /// The status of the Job of that name, as Kubernetes has it.
    pub fn job_status(&self, namespace: &str, kube_name: &str) -> Option<Value> {
        self.objects().statuses.get(&(namespace.to_owned(), kube_name.to_owned())).cloned()
    }

    /// The Jobs of these jobs; of all, if none is named.
    pub fn jobs_of(&self, ids: Option<&HashSet<JobId>>) -> Vec<(JobId, AttemptNo, SeenJob)> {
        let objects = self.objects();
        let wanted = |job: &SeenJob| {
            let (id, attempt) = job.attempt?;
            ids.is_none_or(|ids| ids.contains(&id)).then(|| (id, attempt, job.clone()))
        };
        objects.jobs.values().filter_map(wanted).collect()
    }

    /// Keeps the view up to date until `stop`.
    pub async fn follow(&self, cluster: &Cluster, instance: &str, stop: CancellationToken) {
        let kinds = [(Kind::Jobs, job_resource()), (Kind::Pods, pod_resource())];
        let watches = cluster.namespaces.iter().flat_map(|namespace| {
            kinds.iter().map(|(kind, resource)| self.follow_one(cluster, instance, namespace, *kind, resource))
        });
        let watches = futures::future::join_all(watches);
        stop.run_until_cancelled(futures::future::join(watches, cluster.keep_asking())).await;
    }

    async fn follow_one(&self, cluster: &Cluster, instance: &str, namespace: &str, kind: Kind, resource: &ApiResource) {
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, resource);
        let config = watcher::Config::default()
            .labels(&format!("{}={instance}", manifest::INSTANCE))
            .timeout(WATCH_SECS)
            .page_size(PAGE);
        loop {
            let events = watcher(api.clone(), config.clone()).default_backoff().take_until(tokio::time::sleep(RELIST));
            let mut events = std::pin::pin!(events);
            let mut listing = HashSet::new();
            while let Some(event) = events.next().await {
                cluster.reach.heard(kind.resource(), namespace, &event);
                match event {
                    Ok(event) => {
                        cluster.metrics.watch_told(kind.resource(), namespace, measure::told(&event));
                        self.take_in(namespace, kind, event, &mut listing);
                    }
                    Err(err) => {
                        cluster.metrics.watch_restarts(kind.resource(), measure::why(&err));
                        tracing::warn!(namespace, ?kind, error = %err, "a watch broke off; it will be resumed");
                    }
                }
            }
        }
    }

    fn take_in(&self, namespace: &str, kind: Kind, event: Event<DynamicObject>, listing: &mut HashSet<String>) {
        let mut objects = self.objects();
        match event {
            Event::Init => listing.clear(),
            Event::InitApply(object) => {
                listing.insert(object.name_any());
                objects.put(kind, &object);
            }
            Event::InitDone => {
                objects.keep_only(kind, namespace, listing);
                listing.clear();
                objects.listed.insert((namespace.to_owned(), kind));
            }
            Event::Apply(object) => objects.put(kind, &object),
            Event::Delete(object) => {
                // It comes with the object as it was last.
                objects.put(kind, &object);
                objects.lose(kind, &(namespace.to_owned(), object.name_any()));
            }
        }
        if self.unasked {
            objects.changed.clear();
        }
        if !objects.changed.is_empty() {
            objects.changed_at.get_or_insert_with(Instant::now);
        }
        drop(objects);
        self.changed.notify_one();
    }

    /// A panic while the lock was held leaves objects that the next list puts right.
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects {
    fn is_listed(&self, namespace: &str) -> bool {
        [Kind::Jobs, Kind::Pods].into_iter().all(|kind| self.listed.contains(&(namespace.to_owned(), kind)))
    }

    fn put(&mut self, kind: Kind, object: &DynamicObject) {
        match kind {
            Kind::Jobs => {
                let job = seen::job_of_any(object);
                if job.phase != seen::Phase::Active {
                    self.ended.entry(job.uid.clone()).or_insert_with(Instant::now);
                }
                self.changed.extend(job.attempt.map(|(id, _)| id));
                let uid = job.uid.clone();
                let status =
                    object.data.get("status").filter(|it| it.is_object()).cloned().unwrap_or_else(|| json!({}));
                self.statuses.insert((job.namespace.clone(), job.name.clone()), status);
                if let Some(old) = self.jobs.insert((job.namespace.clone(), job.name.clone()), job) {
                    // Its labels may have been edited since.
                    self.changed.extend(old.attempt.map(|(id, _)| id));
                    if old.uid != uid {
                        self.forget(&old.uid);
                    }
                }
            }
            Kind::Pods => {
                let key = (object.namespace().unwrap_or_default(), object.name_any());
                let Some(pod) = pod::pod_of_any(object) else { return self.lose(kind, &key) };
                self.changed.extend(pod.job);
                self.pods_of.entry(pod.owner.clone()).or_default().insert(key.clone());
                self.pods.insert(key, pod);
            }
        }
    }

    fn lose(&mut self, kind: Kind, key: &Key) {
        match kind {
            Kind::Jobs => {
                self.statuses.remove(key);
                let Some(job) = self.jobs.remove(key) else { return };
                self.forget(&job.uid);
                self.changed.extend(job.attempt.map(|(id, _)| id));
            }
            Kind::Pods => {
                let Some(pod) = self.pods.remove(key) else { return };
                if let Some(keys) = self.pods_of.get_mut(&pod.owner) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.pods_of.remove(&pod.owner);
                    }
                }
                self.changed.extend(pod.job);
                let job = self.jobs.get(&(pod.namespace.clone(), pod.owner_name.clone()));
                if job.is_some_and(|it| it.uid == pod.owner) {
                    self.last_words.insert(pod.owner.clone(), pod);
                }
            }
        }
    }

    fn forget(&mut self, job: &KubeUid) {
        self.ended.remove(job);
        self.last_words.remove(job);
        self.inspected.remove(job);
    }

    fn keep_only(&mut self, kind: Kind, namespace: &str, names: &HashSet<String>) {
        let is_gone = |(at, name): &&Key| at == namespace && !names.contains(name);
        let gone: Vec<Key> = match kind {
            Kind::Jobs => self.jobs.keys().filter(is_gone).cloned().collect(),
            Kind::Pods => self.pods.keys().filter(is_gone).cloned().collect(),
        };
        for key in gone {
            self.lose(kind, &key);
        }
    }

    fn pods_of(&self, uid: &KubeUid) -> impl Iterator<Item = &SeenPod> {
        self.pods_of.get(uid).into_iter().flatten().filter_map(|key| self.pods.get(key))
    }

    fn waiting_pod(&self, job: &KubeUid) -> Option<&KubeUid> {
        self.pods_of(job).find(|it| it.alive && it.facts.started_at.is_none()).map(|it| &it.uid)
    }

    fn sight(&self, job: &SeenJob) -> Sight {
        let ended = self.pods_of(&job.uid).filter(|it| !it.alive).count();
        let waited = self.ended.get(&job.uid).is_some_and(|since| since.elapsed() >= SETTLE);
        let complete = job.phase == seen::Phase::Complete;
        let telling = self.pods_of(&job.uid).chain(self.last_words.get(&job.uid)).max_by_key(|it| {
            // A Job that is complete may have had pods that failed; the one that ended well speaks for it.
            (complete && it.facts.exit_code == Some(0), it.how_telling())
        });
        let of_pod = self.pods_of(&job.uid).filter(|it| it.alive).find_map(|it| it.trouble.clone());
        // What was said while there was no pod, or another one, is over.
        let about = self.waiting_pod(&job.uid).unwrap_or(&job.uid);
        let inspected = self.inspected.get(&job.uid).filter(|it| it.1 == *about);
        Sight {
            job: job.clone(),
            live_pods: self.pods_of(&job.uid).any(|it| it.alive),
            all_seen: job.ended_pods > 0 && ended as i64 >= job.ended_pods,
            waited,
            facts: telling.map(|it| it.facts.clone()).unwrap_or_default(),
            fate: telling.and_then(|it| it.fate.clone()),
            trouble: of_pod.or_else(|| inspected.and_then(|it| it.2.clone())),
            inspected_secs: inspected.map(|it| it.0.elapsed().as_secs_f64()),
        }
    }
}

/// What the untyped requests about Jobs are sent to.
pub fn job_resource() -> ApiResource {
    ApiResource::erase::<KubeJob>(&())
}

/// What the untyped requests about pods are sent to.
pub fn pod_resource() -> ApiResource {
    ApiResource::erase::<Pod>(&())
}
