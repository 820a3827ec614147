//! The simulated cluster: an HTTP server that speaks the Kubernetes API, with a Job controller and a pretend node.
//!
//! ```text
//!   kube-rs, kubectl ──▶ http ──▶ state ◀── control (Job controller, node, garbage collector) ◀── clock
//!                          ▲        │ put, remove
//!                        fault      ├──▶ history ring ──▶ watches
//!                                   └──▶ audit log
//! ```
//!
//! It is no mock inside the client: the real client talks to it over its real transport, so dry run, demo, tests and
//! benchmarks run the code that runs in production. State and controllers are synchronous and share one mutex that is
//! never held across an await; see `world`.

mod audit;
mod behaviour;
mod control;
mod fault;
mod http;
mod state;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use behaviour::{Behaviour, Outcome};
pub use fault::{Armed, Effect, Faults, Rule};
use http::Serving;
use world::World;

#[derive(Clone, Debug)]
pub struct SimConfig {
    /// How long a Job's pods run unless an annotation says otherwise.
    pub duration: Duration,
    /// Where to append audit.k8s.io/v1 events, one JSON object a line.
    pub audit_log: Option<PathBuf>,
    /// From a pod being bound to its containers running.
    pub start_latency: Duration,
    /// How long a container takes to end when it is asked to.
    pub stop_latency: Duration,
    /// How long the controllers take to look at a change; what happens meanwhile is seen in one look.
    pub controller_delay: Duration,
    /// Changes remembered per kind of object; a watch that is further behind is told 410.
    pub history: usize,
    /// Events (the kind) kept before the oldest make room; 0 tells none.
    pub max_events: usize,
    /// How often a watch that allows bookmarks gets one.
    pub bookmark_every: Duration,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            duration: Duration::from_secs(10),
            audit_log: None,
            start_latency: Duration::from_millis(20),
            stop_latency: Duration::from_millis(50),
            controller_delay: Duration::from_millis(2),
            history: 10_000,
            max_events: 5_000,
            bookmark_every: Duration::from_secs(30),
        }
    }
}

impl SimConfig {
    fn behaviour(&self) -> Behaviour {
        Behaviour {
            outcome: Outcome::Exit(0),
            then: Outcome::Exit(0),
            heals_after: None,
            in_init: false,
            duration: self.duration,
            start: self.start_latency,
            stop: self.stop_latency,
            termination_message: None,
        }
    }
}

/// A running simulated cluster; clones are the same cluster, and it stops when the last is dropped.
#[derive(Clone)]
pub struct Sim(Arc<Handle>);

struct Handle {
    world: Arc<World>,
    address: Mutex<SocketAddr>,
    serving: tokio::sync::Mutex<Option<Serving>>,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sim").field(&self.url()).finish()
    }
}

impl Sim {
    /// Serves on this listener until stopped or dropped.
    pub async fn start(listener: TcpListener, config: SimConfig) -> std::io::Result<Sim> {
        let address = listener.local_addr()?;
        let world = Arc::new(World::new(config)?);
        let serving = Serving::start(listener, world.clone());
        Ok(Sim(Arc::new(Handle {
            world,
            address: Mutex::new(address),
            serving: tokio::sync::Mutex::new(Some(serving)),
        })))
    }

    /// Stops listening and drops all connections. Time stands still for the controllers, as it does for a cluster
    /// whose API server is down; the objects are kept.
    pub async fn stop(&self) {
        if let Some(serving) = self.0.serving.lock().await.take() {
            serving.stop().await;
        }
    }

    /// Serves again after `stop`, with the same objects. What became due meanwhile happens now.
    pub async fn resume(&self, listener: TcpListener) -> std::io::Result<()> {
        self.stop().await;
        *self.0.address.lock().unwrap_or_else(PoisonError::into_inner) = listener.local_addr()?;
        *self.0.serving.lock().await = Some(Serving::start(listener, self.0.world.clone()));
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        *self.0.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// A kubeconfig for kubectl and kube-rs, with the context `longshore-sim`.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             current-context: longshore-sim\n\
             clusters:\n\
             - name: longshore-sim\n\
             \x20 cluster:\n\
             \x20   server: {}\n\
             contexts:\n\
             - name: longshore-sim\n\
             \x20 context:\n\
             \x20   cluster: longshore-sim\n\
             \x20   user: longshore-sim\n\
             \x20   namespace: default\n\
             users:\n\
             - name: longshore-sim\n\
             \x20 user: {{}}\n",
            self.url()
        )
    }

    pub fn faults(&self) -> &Faults {
        &self.0.world.faults
    }
}
