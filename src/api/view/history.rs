//! Attempts and events as they are on the wire.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    lifecycle::StateName,
    store::lists::{AttemptRow, EventRow},
};

use super::super::doc::examples;

/// One attempt of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt, example = examples::attempt)]
pub struct AttemptView {
    /// Which one, from 1 on.
    attempt: i32,
    /// The name of its Kubernetes Job.
    kube_name: Option<String>,
    /// The uid of its Kubernetes Job.
    kube_uid: Option<String>,
    /// Where its pod ran.
    node: Option<String>,
    /// The pod that tells most.
    pod: Option<String>,
    /// The container of it that tells most.
    container: Option<String>,
    /// With which that container ended.
    exit_code: Option<i32>,
    /// What it left to be read when it ended.
    termination_message: Option<String>,
    /// Why the attempt ended, stable, for programs.
    reason: Option<String>,
    /// Why it ended, in words.
    message: Option<String>,
    /// Whether it counts against `max_attempts`.
    counts: Option<bool>,
    /// Of the end of its log: `wanted`, `kept` or `missing`; null: not asked for.
    log: Option<String>,
    /// Since when the job had waited for this attempt.
    waited_since: Timestamp,
    /// When it got its slot.
    claimed_at: Timestamp,
    /// When its Kubernetes Job was made.
    created_at: Option<Timestamp>,
    /// When its container began, by the node's clock.
    started_at: Option<Timestamp>,
    /// When it was over, and its slot free.
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
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, example = examples::event)]
pub struct EventView {
    /// Grows with time; what `cursor` takes.
    id: i64,
    /// When, by the database's clock.
    at: Timestamp,
    /// Of which attempt; 0 before the first.
    attempt: i32,
    /// The state before; null of the first event.
    #[schema(value_type = Option<StateName>)]
    from: Option<String>,
    /// The state after.
    #[schema(value_type = StateName)]
    to: String,
    /// Why, stable, for programs.
    reason: String,
    /// Why, in words.
    message: Option<String>,
    /// Which replica wrote it.
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
