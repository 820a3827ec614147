//! What the console shows of the whole: the holders of slots, what waits, what ended lately, and what is in the way.
//!
//! One read of one moment, whose every part is bounded, for all who look at one replica. Counts stop at [`COUNTED`], and
//! what ended lately is looked for among the newest `LOOKED_AT` of each outcome.

use sqlx::Connection;
use uuid::Uuid;

use super::{
    Conn, Error,
    limits::{self, Global},
    lists::{self, Listed, SlotRow},
    queues::{self, Queue},
};

/// How far anything is counted: more is "so many or more".
pub const COUNTED: i64 = 1_000;
/// The most holders that are shown, and that estimates rest on.
pub const HOLDERS: i64 = 500;
/// So many of those that start next are shown.
pub const NEXT: i64 = 50;
/// The most queues that are shown at once.
pub const QUEUES: i64 = 50;
/// How many of each outcome are looked at for what ended lately.
const LOOKED_AT: i64 = 2_000;
/// How many of each outcome are shown.
const SHOWN: i64 = 5;
/// The oldest jobs that are looked at for the longest wait, and those soonest due for what they were put aside for.
const OLDEST: i64 = 1_000;
/// So many attempts that ended last are measured, as in `eta.rs`.
const MEASURED: i64 = 300;
/// Queues with a bound above this are not looked at for being nearly full: it would mean counting that far.
const MOST_PENDING: i32 = 10_000;
/// The most replicas, and queues in trouble, that are named.
const NAMED: i64 = 100;

/// The whole, as of one moment.
#[derive(Debug)]
pub struct Harbour {
    pub at: jiff_sqlx::Timestamp,
    /// The last event that was numbered: where it stays, no job has moved.
    pub last_event: i64,
    pub global: Global,
    pub slots: Vec<SlotRow>,
    /// In the order in which they will start; one more than [`NEXT`], if there are more.
    pub next: Vec<Listed>,
    /// Why each of those waits, in the same order.
    pub why: Vec<Why>,
    pub counts: Counts,
    pub oldest_wait: Option<jiff_sqlx::Timestamp>,
    pub queues: Vec<Queue>,
    pub ended: Vec<Ended>,
    pub replicas: Vec<Replica>,
    pub aside: Vec<Aside>,
    pub paused: Vec<String>,
    pub nearly_full: Vec<NearlyFull>,
    pub measured: Vec<Measured>,
}

/// Why a job of the list waits.
#[derive(Debug)]
pub struct Why {
    pub id: Uuid,
    pub code: String,
    pub message: String,
}

/// How many jobs are in each state, each counted up to one more than [`COUNTED`].
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub scheduled: i64,
    pub pending: i64,
    pub starting: i64,
    pub running: i64,
    pub stopping: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub cancelled: i64,
}

/// A job that ended within the last hour.
#[derive(Debug)]
pub struct Ended {
    pub id: Uuid,
    pub name: String,
    pub queue: String,
    pub state: String,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub finished_at: jiff_sqlx::Timestamp,
    /// How many of those that were looked at ended so within the hour.
    pub of_state: i64,
}

/// A replica.
#[derive(Debug)]
pub struct Replica {
    pub id: Uuid,
    pub hostname: String,
    pub version: String,
    pub roles: Vec<String>,
    pub started_at: jiff_sqlx::Timestamp,
    pub heartbeat_at: jiff_sqlx::Timestamp,
    pub alive: bool,
}

/// Jobs that were put aside for one reason.
#[derive(Debug)]
pub struct Aside {
    pub code: String,
    pub message: String,
    pub jobs: i64,
}

/// A queue in which nine tenths of those wait that may.
#[derive(Debug)]
pub struct NearlyFull {
    pub name: String,
    pub max_pending: i32,
}

/// How long an attempt held its slot.
#[derive(Debug)]
pub struct Measured {
    pub queue: String,
    pub secs: f64,
}

/// Reads all of it as of one moment, each statement for two seconds at most.
pub async fn harbour(conn: &mut Conn) -> Result<Harbour, Error> {
    let mut tx = conn.begin().await?;
    sqlx::query!("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
    sqlx::query!("set local statement_timeout = '2s'").execute(&mut *tx).await?;
    let read = read(&mut tx).await?;
    tx.rollback().await?;
    Ok(read)
}

/// The same within a transaction.
pub async fn read(tx: &mut Conn) -> Result<Harbour, Error> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(&mut *tx).await?;
    let last_event =
        sqlx::query_scalar!(r#"select last_value as "it!" from longshore.job_events_id"#).fetch_one(&mut *tx).await?;
    let next = lists::pending(tx, None, NEXT + 1).await?;
    let shown: Vec<Uuid> = next.iter().take(NEXT as usize).map(|it| it.id.0).collect();
    Ok(Harbour {
        at,
        last_event,
        global: limits::global(tx).await?,
        slots: lists::holding(tx, HOLDERS).await?,
        why: why(tx, &shown).await?,
        next,
        counts: counts(tx).await?,
        oldest_wait: oldest_wait(tx).await?,
        queues: queues::list(tx, None, None, QUEUES).await?,
        ended: ended(tx).await?,
        replicas: replicas(tx).await?,
        aside: aside(tx).await?,
        paused: paused(tx).await?,
        nearly_full: nearly_full(tx).await?,
        measured: measured(tx).await?,
    })
}

/// Positions are counted from the head, so that those of the first few cost little.
async fn why(conn: &mut Conn, ids: &[Uuid]) -> Result<Vec<Why>, Error> {
    Ok(sqlx::query_as!(
        Why,
        r#"select asked.id as "id!", w.code as "code!", w.message as "message!"
             from unnest($1::uuid[]) with ordinality asked (id, place), lateral longshore.why(asked.id) w
            order by asked.place"#,
        ids
    )
    .fetch_all(conn)
    .await?)
}

/// Indexes: jobs_due, jobs_in_order, jobs_holding, jobs_finished.
pub async fn counts(conn: &mut Conn) -> Result<Counts, Error> {
    Ok(sqlx::query_as!(
        Counts,
        r#"with holding as materialized (
               select state from longshore.jobs_live where state in ('starting', 'running', 'stopping') limit 10 * $1::bigint
           )
           select (select count(*) from (select from longshore.jobs_live where state = 'scheduled' order by due_at limit $1::bigint + 1) it)
                      as "scheduled!",
                  (select count(*) from (select from longshore.jobs_live where state = 'pending'
                                          order by priority desc, seq limit $1::bigint + 1) it) as "pending!",
                  (select count(*) from holding where state = 'starting') as "starting!",
                  (select count(*) from holding where state = 'running') as "running!",
                  (select count(*) from holding where state = 'stopping') as "stopping!",
                  (select count(*) from (select from longshore.jobs where state = 'succeeded' order by id desc limit $1::bigint + 1) it)
                      as "succeeded!",
                  (select count(*) from (select from longshore.jobs where state = 'failed' order by id desc limit $1::bigint + 1) it)
                      as "failed!",
                  (select count(*) from (select from longshore.jobs where state = 'cancelled' order by id desc limit $1::bigint + 1) it)
                      as "cancelled!""#,
        COUNTED
    )
    .fetch_one(conn)
    .await?)
}

