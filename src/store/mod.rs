//! Everything that is kept, in Postgres. The only room that speaks SQL.
//!
//! Every function takes the connection as its first parameter and nobody but [`Db`] has the pool, so that no statement
//! can slip out of the transaction it belongs to.

pub mod boss;
pub mod bulk;
pub mod changes;
pub mod claims;
pub mod console;
pub mod deliveries;
pub mod eta;
pub mod examine;
pub mod gather;
pub mod history;
pub mod inbox;
pub mod intents;
pub mod jobs;
mod left;
pub mod levels;
pub mod limits;
pub mod lists;
pub mod logs;
pub mod migrate;
pub mod moves;
pub mod names;
pub mod notices;
pub mod queues;
pub mod records;
pub mod recover;
pub mod replicas;
pub mod signals;
pub mod sources;
pub mod stream;
pub mod submit;
pub mod templates;
pub mod tx;
pub mod waits;
pub mod walk;
pub mod webhooks;
pub mod why;
pub mod workers;

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, PgPool,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::effects::LostAnswer;

use left::{Backends, Left};

pub type Conn = sqlx::PgConnection;

/// How long a caller waits for a connection: a burst may pass meanwhile, and a client is still told at once.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long callers are refused at once after the database was found away, so that they do not queue up behind it.
const AWAY_PAUSE_MILLIS: u64 = 500;
/// How often all connections are made anew, at most, for a database that is read-only.
const READ_ONLY_PAUSE_MILLIS: u64 = 1_000;
/// A connection that was idle for longer is asked whether it still stands before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
/// No statement of ours takes longer unless something is wrong; then its locks are to be given back.
const STATEMENT_TIMEOUT: &str = "15s";
/// Longer than a statement may take at the server: whatever takes longer is not answered any more.
const DEADLINE: Duration = Duration::from_secs(20);
/// Shorter than the statement's, so that an operator's LOCK TABLE is named as the cause.
const LOCK_TIMEOUT: &str = "1s";

/// What every connection is set to, to whichever database.
const BOUNDS: [(&str, &str); 4] = [
    ("statement_timeout", STATEMENT_TIMEOUT),
    ("lock_timeout", LOCK_TIMEOUT),
    ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
    // The claim is exact only when each of its statements has a snapshot of its own.
    ("default_transaction_isolation", "read committed"),
];

/// What connections to Longshore's own database are set to besides.
const SETTINGS: [(&str, &str); 6] = [
    // Every statement of ours finds its rows by an index, or in a table of a few rows. With stale statistics the planner
    // may think otherwise, and read a backlog of millions under the cap's lock; or join a table that looks empty as a whole.
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // Nor does any read so much that a second process would pay; the planner thinks so of a walk along all partitions.
    ("max_parallel_workers_per_gather", "0"),
    // That makes the reading of a table of four rows look so dear that Postgres would compile it first, for a tenth of a
    // second each time.
    ("jit", "off"),
    // No plan of ours hangs on what is asked. One for a statement that takes arrays, or a limit, looks to the planner as if
    // it did, and would be made anew each time, for longer than it takes.
    ("plan_cache_mode", "force_generic_plan"),
];

/// The database: a pool of connections that refuses at once while it is known to be away.
pub struct Db {
    pool: RwLock<(PgPool, Backends)>,
    options: PgConnectOptions,
    connections: u32,
    started: Instant,
    /// Milliseconds since `started` until which callers are refused.
    refuse_until: AtomicU64,
    /// Milliseconds since `started` when connections were last made anew for being read-only; 0 is never.
    left_read_only: AtomicU64,
    /// When a connection was last found broken: those that were not used since may be broken as well.
    broke_at: Arc<Mutex<Option<Instant>>>,
    /// What the server still does for connections that were given up.
    left: Arc<Left>,
}

impl Db {
    /// Prepares the pool; connects when first used. `connections` is the most it opens.
    pub fn new(url: &str, connections: u32) -> Result<Self, Error> {
        Self::with(url, connections, &SETTINGS)
    }

    /// The same for a database that belongs to somebody else: bounded as ours, and otherwise planned as it is set up, for
    /// its tables have other indexes.
    pub fn elsewhere(url: &str, connections: u32) -> Result<Self, Error> {
        Self::with(url, connections, &[])
    }

    /// Server and database, without who logs in and how.
    pub fn place(&self) -> String {
        format!(
            "{}:{}/{}",
            self.options.get_host(),
            self.options.get_port(),
            self.options.get_database().unwrap_or_default()
        )
    }

