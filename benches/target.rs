//! A cluster that a row is measured on, in a namespace of its own, and its audit log: an independent witness that costs both
//! sides the same, by the clock of this machine, to the microsecond.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Args,
    world::{Process, World},
};

/// Where the real cluster of this project writes its audit log, unless `LONGSHORE_TEST_AUDIT_LOG` says otherwise.
const REAL_AUDIT_LOG: &str = "/var/cache/real-cluster/logs/audit.log";
/// How long an audit log may be behind, and Jobs may take to go.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often to look.
const LOOK: Duration = Duration::from_millis(20);

/// Where Kubernetes Jobs are created.
pub struct Target {
    /// What to call it in the report.
    pub name: &'static str,
    pub kubeconfig: PathBuf,
    pub namespace: String,
    /// The bench's own, told apart from a replica's by its user agent.
    pub client: Client,
    pub log: AuditLog,
    /// Set for the simulator: where it listens, and without TLS.
    pub sim: Option<Process>,
}

impl Target {
    /// The real control plane if one was named, else the simulator.
    pub async fn best(args: &Args, world: &World) -> anyhow::Result<Self> {
        match &args.kubeconfig {
            Some(kubeconfig) => Self::real(kubeconfig).await,
            None => Self::sim(world).await,
        }
    }

    /// The simulator, and the real control plane if one was named.
    pub async fn all(args: &Args, world: &World) -> anyhow::Result<Vec<Self>> {
        let mut all = vec![Self::sim(world).await?];
        if let Some(kubeconfig) = &args.kubeconfig {
            all.push(Self::real(kubeconfig).await?);
        }
        Ok(all)
    }

    pub async fn sim(world: &World) -> anyhow::Result<Self> {
        let path = world.dir.path().join(format!("audit-{}.log", uuid::Uuid::new_v4().simple()));
        let flag = format!("--audit-log={}", path.display());
        let (sim, kubeconfig) = world.sim(&[&flag]).await?;
        let (client, log) = (connect(&kubeconfig).await?, AuditLog::open(&path)?);
        Ok(Self { name: "simulator", namespace: "default".into(), kubeconfig, client, log, sim: Some(sim) })
    }

    async fn real(kubeconfig: &Path) -> anyhow::Result<Self> {
        let path = std::env::var_os("LONGSHORE_TEST_AUDIT_LOG").map_or_else(|| REAL_AUDIT_LOG.into(), PathBuf::from);
        let client = connect(kubeconfig).await?;
        let namespace = format!("bench-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let made: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
        Api::all(client.clone()).create(&PostParams::default(), &made).await.context("cannot make a namespace")?;
        let log = AuditLog::open(&path)?;
        Ok(Self { name: "real control plane", namespace, kubeconfig: kubeconfig.to_owned(), client, log, sim: None })
    }

    /// Whether something runs the pods: a node, real or simulated.
    pub async fn has_nodes(&self) -> anyhow::Result<bool> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        Ok(self.sim.is_some() || !nodes.list(&ListParams::default().limit(1)).await?.items.is_empty())
    }

    /// What the log says about this namespace since it was last asked, once `enough` of it is there.
    pub async fn asked(&mut self, enough: impl Fn(&[Asked]) -> bool) -> anyhow::Result<Vec<Asked>> {
        let (mut asked, begun) = (Vec::new(), Instant::now());
        loop {
            asked.extend(self.log.read()?.into_iter().filter(|it| it.about.namespace == self.namespace));
            if enough(&asked) {
                return Ok(asked);
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the audit log of the {} lacks requests", self.name);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// When so many Kubernetes Jobs were created since the log was last asked, in order.
    pub async fn created(&mut self, jobs: usize) -> anyhow::Result<Vec<Timestamp>> {
        let asked = self.asked(|all| all.iter().filter(|it| it.made_a_job()).count() >= jobs).await?;
        let mut created: Vec<Timestamp> = asked.iter().filter(|it| it.made_a_job()).map(|it| it.answered_at).collect();
        created.sort();
        Ok(created)
    }

    /// Deletes every Job of the namespace and its pods, and waits until they are gone. Pods that are left to the garbage
    /// collector go one by one; and the Job controller may still make some while the Jobs go.
    pub async fn clear(&self) -> anyhow::Result<()> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        jobs.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await?;
        self.wait_until_empty().await
    }

    /// Ends when no Job and no pod is left in the namespace.
    pub async fn wait_until_empty(&self) -> anyhow::Result<()> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let (one, begun) = (ListParams::default().limit(1), Instant::now());
        while !jobs.list_metadata(&one).await?.items.is_empty() || !pods.list_metadata(&one).await?.items.is_empty() {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "Jobs or pods of the {} do not go", self.name);
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Leaves nothing behind.
    pub async fn close(self) -> anyhow::Result<()> {
        if self.sim.is_none() {
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        }
        Ok(())
    }
}

async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static("bench")));
    Ok(Client::try_from(config)?)
}

