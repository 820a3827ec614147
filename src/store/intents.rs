//! What people ask of a job after they submitted it. The API writes wishes; the reconciler grants those that need the
//! cluster.

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    lifecycle::{Cancelled, Edge, Pending, Scheduled, StateName},
};

use super::{Conn, Error};

/// How a request to cancel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It waited, and is cancelled.
    Done,
    /// It holds a slot; it will be stopped, and cancelled when its pods are gone.
    Requested,
    /// It was cancelled before.
    AlreadyCancelled,
    /// It ended otherwise before.
    TooLate(StateName),
    NoSuchJob,
}

/// Cancels a waiting job at once, and asks the reconciler to stop one that holds a slot.
pub async fn cancel(conn: &mut Conn, by: ReplicaId, id: JobId) -> Result<Cancel, Error> {
    const _: (Edge<Pending, Cancelled>, Edge<Scheduled, Cancelled>) = (Edge::EXISTS, Edge::EXISTS);
    // Locking the row first makes the state that `before` reads the state that is moved.
    let row = effects::at(Effect::RequestCancel, async {
        Ok::<_, Error>(
            sqlx::query!(
                r#"with before as materialized (
                       select id, state, attempt, cancel_requested_at from longshore.jobs where id = $1 for update
                   ), cancelled as (
                       update longshore.jobs j
                          set state = 'cancelled', version = version + 1, reason = 'cancelled',
                              message = 'cancelled while it waited', finished_at = clock_timestamp(),
                              cancel_requested_at = clock_timestamp()
                         from before b
                        where j.id = b.id and b.state in ('pending', 'scheduled')
                       returning j.id
                   ), requested as (
                       update longshore.jobs j
                          set cancel_requested_at = clock_timestamp()
                         from before b
                        where j.id = b.id and b.state in ('starting', 'running') and b.cancel_requested_at is null
                       returning j.id
                   ), told as (
                       insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
                       select id, attempt, state, 'cancelled', 'cancelled', 'cancelled while it waited', $2::uuid
                         from before where id in (select id from cancelled)
                       union all
                       select id, attempt, state, state, 'cancel_requested', null, $2::uuid
                         from before where id in (select id from requested)
                   )
                   select state from before"#,
                id.0,
                by.0
            )
            .fetch_optional(conn)
            .await?,
        )
    })
    .await?;
    let Some(row) = row else { return Ok(Cancel::NoSuchJob) };
    match StateName::from_name(&row.state) {
        Some(StateName::Pending | StateName::Scheduled) => Ok(Cancel::Done),
        Some(StateName::Starting | StateName::Running | StateName::Stopping) => Ok(Cancel::Requested),
        Some(StateName::Cancelled) => Ok(Cancel::AlreadyCancelled),
        Some(state @ (StateName::Succeeded | StateName::Failed)) => Ok(Cancel::TooLate(state)),
        None => Err(Error::Unknown { table: "jobs", what: format!("state {:?} of {id}", row.state) }),
    }
}
