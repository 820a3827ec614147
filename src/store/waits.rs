//! What jobs wait for, written down for people and for the graces that are counted from then.

use crate::{
    effects::{self, Effect},
    id::ReplicaId,
    lifecycle::Wait,
};

use super::{Conn, Error, jobs::Job};

/// Writes down what a job that is starting waits for, or that it waits for nothing in particular. Not a move: nobody who
/// read the row before is hindered by it. Told in the history once for each new code.
pub async fn tell<S>(conn: &mut Conn, by: ReplicaId, job: &Job<S>, wait: Option<&Wait>) -> Result<(), Error> {
    effects::at(Effect::TellWait, async {
        sqlx::query!(
            "with told as (
                 update longshore.jobs_live
                    set wait_code = $3, wait_message = $4, wait_since = case when $3::text is not null then clock_timestamp() end,
                        start_clock_at = case when wait_code = 'suspended' and start_clock_at is not null
                                              then clock_timestamp() else start_clock_at end
                  where id = $1 and version = $2 and state = 'starting' and wait_code is distinct from $3
                 returning id, attempt
             )
             insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
             select id, attempt, 'starting', 'starting', coalesce($3, 'waits_no_more'), $4, $5 from told",
            job.id().0,
            job.version(),
            wait.map(|it| it.code.name()),
            wait.map(|it| it.message.as_str()),
            by.0
        )
        .execute(conn)
        .await?;
        Ok(())
    })
    .await
}
