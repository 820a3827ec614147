//! A small whole world for a test: a Postgres of its own, a cluster (simulated, or the real one that `KUBECONFIG` names),
//! and any number of replicas, in this process or as processes of their own. When the test is over the world checks
//! itself: see [`invariants`].

pub mod account;
pub mod audit;
pub mod boss;
pub mod cli;
pub mod cluster;
pub mod invariants;
pub mod jobs;
#[cfg(feature = "sqs")]
pub mod moto;
pub mod process;
pub mod proxy;
pub mod standby;
pub mod templates;
pub mod workers;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser;
use longshore::{
    config,
    embedded::{self, Postgres},
    run::Replica,
    store::Db,
};
use sqlx::{Connection, PgConnection};
use testcontainers::{ContainerAsync, ImageExt, runners::AsyncRunner};
use tokio_util::sync::CancellationToken;

use cluster::Target;

/// How long anything may take that must happen. Generous: a busy machine is no reason to fail, nor is a node that has the
/// containers of other tests to start first.
pub const BOUND: Duration = Duration::from_secs(300);
/// How soon it is asked again whether something has happened: at first, and in the end.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// The Postgres of a test: of the installed programs, else in a container.
enum Server {
    Own(Postgres),
    Container(Box<ContainerAsync<testcontainers_modules::postgres::Postgres>>),
    Promoted(standby::Standby),
}

impl Server {
    async fn start() -> Self {
        match Postgres::start_throw_away(None) {
            Ok(postgres) => Self::Own(postgres),
            Err(embedded::Error::NotInstalled) => {
                let image = testcontainers_modules::postgres::Postgres::default()
                    .with_user("longshore")
                    .with_password("longshore")
                    .with_db_name("longshore")
                    .with_tag("18");
                let started = image.start().await;
                Self::Container(Box::new(
                    started.expect("neither PostgreSQL's programs nor a container engine are here"),
                ))
            }
            Err(err) => panic!("no Postgres for the test: {err}"),
        }
    }

    async fn url(&self) -> String {
        match self {
            Self::Own(postgres) => postgres.url.clone(),
            Self::Container(container) => {
                let port = container.get_host_port_ipv4(5432).await.unwrap();
                format!("postgres://longshore:longshore@127.0.0.1:{port}/longshore")
            }
            Self::Promoted(standby) => standby.url.clone(),
        }
    }
}

/// Flags of a replica, for [`World::start`].
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    replica: config::Replica,
}

/// A world. Its fields are dropped in this order: the replicas before what they stand on.
pub struct World {
    pub replicas: Vec<Replica>,
    pub processes: Vec<process::Process>,
    pub target: Target,
    /// The ids of all jobs that were accepted with a 2xx.
    pub accepted: Arc<Mutex<Vec<String>>>,
    pub http: reqwest::Client,
    pub url: String,
    watcher: invariants::CapWatcher,
    server: Server,
}

impl World {
    /// A world with a cap, and no replica yet.
    pub async fn new(cap: i32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // What the replicas in this process say is shown when the test fails.
        let level = std::env::var("LONGSHORE_LOG_LEVEL").unwrap_or_else(|_| "info".into());
        let _ = longshore::telemetry::start(&level, longshore::telemetry::LogFormat::Text);
        let server = Server::start().await;
        let url = server.url().await;
        longshore::store::migrate::create_database(&url).await.unwrap();
        longshore::store::migrate::run(&Db::new(&url, 2).unwrap()).await.unwrap();
        let mut world = Self {
            replicas: Vec::new(),
            processes: Vec::new(),
            target: Target::new().await,
            accepted: Arc::default(),
            http: reqwest::Client::new(),
            watcher: invariants::CapWatcher::start(&url).await,
            url,
            server,
        };
        world.set_cap(cap).await;
        world
    }

    /// Starts a replica in this process, with `flags` on top of what suits tests.
    pub async fn start(&mut self, flags: &[&str]) -> String {
        self.start_on(&self.url.clone(), flags).await
    }

    /// The same, with its own way to the database.
    pub async fn start_on(&mut self, database_url: &str, flags: &[&str]) -> String {
        let client = self.target.client().await;
        self.start_with(database_url, client, flags).await
    }

    /// The same, with its own way to the cluster as well.
    pub async fn start_with(&mut self, database_url: &str, client: kube::Client, flags: &[&str]) -> String {
        let mut flags = self.flags(flags);
        // This process is a test, and its filters need one that is Longshore.
        flags.push(format!("--filter-program={}", env!("CARGO_BIN_EXE_longshore")));
        let config = Flags::try_parse_from(std::iter::once("test").chain(flags.iter().map(String::as_str))).unwrap();
        let replica = Replica::start(&config.replica, database_url, client, CancellationToken::new()).await.unwrap();
        let url = format!("http://127.0.0.1:{}", replica.address.port());
        self.replicas.push(replica);
        url
    }

