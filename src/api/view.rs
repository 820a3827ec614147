//! Answers as they are on the wire.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    id::JobId,
    store::{
        lists::{AttemptRow, EventRow, JobRow, Listed, SlotRow},
        submit::POSITION_LIMIT,
        why::WhyRow,
    },
};

/// A position as it is told: beyond the limit nobody counted.
pub fn position_text(position: i64) -> String {
    if position < POSITION_LIMIT { position.to_string() } else { format!("{POSITION_LIMIT}+") }
}

/// The answer to a submission.
#[derive(Debug, Serialize)]
pub struct SubmitAnswer {
    pub job_id: String,
    pub name: String,
    pub queue_position: String,
    pub status: &'static str,
}

/// A job in the lists of what waits and what holds a slot.
#[derive(Debug, Serialize)]
pub struct Brief {
    name: String,
    job_id: JobId,
    priority: i32,
    queue: String,
    namespace: String,
    state: String,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_at: Option<Timestamp>,
}

impl From<Listed> for Brief {
    fn from(it: Listed) -> Self {
        Self {
            name: it.name,
            job_id: it.id,
            priority: it.priority,
            queue: it.queue,
            namespace: it.namespace,
            state: it.state,
            created_at: it.created_at,
            claimed_at: it.claimed_at,
        }
    }
}

/// A job that holds a slot.
#[derive(Debug, Serialize)]
pub struct Slot {
    name: String,
    job_id: JobId,
    priority: i32,
    queue: String,
    namespace: String,
    state: String,
    attempt: i32,
    /// Since when it holds the slot.
    claimed_at: Timestamp,
    /// What it says: its state, or what it waits for, or why it is being stopped.
    code: String,
    message: Option<String>,
}

impl From<SlotRow> for Slot {
    fn from(it: SlotRow) -> Self {
        Self {
            name: it.name,
            job_id: JobId(it.job_id),
            priority: it.priority,
            queue: it.queue,
            namespace: it.namespace,
            state: it.state,
            attempt: it.attempt,
            claimed_at: it.since.to_jiff(),
            code: it.code,
            message: it.message,
        }
    }
}

/// Why a job is as it is.
#[derive(Debug, Serialize)]
pub struct Why {
    code: String,
    message: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    position: Option<String>,
    limit: Option<LimitView>,
}

/// A cap, and how much of it is held.
#[derive(Debug, Serialize)]
struct LimitView {
    name: &'static str,
    cap: i32,
    held: i64,
}

impl From<WhyRow> for Why {
    fn from(it: WhyRow) -> Self {
        Self {
            code: it.code,
            message: it.message,
            since: it.since.map(|it| it.to_jiff()),
            until: it.until.map(|it| it.to_jiff()),
            position: it.queue_position.map(position_text),
            limit: it.cap.zip(it.held).map(|(cap, held)| LimitView { name: "global", cap, held }),
        }
    }
}

/// A job.
#[derive(Debug, Serialize)]
pub struct JobView {
    job_id: JobId,
    name: String,
    queue: String,
    namespace: String,
    priority: i32,
    state: String,
    reason: Option<String>,
    message: Option<String>,
    labels: Value,
    attempt: i32,
    max_attempts: i64,
    failed_attempts: i32,
    interruptions: i32,
    created_at: Timestamp,
    run_at: Option<Timestamp>,
    /// When a scheduled job becomes pending.
    due_at: Option<Timestamp>,
    /// When it will have waited for too long.
    expires_at: Option<Timestamp>,
    claimed_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    /// How many jobs would start before it, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<String>,
    /// Why it is not running, or what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// Deadlines and retries; null where nothing but the defaults was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
}

impl From<JobRow> for JobView {
    fn from(it: JobRow) -> Self {
        let policy = |key: &str| it.policy.as_ref()?.get(key);
        let waits = matches!(it.state.as_str(), "scheduled" | "pending");
        Self {
            job_id: JobId(it.id),
            name: it.name,
            queue: it.queue,
            namespace: it.namespace,
            priority: it.priority,
            state: it.state,
            reason: it.reason,
            message: it.message,
            labels: it.spec.get("labels").cloned().unwrap_or_else(|| Value::Object(Default::default())),
            attempt: it.attempt,
            max_attempts: policy("max_attempts").and_then(Value::as_i64).unwrap_or(1),
            failed_attempts: it.failed_attempts,
            interruptions: it.interruptions,
            created_at: it.created_at.to_jiff(),
            due_at: it.due_at.map(|it| it.to_jiff()),
            expires_at: it.expires_at.filter(|_| waits).map(|it| it.to_jiff()),
            run_at: it.run_at.map(|it| it.to_jiff()),
            claimed_at: it.claimed_at.map(|it| it.to_jiff()),
            started_at: it.started_at.map(|it| it.to_jiff()),
            finished_at: it.finished_at.map(|it| it.to_jiff()),
            cancel_requested_at: it.cancel_requested_at.map(|it| it.to_jiff()),
            queue_position: None,
            why: None,
            policy: None,
            attempts: None,
            spec: None,
        }
    }
}

/// One attempt of a job.
#[derive(Debug, Serialize)]
pub struct AttemptView {
    attempt: i32,
    kube_name: Option<String>,
    kube_uid: Option<String>,
    node: Option<String>,
    pod: Option<String>,
    container: Option<String>,
    exit_code: Option<i32>,
    termination_message: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    /// Whether it counts against `max_attempts`.
    counts: Option<bool>,
    /// Of the end of its log: `wanted`, `kept` or `missing`; null: not asked for.
    log: Option<String>,
    /// Since when the job had waited for this attempt.
    waited_since: Timestamp,
    claimed_at: Timestamp,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl From<AttemptRow> for AttemptView {
    fn from(it: AttemptRow) -> Self {
        Self {
            attempt: it.attempt,
            kube_name: it.kube_name,
            kube_uid: it.kube_uid,
            node: it.node,
            pod: it.pod,
            container: it.container,
            exit_code: it.exit_code,
            termination_message: it.termination_message,
            reason: it.reason,
            message: it.message,
            counts: it.counts,
            log: it.log,
            waited_since: it.pending_at.to_jiff(),
            claimed_at: it.claimed_at.to_jiff(),
            created_at: it.created_at.map(|it| it.to_jiff()),
            started_at: it.started_at.map(|it| it.to_jiff()),
            finished_at: it.finished_at.map(|it| it.to_jiff()),
        }
    }
}

/// One line of a job's history.
#[derive(Debug, Serialize)]
pub struct EventView {
    id: i64,
    at: Timestamp,
    attempt: i32,
    from: Option<String>,
    to: String,
    reason: String,
    message: Option<String>,
    replica: Option<String>,
}

impl From<EventRow> for EventView {
    fn from(it: EventRow) -> Self {
        Self {
            id: it.id,
            at: it.at.to_jiff(),
            attempt: it.attempt,
            from: it.from_state,
            to: it.to_state,
            reason: it.reason,
            message: it.message,
            replica: it.replica.map(|it| it.to_string()),
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to give as `cursor` for the next page; null on the last one.
    pub next: Option<String>,
}
