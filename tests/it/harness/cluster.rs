//! The cluster of a test: the simulator, or a namespace of its own in the real one that `KUBECONFIG` names.

use std::{path::PathBuf, sync::Mutex};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use longshore::sim::{Sim, SimConfig};
use serde_json::json;
use tokio::net::TcpListener;

use super::{account, audit::Follow, eventually};

/// Where the real cluster of this project writes its audit log, unless LONGSHORE_TEST_AUDIT_LOG says otherwise.
const REAL_AUDIT_LOG: &str = "/var/cache/real-cluster/logs/audit.log";

pub enum Target {
    Sim {
        sim: Sim,
        dir: tempfile::TempDir,
    },
    /// `kubeconfig` is the one of replicas, which may do what the Role allows and nothing else.
    Real {
        admin: PathBuf,
        kubeconfig: PathBuf,
        namespace: String,
        /// What the audit log says of this namespace; none where that log is not known.
        log: Option<Box<Mutex<Follow>>>,
        dir: tempfile::TempDir,
    },
}

/// Whether the suite runs against a real cluster.
pub fn is_real() -> bool {
    std::env::var_os("KUBECONFIG").is_some_and(|it| !it.is_empty())
}

impl Target {
    pub async fn new() -> Self {
        if is_real() {
            let dir = tempfile::tempdir().unwrap();
            let namespace = format!("ls-test-{}", &uuid::Uuid::new_v4().simple().to_string()[..10]);
            let log = std::env::var_os("LONGSHORE_TEST_AUDIT_LOG").unwrap_or_else(|| REAL_AUDIT_LOG.into());
            let target = Self::Real {
                admin: std::env::var_os("KUBECONFIG").unwrap().into(),
                kubeconfig: dir.path().join(format!("{}.kubeconfig", account::NAME)),
                log: Follow::start(log.into(), namespace.clone(), dir.path().join("audit.log"))
                    .map(|it| Box::new(Mutex::new(it))),
                namespace,
                dir,
            };
            target.create_namespace().await;
            target.account(account::NAME, &[]).await;
            account::is_known(target.client().await, target.namespace()).await;
            return target;
        }
        let dir = tempfile::tempdir().unwrap();
        let config = SimConfig { audit_log: Some(dir.path().join("audit.log")), ..SimConfig::default() };
        let sim = Sim::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), config).await.unwrap();
        std::fs::write(dir.path().join("kubeconfig"), sim.kubeconfig()).unwrap();
        Self::Sim { sim, dir }
    }

    /// The simulator. For tests that a real cluster cannot play, which say so by name: `sim_only`.
    pub fn sim(&self) -> &Sim {
        match self {
            Self::Sim { sim, .. } => sim,
            Self::Real { .. } => panic!("this test needs the simulator; run it without KUBECONFIG"),
        }
    }

    pub fn namespace(&self) -> &str {
        match self {
            Self::Sim { .. } => "default",
            Self::Real { namespace, .. } => namespace,
        }
    }

    /// An account of the Role without some of its rights, each as (resource, verb): its kubeconfig. The real cluster's alone.
    pub async fn account(&self, name: &str, without: &[(&str, &str)]) -> PathBuf {
        let Self::Real { admin, namespace, dir, .. } = self else { panic!("the simulator knows no accounts") };
        account::make(admin, self.stranger().await, namespace, name, account::rules(without), dir.path()).await
    }

    /// Who the replicas are in the audit log; nobody in particular on the simulator.
    pub fn account_name(&self) -> Option<String> {
        match self {
            Self::Sim { .. } => None,
            Self::Real { namespace, .. } => Some(format!("system:serviceaccount:{namespace}:{}", account::NAME)),
        }
    }

    /// Of replicas.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Sim { dir, .. } => dir.path().join("kubeconfig"),
            Self::Real { kubeconfig, .. } => kubeconfig.clone(),
        }
    }

    /// A client with the product's own user agent, so that its requests are told from others in the audit log.
    pub async fn client(&self) -> Client {
        longshore::cluster::connect::connect(Some(&self.kubeconfig())).await.unwrap().0
    }

    /// A client that is somebody else.
    pub async fn stranger(&self) -> Client {
        let file = match self {
            Self::Sim { .. } => Kubeconfig::read_from(self.kubeconfig()).unwrap(),
            Self::Real { admin, .. } => Kubeconfig::read_from(admin).unwrap(),
        };
        Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap()).unwrap()
    }

    pub async fn jobs(&self) -> Vec<Job> {
        let api: Api<Job> = Api::namespaced(self.stranger().await, self.namespace());
        api.list(&ListParams::default()).await.unwrap().items
    }

    pub async fn pods(&self) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(self.stranger().await, self.namespace());
        api.list(&ListParams::default()).await.unwrap().items
    }

    /// The audit log, once it is complete; none where it is not known.
    pub async fn audit_log(&self) -> Option<PathBuf> {
        match self {
            Self::Sim { dir, .. } => Some(dir.path().join("audit.log")),
            Self::Real { log, .. } => {
                let Some(log) = log else {
                    println!("no audit log is known here: what was created is not checked");
                    return None;
                };
                // The real server writes its log in batches: it is complete when a request made now is in it.
                let last = self.ask_for_nothing().await;
                eventually("the audit log is written", async || log.lock().unwrap().catch_up(&last).then_some(()))
                    .await;
                Some(log.lock().unwrap().path.clone())
            }
        }
    }

    /// Makes a Job without pods; answers its name, which no earlier request has.
    async fn ask_for_nothing(&self) -> String {
        let api: Api<Job> = Api::namespaced(self.stranger().await, self.namespace());
        let name = format!("last-{}", uuid::Uuid::new_v4().simple());
        let container =
            json!({"name": "a", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["true"]});
        let job = json!({"metadata": {"name": name}, "spec": {"parallelism": 0, "template": {"spec": {
            "restartPolicy": "Never", "containers": [container]}}}});
        api.create(&PostParams::default(), &serde_json::from_value(job).unwrap()).await.unwrap();
        name
    }

    pub async fn tear_down(&self) {
        if let Self::Real { namespace, .. } = self {
            let api: Api<Namespace> = Api::all(self.stranger().await);
            api.delete(namespace, &DeleteParams::background()).await.unwrap();
        }
    }

    async fn create_namespace(&self) {
        let client = self.stranger().await;
        let namespace = serde_json::from_value(json!({"metadata": {"name": self.namespace()}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        // Before 1.24 a pod was refused until its account had a token in a secret.
        let minor = self.stranger().await.apiserver_version().await.unwrap().minor;
        let tokens_in_secrets = minor.trim_end_matches('+').parse::<u32>().unwrap() < 24;
        let accounts: Api<ServiceAccount> = Api::namespaced(client, self.namespace());
        eventually("the namespace has its service account", async || {
            let account = accounts.get_opt("default").await.unwrap()?;
            (!tokens_in_secrets || account.secrets.is_some_and(|it| !it.is_empty())).then_some(())
        })
        .await;
    }
}
