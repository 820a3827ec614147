//! Changing what a job that waits was submitted with: priority, labels, and when it may start.
//!
//! The row is locked before anything is read, so that what is told as the old value is what the new one replaces, and a
//! claim finds the job as it was or as it is. A spec is read for its Kubernetes Job after the claim, together with its hash,
//! so that new labels and the hash that goes with them arrive there together.

use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::Connection;

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    lifecycle::{Edge, Pending, Scheduled, StateName},
    spec::{self, Fault},
};

use super::{Conn, Error};

/// How often to look again for a row that moved among what is over meanwhile: that happens once in a job's life.
const MOVED_AWAY: u32 = 3;

/// What is to be changed. What is not given stays.
#[derive(Debug, Default)]
pub struct Change {
    pub priority: Option<i32>,
    /// The labels to be set, and, without a value, those to be taken away.
    pub labels: BTreeMap<String, Option<String>>,
    /// Not to be started before; or at once.
    pub run_at: Option<Option<Timestamp>>,
}

/// How a change ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is in this state now.
    Done(StateName),
    /// The job is so already.
    Before,
    /// It does not wait any more.
    NotWaiting(StateName),
    /// The labels would not be valid.
    Wrong(Vec<Fault>),
    NoSuchJob,
}

/// A job as it is before.
struct Row {
    state: String,
    priority: i32,
    run_at: Option<jiff_sqlx::Timestamp>,
    now: jiff_sqlx::Timestamp,
    spec: serde_json::Value,
}

/// What comes of a change, and the words for it.
struct Plan {
    priority: i32,
    run_at: Option<Option<Timestamp>>,
    /// Whether that is ahead.
    ahead: bool,
    labels: Option<BTreeMap<String, String>>,
    /// What is wrong with them.
    faults: Vec<Fault>,
    told: String,
}

/// Changes a job that waits.
pub async fn change(conn: &mut Conn, by: ReplicaId, id: JobId, change: &Change) -> Result<Changed, Error> {
    let mut tries = 0;
    loop {
        match effects::at(Effect::ChangeJob, try_change(conn, by, id, change)).await {
            // It ended while this waited for its row: now it is found among what is over.
            Err(err) if err.is_moved_away() && tries < MOVED_AWAY => tries += 1,
            done => return done,
        }
    }
}

async fn try_change(conn: &mut Conn, by: ReplicaId, id: JobId, change: &Change) -> Result<Changed, Error> {
    const _: (Edge<Pending, Scheduled>, Edge<Scheduled, Pending>) = (Edge::EXISTS, Edge::EXISTS);
    let mut tx = conn.begin().await?;
    let lock = sqlx::query_scalar!("select id from longshore.jobs where id = $1 for update", id.0);
    if lock.fetch_optional(&mut *tx).await?.is_none() {
        return Ok(Changed::NoSuchJob);
    }
    // In a statement of its own, which sees what was committed before the lock.
    let row = sqlx::query_as!(
        Row,
        r#"select j.state, j.priority, j.run_at, clock_timestamp() as "now!", s.spec
             from longshore.jobs j join longshore.job_specs s on s.job_id = j.id where j.id = $1"#,
        id.0
    );
    let Some(row) = row.fetch_optional(&mut *tx).await? else { return Ok(Changed::NoSuchJob) };
    let state = StateName::from_name(&row.state)
        .ok_or_else(|| Error::Unknown { table: "jobs", what: format!("state {:?} of {id}", row.state) })?;
    let plan = Plan::new(&row, state, change);
    if plan.told.is_empty() {
        return Ok(Changed::Before);
    }
    if !matches!(state, StateName::Pending | StateName::Scheduled) {
        return Ok(Changed::NotWaiting(state));
    }
    if !plan.faults.is_empty() {
        return Ok(Changed::Wrong(plan.faults));
    }
    let (text, hash) = plan.labels.as_ref().map(|it| spec::relabelled(row.spec, it)).unzip();
    let keys: Vec<&str> = plan.labels.iter().flatten().map(|it| it.0.as_str()).collect();
    let values: Vec<&str> = plan.labels.iter().flatten().map(|it| it.1.as_str()).collect();
    let only_priority = plan.labels.is_none() && plan.run_at.is_none();
    let state = sqlx::query_file_scalar!(
        "src/store/sql/change_job.sql",
        id.0,
        by.0,
        plan.priority,
        plan.run_at.is_some(),
        plan.run_at.flatten().map(|it| it.to_sqlx()) as _,
        plan.ahead,
        plan.labels.is_some(),
        text,
        hash,
        &keys as _,
        &values as _,
        if only_priority { "reprioritized" } else { "changed" },
        plan.told
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    StateName::from_name(&state)
        .map(Changed::Done)
        .ok_or_else(|| Error::Unknown { table: "jobs", what: format!("state {state:?} of {id}") })
}

impl Plan {
    fn new(row: &Row, state: StateName, change: &Change) -> Self {
        let mut told = String::new();
        let mut tell = |what: &str, before: Option<&str>, after: Option<&str>| {
            let gap = if told.is_empty() { "" } else { "; " };
            // Writing into a string does not fail.
            let _ = write!(told, "{gap}{what}: {} -> {}", before.unwrap_or("none"), after.unwrap_or("none"));
        };
        let priority = change.priority.unwrap_or(row.priority);
        if priority != row.priority {
            tell("priority", Some(&row.priority.to_string()), Some(&priority.to_string()));
        }
        let (was, now) = (row.run_at.map(|it| it.to_jiff()), row.now.to_jiff());
        let ahead = change.run_at.flatten().is_some_and(|it| it > now);
        // A job that waits for a time which is not its own, as after a failure, is let go by a time that has come.
        let run_at = change.run_at.filter(|it| *it != was || state == StateName::Scheduled && !ahead);
        if let Some(at) = run_at {
            tell("run_at", was.map(|it| it.to_string()).as_deref(), at.map(|it| it.to_string()).as_deref());
        }
        let before: BTreeMap<String, String> =
            row.spec.get("labels").and_then(|it| serde_json::from_value(it.clone()).ok()).unwrap_or_default();
        let mut after = before.clone();
        for (key, value) in &change.labels {
            if before.get(key) == value.as_ref() {
                continue;
            }
            tell(&format!("label {key}"), before.get(key).map(String::as_str), value.as_deref());
            match value {
                Some(value) => after.insert(key.clone(), value.clone()),
                None => after.remove(key),
            };
        }
        let faults = spec::relabel_faults(&before, &after);
        Self { priority, run_at, ahead, labels: (after != before).then_some(after), faults, told }
    }
}
