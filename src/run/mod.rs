//! The composition root: one replica, put together from its parts, started and stopped.

mod door;
mod loops;
mod movers;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, Api, KnownDefaults, Reader},
    cluster::{Client, Cluster, manifest::Defaults, policy::PodPolicy, view::View},
    config,
    egress::Egress,
    error::chain,
    events::Hub,
    id::ReplicaId,
    lease::{Lease, Me},
    metrics::Metrics,
    reconcile::clean::Tasks,
    recovery::Recovery,
    roles::Role,
    scheduler::Creating,
    sources,
    store::{self, Db, gather::Gather, limits, migrate, moves::Moves, replicas, signals::Signals, submit::Intake},
    sweep,
    templates::{
        jq::Filters,
        shelf::{Places, Shelf},
    },
    ui,
};

use door::Door;

/// Connections of the loops alone, which requests can never take away from them: two for the scheduler and its creates, two
/// for the reconciler, one for moves, and one each for NOTIFY, LISTEN, the cleaner, the sweep, the reader of events, the
/// webhooks and the metrics. None is held while anyone else is asked.
pub const LOOP_CONNECTIONS: u32 = 12;
/// Connections of the inbox without and with sources, each of which takes one for as long as it stores a batch.
pub const SOURCE_CONNECTIONS: (u32, u32) = (1, 8);
/// The heartbeat has a connection that nobody else can use up.
pub const HEART_CONNECTIONS: u32 = 1;
/// How many statements that accept jobs are under way at a time: while one waits for its commit, the next is worked on.
const SUBMITS_AT_ONCE: usize = 2;
/// How soon to try again to reach a database that is away when a replica starts.
const START_RETRY: Duration = Duration::from_secs(1);

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
        let roles = config.roles();
        let filters = match roles.has(Role::Api) {
            true => config.filter.start().await?.map(Arc::new),
            false => None,
        };
        let configured = match &config.sources {
            Some(file) if roles.has(Role::Sources) => sources::configured(file)?,
            _ => Vec::new(),
        };
        let host = config.host.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let listener = TcpListener::bind((host, config.port))
            .await
            .with_context(|| format!("cannot listen on {host}:{}", config.port))?;
        let address = listener.local_addr()?;
        let door = Door::new(listener);
        tracing::info!(%address, "answering");
        let hostname = nix::unistd::gethostname().ok().and_then(|it| it.into_string().ok()).unwrap_or_default();
        let id = ReplicaId::new();
        let me = Me { id, hostname, roles };
        let db = Arc::new(Db::new(database_url, LOOP_CONNECTIONS)?);
        let instance: Arc<str> = prepare(&db, config, &stop).await?.into();
        let defaults = Arc::new(Defaults {
            image: config.default_image.clone(),
            image_pull_policy: config.image_pull_policy.name().to_owned(),
            start_timeout_secs: start_timeout_secs(config),
        });
        let places = Places::of_flags(
            config.templates.as_deref(),
            config.template_config_map.as_deref(),
            config.default_template.as_deref(),
            &config.namespace,
        )?;
        let shelf = Arc::new(Shelf::open(places, defaults.clone())?);
        let requests_db = Arc::new(Db::new(database_url, config.database_connections)?);
        let cluster = Cluster::new(client, config.namespace.clone(), config.kube_qps).under(pod_policy(config)?);
        let metrics = Metrics::new();
        let cluster = Arc::new(cluster.measured(metrics.clone()));
        let reader = Reader {
            db: requests_db.clone(),
            cluster: cluster.clone(),
            defaults: defaults.clone(),
            shelf: shelf.clone(),
            of_queues: KnownDefaults::default(),
        };
        let (reader, signals) = (Arc::new(reader), Signals::new());
        let intake = Arc::new(Intake::measured(id, metrics.clone()));
        let connections = if configured.is_empty() { SOURCE_CONNECTIONS.0 } else { SOURCE_CONNECTIONS.1 };
        // Set when the drain delay is over.
        let halt = CancellationToken::new();
        let feed = Arc::new(sources::Shared {
            replica: id,
            db: Arc::new(Db::new(database_url, connections)?),
            reader: reader.clone(),
            intake: intake.clone(),
            signals: signals.clone(),
            metrics: metrics.clone(),
            retention: config.retention,
            stop: halt.clone(),
        });
        let sources = Arc::new(sources::Mover::new(configured, &config.filter, &metrics, feed.clone()).await?);
        let parts = Parts {
            instance,
            cluster,
            reader,
            intake,
            metrics: metrics.clone(),
            feed,
            sources,
            view: Arc::new(if roles.has(Role::Watcher) { View::default() } else { View::unasked() }),
            signals,
            lease: Lease::new(config.lease),
            defaults,
            shelf,
            heart_db: Arc::new(Db::new(database_url, HEART_CONNECTIONS)?),
            events: Hub::new(db.clone(), requests_db.clone(), config.retention),
            requests_db,
            egress: Arc::new(Egress::new(&config.webhook_allow)),
            tasks: Arc::default(),
            moves: Arc::new(Moves::measured(db.clone(), id, metrics.clone())),
            db,
            creating: Arc::new(Creating::new(config.create_concurrency.into())),
            recovery: Arc::new(Recovery::new(roles.has(Role::Scheduler))),
            filters,
            config: config.clone(),
            me,
        };
        parts.measure();
        parts.reader.of_queues.refresh(&parts.requests_db).await;
        parts.lease.beat(&parts.heart_db, &parts.me).await.context("cannot register this replica")?;
        if let Some(cap) = parts.config.max_concurrency {
            parts.write_cap(cap).await.context("cannot write the cap of --max-concurrency")?;
        }
        door.open(parts.router(&stop, &halt));
        let roles = parts.me.roles.names().join(",");
        tracing::info!(replica = %id, %address, instance = &*parts.instance, roles, "ready");
        let done = tokio::spawn(parts.run(door, stop.clone(), halt));
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

