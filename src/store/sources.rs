//! Queues elsewhere: what replicas agree on about them, and what they tell; and messages whose fate hangs on their jobs.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{id::JobId, lifecycle::StateName};

use super::{Conn, Error};

/// A source that no replica has run for so long is shown as one that does not run.
const RUNS: Duration = Duration::from_secs(30);
/// A source that no replica has run for so long is forgotten: it is in no file any more.
const FORGOTTEN: Duration = Duration::from_secs(86_400);
/// How many items are tended at a time, so that the statement stays short.
const TENDED_AT_ONCE: i64 = 500;
/// For how long one replica has an item to itself that it tells the queue of; then another may try.
const SETTLING: Duration = Duration::from_secs(10);

/// A source as it is shown.
#[derive(Debug)]
pub struct SourceRow {
    pub name: String,
    pub kind: String,
    pub reads: String,
    pub paused_at: Option<Timestamp>,
    pub running: bool,
    pub received: i64,
    pub submitted: i64,
    pub duplicates: i64,
    pub refused: i64,
    pub received_at: Option<Timestamp>,
    pub lag_secs: Option<f64>,
    pub waiting: Option<i64>,
    pub oldest_secs: Option<f64>,
    pub states: Option<Value>,
    pub looked_at: Option<Timestamp>,
    pub error: Option<String>,
    pub error_at: Option<Timestamp>,
    pub worked_at: Option<Timestamp>,
    pub refusal: Option<String>,
    pub refusal_at: Option<Timestamp>,
    /// How many messages are held until their jobs end.
    pub held: i64,
}

/// Every source, by name; or the one that is called `only`.
pub async fn list(conn: &mut Conn, only: Option<&str>) -> Result<Vec<SourceRow>, Error> {
    let rows = sqlx::query!(
        r#"select s.*, coalesce(s.running_at > clock_timestamp() - make_interval(secs => $2), false) as "running!",
                  (select count(*) from longshore.source_items i where i.source = s.name) as "held!"
             from longshore.sources s
            where $1::text is null or s.name = $1
            order by s.name"#,
        only,
        RUNS.as_secs_f64()
    )
    .fetch_all(conn)
    .await?;
    let row = rows.into_iter().map(|it| SourceRow {
        name: it.name,
        kind: it.kind,
        reads: it.reads,
        paused_at: it.paused_at.map(|it| it.to_jiff()),
        running: it.running,
        received: it.received,
        submitted: it.submitted,
        duplicates: it.duplicates,
        refused: it.refused,
        received_at: it.received_at.map(|it| it.to_jiff()),
        lag_secs: it.lag_secs,
        waiting: it.waiting,
        oldest_secs: it.oldest_secs,
        states: it.states,
        looked_at: it.looked_at.map(|it| it.to_jiff()),
        error: it.error,
        error_at: it.error_at.map(|it| it.to_jiff()),
        worked_at: it.worked_at.map(|it| it.to_jiff()),
        refusal: it.refusal,
        refusal_at: it.refusal_at.map(|it| it.to_jiff()),
        held: it.held,
    });
    Ok(row.collect())
}

/// Makes sure that a source is known, and forgets those that are in no file any more. `paused`: whether one that was not known
/// begins paused; one that was stays as people left it.
pub async fn register(conn: &mut Conn, name: &str, kind: &str, reads: &str, paused: bool) -> Result<(), Error> {
    sqlx::query!(
        "delete from longshore.sources where running_at < clock_timestamp() - make_interval(secs => $1)",
        FORGOTTEN.as_secs_f64()
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into longshore.sources (name, kind, reads, paused_at)
         values ($1, $2, $3, case when $4 then clock_timestamp() end)
         on conflict (name) do update set kind = excluded.kind, reads = excluded.reads, running_at = clock_timestamp()",
        name,
        kind,
        reads,
        paused
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Pauses a source, or lets it go on; false when there is none of this name.
pub async fn set_paused(conn: &mut Conn, name: &str, paused: bool) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update longshore.sources set paused_at = case when $2 then coalesce(paused_at, clock_timestamp()) end where name = $1",
        name,
        paused
    );
    Ok(done.execute(conn).await?.rows_affected() > 0)
}

