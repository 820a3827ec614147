//! Jobs that were submitted in SQL and are not taken in yet: see `longshore.submit`.

use std::{collections::HashSet, time::Duration};

use serde_json::Value;
use sqlx::Connection;
use uuid::Uuid;

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    lifecycle::{Edge, Failed, Pending},
};

use super::{
    Conn, Error,
    submit::{Intake, Ready, Submitted},
};

/// When one is looked at again whose queue is full, or whose template cannot be looked up.
const PAUSE: Duration = Duration::from_secs(1);

/// A request that was left there.
#[derive(Debug)]
pub struct Letter {
    /// Of its job.
    pub id: JobId,
    pub request: Value,
    /// Its idempotency key, which is taken by its job already.
    pub key: Option<String>,
}

/// Takes the next requests to read them; no other replica does for `lease`.
pub async fn take(conn: &mut Conn, limit: i64, lease: Duration) -> Result<Vec<Letter>, Error> {
    let rows = sqlx::query!(
        "update longshore.inbox i set take_at = clock_timestamp() + make_interval(secs => $2)
          where i.id = any(array(select id from longshore.inbox where take_at <= (select clock_timestamp())
                                  order by take_at, seq limit $1 for update skip locked))
         returning i.id, i.request, i.key, i.seq",
        limit,
        lease.as_secs_f64()
    )
    .fetch_all(conn)
    .await?;
    let mut letters: Vec<_> =
        rows.into_iter().map(|it| (it.seq, Letter { id: JobId(it.id), request: it.request, key: it.key })).collect();
    letters.sort_by_key(|it| it.0);
    Ok(letters.into_iter().map(|it| it.1).collect())
}

/// Whether a request is still there, so that its job will be.
pub async fn holds(conn: &mut Conn, id: JobId) -> Result<bool, Error> {
    let there = sqlx::query_scalar!(r#"select exists (select from longshore.inbox where id = $1) as "there!""#, id.0);
    Ok(there.fetch_one(conn).await?)
}

/// What came of reading one.
pub enum Opened {
    /// A job, and what the same request is known by over HTTP.
    Ready(Ready, Option<String>),
    /// It will never be a job; this is what is kept of it, and why.
    Refused(Ready, String),
    /// Something is away that it takes to read it.
    Later(JobId),
}

impl Opened {
    fn id(&self) -> JobId {
        match self {
            Self::Ready(ready, _) | Self::Refused(ready, _) => ready.id(),
            Self::Later(id) => *id,
        }
    }
}

/// Makes jobs of what was read, and removes it from the inbox, in one transaction; what another replica did meanwhile is
/// left alone. Answers the queue of each, and whether it was refused.
pub async fn take_in(
    conn: &mut Conn,
    intake: &Intake,
    by: ReplicaId,
    opened: Vec<Opened>,
) -> Result<Vec<(String, bool)>, Error> {
    let mut tx = conn.begin().await?;
    let there = lock(&mut tx, &opened).await?;
    let (mut ready, mut ends, mut later) = (Vec::new(), Vec::new(), Vec::new());
    for it in opened.into_iter().filter(|it| there.contains(&it.id().0)) {
        match it {
            Opened::Ready(it, hash) => {
                ready.push(it);
                ends.push(Ok(hash));
            }
            Opened::Refused(it, why) => {
                ready.push(it);
                ends.push(Err(why));
            }
            Opened::Later(id) => later.push(id.0),
        }
    }
    let submitted = intake.submit(&mut tx, &ready).await?;
    let (mut done, mut told) = (Vec::with_capacity(ready.len()), Vec::with_capacity(ready.len()));
    for ((ready, end), submitted) in ready.iter().zip(ends).zip(submitted) {
        if !matches!(submitted, Submitted::New { .. }) {
            // Its queue is full, or there are too many: none has a key here by which it could be a job already.
            later.push(ready.id().0);
            continue;
        }
        if let Err(why) = &end {
            refuse(&mut tx, by, ready.id(), why).await?;
        }
        told.push((ready.submission().queue.clone(), end.is_err()));
        done.push((ready.id().0, end.ok().flatten()));
    }
    remove(&mut tx, &done).await?;
    put_off(&mut tx, &later).await?;
    effects::at(Effect::TakeIn, async { Ok::<_, Error>(tx.commit().await?) }).await?;
    Ok(told)
}

/// Of these requests, those that are still there. Nobody else takes them in until the commit.
async fn lock(conn: &mut Conn, opened: &[Opened]) -> Result<HashSet<Uuid>, Error> {
    let ids: Vec<Uuid> = opened.iter().map(|it| it.id().0).collect();
    let there = sqlx::query_scalar!("select id from longshore.inbox where id = any($1) order by id for update", &ids);
    Ok(there.fetch_all(conn).await?.into_iter().collect())
}

/// Removes requests that have become jobs, and records by what the same request is known over HTTP, under the key under
/// which it came.
async fn remove(conn: &mut Conn, jobs: &[(Uuid, Option<String>)]) -> Result<(), Error> {
    let ids: Vec<Uuid> = jobs.iter().map(|it| it.0).collect();
    let hashes: Vec<Option<&str>> = jobs.iter().map(|it| it.1.as_deref()).collect();
    sqlx::query!(
        "with gone as (delete from longshore.inbox where id = any($1) returning id, key)
         update longshore.idempotency_keys k set request_hash = d.hash
           from gone join unnest($1::uuid[], $2::text[]) d (id, hash) on d.id = gone.id
          where k.key = gone.key and d.hash is not null",
        &ids,
        &hashes as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Leaves requests where they are for a while.
async fn put_off(conn: &mut Conn, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        "update longshore.inbox set take_at = clock_timestamp() + make_interval(secs => $2) where id = any($1)",
        ids,
        PAUSE.as_secs_f64()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a job that was just stored because its request cannot be accepted.
async fn refuse(conn: &mut Conn, by: ReplicaId, id: JobId, why: &str) -> Result<(), Error> {
    const _: Edge<Pending, Failed> = Edge::EXISTS;
    sqlx::query_file!("src/store/sql/refuse_job.sql", id.0, why, by.0).execute(conn).await?;
    Ok(())
}