/// Migrates, and reads the installation's name.
async fn prepare(db: &Db, config: &config::Replica, stop: &CancellationToken) -> anyhow::Result<String> {
    loop {
        let prepared = async {
            migrate::run(db).await?;
            // Before the first row is written: what is written without a partition of its own ages out more slowly.
            sweep::sweep(db, config.retention).await?;
            let mut conn = db.conn().await?;
            limits::instance(&mut conn).await
        };
        // A migration may have to wait for somebody's transaction for as long as that is open.
        let Some(prepared) = stop.run_until_cancelled(prepared).await else {
            anyhow::bail!("stopped while preparing the database");
        };
        match prepared {
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
    me: Me,
    instance: Arc<str>,
    db: Arc<Db>,
    heart_db: Arc<Db>,
    requests_db: Arc<Db>,
    tasks: Arc<Tasks>,
    moves: Arc<Moves>,
    cluster: Arc<Cluster>,
    view: Arc<View>,
    signals: Arc<Signals>,
    events: Arc<Hub>,
    egress: Arc<Egress>,
    lease: Arc<Lease>,
    defaults: Arc<Defaults>,
    shelf: Arc<Shelf>,
    reader: Arc<Reader>,
    intake: Arc<Intake>,
    metrics: Arc<Metrics>,
    feed: Arc<sources::Shared>,
    sources: Arc<sources::Mover>,
    creating: Arc<Creating>,
    recovery: Arc<Recovery>,
    filters: Option<Arc<Filters>>,
    config: config::Replica,
}

impl Parts {
    async fn write_cap(&self, cap: i32) -> Result<(), store::Error> {
        let stands = limits::set_cap_from_flag(&mut *self.db.conn().await?, self.me.id, cap).await?;
        if !stands {
            let why =
                "replicas that are alive were started with different caps, and the one that was written last stands";
            tracing::warn!(cap, why, "did not write the cap of --max-concurrency: start all replicas with one");
        }
        Ok(())
    }

    /// Runs everything until `stop`, and for the drain delay after it. Then it cancels `halt`, by which everything that it is
    /// made of stops, and drains: requests under way are answered, creates under way are finished, claims under which nothing
    /// was sent are handed back; and heartbeats go on until all of that is done.
    async fn run(self, door: Door, stop: CancellationToken, halt: CancellationToken) {
        let parts = Arc::new(self);
        let until_drained = CancellationToken::new();
        let loops = loops::start(&parts, loops::OF_ROLES, &halt);
        let last = loops::start(&parts, loops::UNTIL_DRAINED, &until_drained);
        stop.cancelled().await;
        tokio::time::sleep(parts.config.drain_delay).await;
        halt.cancel();
        let drained = async { tokio::join!(door.close(), loops.wait()) };
        let drained = tokio::time::timeout(parts.config.drain_timeout, drained).await.is_ok();
        until_drained.cancel();
        last.wait().await;
        if drained {
            parts.leave().await;
        } else {
            // The lease must run out first: what is under way may still be sent.
            tracing::warn!("stopped before everything under way was finished; the other replicas will see to it");
        }
    }

    fn router(&self, stop: &CancellationToken, halt: &CancellationToken) -> Router {
        let shared = self.intake.clone();
        let api = Api {
            replica: self.me.id,
            db: self.requests_db.clone(),
            loops_db: self.db.clone(),
            submissions: Gather::new(self.requests_db.clone(), SUBMITS_AT_ONCE, move |conn, ready| {
                let intake = shared.clone();
                Box::pin(async move { intake.submit(conn, ready).await })
            }),
            intake: self.intake.clone(),
            cluster: self.cluster.clone(),
            view: self.view.clone(),
            recovery: self.recovery.clone(),
            signals: self.signals.clone(),
            reader: self.reader.clone(),
            events: self.events.clone(),
            egress: self.egress.clone(),
            metrics: self.metrics.clone(),
            filters: self.filters.clone(),
            leaving: stop.clone(),
            stop: halt.clone(),
        };
        match self.me.roles.has(Role::Api) {
            true => ui::router(Arc::new(api)),
            false => api::own_router(Arc::new(api)),
        }
    }

    async fn leave(&self) {
        let left = async {
            let mut conn = self.db.conn().await?;
            replicas::leave(&mut conn, self.me.id).await
        };
        match left.await {
            Ok(()) => tracing::info!(replica = %self.me.id, "stopped"),
            Err(err) => tracing::warn!(error = chain(&err), "stopped without saying goodbye; the lease will run out"),
        }
        self.requests_db.close().await;
        self.heart_db.close().await;
        self.feed.db.close().await;
        self.db.close().await;
    }
}

/// How long a start may take whose job says nothing; none is for ever.
fn start_timeout_secs(config: &config::Replica) -> Option<f64> {
    (!config.start_timeout.is_zero()).then_some(config.start_timeout.as_secs_f64())
}

/// What pods may be: as the file says, and under the accounts that flags add.
fn pod_policy(config: &config::Replica) -> anyhow::Result<PodPolicy> {
    let mut policy = config.pod_policy.as_deref().map_or_else(|| Ok(PodPolicy::default()), PodPolicy::read)?;
    policy.service_accounts.extend(config.allow_service_account.iter().cloned());
    Ok(policy)
}
