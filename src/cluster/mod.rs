//! The cluster: creating, finding and deleting Kubernetes Jobs, and seeing what became of them. The only room that speaks
//! Kubernetes.

pub mod additions;
pub mod answer;
pub mod check;
pub mod config_map;
pub mod connect;
pub mod dry_run;
pub mod examine;
mod fields;
pub mod glance;
pub mod logs;
pub mod manifest;
mod measure;
pub mod needs;
pub mod origin;
mod pace;
pub mod pod;
pub mod policy;
mod quantity;
pub mod reach;
pub mod room;
pub mod salvage;
pub mod seen;
mod shape;
pub mod strict;
mod told;
pub mod view;

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
pub use k8s_openapi::api::batch::v1::Job as KubeJob;
use k8s_openapi::api::core::v1::Event;
pub use kube::Client;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions, PropagationPolicy},
};

use crate::{
    effects::{self, Effect},
    id::{AttemptNo, JobId, KubeUid},
    lifecycle::WaitCode,
    metrics::{Metrics, Throttled},
    trouble::Table,
};

use answer::{CreateFailure, Failure};
use dry_run::DryRuns;
use manifest::Identity;
use pace::{Heard, Pace};
use pod::{SeenPod, Trouble};
use policy::{Checked, PodPolicy};
use reach::Reach;
use salvage::Salvaged;
use seen::SeenJob;

/// How long a request to Kubernetes may take, unless its caller is in more of a hurry.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The most events that are read about one object: Kubernetes folds repetitions into one.
const EVENTS: u32 = 50;

/// A client for the namespaces that this replica may create Jobs in, which keeps to a request rate.
pub struct Cluster {
    client: Client,
    /// The first is the default.
    pub namespaces: Vec<String>,
    /// What may be created in them.
    pub policy: PodPolicy,
    dry_runs: DryRuns,
    /// None: as fast as it can.
    limiter: Option<DefaultDirectRateLimiter>,
    pace: Pace,
    /// Whether anything is heard of the API server.
    pub reach: Arc<Reach>,
    /// Whoever is first in this queue waits for the limiter: by itself it lets waiters through in any order.
    turn: tokio::sync::Mutex<()>,
    metrics: Arc<Metrics>,
}

/// How a create went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    New(KubeUid),
    /// It was there: an earlier request of the same attempt made it.
    Before(KubeUid),
}

/// How a delete went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is being deleted, or gone.
    Accepted,
    /// There was no such Job.
    Absent,
    /// It is another's, or not as it was seen any more.
    Changed,
}

impl Cluster {
    /// `requests_per_sec` bounds creates, deletes and reads together; 0 is no bound.
    pub fn new(client: Client, namespaces: Vec<String>, requests_per_sec: u32) -> Self {
        let limiter = NonZeroU32::new(requests_per_sec).map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self {
            client,
            namespaces,
            policy: PodPolicy::default(),
            dry_runs: DryRuns::default(),
            limiter,
            pace: Pace::new(requests_per_sec),
            reach: Arc::default(),
            turn: tokio::sync::Mutex::default(),
            metrics: Metrics::new(),
        }
    }

    /// The same with another policy than the default.
    pub fn under(self, policy: PodPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The same, every request measured, and what it says of the way to the server kept.
    pub fn measured(self, metrics: Arc<Metrics>) -> Self {
        Self { client: measure::measured(self.client, metrics.clone(), self.reach.clone()), metrics, ..self }
    }

    /// Those in which this replica looks after jobs; the first is the default.
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// Whether jobs of `namespace` are this replica's to look after.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|it| it == namespace)
    }

    /// Creates the Kubernetes Job of one attempt, within `timeout`. A Job of its name that carries its nonce and its
    /// spec's hash is its own earlier self, and as good as created; one that does not is a stranger's.
    pub async fn create(&self, job: &Checked, me: &Identity<'_>, timeout: Duration) -> Result<Created, CreateFailure> {
        let sent_at = Instant::now();
        let sent = effects::at(Effect::CreateJob, async {
            let jobs = self.jobs(me.namespace);
            let params = PostParams::default();
            match tokio::time::timeout(timeout, jobs.create(&params, job.job())).await {
                Ok(answer) => answer.map_err(answer::of_create),
                Err(_) => Err(CreateFailure::timed_out(timeout)),
            }
        });
        let answer = sent.await;
        if let Err(CreateFailure::NotNow { code: WaitCode::Quota, .. }) = &answer {
            self.metrics.throttled(Throttled::Quota);
        }
        self.pace.heard(what_it_says(&answer), sent_at.elapsed());
        let failure = match answer {
            Ok(made) => return Ok(Created::New(KubeUid(made.uid().unwrap_or_default()))),
            Err(failure) => failure,
        };
        // A refusal may concern a repetition of a create that went through, so that too is looked into.
        match failure {
            CreateFailure::Exists | CreateFailure::Refused { .. } => self.recognise(me, failure).await,
            failure => Err(failure),
        }
    }

