//! Questions of `longshore doctor` to the database. They change nothing, and take no lock that anybody waits for.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::Connection;

use super::{Conn, Db, Error, migrate};

/// Since when a transaction must be open to be worth telling.
const LONG_SECS: f64 = 3600.0;

/// The server, the role that we are, and where it stands.
#[derive(Debug)]
pub struct Server {
    pub version: String,
    /// Such as 150014.
    pub version_num: i32,
    pub role: String,
    pub database: String,
    pub standby: bool,
    pub read_only: bool,
    /// By how many seconds its clock is ahead of ours, and how many of them may be the question's own.
    pub ahead: (f64, f64),
}

/// Settings of the session and of the server, as the server shows them.
#[derive(Debug)]
pub struct Settings {
    pub statement_timeout: String,
    pub isolation: String,
    pub synchronous_commit: String,
    pub fsync: bool,
    pub full_page_writes: bool,
    /// Milliseconds after which the server ends what is idle, and any transaction; 0 is never.
    pub idle_session_ms: i64,
    pub transaction_ms: i64,
}

/// How many connections there may be.
#[derive(Debug)]
pub struct Room {
    /// Of the server, less what is reserved for superusers.
    pub server: i32,
    /// Of the role and of the database; less than 0 is no limit of their own.
    pub role: i32,
    pub database: i32,
    /// How many there are, and how many of them are not Longshore's.
    pub used: i64,
    pub others: i64,
}

/// What is on record of the schema, compared with what this version brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    Current(i64),
    Missing,
    Behind {
        at: i64,
        target: i64,
    },
    /// It has versions that this program does not know.
    Ahead {
        at: i64,
        target: i64,
    },
    /// This version was applied from another file than ours.
    Tampered(i64),
    /// This one began and did not end.
    Broken(i64),
}

/// What the role may not do.
#[derive(Debug)]
pub struct Rights {
    pub schema_is_there: bool,
    pub owner: Option<String>,
    pub may_create_schema: bool,
    /// Tables and views of the schema that it does not own, the first few.
    pub foreign: Vec<String>,
}

/// The number of held slots, as it is kept and as the rows are.
#[derive(Debug)]
pub struct Held {
    pub said: i64,
    pub counted: i64,
    /// Queues whose number differs.
    pub queues: Vec<String>,
}

#[derive(Debug)]
pub struct Replica {
    pub hostname: String,
    pub version: String,
}

impl Error {
    /// The code that Postgres gave, if it was Postgres that refused.
    pub fn code(&self) -> Option<String> {
        let (Self::Away(err) | Self::NoAnswer(err) | Self::Busy(err) | Self::Statement(err)) = self else {
            return None;
        };
        Some(err.as_database_error()?.code()?.into_owned())
    }
}

pub async fn server(conn: &mut Conn) -> Result<Server, Error> {
    // The connection is warm and the statement prepared before the clock is looked at.
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&mut *conn).await?;
    let (began, sent) = (Timestamp::now(), Instant::now());
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&mut *conn).await?;
    let took = sent.elapsed().as_secs_f64();
    let ahead = (now.to_jiff().duration_since(began).as_secs_f64() - took / 2.0, took / 2.0);
    let row = sqlx::query!(
        r#"select current_setting('server_version') as "version!", current_setting('server_version_num')::int as "num!",
                  current_user::text as "role!", current_database()::text as "database!",
                  pg_is_in_recovery() as "standby!", current_setting('transaction_read_only')::bool as "read_only!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(Server {
        version: row.version,
        version_num: row.num,
        role: row.role,
        database: row.database,
        standby: row.standby,
        read_only: row.read_only,
        ahead,
    })
}

pub async fn settings(conn: &mut Conn) -> Result<Settings, Error> {
    Ok(sqlx::query_as!(
        Settings,
        r#"select current_setting('statement_timeout') as "statement_timeout!",
                  current_setting('default_transaction_isolation') as "isolation!",
                  current_setting('synchronous_commit') as "synchronous_commit!",
                  current_setting('fsync')::bool as "fsync!",
                  current_setting('full_page_writes')::bool as "full_page_writes!",
                  coalesce((select setting::bigint from pg_settings where name = 'idle_session_timeout'), 0) as "idle_session_ms!",
                  coalesce((select setting::bigint from pg_settings where name = 'transaction_timeout'), 0) as "transaction_ms!""#
    )
    .fetch_one(conn)
    .await?)
}

