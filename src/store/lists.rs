//! What the API shows: jobs, their order, their attempts and their events. Reads only, each bounded by a limit.

use jiff::Timestamp;
use uuid::Uuid;

use crate::id::JobId;

use super::{
    Conn, Error,
    submit::POSITION_LIMIT,
    walk::{self, Filter, Walked},
};

/// A job that waits or holds a slot, in a list.
#[derive(Debug)]
pub struct Listed {
    pub id: JobId,
    pub seq: i64,
    pub name: String,
    pub queue: String,
    pub namespace: String,
    pub priority: i32,
    pub state: String,
    pub created_at: Timestamp,
    pub claimed_at: Option<Timestamp>,
}

/// Pending jobs in the order in which they will start, after the one at (`priority`, `seq`) if given.
pub async fn pending(conn: &mut Conn, after: Option<(i32, i64)>, limit: i64) -> Result<Vec<Listed>, Error> {
    let (priority, seq) = after.unzip();
    // Rows after the cursor are two ranges of the index.
    let rows = sqlx::query!(
        r#"select head.*
             from (
                 (select id, seq, name, queue, namespace, priority, state, created_at, claimed_at
                    from longshore.jobs_live
                   where state = 'pending' and priority = $1 and seq > $2
                   order by seq limit $3)
                 union all
                 (select id, seq, name, queue, namespace, priority, state, created_at, claimed_at
                    from longshore.jobs_live
                   where state = 'pending' and priority < coalesce($1::bigint, 2147483648)
                   order by priority desc, seq limit $3)
             ) head
            order by head.priority desc, head.seq
            limit $3"#,
        priority,
        seq,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some(Listed {
                id: JobId(row.id?),
                seq: row.seq?,
                name: row.name?,
                queue: row.queue?,
                namespace: row.namespace?,
                priority: row.priority?,
                state: row.state?,
                created_at: row.created_at?.to_jiff(),
                claimed_at: row.claimed_at.map(|it| it.to_jiff()),
            })
        })
        .collect())
}

/// A job that holds a slot, as it is shown.
#[derive(Debug)]
pub struct SlotRow {
    pub job_id: Uuid,
    pub name: String,
    pub queue: String,
    pub namespace: String,
    pub priority: i32,
    pub state: String,
    pub attempt: i32,
    pub since: jiff_sqlx::Timestamp,
    pub code: String,
    pub message: Option<String>,
}