/// What a replica has to tell of a source since it last did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    pub received: i64,
    pub submitted: i64,
    pub duplicates: i64,
    pub refused: i64,
    pub lag_secs: Option<f64>,
    pub refusal: Option<String>,
    pub error: Option<String>,
    /// Whether a pass went well after that.
    pub worked: bool,
}

/// What a replica hears of a source in return.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Heard {
    pub paused: bool,
    pub waiting: Option<i64>,
    pub oldest_secs: Option<f64>,
}

/// Tells what there is to tell of a source that runs here, and answers what others told. A source that was forgotten is
/// none.
pub async fn tell(conn: &mut Conn, name: &str, told: &Told) -> Result<Option<Heard>, Error> {
    let row = sqlx::query!(
        r#"update longshore.sources
              set received = received + $2, submitted = submitted + $3, duplicates = duplicates + $4, refused = refused + $5,
                  received_at = case when $2 > 0 then clock_timestamp() else received_at end,
                  lag_secs = coalesce($6, lag_secs),
                  refusal = coalesce($7, refusal),
                  refusal_at = case when $7::text is null then refusal_at else clock_timestamp() end,
                  error = coalesce($8, error),
                  error_at = case when $8::text is null then error_at else clock_timestamp() end,
                  worked_at = case when $9 then clock_timestamp() else worked_at end,
                  running_at = clock_timestamp()
            where name = $1
           returning paused_at is not null as "paused!", waiting,
                     oldest_secs + extract(epoch from clock_timestamp() - looked_at)::double precision as oldest_secs"#,
        name,
        told.received,
        told.submitted,
        told.duplicates,
        told.refused,
        told.lag_secs,
        told.refusal,
        told.error,
        told.worked
    );
    let heard = row.fetch_optional(conn).await?;
    Ok(heard.map(|it| Heard { paused: it.paused, waiting: it.waiting, oldest_secs: it.oldest_secs }))
}

/// Whether this replica is the one that looks how much waits there; one does in each `period`.
pub async fn may_look(conn: &mut Conn, name: &str, period: Duration) -> Result<bool, Error> {
    let taken = sqlx::query!(
        "update longshore.sources set looking_at = clock_timestamp()
          where name = $1 and (looking_at is null or looking_at < clock_timestamp() - make_interval(secs => $2))",
        name,
        period.as_secs_f64()
    );
    Ok(taken.execute(conn).await?.rows_affected() > 0)
}

/// Records how much waits there.
pub async fn looked(
    conn: &mut Conn,
    name: &str,
    waiting: Option<i64>,
    oldest_secs: Option<f64>,
    states: &BTreeMap<String, i64>,
) -> Result<(), Error> {
    let states = (!states.is_empty()).then(|| serde_json::json!(states));
    sqlx::query!(
        "update longshore.sources set waiting = $2, oldest_secs = $3, states = $4, looked_at = clock_timestamp() where name = $1",
        name,
        waiting,
        oldest_secs,
        states
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many more jobs may wait in a queue; none where it has no bound. Without a lock: a hint for whoever would rather not
/// begin.
pub async fn room(conn: &mut Conn, queue: &str) -> Result<Option<i64>, Error> {
    let row = sqlx::query_scalar!(
        r#"select max_pending - (select count(*) from (select from longshore.jobs_live j
                                                        where j.queue = q.name and j.state in ('scheduled', 'pending')
                                                        limit q.max_pending) w) as "room"
             from longshore.queues q where q.name = $1 and q.max_pending is not null"#,
        queue
    );
    Ok(row.fetch_optional(conn).await?.flatten())
}