/// A request as the audit log has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// A watch has two lines: when it begins and when it ends.
    #[serde(rename = "auditID")]
    pub id: String,
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub uri: String,
    #[serde(default, rename = "userAgent")]
    pub agent: String,
    #[serde(default, rename = "objectRef")]
    pub about: About,
    #[serde(default, rename = "responseStatus")]
    status: Status,
    #[serde(rename = "stageTimestamp")]
    pub answered_at: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct About {
    pub resource: String,
    pub namespace: String,
    pub subresource: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl Asked {
    /// What it was about, such as `pods/log`.
    pub fn of_what(&self) -> String {
        let (resource, sub) = (&self.about.resource, &self.about.subresource);
        if sub.is_empty() { resource.clone() } else { format!("{resource}/{sub}") }
    }

    pub fn made_a_job(&self) -> bool {
        self.verb == "create" && self.about.resource == "jobs" && self.status.code == 201
    }
}

/// An audit log that is being written, read from where it was when it was opened.
pub struct AuditLog {
    path: PathBuf,
    file: BufReader<File>,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    /// Whether it begins in the middle of a line, which is then left out.
    is_within_a_line: bool,
}

impl AuditLog {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let mut file = File::open(path).with_context(|| format!("no audit log at {}", path.display()))?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let file = BufReader::new(file);
        Ok(Self { path: path.to_owned(), file, rest: Vec::new(), is_within_a_line: last != [b'\n'] })
    }

    /// Leaves out what was written so far.
    pub fn skip(&mut self) -> anyhow::Result<()> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// What was written since. The API server begins a new file at a hundred megabytes.
    fn read(&mut self) -> anyhow::Result<Vec<Asked>> {
        let is_moved = fs::metadata(&self.path)?.ino() != self.file.get_ref().metadata()?.ino();
        let mut asked = self.read_rest()?;
        if is_moved {
            (self.file, self.rest) = (BufReader::new(File::open(&self.path)?), Vec::new());
            asked.extend(self.read_rest()?);
        }
        Ok(asked)
    }

    fn read_rest(&mut self) -> anyhow::Result<Vec<Asked>> {
        let mut asked = Vec::new();
        while self.file.read_until(b'\n', &mut self.rest)? > 0 && self.rest.ends_with(b"\n") {
            if !std::mem::take(&mut self.is_within_a_line) {
                asked.push(serde_json::from_slice(&self.rest).context("a line of the audit log")?);
            }
            self.rest.clear();
        }
        Ok(asked)
    }
}

/// Ends every pod of the namespace well, so long after it appeared, as a kubelet would: for a control plane without nodes.
pub async fn be_the_kubelet(client: Client, namespace: String, run: Duration) -> anyhow::Result<()> {
    use futures::TryStreamExt;
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let seen = kube::runtime::watcher(pods.clone(), kube::runtime::watcher::Config::default());
    let mut seen = std::pin::pin!(kube::runtime::WatchStreamExt::applied_objects(seen));
    let mut known = std::collections::HashSet::new();
    let mut ending = tokio::task::JoinSet::new();
    while let Some(pod) = seen.try_next().await? {
        if !known.insert(pod.uid()) {
            continue;
        }
        let (pods, name) = (pods.clone(), pod.name_any());
        ending.spawn(async move {
            let begun = Timestamp::now();
            tokio::time::sleep(run).await;
            // One that was deleted meanwhile has no status any more.
            let _ = pods.patch_status(&name, &Default::default(), &kube::api::Patch::Merge(over(begun))).await;
        });
        while ending.try_join_next().is_some() {}
    }
    Ok(())
}

fn over(begun: Timestamp) -> Value {
    let ended = Timestamp::now();
    json!({ "status": {
        "phase": "Succeeded", "startTime": whole(begun),
        "containerStatuses": [{
            "name": "main", "image": "busybox:latest", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": {
                "exitCode": 0, "reason": "Completed", "startedAt": whole(begun), "finishedAt": whole(ended),
            } },
        }],
    } })
}

/// As Kubernetes writes times: in whole seconds.
fn whole(at: Timestamp) -> String {
    format!("{at:.0}")
}