    /// Flags of a replica in a test: short periods, and Jobs that go as soon as their outcome is recorded.
    pub fn flags(&self, more: &[&str]) -> Vec<String> {
        let namespace = self.target.namespace();
        let given = |name: &str| more.iter().any(|it| it.split('=').next() == Some(name));
        let defaults = [
            ("--host", "127.0.0.1"),
            ("--port", "0"),
            ("--namespace", namespace),
            ("--lease", "3s"),
            ("--claim-period", "200ms"),
            ("--reconcile-period", "500ms"),
            ("--keep-finished", "0s"),
            ("--dispatch-delay", "0s"),
        ];
        let defaults = defaults.iter().filter(|(name, _)| !given(name)).map(|(name, value)| format!("{name}={value}"));
        defaults.chain(more.iter().map(|it| (*it).to_owned())).collect()
    }

    pub async fn conn(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// Ends the server, whatever only it has, and goes on with its standby. Replicas go where their own way leads.
    pub async fn fail_over(&mut self, standby: standby::Standby) {
        self.watcher.look_at(&standby.url);
        self.url.clone_from(&standby.url);
        standby.promote().await;
        self.server = Server::Promoted(standby);
    }

    /// Waits until a replica is ready: it has matched the rows to the cluster, and claims.
    pub async fn is_ready(&self, replica: &str) {
        eventually("the replica is ready", async || {
            let answer = self.http.get(format!("{replica}/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Goes on in another database, as after a restore; it is held to the same cap.
    pub async fn goes_on_in(&mut self, url: String) {
        self.watcher.check();
        let watcher = invariants::CapWatcher::start(&url).await;
        watcher.allow(self.watcher.allowed());
        (self.watcher, self.url) = (watcher, url);
    }

    /// Sets the cap, and holds the world to it from now on.
    pub async fn set_cap(&mut self, cap: i32) {
        // A claim may be faster than whoever raises the cap.
        self.watcher.allow(cap.max(self.watcher.allowed()));
        let mut conn = self.conn().await;
        sqlx::query("update longshore.limits set cap = $1 where name = 'global'")
            .bind(cap)
            .execute(&mut conn)
            .await
            .unwrap();
        self.watcher.allow(cap);
    }

    /// Sets what there is to set of a queue, over HTTP, and holds the world to its cap from now on.
    pub async fn set_queue(&self, replica: &str, name: &str, settings: serde_json::Value) {
        let cap = settings["cap"].as_i64().map_or(i32::MAX, |it| i32::try_from(it).unwrap());
        // A claim may be faster than the answer to whoever raises the cap.
        self.watcher.allow_queue(name, cap.max(self.watcher.allowed_of(name)));
        let answer = self.http.put(format!("{replica}/queues/{name}")).json(&settings).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        self.watcher.allow_queue(name, cap);
    }

    /// Stops every replica as an operator would, checks the world, and ends it. The last line of every test.
    pub async fn finish(mut self) {
        for replica in std::mem::take(&mut self.replicas) {
            replica.stop().await;
        }
        for process in std::mem::take(&mut self.processes) {
            process.terminate().await;
        }
        self.check().await;
    }

    /// Checks every invariant as of now.
    pub async fn check(&mut self) {
        self.watcher.check();
        let mut conn = self.conn().await;
        let accepted = self.accepted.lock().unwrap().clone();
        invariants::check_rows(&mut conn, &accepted).await;
        if let Some(log) = self.target.audit_log().await {
            let instance: String = scalar(&mut conn, "select name from longshore.instance").await;
            let events = audit::read(&log, &instance);
            audit::check(&events, self.watcher.allowed());
            if let Some(account) = self.target.account_name() {
                audit::check_rights(&log, &account);
            }
            audit::ask_witness(&log, &instance, self.watcher.allowed());
        }
        self.target.tear_down().await;
    }
}

/// One value.
pub async fn scalar<T>(conn: &mut PgConnection, sql: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
}

/// Waits until `condition` answers something, asking again and again; panics with `what` when it takes for ever.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        let mut pause = FIRST_PAUSE;
        let mut next = tokio::time::interval(pause);
        loop {
            next.tick().await;
            if let Some(found) = condition().await {
                return found;
            }
            // What takes long is asked for less often, that asking does not make it take longer.
            next.reset_after(pause);
            pause = (pause * 5 / 4).min(LAST_PAUSE);
        }
    };
    tokio::time::timeout(BOUND, asked).await.unwrap_or_else(|_| panic!("did not happen within {BOUND:?}: {what}"))
}