/// A message whose fate hangs on its job.
#[derive(Debug, Clone)]
pub struct Item {
    pub item: String,
    pub handle: String,
    pub job: JobId,
}

/// Keeps messages in mind until their jobs have ended; one that came again is known by its new handle from now on.
/// `extend`: after how long it must be kept from others anew.
pub async fn hold(conn: &mut Conn, source: &str, items: &[Item], extend: Duration) -> Result<(), Error> {
    let names: Vec<&str> = items.iter().map(|it| it.item.as_str()).collect();
    let handles: Vec<&str> = items.iter().map(|it| it.handle.as_str()).collect();
    let jobs: Vec<uuid::Uuid> = items.iter().map(|it| it.job.0).collect();
    sqlx::query!(
        "insert into longshore.source_items (source, item, handle, job_id, extend_at)
         select distinct on (i.item) $1, i.item, i.handle, i.job, clock_timestamp() + make_interval(secs => $5)
           from unnest($2::text[], $3::text[], $4::uuid[]) with ordinality i (item, handle, job, nth)
          order by i.item, i.nth desc
         on conflict (source, item) do update
         set handle = excluded.handle, job_id = excluded.job_id, extend_at = excluded.extend_at, settling_at = null",
        source,
        &names as _,
        &handles as _,
        &jobs,
        extend.as_secs_f64()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What became of the job of a message that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on; the message must be kept from others anew.
    GoesOn,
    Succeeded,
    /// It failed for good, for this reason.
    Failed(String),
    /// A person cancelled it.
    Cancelled,
}

/// A message that is held, and what is to be done about it now.
#[derive(Debug, Clone)]
pub struct Held {
    pub item: String,
    pub handle: String,
    pub job: JobId,
    pub fate: Fate,
}

/// Takes those messages of a source whose jobs have ended, and those that must be kept from others anew; another replica
/// does not get them for a while.
pub async fn take_held(conn: &mut Conn, source: &str, extend: Duration) -> Result<Vec<Held>, Error> {
    let rows = sqlx::query_file!(
        "src/store/sql/take_source_items.sql",
        source,
        extend.as_secs_f64(),
        SETTLING.as_secs_f64(),
        TENDED_AT_ONCE
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|it| {
            let state = StateName::from_name(&it.state)
                .ok_or_else(|| Error::Unknown { table: "jobs", what: format!("state {:?}", it.state) })?;
            let fate = match state {
                StateName::Succeeded => Fate::Succeeded,
                StateName::Failed => Fate::Failed(it.reason.unwrap_or_default()),
                StateName::Cancelled => Fate::Cancelled,
                _ => Fate::GoesOn,
            };
            Ok(Held { item: it.item, handle: it.handle, job: JobId(it.job_id), fate })
        })
        .collect()
}

/// Forgets messages that their queue has heard of, unless they came again meanwhile.
pub async fn let_go(conn: &mut Conn, source: &str, items: &[(&str, &str)]) -> Result<(), Error> {
    let (names, handles): (Vec<&str>, Vec<&str>) = items.iter().copied().unzip();
    sqlx::query!(
        "delete from longshore.source_items i using unnest($2::text[], $3::text[]) gone (item, handle)
          where i.source = $1 and i.item = gone.item and i.handle = gone.handle",
        source,
        &names as _,
        &handles as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which of these deliveries are held: the message and what its queue knew that delivery by.
pub async fn held(conn: &mut Conn, source: &str, items: &[(&str, &str)]) -> Result<HashSet<(String, String)>, Error> {
    let (names, handles): (Vec<&str>, Vec<&str>) = items.iter().copied().unzip();
    let rows = sqlx::query!(
        "select i.item, i.handle from longshore.source_items i
           join unnest($2::text[], $3::text[]) asked (item, handle) on asked.item = i.item and asked.handle = i.handle
          where i.source = $1",
        source,
        &names as _,
        &handles as _
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(|it| (it.item, it.handle)).collect())
}