/// What holds a slot, longest first.
pub async fn holding(conn: &mut Conn, limit: i64) -> Result<Vec<SlotRow>, Error> {
    Ok(sqlx::query_as!(
        SlotRow,
        r#"select job_id as "job_id!", name as "name!", queue as "queue!", namespace as "namespace!",
                  priority as "priority!", state as "state!", attempt as "attempt!", since as "since!", code as "code!", message
             from longshore.slots
            limit $1"#,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// A job as it is shown.
#[derive(Debug)]
pub struct JobRow {
    pub id: Uuid,
    pub seq: i64,
    pub name: String,
    pub queue: String,
    pub namespace: String,
    pub priority: i32,
    pub state: String,
    pub attempt: i32,
    pub failed_attempts: i32,
    pub interruptions: i32,
    pub policy: Option<serde_json::Value>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub due_at: Option<jiff_sqlx::Timestamp>,
    pub expires_at: Option<jiff_sqlx::Timestamp>,
    pub cancel_requested_at: Option<jiff_sqlx::Timestamp>,
    pub run_at: Option<jiff_sqlx::Timestamp>,
    pub created_at: jiff_sqlx::Timestamp,
    pub claimed_at: Option<jiff_sqlx::Timestamp>,
    pub started_at: Option<jiff_sqlx::Timestamp>,
    pub finished_at: Option<jiff_sqlx::Timestamp>,
    pub labels: serde_json::Value,
    /// Not in lists.
    pub spec: Option<serde_json::Value>,
}

/// A page of jobs that pass `filter`, newest first, older than `before` if given; and where to go on, if there may be more.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    before: Option<JobId>,
    limit: i64,
) -> Result<(Vec<JobRow>, Option<JobId>), Error> {
    let Walked { ids, reached } = walk::walk(conn, filter, before, limit).await?;
    if ids.is_empty() {
        return Ok((Vec::new(), reached));
    }
    // Specs may be large, and are not shown: the labels of a job are kept apart as well.
    let mut rows = sqlx::query_as!(
        JobRow,
        r#"select id, seq, name, queue, namespace, priority, state, attempt, failed_attempts, interruptions, policy, reason, message,
                  due_at, expires_at, cancel_requested_at, run_at, created_at, claimed_at, started_at, finished_at,
                  (select coalesce(jsonb_object_agg(l.key, l.value), '{}') from longshore.job_labels l where l.job_id = j.id) as "labels!",
                  null::jsonb as spec
             from longshore.jobs j
            where id = any($1)
            order by id desc"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    // It may have moved since it was found.
    let asked = |state: &str| filter.states.is_empty() || filter.states.iter().any(|it| it.name() == state);
    rows.retain(|it| asked(&it.state));
    Ok((rows, reached))
}

/// One job.
pub async fn get(conn: &mut Conn, id: JobId) -> Result<Option<JobRow>, Error> {
    Ok(sqlx::query_as!(
        JobRow,
        r#"select j.id, j.seq, j.name, j.queue, j.namespace, j.priority, j.state, j.attempt, j.failed_attempts, j.interruptions, j.policy,
                  j.reason, j.message, j.due_at, j.expires_at, j.cancel_requested_at, j.run_at, j.created_at, j.claimed_at, j.started_at, j.finished_at,
                  coalesce(s.spec -> 'labels', '{}') as "labels!", s.spec as "spec?"
             from longshore.jobs j join longshore.job_specs s on s.job_id = j.id
            where j.id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?)
}

/// How many jobs would start before the pending one of `queue` at (`priority`, `seq`), up to [`POSITION_LIMIT`].
pub async fn position(conn: &mut Conn, queue: &str, priority: i32, seq: i64) -> Result<i64, Error> {
    ahead(conn, queue, priority, seq, POSITION_LIMIT).await
}

/// The same, up to `most`.
pub async fn ahead(conn: &mut Conn, queue: &str, priority: i32, seq: i64, most: i64) -> Result<i64, Error> {
    let ahead = sqlx::query_scalar!(
        r#"select longshore.pending_ahead($1, $2, $3, $4) as "ahead!""#,
        queue,
        priority,
        seq,
        most
    );
    Ok(ahead.fetch_one(conn).await?)
}

/// One attempt of a job, as it is shown.
#[derive(Debug)]
pub struct AttemptRow {
    pub attempt: i32,
    pub kube_name: Option<String>,
    pub kube_uid: Option<String>,
    pub node: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
    pub exit_code: Option<i32>,
    pub termination_message: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub counts: Option<bool>,
    pub log: Option<String>,
    pub pending_at: jiff_sqlx::Timestamp,
    pub claimed_at: jiff_sqlx::Timestamp,
    pub created_at: Option<jiff_sqlx::Timestamp>,
    pub started_at: Option<jiff_sqlx::Timestamp>,
    pub finished_at: Option<jiff_sqlx::Timestamp>,
}

/// The attempts of a job, first to last.
pub async fn attempts(conn: &mut Conn, id: JobId) -> Result<Vec<AttemptRow>, Error> {
    Ok(sqlx::query_as!(
        AttemptRow,
        "select attempt, kube_name, kube_uid, node, pod, container, exit_code, termination_message, reason, message,
                counts, log, pending_at, claimed_at, created_at, started_at, finished_at
           from longshore.attempts where job_id = $1 order by attempt",
        id.0
    )
    .fetch_all(conn)
    .await?)
}

/// One line of a job's history, as it is shown.
#[derive(Debug)]
pub struct EventRow {
    pub id: i64,
    pub at: jiff_sqlx::Timestamp,
    pub attempt: i32,
    pub from_state: Option<String>,
    pub to_state: String,
    pub reason: String,
    pub message: Option<String>,
    pub replica: Option<Uuid>,
}

/// The first `limit` lines of a job's history after event `after`, in the order in which they happened.
pub async fn events(conn: &mut Conn, id: JobId, after: i64, limit: i64) -> Result<Vec<EventRow>, Error> {
    Ok(sqlx::query_as!(
        EventRow,
        "select id, at, attempt, from_state, to_state, reason, message, replica
           from longshore.job_events where job_id = $1 and id > $2 order by id limit $3",
        id.0,
        after,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// The state of a job, if there is such a job.
pub async fn state(conn: &mut Conn, id: JobId) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!("select state from longshore.jobs where id = $1", id.0).fetch_optional(conn).await?)
}
