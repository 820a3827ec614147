//! What people ask of a job after they submitted it. The API writes wishes; the reconciler grants those that need the
//! cluster.

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    lifecycle::{Cancelled, Edge, Pending, Scheduled, StateName},
};

use super::{Conn, Error, lists};

/// How often to look again for a row that moved among what is over meanwhile: that happens once in a job's life.
const MOVED_AWAY: u32 = 3;

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
    let mut tries = 0;
    let state = loop {
        let done = effects::at(Effect::RequestCancel, async {
            let row = sqlx::query_file_scalar!("src/store/sql/cancel_job.sql", id.0, by.0).fetch_optional(&mut *conn);
            Ok::<_, Error>(row.await?)
        });
        match done.await {
            Ok(Some(state)) => break Some(state),
            Ok(None) => break lists::state(conn, id).await?,
            // It ended while this statement waited for its row: now it is found among what is over.
            Err(err) if err.is_moved_away() && tries < MOVED_AWAY => tries += 1,
            Err(err) => return Err(err),
        }
    };
    let Some(state) = state else { return Ok(Cancel::NoSuchJob) };
    match StateName::from_name(&state) {
        Some(StateName::Pending | StateName::Scheduled) => Ok(Cancel::Done),
        Some(StateName::Starting | StateName::Running | StateName::Stopping) => Ok(Cancel::Requested),
        Some(StateName::Cancelled) => Ok(Cancel::AlreadyCancelled),
        Some(state @ (StateName::Succeeded | StateName::Failed)) => Ok(Cancel::TooLate(state)),
        None => Err(Error::Unknown { table: "jobs", what: format!("state {state:?} of {id}") }),
    }
}
