//! Queues elsewhere that are worked off by one worker job at a time: which was the last, and whose turn it is to submit the
//! next.
//!
//! Replicas look at the same queue at the same time, and find the same work. What keeps them from submitting twice is the
//! queue's row: a [`Turn`] holds its lock, shows what became of the last worker job as of now, and commits the next one
//! together with the row. Whoever finds the row locked leaves it to the other, and looks again later.

use std::time::Duration;

use crate::{
    effects::Effect,
    id::JobId,
    lifecycle::{Reason, StateName},
};

use super::{Conn, Error, tx::Tx};

/// What is on record of a queue's worker jobs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// How many there were.
    pub runs: i64,
    /// The last one, where it has not aged out.
    pub last: Option<LastJob>,
}

/// A queue's last worker job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LastJob {
    pub id: JobId,
    pub state: StateName,
    pub reason: Option<Reason>,
    /// How long ago it ended, by the database's clock.
    pub ended_ago: Option<Duration>,
}

/// What is on record of a queue; nothing of one that is new.
pub async fn standing(conn: &mut Conn, space: &str) -> Result<Standing, Error> {
    let row = sqlx::query!(
        r#"select w.runs, w.job_id, j.state as "state?", j.reason as "reason?",
                  extract(epoch from clock_timestamp() - j.finished_at)::double precision as "ended_secs?"
             from longshore.source_workers w
             left join longshore.jobs j on j.id = w.job_id
            where w.space = $1"#,
        space
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(Standing { runs: 0, last: None }) };
    let last = match (row.job_id, row.state) {
        (Some(id), Some(state)) => Some(LastJob {
            id: JobId(id),
            state: StateName::from_name(&state).ok_or_else(|| unknown("state", &state))?,
            reason: row.reason.map(|it| Reason::from_name(&it).ok_or_else(|| unknown("reason", &it))).transpose()?,
            ended_ago: row.ended_secs.map(|it| Duration::try_from_secs_f64(it.max(0.0)).unwrap_or(Duration::MAX)),
        }),
        _ => None,
    };
    Ok(Standing { runs: row.runs, last })
}

fn unknown(what: &str, word: &str) -> Error {
    Error::Unknown { table: "jobs", what: format!("{what} {word:?}") }
}

/// The right to submit the next worker job of a queue: its row is locked.
pub struct Turn<'c> {
    tx: Tx<'c>,
    space: &'c str,
    /// As of now: nobody else changes it meanwhile.
    pub standing: Standing,
}

impl<'c> Turn<'c> {
    /// None while another replica has it.
    pub async fn take(conn: &'c mut Conn, space: &'c str) -> Result<Option<Self>, Error> {
        // In a commit of its own, so that whoever comes second finds a row to look for.
        sqlx::query!("insert into longshore.source_workers (space) values ($1) on conflict do nothing", space)
            .execute(&mut *conn)
            .await?;
        let mut tx = Tx::begin(conn).await?;
        let mine = sqlx::query_scalar!(
            "select runs from longshore.source_workers where space = $1 for update skip locked",
            space
        );
        if mine.fetch_optional(tx.conn()).await?.is_none() {
            return Ok(None);
        }
        // In a statement of its own, whose snapshot is newer than the lock.
        let standing = standing(tx.conn(), space).await?;
        Ok(Some(Self { tx, space, standing }))
    }

    /// Where the worker job is to be submitted.
    pub fn conn(&mut self) -> &mut Conn {
        self.tx.conn()
    }

    /// Commits the worker job that was submitted meanwhile as the queue's last.
    pub async fn commit(mut self, job: JobId) -> Result<(), Error> {
        sqlx::query!(
            "update longshore.source_workers set runs = runs + 1, job_id = $2, submitted_at = clock_timestamp() where space = $1",
            self.space,
            job.0
        )
        .execute(self.tx.conn())
        .await?;
        self.tx.commit(&[Effect::Submit]).await
    }

    /// Leaves it to whoever comes next.
    pub async fn give_up(self) -> Result<(), Error> {
        self.tx.rollback().await
    }
}
