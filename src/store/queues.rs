//! Queues: their caps, their bounds, and how full they are.

use jiff::Timestamp;
use serde_json::Value;

use super::{Conn, Error, submit::QUEUES};

/// How many waiting jobs of a queue are counted: beyond it the number is "so many or more".
pub const COUNTED: i64 = 1_000;

/// A queue as it is shown.
#[derive(Debug)]
pub struct Queue {
    pub name: String,
    pub cap: Option<i32>,
    pub max_pending: Option<i32>,
    pub paused_at: Option<Timestamp>,
    /// What its jobs take where their submission leaves it out, as fields of a request.
    pub defaults: Value,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
    /// How many of its jobs hold a slot.
    pub held: i64,
    /// How many wait for a slot, up to [`COUNTED`].
    pub pending: i64,
    /// How many wait for a slot or for their time, up to [`COUNTED`].
    pub waiting: i64,
}

/// What a queue is set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub cap: Option<i32>,
    pub max_pending: Option<i32>,
    pub paused: bool,
    pub defaults: Value,
}

/// Queues by name, those after `after`; or the one that is called `only`.
pub async fn list(conn: &mut Conn, only: Option<&str>, after: Option<&str>, limit: i64) -> Result<Vec<Queue>, Error> {
    let rows = sqlx::query!(
        r#"select q.name, q.cap, q.max_pending, q.paused_at, q.defaults, q.created_at, q.updated_at,
                  coalesce((select h.jobs from longshore.held_of_queue h where h.queue = q.name), 0) as "held!",
                  (select count(*) from (select from longshore.jobs_live
                                          where queue = q.name and state = 'pending'
                                          order by priority desc, seq limit $4) p) as "pending!",
                  (select count(*) from (select from longshore.jobs_live
                                          where queue = q.name and state in ('scheduled', 'pending') limit $4) w) as "waiting!"
             from longshore.queues q
            where q.name > $2::text collate "C" and ($1::text is null or q.name = $1)
            order by q.name
            limit $3"#,
        only,
        after.unwrap_or_default(),
        limit,
        COUNTED
    )
    .fetch_all(conn)
    .await?;
    let queue = rows.into_iter().map(|row| Queue {
        name: row.name,
        cap: row.cap,
        max_pending: row.max_pending,
        paused_at: row.paused_at.map(|it| it.to_jiff()),
        defaults: row.defaults,
        created_at: row.created_at.to_jiff(),
        updated_at: row.updated_at.map(|it| it.to_jiff()),
        held: row.held,
        pending: row.pending,
        waiting: row.waiting,
    });
    Ok(queue.collect())
}

/// Creates a queue with these settings, or sets them; false when there are too many queues. A claim that is under way is
/// waited for, and the next one obeys.
pub async fn put(conn: &mut Conn, name: &str, settings: Settings) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into longshore.queues (name, cap, max_pending, paused_at, defaults, updated_at)
         select $1, $2, $3, case when $4 then clock_timestamp() end, $6, clock_timestamp()
          where exists (select from longshore.queues where name = $1) or (select count(*) from longshore.queues) < $5
         on conflict (name) do update
         set cap = excluded.cap, max_pending = excluded.max_pending,
             paused_at = case when $4 then coalesce(queues.paused_at, excluded.paused_at) end,
             defaults = excluded.defaults, updated_at = excluded.updated_at",
        name,
        settings.cap,
        settings.max_pending,
        settings.paused,
        QUEUES,
        settings.defaults
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// What somebody wants to be different. What is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub cap: Option<Option<i32>>,
    pub max_pending: Option<Option<i32>>,
    pub paused: Option<bool>,
    pub defaults: Option<Value>,
}

/// Changes a queue; false when there is none of this name.
pub async fn change(conn: &mut Conn, name: &str, change: Change) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update longshore.queues
            set cap = case when $2 then $3 else cap end,
                max_pending = case when $4 then $5 else max_pending end,
                paused_at = case when $6::boolean is null then paused_at when $6 then coalesce(paused_at, clock_timestamp()) end,
                defaults = coalesce($7, defaults),
                updated_at = clock_timestamp()
          where name = $1",
        name,
        change.cap.is_some(),
        change.cap.flatten(),
        change.max_pending.is_some(),
        change.max_pending.flatten(),
        change.paused,
        change.defaults
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// What the queues have for jobs whose submission leaves it out, by their names; of those that have something.
pub async fn defaults(conn: &mut Conn) -> Result<Vec<(String, Value)>, Error> {
    let rows = sqlx::query!("select name, defaults from longshore.queues where defaults <> '{}' limit $1", QUEUES);
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.name, row.defaults)).collect())
}

/// How much came into a queue and ended in it lately, for each minute.
#[derive(Debug)]
pub struct Rates {
    pub submitted: f64,
    pub ended: f64,
}

/// Over this long, in minutes, or as long as the last [`COUNTED`] took, if that is less.
pub const RATED_MINUTES: i32 = 5;

/// Counts what was submitted to a queue, and attempts of it that ended, in the last [`RATED_MINUTES`]. Of what is submitted
/// the queue's own last [`COUNTED`] are read, of what ended the last [`COUNTED`] of all queues.
pub async fn rates(conn: &mut Conn, name: &str) -> Result<Rates, Error> {
    let row = sqlx::query!(
        r#"with since as materialized (select clock_timestamp() as now, clock_timestamp() - make_interval(mins => $2) as at),
                came as (select s.job_id from longshore.job_specs s
                          where s.queue = $1 and s.job_id >= (select longshore.first_id(at) from since)
                          order by s.job_id desc limit $3),
                went as (select a.job_id, a.finished_at from longshore.attempts a
                          where a.finished_at >= (select at from since) order by a.finished_at desc limit $3),
                of_it as (select count(*) as jobs from went w join longshore.job_specs s on s.job_id = w.job_id
                           where s.queue = $1)
           select (select count(*) from came) as "came!",
                  (select j.created_at from came c join longshore.jobs j on j.id = c.job_id order by c.job_id limit 1) as first_came,
                  (select jobs from of_it) as "went!", (select count(*) from went) as "went_of_all!",
                  (select min(finished_at) from went) as first_went, now as "now!"
             from since"#,
        name,
        RATED_MINUTES,
        COUNTED
    )
    .fetch_one(conn)
    .await?;
    // As many as are counted may have taken less than the whole time.
    let minutes = |counted: i64, first: Option<jiff_sqlx::Timestamp>| {
        let of_these = first.map(|it| row.now.to_jiff().duration_since(it.to_jiff()).as_secs_f64() / 60.0);
        of_these.filter(|_| counted >= COUNTED).unwrap_or(f64::from(RATED_MINUTES)).max(1.0 / 60.0)
    };
    Ok(Rates {
        submitted: row.came as f64 / minutes(row.came, row.first_came),
        ended: row.went as f64 / minutes(row.went_of_all, row.first_went),
    })
}
