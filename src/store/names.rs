//! The names that filters gave to their Jobs: which job is meant, and when a name is free again. They are kept as
//! idempotency keys.

use uuid::Uuid;

use crate::id::JobId;

use super::{Conn, Error};

/// The job that one of these keys stands for; the earlier a key, the rather.
pub async fn find(conn: &mut Conn, keys: &[String]) -> Result<Option<JobId>, Error> {
    let found = sqlx::query_scalar!(
        "select job_id from longshore.idempotency_keys where key = any($1) order by array_position($1, key) limit 1",
        keys
    );
    Ok(found.fetch_optional(conn).await?.map(JobId))
}

/// Frees a name whose job ended longer ago than its manifest's `ttlSecondsAfterFinished`, for then Kubernetes would have
/// removed the Job, and another one could have its name. Whether it was this call that did. The job itself stays on record.
pub async fn free(conn: &mut Conn, key: &str, job: JobId) -> Result<bool, Error> {
    let freed: Option<Uuid> = sqlx::query_scalar!(
        "delete from longshore.idempotency_keys k
          using longshore.jobs j, longshore.job_specs s
          where k.key = $1 and k.job_id = $2 and j.id = k.job_id and s.job_id = k.job_id
            and j.finished_at + make_interval(secs =>
                    (s.spec #>> '{manifest,spec,ttlSecondsAfterFinished}')::double precision) <= clock_timestamp()
         returning k.job_id",
        key,
        job.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(freed.is_some())
}
