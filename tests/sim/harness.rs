//! A simulated cluster of its own for each test, a client for it, and bounded waits.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, ResourceExt};
use longshore::sim::{Sim, SimConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// No wait in these tests takes longer, however busy the machine is.
pub const BOUND: Duration = Duration::from_secs(20);

pub struct Cluster {
    pub sim: Sim,
    pub client: Client,
    pub http: reqwest::Client,
    pub jobs: Api<Job>,
    pub pods: Api<Pod>,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub async fn start() -> Cluster {
        Cluster::with(SimConfig { duration: Duration::from_millis(20), ..SimConfig::default() }).await
    }

    pub async fn with(config: SimConfig) -> Cluster {
        // Fails only when another test in this process has installed it already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let folder = tempfile::tempdir().expect("a folder for the audit log");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let config = SimConfig { audit_log: Some(folder.path().join("audit.log")), ..config };
        let sim = Sim::start(listener, config).await.expect("the simulator starts");
        let url = sim.url().parse().expect("its own url");
        let client = Client::try_from(kube::Config::new(url)).expect("a client");
        let (jobs, pods) = (Api::default_namespaced(client.clone()), Api::default_namespaced(client.clone()));
        Cluster { sim, client, http: reqwest::Client::new(), jobs, pods, folder }
    }

    pub fn audit_log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_log()).expect("an audit log");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
    }

    pub async fn create(&self, job: Job) -> Job {
        self.jobs.create(&PostParams::default(), &job).await.expect("a Job is created")
    }

    pub async fn job(&self, name: &str, condition: impl Condition<Job>) -> Job {
        let wait = await_condition(self.jobs.clone(), name, condition);
        let met = tokio::time::timeout(BOUND, wait).await.unwrap_or_else(|_| panic!("{name} did not get there"));
        met.expect("the watch works").expect("the Job exists")
    }

    /// Waits until this very Job is gone.
    pub async fn gone(&self, job: &Job) {
        let (name, uid) = (job.name_any(), uid(job));
        let wait = await_condition(self.jobs.clone(), &name, kube::runtime::conditions::is_deleted(&uid));
        let met = tokio::time::timeout(BOUND, wait).await.unwrap_or_else(|_| panic!("{name} did not go"));
        met.expect("the watch works");
    }

    pub async fn pod(&self, name: &str, condition: impl Condition<Pod>) -> Option<Pod> {
        let wait = await_condition(self.pods.clone(), name, condition);
        let met = tokio::time::timeout(BOUND, wait).await.unwrap_or_else(|_| panic!("{name} did not get there"));
        met.expect("the watch works")
    }

    /// The Job's one pod, once it meets the condition.
    pub async fn pod_of(&self, job: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        let selector = ListParams::default().labels(&format!("job-name={job}"));
        let params = kube::runtime::watcher::Config::default().labels(&format!("job-name={job}"));
        let stream = kube::runtime::WatchStreamExt::applied_objects(kube::runtime::watcher(self.pods.clone(), params));
        let mut stream = Box::pin(stream);
        let wait = async {
            loop {
                let next =
                    futures::StreamExt::next(&mut stream).await.expect("watches go on").expect("the watch works");
                if condition(&next) {
                    return next;
                }
            }
        };
        match tokio::time::timeout(BOUND, wait).await {
            Ok(pod) => pod,
            Err(_) => panic!("no pod of {job} got there: {:?}", self.pods.list(&selector).await.map(|l| l.items)),
        }
    }

    /// The Job's one pod as it was when it met the condition, be that over: the watch begins at the beginning.
    pub async fn pod_once(&self, job: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        let params = WatchParams::default().labels(&format!("job-name={job}"));
        let stream = self.pods.watch(&params, "1").await.expect("a watch");
        let meets = |event: WatchEvent<Pod>| match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => std::future::ready(Some(pod).filter(&condition)),
            _ => std::future::ready(None),
        };
        let found = stream.filter_map(|event| meets(event.expect("the watch works")));
        let mut found = std::pin::pin!(found);
        let next = tokio::time::timeout(BOUND, found.next()).await.ok().flatten();
        next.unwrap_or_else(|| panic!("no pod of {job} got there"))
    }

    /// The Job's warnings, or those of its pod, as `reason: message`.
    pub async fn warnings(&self, uid: &str) -> Vec<String> {
        let path = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.uid={uid},type=Warning");
        let (code, list) = self.get(&path).await;
        assert_eq!(code, 200, "{list}");
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().into_iter().flatten();
        items.map(|event| format!("{}: {}", text(event, "reason"), text(event, "message"))).collect()
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(reqwest::Method::GET, path, None).await
    }

    pub async fn send(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.sim.url())).timeout(BOUND);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let code = response.status().as_u16();
        (code, response.json().await.unwrap_or_default())
    }
}

pub const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
pub const PODS: &str = "/api/v1/namespaces/default/pods";

/// A Job that retries nothing, with these simulator annotations (`outcome=fail`).
pub fn job(name: &str, annotations: &[(&str, &str)]) -> Job {
    let annotations: serde_json::Map<String, Value> =
        annotations.iter().map(|(key, value)| (format!("sim.longshore.dev/{key}"), (*value).into())).collect();
    edited(json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "busybox:1", "command": ["sh", "-c", "echo hi"]}],
        }}},
    }))
}

pub fn edited(value: Value) -> Job {
    serde_json::from_value(value).expect("a Job")
}

/// A Job with one field of its spec set.
pub fn with(job: Job, field: &str, value: Value) -> Job {
    let mut value_of = serde_json::to_value(job).expect("JSON");
    value_of["spec"][field] = value;
    edited(value_of)
}

/// A condition for `Cluster::job`: it has ended, either way.
pub fn ended(job: Option<&Job>) -> bool {
    condition(job, "Complete").or(condition(job, "Failed")).is_some()
}

/// The reason of a condition that holds.
pub fn condition(job: Option<&Job>, kind: &str) -> Option<String> {
    let conditions = job?.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")?;
    Some(found.reason.clone().unwrap_or_default())
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn waiting_for(pod: &Pod) -> Option<&str> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

pub fn exit_code(pod: &Pod) -> Option<i32> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    Some(statuses.first()?.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// The first container's state: `waiting`, `running` or `terminated`.
pub fn state<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    &pod["status"]["containerStatuses"][0]["state"][kind]
}

/// A condition of a pod.
pub fn pod_condition(pod: &Value, kind: &str) -> Value {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.clone().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

pub fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("not an answer of the API: {other}"),
    }
}

pub fn uid(object: &impl ResourceExt) -> String {
    object.uid().expect("a uid")
}