    fn with(url: &str, connections: u32, settings: &[(&str, &str)]) -> Result<Self, Error> {
        if !["postgres://", "postgresql://"].iter().any(|it| url.starts_with(it)) {
            let is_to_be = "it is to begin with postgres:// or postgresql://";
            return Err(Error::Url(sqlx::Error::Configuration(is_to_be.into())));
        }
        let options: PgConnectOptions = url.parse().map_err(Error::Url)?;
        // Statements that are slow are told by what was asked, not by their text.
        let options = options.application_name("longshore").disable_statement_logging();
        let options = options.options(BOUNDS).options(settings.iter().copied());
        let broke_at = Arc::default();
        let pool = RwLock::new(fresh_pool(&options, connections, &broke_at));
        let (started, refuse_until, left_read_only) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
        let left = Left::new(options.clone());
        Ok(Self { pool, options, connections, started, refuse_until, left_read_only, broke_at, left })
    }

    /// Does `work`, and gives it up when it takes longer than any statement may: the network lost the connection without a
    /// word, and nothing else would ever tell. All connections are then made anew, for they went the same way.
    pub async fn within<T, E: From<Error> + OfStore>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(done) => done.inspect_err(|err| self.heed(err)),
            Err(_) => {
                self.give_up();
                Err(Error::lost_answer().into())
            }
        }
    }

    /// How many connections are open and idle, and how many are used.
    pub fn connections(&self) -> (usize, usize) {
        let pool = self.pool();
        let idle = pool.num_idle();
        (idle, (pool.size() as usize).saturating_sub(idle))
    }

    /// How many connections were given up that the server still has.
    pub fn given_up(&self) -> usize {
        self.left.count()
    }

    /// Leaves every connection to its fate, and makes new ones from now on.
    pub fn give_up(&self) {
        self.renew("the database does not answer; connecting anew");
    }

    fn renew(&self, why: &str) {
        tracing::warn!("{why}");
        let fresh = fresh_pool(&self.options, self.connections, &self.broke_at);
        let (old, backends) = std::mem::replace(&mut *self.pool.write().unwrap_or_else(PoisonError::into_inner), fresh);
        // Not waited for: what hangs may hang until the kernel gives up.
        drop(old.close());
        self.left.add(&backends);
    }

    /// Connects anew when `err` says that the database is read-only: these connections lead to a server that was the primary
    /// once, or were made while the database could not be written to, and would stay as they are. At most so often that a
    /// database that stays read-only is not busy with connections.
    pub fn heed(&self, err: &impl OfStore) {
        let now = self.started.elapsed().as_millis() as u64;
        let due = |last: u64| (last == 0 || last + READ_ONLY_PAUSE_MILLIS <= now).then_some(now.max(1));
        if matches!(err.of_store(), Some(Error::ReadOnly))
            && self.left_read_only.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
        {
            self.renew("the database is read-only; connecting anew");
        }
    }

    /// A connection broke under a statement.
    fn broke(&self) {
        *self.broke_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn pool(&self) -> PgPool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// A connection, or at once [`Error::Away`] while the database is known to be away.
    pub async fn conn(&self) -> Result<PoolConnection<sqlx::Postgres>, Error> {
        let now = self.started.elapsed().as_millis() as u64;
        if now < self.refuse_until.load(Ordering::Relaxed) {
            return Err(Error::Away(sqlx::Error::PoolTimedOut));
        }
        // The pool retries a refused connection until its own time-out; asking once first tells in milliseconds.
        let pool = self.pool();
        if pool.num_idle() == 0 && pool.size() == 0 {
            self.probe().await?;
        }
        match pool.acquire().await {
            // It was given up meanwhile, and there is another one.
            Err(sqlx::Error::PoolClosed) => self.pool().acquire().await,
            acquired => acquired,
        }
        .map_err(|err| self.found_away(err))
    }

    /// A connection of its own, outside the pool, without the time-outs: for migrations, which wait for each other.
    pub async fn direct(&self) -> Result<Conn, Error> {
        let options = self.options.clone().options([("statement_timeout", "0"), ("lock_timeout", "0")]);
        tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect())
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(Error::Away)
    }

    /// Ends when every connection has been given back, or it is clear that one will not be.
    pub async fn close(&self) {
        let _ = tokio::time::timeout(ACQUIRE_TIMEOUT, self.pool().close()).await;
    }

    async fn probe(&self) -> Result<(), Error> {
        use sqlx::Connection;
        let answer = tokio::time::timeout(ACQUIRE_TIMEOUT, self.options.clone().connect()).await;
        let conn = answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|err| self.found_away(err))?;
        conn.close().await.map_err(|err| self.found_away(err))
    }

    fn found_away(&self, err: sqlx::Error) -> Error {
        let until = self.started.elapsed().as_millis() as u64 + AWAY_PAUSE_MILLIS;
        self.refuse_until.store(until, Ordering::Relaxed);
        Error::Away(err)
    }
}

