//! The composition root: one replica, put together from its parts, started and stopped.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{self, Api},
    cluster::{Client, Cluster, manifest::Defaults, view::View},
    config,
    error::chain,
    id::ReplicaId,
    lease::Lease,
    reconcile::{
        self, Peers, Reconciler,
        clean::{Cleaner, Tasks},
        decide::Rules,
    },
    scheduler::{self, Creating, Scheduler},
    store::{self, Db, gather::Gather, limits, migrate, moves::Moves, replicas, signals::Signals, submit::Intake},
    sweep,
    trouble::Table,
};

/// Connections of the loops alone, which requests can never take away from them: two for the scheduler and its creates, two
/// for the reconciler, one for moves, and one each for NOTIFY, LISTEN, the cleaner and the sweep. None is held while
/// Kubernetes is asked.
const LOOP_CONNECTIONS: u32 = 9;
/// The heartbeat has a connection that nobody else can use up.
const HEART_CONNECTIONS: u32 = 1;
/// How many statements that accept jobs are under way at a time: while one waits for its commit, the next is worked on.
const SUBMITS_AT_ONCE: usize = 2;
/// How soon to try again to reach a database that is away when a replica starts.
const START_RETRY: Duration = Duration::from_secs(1);
/// How long a loop that panicked rests before it is started again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// A running replica.
pub struct Replica {
    pub id: ReplicaId,
    pub address: SocketAddr,
    stop: CancellationToken,
    done: JoinHandle<()>,
}

impl Replica {
    /// Starts a replica: brings the schema up to date, writes the cap if one was given, and begins to serve and to work.
    /// Waits for a database that is away, until `stop`.
    pub async fn start(
        config: &config::Replica,
        database_url: &str,
        client: Client,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let id = ReplicaId::new();
        let db = Arc::new(Db::new(database_url, LOOP_CONNECTIONS)?);
        let instance: Arc<str> = prepare(&db, config, &stop).await?.into();
        let host = config.host.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let listener = TcpListener::bind((host, config.port))
            .await
            .with_context(|| format!("cannot listen on {host}:{}", config.port))?;
        let address = listener.local_addr()?;
        let parts = Parts {
            id,
            instance,
            cluster: Arc::new(Cluster::new(client, config.namespace.clone(), config.kube_qps)),
            view: Arc::new(View::default()),
            signals: Signals::new(),
            lease: Lease::new(config.lease),
            defaults: Arc::new(Defaults {
                image: config.default_image.clone(),
                image_pull_policy: config.image_pull_policy.name().to_owned(),
                start_timeout_secs: start_timeout_secs(config),
            }),
            heart_db: Arc::new(Db::new(database_url, HEART_CONNECTIONS)?),
            requests_db: Arc::new(Db::new(database_url, config.database_connections)?),
            tasks: Arc::default(),
            moves: Arc::new(Moves::new(db.clone(), id)),
            db,
            creating: Arc::new(Creating::new(config.create_concurrency.into())),
            config: config.clone(),
        };
        let hostname = nix::unistd::gethostname().ok().and_then(|it| it.into_string().ok()).unwrap_or_default();
        parts.lease.beat(&parts.heart_db, id, &hostname).await.context("cannot register this replica")?;
        tracing::info!(replica = %id, %address, instance = &*parts.instance, "ready");
        let done = tokio::spawn(parts.run(listener, hostname, stop.clone()));
        Ok(Self { id, address, stop, done })
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.stopped().await;
    }

    /// Ends when it has stopped.
    pub async fn stopped(self) {
        if let Err(err) = self.done.await
            && err.is_panic()
        {
            tracing::error!("a replica ended by a panic");
        }
    }
}

/// Migrates, writes the cap, and reads the installation's name.
async fn prepare(db: &Db, config: &config::Replica, stop: &CancellationToken) -> anyhow::Result<String> {
    loop {
        let prepared = async {
            migrate::run(db).await?;
            // Before the first row is written: what is written without a partition of its own ages out more slowly.
            sweep::sweep(db, config.retention).await?;
            let mut conn = db.conn().await?;
            if let Some(cap) = config.max_concurrency {
                limits::set_cap_from_flag(&mut conn, cap).await?;
            }
            limits::instance(&mut conn).await
        };
        match prepared.await {
            Ok(instance) => return Ok(instance),
            Err(
                err @ (store::Error::Away(_)
                | store::Error::NoAnswer(_)
                | store::Error::Busy(_)
                | store::Error::ReadOnly),
            ) => {
                tracing::warn!(error = chain(&err), "waiting for the database");
                if stop.run_until_cancelled(tokio::time::sleep(START_RETRY)).await.is_none() {
                    anyhow::bail!("stopped while waiting for the database");
                }
            }
            Err(err) => return Err(err).context("cannot prepare the database"),
        }
    }
}