/// Of the oldest jobs that are not over, since when the one waits for a slot that waits longest.
async fn oldest_wait(conn: &mut Conn) -> Result<Option<jiff_sqlx::Timestamp>, Error> {
    Ok(sqlx::query_scalar!(
        "select min(pending_at) from (select state, pending_at from longshore.jobs_live order by id limit $1) oldest
          where state = 'pending'",
        OLDEST
    )
    .fetch_one(conn)
    .await?)
}

/// The newest of each outcome among those that ended within the hour. Those of one outcome lie in the order of submission,
/// so that it is the newest submissions that are looked at.
async fn ended(conn: &mut Conn) -> Result<Vec<Ended>, Error> {
    Ok(sqlx::query_as!(
        Ended,
        r#"with looked_at as (
               (select id, name, queue, state, reason, message, finished_at from longshore.jobs
                 where state = 'succeeded' order by id desc limit $1)
               union all
               (select id, name, queue, state, reason, message, finished_at from longshore.jobs
                 where state = 'failed' order by id desc limit $1)
               union all
               (select id, name, queue, state, reason, message, finished_at from longshore.jobs
                 where state = 'cancelled' order by id desc limit $1)
           ),
           ranked as (
               select *, count(*) over (partition by state) as of_state,
                      row_number() over (partition by state order by finished_at desc) as place
                 from looked_at
                where finished_at > clock_timestamp() - interval '1 hour'
           )
           select id as "id!", name as "name!", queue as "queue!", state as "state!", reason, message,
                  finished_at as "finished_at!", of_state as "of_state!"
             from ranked where place <= $2 order by finished_at desc"#,
        LOOKED_AT,
        SHOWN
    )
    .fetch_all(conn)
    .await?)
}

pub async fn replicas(conn: &mut Conn) -> Result<Vec<Replica>, Error> {
    Ok(sqlx::query_as!(
        Replica,
        r#"select id, hostname, version, roles, started_at, heartbeat_at,
                  heartbeat_at > clock_timestamp() - make_interval(secs => lease_secs) as "alive!"
             from longshore.replicas order by started_at limit $1"#,
        NAMED
    )
    .fetch_all(conn)
    .await?)
}

/// Index: jobs_due.
async fn aside(conn: &mut Conn) -> Result<Vec<Aside>, Error> {
    Ok(sqlx::query_as!(
        Aside,
        r#"select wait_code as "code!", min(wait_message) as "message!", count(*) as "jobs!"
             from (select wait_code, wait_message from longshore.jobs_live where state = 'scheduled'
                    order by due_at limit $1) soonest
            where wait_code in ('quota', 'pod_quota', 'not_permitted')
            group by wait_code order by wait_code"#,
        OLDEST
    )
    .fetch_all(conn)
    .await?)
}

async fn paused(conn: &mut Conn) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        "select name from longshore.queues where paused_at is not null order by name limit $1",
        NAMED
    )
    .fetch_all(conn)
    .await?)
}

/// Index: jobs_waiting.
async fn nearly_full(conn: &mut Conn) -> Result<Vec<NearlyFull>, Error> {
    Ok(sqlx::query_as!(
        NearlyFull,
        r#"select q.name, q.max_pending as "max_pending!"
             from longshore.queues q
            where q.max_pending between 1 and $1
              and exists (select from longshore.jobs_live
                           where queue = q.name and state in ('scheduled', 'pending')
                          offset greatest(q.max_pending * 9 / 10 - 1, 0) limit 1)
            order by q.name limit $2"#,
        MOST_PENDING,
        NAMED
    )
    .fetch_all(conn)
    .await?)
}

/// Index: attempts_finished.
async fn measured(conn: &mut Conn) -> Result<Vec<Measured>, Error> {
    Ok(sqlx::query_as!(
        Measured,
        r#"select s.queue as "queue!", extract(epoch from a.finished_at - a.claimed_at)::float8 as "secs!"
             from (select job_id, claimed_at, finished_at from longshore.attempts
                    where finished_at is not null order by finished_at desc limit $1) a
             join longshore.job_specs s on s.job_id = a.job_id"#,
        MEASURED
    )
    .fetch_all(conn)
    .await?)
}
