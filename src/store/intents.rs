//! What people ask of a job after they submitted it. The API writes wishes; the reconciler grants those that need the
//! cluster.

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    lifecycle::{Cancelled, Edge, Failed, Pending, Scheduled, StateName},
};

use super::{Conn, Error, lists};

/// How often to look again for a row that moved among what is over meanwhile: that happens once in a job's life.
const MOVED_AWAY: u32 = 3;

/// How a request to cancel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancel {
    /// It waited, and is cancelled.
    Done {
        queue: String,
    },
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
            let row = sqlx::query_file!("src/store/sql/cancel_job.sql", id.0, by.0).fetch_optional(&mut *conn);
            Ok::<_, Error>(row.await?.map(|it| (it.state, it.queue)))
        });
        match done.await {
            Ok(Some(state)) => break Some(state),
            Ok(None) => break lists::state(conn, id).await?.map(|it| (it, String::new())),
            // It ended while this statement waited for its row: now it is found among what is over.
            Err(err) if err.is_moved_away() && tries < MOVED_AWAY => tries += 1,
            Err(err) => return Err(err),
        }
    };
    let Some((state, queue)) = state else { return Ok(Cancel::NoSuchJob) };
    match StateName::from_name(&state) {
        Some(StateName::Pending | StateName::Scheduled) => Ok(Cancel::Done { queue }),
        Some(StateName::Starting | StateName::Running | StateName::Stopping) => Ok(Cancel::Requested),
        Some(StateName::Cancelled) => Ok(Cancel::AlreadyCancelled),
        Some(state @ (StateName::Succeeded | StateName::Failed)) => Ok(Cancel::TooLate(state)),
        None => Err(Error::Unknown { table: "jobs", what: format!("state {state:?} of {id}") }),
    }
}

/// How a request to try a job again ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It waits for a slot again.
    Done,
    /// It is not over, or it succeeded; or what was asked of it was refused, so that there is nothing to run.
    Refused(StateName),
    NoSuchJob,
}

/// Makes a job that failed or was cancelled wait for a slot again, in its old place among equals.
pub async fn retry(conn: &mut Conn, by: ReplicaId, id: JobId) -> Result<Retry, Error> {
    const _: (Edge<Failed, Pending>, Edge<Cancelled, Pending>) = (Edge::EXISTS, Edge::EXISTS);
    let done = effects::at(Effect::TryAgain, async {
        let row = sqlx::query_file!("src/store/sql/retry_job.sql", id.0, by.0).fetch_optional(&mut *conn).await?;
        Ok::<_, Error>(row.map(|it| (it.state, it.again)))
    });
    let before = match done.await {
        // Somebody else was faster, and it is elsewhere by now.
        Err(err) if err.is_moved_away() => lists::state(conn, id).await?.map(|it| (it, false)),
        before => before?,
    };
    let Some((before, again)) = before else { return Ok(Retry::NoSuchJob) };
    match StateName::from_name(&before) {
        Some(_) if again => Ok(Retry::Done),
        Some(state) => Ok(Retry::Refused(state)),
        None => Err(Error::Unknown { table: "jobs", what: format!("state {before:?} of {id}") }),
    }
}