fn fresh_pool(
    options: &PgConnectOptions,
    connections: u32,
    broke_at: &Arc<Mutex<Option<Instant>>>,
) -> (PgPool, Backends) {
    let (broke_at, backends) = (broke_at.clone(), Backends::of_pool(connections));
    let met = backends.clone();
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A question before each statement would double the round trips of a busy replica.
        .test_before_acquire(false)
        .after_connect(move |conn, _| {
            let met = met.clone();
            Box::pin(async move { met.meet(conn).await })
        })
        .before_acquire(move |conn, meta| {
            let broke_at = *broke_at.lock().unwrap_or_else(PoisonError::into_inner);
            let in_doubt = broke_at.is_some_and(|it| it.elapsed() <= meta.idle_for);
            Box::pin(async move {
                if in_doubt || meta.idle_for > TRUSTED {
                    sqlx::Connection::ping(conn).await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options.clone());
    (pool, backends)
}

/// Whether the database answers and can be written to.
pub async fn ping(conn: &mut Conn) -> Result<(), Error> {
    let read_only = sqlx::query_scalar!(
        r#"select pg_is_in_recovery() or current_setting('transaction_read_only')::bool as "read_only!""#
    )
    .fetch_one(conn)
    .await?;
    if read_only { Err(Error::ReadOnly) } else { Ok(()) }
}

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database URL is not valid")]
    Url(#[source] sqlx::Error),
    /// It could not be reached: nothing was done.
    #[error("the database is away")]
    Away(#[source] sqlx::Error),
    /// It was reached, and the connection broke before it answered: what was asked may have been done.
    #[error("the database did not answer")]
    NoAnswer(#[source] sqlx::Error),
    /// It is committed here, and not where it would survive a failover.
    #[error("the database committed without its standby")]
    NotReplicated,
    #[error("the database is read-only: it is a standby, or was demoted")]
    ReadOnly,
    /// It is busy with something else that holds what we need, or refused for the moment: nothing was done.
    #[error("the database refused for the moment")]
    Busy(#[source] sqlx::Error),
    #[error("a row of longshore.{table} says {what}, which this version does not know")]
    Unknown { table: &'static str, what: String },
    #[error("the schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
}

impl Error {
    /// Whether a statement met a row that another one had just moved to another partition, which is where jobs go that are
    /// over. Nothing was done.
    pub fn is_moved_away(&self) -> bool {
        let Self::Busy(sqlx::Error::Database(db)) = self else { return false };
        db.code().as_deref() == Some("40001")
    }

    /// The same once more, for another one whose wish was in the same statement, if it says something of the database and
    /// not of what was asked.
    fn for_another(&self) -> Option<Self> {
        match self {
            Self::Away(_) => Some(Self::Away(sqlx::Error::PoolTimedOut)),
            Self::NoAnswer(_) => Some(Self::lost_answer()),
            Self::NotReplicated => Some(Self::NotReplicated),
            Self::ReadOnly => Some(Self::ReadOnly),
            Self::Url(_) | Self::Busy(_) | Self::Unknown { .. } | Self::Migrate(_) | Self::Statement(_) => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(err: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &err {
            E::Io(_) | E::Protocol(_) | E::WorkerCrashed | E::PoolClosed => Self::NoAnswer(err),
            E::PoolTimedOut | E::Tls(_) => Self::Away(err),
            E::Database(db) => match db.code().as_deref() {
                // Read-only transaction: a demoted primary.
                Some("25006") => Self::ReadOnly,
                // Deadlock, serialization failure, lock or statement time-out, disk full, too many connections.
                Some("40P01" | "40001" | "55P03" | "57014" | "53100" | "53200" | "53300") => Self::Busy(err),
                // The server is going away, or coming up; the backend was ended.
                Some("57P01" | "57P02" | "57P03" | "57P05") => Self::NoAnswer(err),
                _ => Self::Statement(err),
            },
            _ => Self::Statement(err),
        }
    }
}

/// An error that may be, or have for its cause, one of the database.
pub trait OfStore {
    fn of_store(&self) -> Option<&Error>;
}

impl OfStore for Error {
    fn of_store(&self) -> Option<&Error> {
        Some(self)
    }
}

impl OfStore for anyhow::Error {
    fn of_store(&self) -> Option<&Error> {
        self.chain().find_map(|it| it.downcast_ref())
    }
}

impl LostAnswer for Error {
    fn lost_answer() -> Self {
        Self::NoAnswer(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()))
    }
}