    /// Tells whether the Job that is there is ours, after a create ended in `failure`.
    async fn recognise(&self, me: &Identity<'_>, failure: CreateFailure) -> Result<Created, CreateFailure> {
        let found = self.find(me.namespace, &me.kube_name).await.map_err(CreateFailure::from)?;
        match (found, failure) {
            (Some(found), _) if found.nonce == Some(me.nonce) && found.spec_hash.as_deref() == Some(me.spec_hash) => {
                Ok(Created::Before(found.uid))
            }
            (Some(_), CreateFailure::Exists) => Err(CreateFailure::NameTaken),
            (None, CreateFailure::Exists) => Err(CreateFailure::Vanished),
            (_, failure) => Err(failure),
        }
    }

    /// The Job of that name as the API server has it now, not as a watch last told it.
    pub async fn find(&self, namespace: &str, name: &str) -> Result<Option<seen::SeenJob>, Failure> {
        self.wait_for_turn().await;
        let jobs: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &view::job_resource());
        match tokio::time::timeout(REQUEST_TIMEOUT, jobs.get_opt(name)).await {
            Ok(Ok(found)) => Ok(found.as_ref().map(seen::job_of_any)),
            Ok(Err(err)) => Err(answer::of_request(err)),
            Err(_) => Err(Failure::timed_out(REQUEST_TIMEOUT)),
        }
    }

    /// Every Job of this installation as the API server has them now, not as watches last told.
    pub async fn list(&self, instance: &str) -> Result<Vec<SeenJob>, Failure> {
        self.list_all(instance, &view::job_resource(), |it| Some(seen::job_of_any(it))).await
    }

    /// The same, with what each says of the job that it was made for.
    pub async fn salvage(&self, instance: &str) -> Result<Vec<(SeenJob, Option<Salvaged>)>, Failure> {
        let read = |it: &DynamicObject| Some((seen::job_of_any(it), salvage::of_any(it)));
        self.list_all(instance, &view::job_resource(), read).await
    }

    /// Every pod of this installation in which something may still run, in the same way.
    pub async fn list_live_pods(&self, instance: &str) -> Result<Vec<SeenPod>, Failure> {
        let alive = |it: &DynamicObject| pod::pod_of_any(it).filter(|it| it.alive);
        self.list_all(instance, &view::pod_resource(), alive).await
    }

    async fn list_all<T>(
        &self,
        instance: &str,
        resource: &ApiResource,
        trim: impl Fn(&DynamicObject) -> Option<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut found = Vec::new();
        for namespace in &self.namespaces {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, resource);
            let labels = format!("{}={instance}", manifest::INSTANCE);
            let mut params = ListParams::default().labels(&labels).limit(view::PAGE);
            loop {
                self.wait_for_turn().await;
                let page = match tokio::time::timeout(REQUEST_TIMEOUT, api.list(&params)).await {
                    Ok(answer) => answer.map_err(answer::of_request)?,
                    Err(_) => return Err(Failure::timed_out(REQUEST_TIMEOUT)),
                };
                found.extend(page.items.iter().filter_map(&trim));
                match page.metadata.continue_.filter(|it| !it.is_empty()) {
                    Some(token) => params = params.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    /// Whether a pod of that attempt may still run, as the API server has it now.
    pub async fn has_live_pods(
        &self,
        namespace: &str,
        job: JobId,
        attempt: AttemptNo,
        kube_name: &str,
    ) -> Result<bool, Failure> {
        let pods = self.pods(namespace, job, attempt, kube_name).await?;
        Ok(pods.iter().any(|it| it.alive))
    }

    /// The pods of that attempt, as the API server has them now. They are known by their labels and by the name of the Job
    /// that controls them, whatever its uid: it may have been deleted before it was on record.
    pub async fn pods(
        &self,
        namespace: &str,
        job: JobId,
        attempt: AttemptNo,
        kube_name: &str,
    ) -> Result<Vec<SeenPod>, Failure> {
        self.wait_for_turn().await;
        let pods: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &view::pod_resource());
        let labels = format!("{}={job},{}={attempt}", manifest::JOB_ID, manifest::ATTEMPT);
        match tokio::time::timeout(REQUEST_TIMEOUT, pods.list(&ListParams::default().labels(&labels))).await {
            Ok(Ok(list)) => {
                let pods = list.items.iter().filter_map(pod::pod_of_any);
                Ok(pods.filter(|it| it.owner_name == kube_name).collect())
            }
            Ok(Err(err)) => Err(answer::of_request(err)),
            Err(_) => Err(Failure::timed_out(REQUEST_TIMEOUT)),
        }
    }

    /// Deletes one Job, if it is still as it was seen, and waits for nothing: its pods are stopped first, and it goes when
    /// they are gone. One that has ended since is left for its outcome to be recorded.
    pub async fn stop(&self, job: &SeenJob) -> Result<Deleted, Failure> {
        let seen = Preconditions { uid: Some(job.uid.0.clone()), resource_version: job.resource_version.clone() };
        let deleted = self.delete(&job.namespace, &job.name, seen, PropagationPolicy::Foreground);
        effects::at(Effect::DeleteJob, deleted).await
    }

    /// The trouble that the events about this object tell of, if one of `table` is the last that was heard of it.
    pub async fn warnings(&self, namespace: &str, about: &KubeUid, table: &Table) -> Result<Option<Trouble>, Failure> {
        self.wait_for_turn().await;
        let events: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<Event>(&()));
        let params = ListParams::default().fields(&format!("involvedObject.uid={}", about.0)).limit(EVENTS);
        let list = match tokio::time::timeout(REQUEST_TIMEOUT, events.list(&params)).await {
            Ok(answer) => answer.map_err(answer::of_request)?,
            Err(_) => return Err(Failure::timed_out(REQUEST_TIMEOUT)),
        };
        Ok(told::trouble(&list.items, table))
    }

    /// Deletes many Jobs of one namespace whose outcomes are recorded, and their pods behind them, by one request. They are
    /// named by their labels, job and attempt together: another attempt of the same job is not meant.
    pub async fn remove_all(
        &self,
        namespace: &str,
        attempt: AttemptNo,
        jobs: &[JobId],
        instance: &str,
    ) -> Result<(), Failure> {
        self.wait_for_turn().await;
        let ids: Vec<String> = jobs.iter().map(JobId::to_string).collect();
        let (instance_is, attempt_is) = (manifest::INSTANCE, manifest::ATTEMPT);
        let labels =
            format!("{instance_is}={instance},{attempt_is}={attempt},{} in ({})", manifest::JOB_ID, ids.join(","));
        let params =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        let deleted = async {
            let jobs = self.jobs(namespace);
            let which = ListParams::default().labels(&labels);
            match tokio::time::timeout(REQUEST_TIMEOUT, jobs.delete_collection(&params, &which)).await {
                Ok(answer) => answer.map(|_| ()).map_err(answer::of_request),
                Err(_) => Err(Failure::timed_out(REQUEST_TIMEOUT)),
            }
        };
        effects::at(Effect::RemoveJobs, deleted).await
    }

    /// Deletes one Job whose outcome is recorded, and its pods behind it.
    pub async fn remove(&self, job: &SeenJob) -> Result<Deleted, Failure> {
        let seen = Preconditions { uid: Some(job.uid.0.clone()), resource_version: None };
        let deleted = self.delete(&job.namespace, &job.name, seen, PropagationPolicy::Background);
        effects::at(Effect::RemoveJob, deleted).await
    }

    /// The precondition on the uid keeps a stranger's Job of the same name out of harm's way.
    async fn delete(
        &self,
        namespace: &str,
        name: &str,
        seen: Preconditions,
        propagation: PropagationPolicy,
    ) -> Result<Deleted, Failure> {
        self.wait_for_turn().await;
        let params = DeleteParams {
            propagation_policy: Some(propagation),
            preconditions: Some(seen),
            ..DeleteParams::default()
        };
        let jobs = self.jobs(namespace);
        match tokio::time::timeout(REQUEST_TIMEOUT, jobs.delete(name, &params)).await {
            Ok(Ok(_)) => Ok(Deleted::Accepted),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Deleted::Absent),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(Deleted::Changed),
            Ok(Err(err)) => Err(answer::of_request(err)),
            Err(_) => Err(Failure::timed_out(REQUEST_TIMEOUT)),
        }
    }

    /// Whether the API server answers this replica's kind of question.
    pub async fn ping(&self) -> Result<(), Failure> {
        let namespace = self.namespaces.first().map_or("default", String::as_str);
        let params = ListParams::default().limit(1);
        match tokio::time::timeout(REQUEST_TIMEOUT, self.jobs(namespace).list_metadata(&params)).await {
            Ok(answer) => answer.map(|_| ()).map_err(answer::of_request),
            Err(_) => Err(Failure::timed_out(REQUEST_TIMEOUT)),
        }
    }

    /// Ends when a create may be sent: the pace that the server bears allows it, and the request rate does.
    pub async fn wait_to_create(&self) {
        self.pace.turn().await;
        self.wait_for_turn().await;
    }

    /// Ends when the request rate allows another one: first come, first served.
    pub async fn wait_for_turn(&self) {
        if let Some(limiter) = &self.limiter {
            let _turn = self.turn.lock().await;
            if limiter.check().is_err() {
                self.metrics.throttled(Throttled::Client);
                limiter.until_ready().await;
            }
        }
    }

    fn jobs(&self, namespace: &str) -> Api<KubeJob> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// What the answer to a create says about how the server is.
fn what_it_says(answer: &Result<KubeJob, CreateFailure>) -> Heard {
    match answer {
        Err(CreateFailure::NotNow { code: WaitCode::ApiTrouble, retry_after, .. }) => Heard::Enough(*retry_after),
        Ok(_) | Err(_) => Heard::Well,
    }
}
