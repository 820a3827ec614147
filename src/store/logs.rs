//! The ends of logs, kept when the pods that wrote them go.

use crate::{
    effects::{self, Effect},
    id::{AttemptNo, JobId},
};

use super::{Conn, Error};

/// The end of one attempt's log.
#[derive(Debug)]
pub struct Kept {
    pub pod: String,
    pub container: String,
    pub tail: String,
    /// Whether it wrote more than that.
    pub truncated: bool,
}

/// Keeps the end of an attempt's log, or, with none, that there was nothing to keep. The first one to say so is believed.
pub async fn keep(conn: &mut Conn, job: JobId, attempt: AttemptNo, kept: Option<&Kept>) -> Result<(), Error> {
    effects::at(Effect::KeepLog, async {
        sqlx::query!(
            "with marked as (
                 update longshore.attempts set log = case when $3::text is null then 'missing' else 'kept' end
                  where job_id = $1 and attempt = $2 and log is distinct from 'kept'
                 returning job_id, attempt
             )
             insert into longshore.attempt_logs (job_id, attempt, pod, container, tail, truncated)
             select job_id, attempt, $3, $4, $5, $6 from marked where $3::text is not null
             on conflict do nothing",
            job.0,
            attempt,
            kept.map(|it| it.pod.as_str()),
            kept.map(|it| it.container.as_str()),
            kept.map(|it| it.tail.as_str()),
            kept.map(|it| it.truncated)
        )
        .execute(conn)
        .await?;
        Ok(())
    })
    .await
}

/// What was kept of an attempt's log.
pub async fn kept(conn: &mut Conn, job: JobId, attempt: AttemptNo) -> Result<Option<Kept>, Error> {
    Ok(sqlx::query_as!(
        Kept,
        "select pod, container, tail, truncated from longshore.attempt_logs where job_id = $1 and attempt = $2",
        job.0,
        attempt
    )
    .fetch_optional(conn)
    .await?)
}
