//! Events of all jobs, in the order in which they can be read without losing or repeating one.
//!
//! A reader remembers the snapshot of its last look, not the greatest id it saw: what a snapshot did not show is exactly
//! what was committed after it, however long before its number was drawn. Between two snapshots, events come in the order
//! of their ids, which is that of what happened to each job: whoever moves a row next draws its number later.

use uuid::Uuid;

use super::{Conn, Error};

/// One event, and of which job it is.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub id: i64,
    pub at: jiff_sqlx::Timestamp,
    pub job_id: Uuid,
    pub attempt: i32,
    pub from_state: Option<String>,
    pub to_state: String,
    pub reason: String,
    pub message: Option<String>,
    pub replica: Option<Uuid>,
    /// None: the job has aged out.
    pub name: Option<String>,
    pub queue: Option<String>,
    pub priority: Option<i32>,
}

/// Events on a page of [`page`], which the statement says as well.
pub const PAGE: usize = 1_000;

/// What happened between two snapshots.
#[derive(Debug)]
pub struct Span {
    /// The later of the two, as Postgres writes it.
    pub till: String,
    /// Which line of snapshots it belongs to; those of two lines cannot be compared.
    pub epoch: String,
    /// When it was measured, in milliseconds since 1970, by the database's clock.
    pub millis: i64,
    /// How many events, counted up to the limit.
    pub events: i64,
    /// None of those of transactions that began after the earlier one is below.
    pub least: i64,
}

/// The snapshot of now.
pub async fn now(conn: &mut Conn) -> Result<Span, Error> {
    Ok(sqlx::query_as!(
        Span,
        r#"select pg_current_snapshot()::text as "till!", longshore.event_epoch() as "epoch!",
                  (extract(epoch from clock_timestamp()) * 1000)::bigint as "millis!", 0::bigint as "events!",
                  0::bigint as "least!""#
    )
    .fetch_one(conn)
    .await?)
}

/// How much happened since one snapshot until another, or now. Both must be snapshots of this database.
pub async fn measure(conn: &mut Conn, since: &str, till: Option<&str>, limit: i64) -> Result<Span, Error> {
    Ok(sqlx::query_file_as!(Span, "src/store/sql/measure_new_events.sql", since, till, limit).fetch_one(conn).await?)
}

/// The first [`PAGE`] events between two snapshots after event `after`; `least` as [`measure`] has it.
pub async fn page(conn: &mut Conn, since: &str, till: &str, after: i64, least: i64) -> Result<Vec<NewEvent>, Error> {
    let rows = sqlx::query_file_as!(NewEvent, "src/store/sql/list_new_events.sql", since, till, after, least);
    Ok(rows.fetch_all(conn).await?)
}