/// Everything a replica is made of.
struct Parts {
    id: ReplicaId,
    instance: Arc<str>,
    db: Arc<Db>,
    heart_db: Arc<Db>,
    requests_db: Arc<Db>,
    tasks: Arc<Tasks>,
    moves: Arc<Moves>,
    cluster: Arc<Cluster>,
    view: Arc<View>,
    signals: Arc<Signals>,
    lease: Arc<Lease>,
    defaults: Arc<Defaults>,
    creating: Arc<Creating>,
    config: config::Replica,
}

impl Parts {
    /// Runs everything until `stop`, then drains: requests under way are answered, creates under way are finished, claims
    /// under which nothing was sent are handed back; and heartbeats go on until all of that is done.
    async fn run(self, listener: TcpListener, hostname: String, stop: CancellationToken) {
        let parts = Arc::new(self);
        let loops = TaskTracker::new();
        let until_drained = CancellationToken::new();
        let spawn = |name, make: Box<dyn Fn(&Parts) -> Work + Send + Sync>, stop: &CancellationToken| {
            loops.spawn(keep_going(parts.clone(), name, make, stop.clone()))
        };
        let heart = until_drained.clone();
        let heart = tokio::spawn(keep_going(
            parts.clone(),
            "heartbeat",
            Box::new(move |it: &Parts| {
                let (lease, db, id, name, stop) =
                    (it.lease.clone(), it.heart_db.clone(), it.id, hostname.clone(), heart.clone());
                Box::pin(async move { lease.keep(&db, id, &name, stop).await })
            }),
            until_drained.clone(),
        ));
        let token = stop.clone();
        spawn("scheduler", Box::new(move |it| Box::pin(it.scheduler().run(token.clone()))), &stop);
        let token = stop.clone();
        spawn("reconciler", Box::new(move |it| Box::pin(it.reconciler().run(token.clone()))), &stop);
        let token = stop.clone();
        spawn("cleaner", Box::new(move |it| Box::pin(it.cleaner().run(token.clone()))), &stop);
        let token = stop.clone();
        let sweep = move |it: &Parts| -> Work {
            let (db, retention, stop) = (it.db.clone(), it.config.retention, token.clone());
            Box::pin(async move { sweep::run(&db, retention, stop).await })
        };
        spawn("sweep", Box::new(sweep), &stop);
        let token = stop.clone();
        let watch = move |it: &Parts| -> Work {
            let (view, cluster, instance, stop) =
                (it.view.clone(), it.cluster.clone(), it.instance.clone(), token.clone());
            Box::pin(async move { view.follow(&cluster, &instance, stop).await })
        };
        spawn("watches", Box::new(watch), &stop);
        let token = stop.clone();
        let hear = move |it: &Parts| -> Work {
            let (signals, db, stop) = (it.signals.clone(), it.db.clone(), token.clone());
            Box::pin(async move { signals.hear_others(&db, stop).await })
        };
        spawn("listener", Box::new(hear), &stop);
        let token = until_drained.clone();
        let send = move |it: &Parts| -> Work {
            let (signals, db, stop) = (it.signals.clone(), it.db.clone(), token.clone());
            Box::pin(async move { signals.send_to_others(&db, stop).await })
        };
        let sender = tokio::spawn(keep_going(parts.clone(), "notifier", Box::new(send), until_drained.clone()));

        loops.close();
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(parts.config.drain_timeout).await;
        };
        let drained = tokio::select! {
            _ = async { tokio::join!(parts.serve(listener, &stop), loops.wait()) } => true,
            () = deadline => false,
        };
        until_drained.cancel();
        let _ = tokio::join!(heart, sender);
        if drained {
            parts.leave().await;
        } else {
            // The lease must run out first: what is under way may still be sent.
            tracing::warn!("stopped before everything under way was finished; the other replicas will see to it");
        }
    }

    async fn serve(&self, listener: TcpListener, stop: &CancellationToken) {
        let intake = Arc::new(Intake::new(self.id));
        let shared = intake.clone();
        let api = Api {
            replica: self.id,
            db: self.requests_db.clone(),
            submissions: Gather::new(self.requests_db.clone(), SUBMITS_AT_ONCE, move |conn, ready| {
                let intake = shared.clone();
                Box::pin(async move { intake.submit(conn, ready).await })
            }),
            intake,
            cluster: self.cluster.clone(),
            view: self.view.clone(),
            signals: self.signals.clone(),
            defaults: self.defaults.clone(),
            stop: stop.clone(),
        };
        let serving =
            axum::serve(listener, api::router(Arc::new(api))).with_graceful_shutdown(stop.clone().cancelled_owned());
        if let Err(err) = serving.await {
            tracing::error!(error = chain(&err), "no longer serving requests");
        }
    }

    async fn leave(&self) {
        let left = async {
            let mut conn = self.db.conn().await?;
            replicas::leave(&mut conn, self.id).await
        };
        match left.await {
            Ok(()) => tracing::info!(replica = %self.id, "stopped"),
            Err(err) => tracing::warn!(error = chain(&err), "stopped without saying goodbye; the lease will run out"),
        }
        self.requests_db.close().await;
        self.heart_db.close().await;
        self.db.close().await;
    }

    fn scheduler(&self) -> Scheduler {
        Scheduler {
            replica: self.id,
            instance: self.instance.clone(),
            db: self.db.clone(),
            moves: self.moves.clone(),
            cluster: self.cluster.clone(),
            view: self.view.clone(),
            signals: self.signals.clone(),
            lease: self.lease.clone(),
            defaults: self.defaults.clone(),
            config: scheduler::Config {
                dispatch_delay: self.config.dispatch_delay,
                period: self.config.claim_period,
                concurrency: self.config.create_concurrency.into(),
                per_sec: self.config.kube_qps,
            },
            creating: self.creating.clone(),
        }
    }

    fn reconciler(&self) -> Reconciler {
        // A create that is late by less than a lease still meets its own earlier self.
        let keep_at_least = self.config.lease;
        Reconciler {
            replica: self.id,
            db: self.db.clone(),
            moves: self.moves.clone(),
            cluster: self.cluster.clone(),
            view: self.view.clone(),
            signals: self.signals.clone(),
            tasks: self.tasks.clone(),
            config: reconcile::Config {
                period: self.config.reconcile_period,
                keep_finished: self.config.keep_finished.max(keep_at_least),
                keep_at_least,
                rules: Rules {
                    start_timeout_secs: start_timeout_secs(&self.config),
                    troubles: Table::default().with(&self.config.start_grace),
                    logs: self.config.keep_logs,
                },
            },
            again: HashMap::new(),
            reported: HashSet::new(),
            peers: Peers::new(self.id, Vec::new()),
            peers_read_at: None,
            cancel_heard: false,
        }
    }

    fn cleaner(&self) -> Cleaner {
        Cleaner {
            instance: self.instance.clone(),
            db: self.db.clone(),
            cluster: self.cluster.clone(),
            view: self.view.clone(),
            signals: self.signals.clone(),
            tasks: self.tasks.clone(),
        }
    }
}

/// How long a start may take whose job says nothing; none is for ever.
fn start_timeout_secs(config: &config::Replica) -> Option<f64> {
    (!config.start_timeout.is_zero()).then_some(config.start_timeout.as_secs_f64())
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs one loop, and starts it anew when it panics: one strange row or object must not take the others with it.
async fn keep_going(
    parts: Arc<Parts>,
    name: &'static str,
    make: Box<dyn Fn(&Parts) -> Work + Send + Sync>,
    stop: CancellationToken,
) {
    loop {
        match tokio::spawn(make(&parts)).await {
            Ok(()) => return,
            Err(err) if err.is_panic() && !stop.is_cancelled() => {
                tracing::error!(name, "a loop panicked; starting it again");
                tokio::time::sleep(PANIC_PAUSE).await;
            }
            Err(_) => return,
        }
    }
}
