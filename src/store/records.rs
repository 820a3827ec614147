//! What is on record of attempts, whatever became of their jobs.

use uuid::Uuid;

use crate::id::{AttemptNo, JobId, KubeUid, Nonce, kube_name};

use super::{Conn, Error};

/// What is on record of an attempt, for a Kubernetes Job that no holder accounts for.
#[derive(Debug, Clone)]
pub struct Record {
    pub job: JobId,
    pub attempt: AttemptNo,
    pub nonce: Nonce,
    /// The one name that its Kubernetes Job can have.
    pub kube_name: String,
    /// The Kubernetes Job that was on record, if one was.
    pub uid: Option<KubeUid>,
    /// Whether the job is still at this attempt and holds its slot.
    pub current: bool,
    /// How long ago its outcome was recorded, in seconds, by the database's clock.
    pub finished_secs: Option<f64>,
    /// Whether the end of its log is still to be kept.
    pub log_wanted: bool,
    /// The pod and the container that tell most of it, if any was seen.
    pub pod: Option<String>,
    pub container: Option<String>,
}

/// The records of every attempt of `ids`.
pub async fn of(conn: &mut Conn, ids: &[JobId]) -> Result<Vec<Record>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|it| it.0).collect();
    let rows = sqlx::query!(
        r#"select a.job_id, a.attempt, j.name, a.nonce, a.kube_uid,
                  a.attempt = j.attempt and j.state in ('starting', 'running', 'stopping') as "current!",
                  extract(epoch from clock_timestamp() - a.finished_at)::float8 as finished_secs,
                  coalesce(a.log = 'wanted', false) as "log_wanted!", a.pod, a.container
             from unnest($1::uuid[]) asked (id)
             join longshore.attempts a on a.job_id = asked.id
             join longshore.jobs j on j.id = asked.id"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Record {
            job: JobId(row.job_id),
            attempt: row.attempt,
            nonce: Nonce(row.nonce),
            kube_name: kube_name(&row.name, JobId(row.job_id), row.attempt),
            uid: row.kube_uid.map(KubeUid),
            current: row.current,
            finished_secs: row.finished_secs,
            log_wanted: row.log_wanted,
            pod: row.pod,
            container: row.container,
        })
        .collect())
}
