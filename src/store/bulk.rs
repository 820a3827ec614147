//! Cancelling, or giving another priority to, many jobs that pass a filter, a bounded number at a time.
//!
//! Which jobs is settled once more under their locks: between being found and being changed a job may have moved on, or lost
//! the label it was found by. Those that were submitted after the first request have a higher `seq` than was known then, and
//! are never found. A replica that dies in between leaves some jobs changed, and the rest as they were; asking again changes
//! the rest.

use sqlx::Connection;
use uuid::Uuid;

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    lifecycle::{Cancelled, Edge, Pending, Scheduled},
};

use super::{
    Conn, Error,
    walk::{self, Filter, Walked},
};

/// The most jobs that one transaction changes: it holds their locks for some tens of milliseconds.
pub const CHUNK: i64 = 1_000;
/// How often to look again for rows that moved among what is over meanwhile. Each look finds those that have.
const MOVED_AWAY: u32 = 5;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Cancel,
    Reprioritize(i32),
}

/// What became of some jobs.
#[derive(Debug, Default, Clone)]
pub struct Chunk {
    /// So many passed the filter.
    pub matched: i64,
    /// So many were changed in place, so many are over, and so many will be stopped.
    pub reprioritized: i64,
    pub cancelled: i64,
    /// Of which queue how many were cancelled while they waited.
    pub cancelled_of: Vec<(String, i64)>,
    pub requested: i64,
    /// Where to go on, if there may be more.
    pub reached: Option<JobId>,
}

/// The highest place in the order of submission that was given out so far.
pub async fn last_seq(conn: &mut Conn) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(r#"select last_value as "it!" from longshore.jobs_seq"#).fetch_one(conn).await?)
}

/// Does it to the newest jobs that pass `filter`, and are older than `before`, if given; with no `action`, only counts them.
/// The filter names the states.
pub async fn next(
    conn: &mut Conn,
    by: ReplicaId,
    action: Option<Action>,
    filter: &Filter,
    before: Option<JobId>,
) -> Result<Chunk, Error> {
    let Walked { ids, reached } = walk::walk(conn, filter, before, CHUNK).await?;
    let found = Chunk { matched: ids.len() as i64, reached, ..Chunk::default() };
    let Some(action) = action.filter(|_| !ids.is_empty()) else { return Ok(found) };
    let effect = match action {
        Action::Cancel => Effect::RequestCancel,
        Action::Reprioritize(_) => Effect::ChangeJob,
    };
    let mut tries = 0;
    loop {
        match effects::at(effect, change(conn, by, action, filter, &ids)).await {
            Err(err) if err.is_moved_away() && tries < MOVED_AWAY => tries += 1,
            Err(err) => return Err(err),
            Ok(changed) => return Ok(Chunk { matched: found.matched, reached, ..changed }),
        }
    }
}

async fn change(conn: &mut Conn, by: ReplicaId, action: Action, filter: &Filter, ids: &[Uuid]) -> Result<Chunk, Error> {
    const _: (Edge<Pending, Cancelled>, Edge<Scheduled, Cancelled>) = (Edge::EXISTS, Edge::EXISTS);
    let states: Vec<&str> = filter.states.iter().map(|it| it.name()).collect();
    let keys: Vec<&str> = filter.labels.iter().map(|it| it.0.as_str()).collect();
    let values: Vec<Option<&str>> = filter.labels.iter().map(|it| it.1.as_deref()).collect();
    let mut tx = conn.begin().await?;
    // In the order in which moves are made, so that nobody waits in a circle.
    sqlx::query!("select from longshore.jobs_live where id = any($1) order by id for update", ids)
        .execute(&mut *tx)
        .await?;
    let changed = match action {
        Action::Cancel => {
            let row =
                sqlx::query_file!("src/store/sql/cancel_jobs.sql", ids, &states as _, &keys as _, &values as _, by.0);
            let row = row.fetch_one(&mut *tx).await?;
            let cancelled_of: Vec<(String, i64)> = row.queues.into_iter().zip(row.cancelled).collect();
            let cancelled = cancelled_of.iter().map(|it| it.1).sum();
            Chunk { cancelled, cancelled_of, requested: row.requested, ..Chunk::default() }
        }
        Action::Reprioritize(priority) => {
            let changed = sqlx::query_file_scalar!(
                "src/store/sql/reprioritize_jobs.sql",
                ids,
                &states as _,
                &keys as _,
                &values as _,
                by.0,
                priority
            );
            Chunk { reprioritized: changed.fetch_one(&mut *tx).await?, ..Chunk::default() }
        }
    };
    tx.commit().await?;
    Ok(changed)
}
