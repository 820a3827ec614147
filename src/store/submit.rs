//! Accepting jobs. What [`submit`] answered with [`Submitted::New`] is committed.

use jiff_sqlx::ToSqlx;

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    spec::{Start, Submission},
};

use super::{Conn, Error, notices};

/// Positions are counted up to here: beyond it nobody waits for a number, and counting a long backlog costs.
pub const POSITION_LIMIT: i64 = 10_000;
/// The most queues. Each costs every claim a look at its head.
pub const QUEUES: i64 = 1_000;

/// How a submission ended.
#[derive(Debug)]
pub enum Submitted {
    New {
        id: JobId,
        /// How many jobs would start before it, up to [`POSITION_LIMIT`].
        position: i64,
    },
    /// The same request was accepted before under this idempotency key.
    Before {
        id: JobId,
    },
    /// Another request was accepted before under this idempotency key.
    KeyTaken {
        id: JobId,
    },
    TooManyQueues,
}

/// Accepts a job. Its queue comes into being when it is the first one there.
pub async fn submit(conn: &mut Conn, by: ReplicaId, submission: &Submission) -> Result<Submitted, Error> {
    let id = JobId::new();
    let request_hash = submission.request_hash();
    if let Some(position) = insert(conn, by, id, submission, &request_hash).await? {
        return Ok(Submitted::New { id, position });
    }
    if let Some(key) = &submission.idempotency_key
        && let Some(found) = used(conn, key, &request_hash).await?
    {
        return Ok(found);
    }
    if !create_queue(conn, &submission.queue).await? {
        return Ok(Submitted::TooManyQueues);
    }
    if let Some(position) = insert(conn, by, id, submission, &request_hash).await? {
        return Ok(Submitted::New { id, position });
    }
    let key = submission.idempotency_key.as_deref().unwrap_or_default();
    let raced = used(conn, key, &request_hash).await?;
    raced.ok_or_else(|| Error::Unknown { table: "queues", what: format!("nothing of queue {:?}", submission.queue) })
}

async fn insert(
    conn: &mut Conn,
    by: ReplicaId,
    id: JobId,
    submission: &Submission,
    request_hash: &str,
) -> Result<Option<i64>, Error> {
    let (run_at, delay_secs) = match submission.start {
        Start::Now => (None, None),
        Start::At(at) => (Some(at.to_sqlx()), None),
        Start::In(secs) => (None, Some(secs)),
    };
    let inserted = effects::at(Effect::Submit, async {
        let row = sqlx::query_file!(
            "src/store/sql/submit_job.sql",
            id.0,
            submission.priority,
            submission.queue,
            submission.name,
            submission.namespace,
            run_at as _,
            delay_secs as _,
            sqlx::types::Json(&submission.spec) as _,
            submission.spec.hash(),
            submission.idempotency_key.as_deref(),
            request_hash,
            by.0,
            POSITION_LIMIT,
            submission.stored_policy() as _
        )
        .fetch_optional(conn)
        .await?;
        Ok::<_, Error>(row.map(|row| row.position))
    });
    match notices::listen(inserted).await {
        (Ok(Some(_)), true) => Err(Error::NotReplicated),
        (inserted, _) => inserted,
    }
}

async fn used(conn: &mut Conn, key: &str, request_hash: &str) -> Result<Option<Submitted>, Error> {
    let row = sqlx::query!("select job_id, request_hash from longshore.idempotency_keys where key = $1", key)
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|row| match row.request_hash == request_hash {
        true => Submitted::Before { id: JobId(row.job_id) },
        false => Submitted::KeyTaken { id: JobId(row.job_id) },
    }))
}

async fn create_queue(conn: &mut Conn, name: &str) -> Result<bool, Error> {
    sqlx::query!(
        "insert into longshore.queues (name) select $1 where (select count(*) from longshore.queues) < $2
         on conflict do nothing",
        name,
        QUEUES
    )
    .execute(&mut *conn)
    .await?;
    let exists = sqlx::query_scalar!(r#"select exists (select from longshore.queues where name = $1) as "it!""#, name);
    Ok(exists.fetch_one(conn).await?)
}
