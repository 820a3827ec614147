//! Answers as they are on the wire.

mod history;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    id::JobId,
    lifecycle::StateName,
    store::{
        eta::{Basis, Estimate},
        lists::{JobRow, Listed, SlotRow},
        submit::POSITION_LIMIT,
        why::WhyRow,
    },
};

use super::doc::examples;

pub use history::{AttemptView, EventView};

/// A position as it is told: beyond the limit nobody counted.
pub fn position_text(position: i64) -> String {
    if position < POSITION_LIMIT { position.to_string() } else { format!("{POSITION_LIMIT}+") }
}

/// The answer to a submission. All of it is strings.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Submitted, example = examples::submitted)]
pub struct SubmitAnswer {
    /// The id of the job that was made, now or before under this key.
    #[schema(format = Uuid)]
    pub job_id: String,
    /// As it was given.
    pub name: String,
    /// How many pending jobs would start before it; counted up to 1000, and `1000+` beyond.
    #[schema(pattern = "^[0-9]+\\+?$")]
    pub queue_position: String,
    /// Always the same.
    pub status: &'static str,
}

/// A job that waits for a slot.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PendingJob, example = examples::pending)]
pub struct Brief {
    /// As it was given; need not be unique.
    name: String,
    job_id: JobId,
    /// Higher starts first.
    priority: i32,
    /// The queue it waits in.
    queue: String,
    /// Where its Kubernetes Job will be.
    namespace: String,
    #[schema(value_type = StateName)]
    state: String,
    /// When it was submitted.
    created_at: Timestamp,
    /// Since when it holds a slot.
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
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunningJob, example = examples::running)]
pub struct Slot {
    /// As it was given; need not be unique.
    name: String,
    job_id: JobId,
    /// Higher starts first.
    priority: i32,
    /// The queue it came from.
    queue: String,
    /// Where its Kubernetes Job is.
    namespace: String,
    #[schema(value_type = StateName)]
    state: String,
    /// Which attempt this is, from 1 on.
    attempt: i32,
    /// Since when it holds the slot.
    claimed_at: Timestamp,
    /// What it says: its state, or what it waits for, or why it is being stopped.
    code: String,
    /// The same in words, where there is more to say.
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
#[derive(Debug, Serialize, ToSchema)]
pub struct Why {
    /// Stable, for programs: what it waits for, or, of a finished job, the reason of its end.
    code: String,
    /// The same in words.
    message: String,
    /// Since when.
    since: Option<Timestamp>,
    /// When that ends by itself, if it does.
    until: Option<Timestamp>,
    /// How many jobs are ahead of it; of a pending job only.
    position: Option<String>,
    /// The cap that it waits for; of a pending job only.
    limit: Option<LimitView>,
}

/// A cap, and how much of it is held.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HeldLimit)]
struct LimitView {
    /// `global`, or `queue`.
    name: String,
    /// How many jobs may hold a slot at once.
    cap: i32,
    /// How many do.
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
            limit: it.limited_by.zip(it.cap.zip(it.held)).map(|(name, (cap, held))| LimitView { name, cap, held }),
        }
    }
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job, example = examples::job)]
pub struct JobView {
    job_id: JobId,
    /// As it was given; need not be unique.
    name: String,
    /// The queue it waits in, or came from.
    queue: String,
    /// Where its Kubernetes Job is, or will be.
    namespace: String,
    /// Higher starts first.
    priority: i32,
    #[schema(value_type = StateName)]
    state: String,
    /// Why it ended, stable, for programs; null before.
    reason: Option<String>,
    /// Why it ended, in words.
    message: Option<String>,
    /// As they were given.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: Value,
    /// How many attempts were begun.
    attempt: i32,
    /// How many may fail.
    max_attempts: i64,
    /// How many failed.
    failed_attempts: i32,
    /// How often the cluster ended an attempt, which does not count as a failure.
    interruptions: i32,
    /// When it was submitted.
    created_at: Timestamp,
    /// Not to start before.
    run_at: Option<Timestamp>,
    /// When a scheduled job becomes pending.
    due_at: Option<Timestamp>,
    /// When it will have waited for too long.
    expires_at: Option<Timestamp>,
    /// When its current or last attempt got a slot.
    claimed_at: Option<Timestamp>,
    /// When that began to run.
    started_at: Option<Timestamp>,
    /// When the job ended.
    finished_at: Option<Timestamp>,
    /// When someone asked for it to be cancelled.
    cancel_requested_at: Option<Timestamp>,
    /// How many jobs would start before it, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<String>,
    /// Why it is not running, or what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// When it will start and end, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<EtaView>,
    /// Deadlines and retries; null where nothing but the defaults was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub policy: Option<Value>,
    /// Each attempt, the first one first; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
    /// What it is to do, as it is stored; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
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
            labels: it.labels,
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
            eta: None,
            policy: None,
            attempts: None,
            spec: None,
        }
    }
}

/// When a pending job will start and end, from how long attempts held their slots lately.
#[derive(Debug, Serialize, ToSchema)]
pub struct EtaView {
    /// It starts by then as likely as not; null where nothing can be said, which `basis` explains.
    starts_p50: Option<Timestamp>,
    /// It starts by then in nine cases of ten.
    starts_p90: Option<Timestamp>,
    /// It ends by then as likely as not.
    ends_p50: Option<Timestamp>,
    /// It ends by then in nine cases of ten.
    ends_p90: Option<Timestamp>,
    /// So many attempts were measured that are most like its own.
    samples: usize,
    /// Which those are, `name`, `queue` or `all`; or why nothing is said: `too_few_samples`, `nothing_starts`, `too_far`.
    basis: &'static str,
}

impl From<Estimate> for EtaView {
    fn from(it: Estimate) -> Self {
        let now = it.now.to_jiff();
        // To a tenth of a second: more would look as if it were known.
        let at = |secs: f64| now.checked_add(SignedDuration::from_millis((secs * 10.0).ceil() as i64 * 100)).ok();
        let basis = match it.basis {
            Basis::Name => "name",
            Basis::Queue => "queue",
            Basis::All => "all",
            Basis::TooFewSamples => "too_few_samples",
            Basis::NothingStarts => "nothing_starts",
            Basis::TooFar => "too_far",
        };
        Self {
            starts_p50: it.eta.and_then(|it| at(it.starts_p50)),
            starts_p90: it.eta.and_then(|it| at(it.starts_p90)),
            ends_p50: it.eta.and_then(|it| at(it.ends_p50)),
            ends_p90: it.eta.and_then(|it| at(it.ends_p90)),
            samples: it.samples,
            basis,
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// What to give as `cursor` for the next page; null on the last one.
    pub next: Option<String>,
}