/// Whether two connections that are open at the same time turn out to be one: then something between gives each
/// transaction whichever connection is free.
pub async fn is_pooled_by_transaction(db: &Db) -> Result<bool, Error> {
    let (mut first, mut second) = (db.direct().await?, db.direct().await?);
    let pids = async {
        let one = sqlx::query_scalar!(r#"select pg_backend_pid() as "pid!""#).fetch_one(&mut first).await?;
        let two = sqlx::query_scalar!(r#"select pg_backend_pid() as "pid!""#).fetch_one(&mut second).await?;
        Ok::<_, Error>((one, two))
    }
    .await;
    // What is left of them ends with this process at the latest.
    let _ = tokio::time::timeout(Duration::from_secs(1), async { tokio::join!(first.close(), second.close()) }).await;
    pids.map(|(one, two)| one == two)
}

pub async fn room(conn: &mut Conn) -> Result<Room, Error> {
    Ok(sqlx::query_as!(
        Room,
        r#"select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                    - coalesce(current_setting('reserved_connections', true), '0')::int as "server!",
                  (select rolconnlimit from pg_roles where rolname = current_user) as "role!",
                  (select datconnlimit from pg_database where datname = current_database()) as "database!",
                  (select count(*) from pg_stat_activity where backend_type = 'client backend') as "used!",
                  (select count(*) from pg_stat_activity
                    where backend_type = 'client backend' and application_name <> 'longshore') as "others!""#
    )
    .fetch_one(conn)
    .await?)
}

/// Compares what was applied with what this version brings.
pub async fn schema(conn: &mut Conn) -> Result<Schema, Error> {
    let is_there = sqlx::query_scalar!(
        r#"select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                           where n.nspname = 'longshore' and c.relname = 'schema_migrations') as "is_there!""#
    );
    if !is_there.fetch_one(&mut *conn).await? {
        return Ok(Schema::Missing);
    }
    // Not checked when compiled: the migrator makes this table, and no migration does.
    let sql = "select version, success, checksum from longshore.schema_migrations order by version";
    let applied: Vec<(i64, bool, Vec<u8>)> = sqlx::query_as(sql).fetch_all(conn).await?;
    Ok(migrate::compare(&applied))
}

pub async fn rights(conn: &mut Conn) -> Result<Rights, Error> {
    Ok(sqlx::query_as!(
        Rights,
        r#"select exists (select from pg_namespace where nspname = 'longshore') as "schema_is_there!",
                  (select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = 'longshore') as owner,
                  has_database_privilege(current_database(), 'create') as "may_create_schema!",
                  array(select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
                         where n.nspname = 'longshore' and c.relkind in ('r', 'p', 'v')
                           and not (pg_has_role(c.relowner, 'usage') and has_schema_privilege(n.oid, 'create'))
                         order by 1 limit 3) as "foreign!""#
    )
    .fetch_one(conn)
    .await?)
}

/// What `longshore.check_held` compares, and nothing is put right.
pub async fn held(conn: &mut Conn) -> Result<Held, Error> {
    Ok(sqlx::query_as!(
        Held,
        r#"with counted as materialized (
               select queue, count(*) as jobs from longshore.jobs_live
                where state in ('starting', 'running', 'stopping') group by queue)
           select (select jobs from longshore.held) as "said!",
                  (select coalesce(sum(jobs), 0)::bigint from counted) as "counted!",
                  array(select queue from longshore.held_of_queue h full join counted c using (queue)
                         where coalesce(h.jobs, 0) <> coalesce(c.jobs, 0) order by queue limit 10) as "queues!""#
    )
    .fetch_one(conn)
    .await?)
}

/// The tables that have no partition for what is written now.
pub async fn without_partition(conn: &mut Conn) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select t as "table!"
             from unnest(array['jobs', 'job_specs', 'attempts', 'attempt_logs', 'job_events', 'job_labels']) t
            where not exists (
                select from longshore.partitions p
                 where p.of_table = t and p.from_at <= clock_timestamp() and p.to_at > clock_timestamp()
                   and exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                                where n.nspname = 'longshore' and c.relname = p.name))"#
    )
    .fetch_all(conn)
    .await?)
}

/// The replicas whose lease has not run out.
pub async fn replicas(conn: &mut Conn) -> Result<Vec<Replica>, Error> {
    Ok(sqlx::query_as!(
        Replica,
        "select hostname, version from longshore.replicas
          where heartbeat_at > clock_timestamp() - make_interval(secs => lease_secs) order by hostname limit 100"
    )
    .fetch_all(conn)
    .await?)
}

/// What keeps vacuum from clearing up, in words.
pub async fn pinned(conn: &mut Conn) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select what as "what!" from (
               select format('pid %s (%s, %s) has had a transaction open for %s minutes', pid, application_name, state,
                             (extract(epoch from clock_timestamp() - xact_start) / 60)::int) as what
                 from pg_stat_activity
                where backend_xmin is not null and xact_start < clock_timestamp() - make_interval(secs => $1)
               union all
               select format('the prepared transaction %L is %s minutes old', gid,
                             (extract(epoch from clock_timestamp() - prepared) / 60)::int)
                 from pg_prepared_xacts
                where database = current_database() and prepared < clock_timestamp() - make_interval(secs => $1)
           ) it limit 5"#,
        LONG_SECS
    )
    .fetch_all(conn)
    .await?)
}
