//! A job's row told as Kubernetes tells a Job's status, for as long as there is no Kubernetes Job, and after it is gone.

use jiff::Timestamp;
use serde::Serialize;

use crate::{lifecycle::StateName, store::lists::JobRow};

/// What a batch/v1 JobStatus says of a job that is on record. Fields that Kubernetes would leave out are left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// How many of its pods are pending or running.
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<i64>,
    /// How many of its pods ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded: Option<i64>,
    /// How many of its attempts failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Timestamp>,
    /// When it ended, of one that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<JobCondition>,
}

/// How it ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobCondition {
    /// `Complete` or `Failed`.
    r#type: &'static str,
    /// `True`: there is no condition otherwise.
    status: &'static str,
    last_probe_time: Timestamp,
    last_transition_time: Timestamp,
    /// Longshore's reason of a job that failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<&JobRow> for JobStatus {
    fn from(row: &JobRow) -> Self {
        let start_time = row.claimed_at.filter(|_| row.attempt > 0).map(|it| it.to_jiff());
        let finished_at = row.finished_at.map(|it| it.to_jiff());
        let whole = Self { start_time, ..Self::default() };
        let condition = |kind, reason: Option<&String>| {
            finished_at.map(|at| JobCondition {
                r#type: kind,
                status: "True",
                last_probe_time: at,
                last_transition_time: at,
                reason: reason.cloned(),
                message: row.message.clone().filter(|_| reason.is_some()),
            })
        };
        match StateName::from_name(&row.state) {
            // As Kubernetes has it before a Job's controller has seen it.
            None | Some(StateName::Scheduled | StateName::Pending) => Self::default(),
            Some(StateName::Starting | StateName::Running | StateName::Stopping) => Self { active: Some(1), ..whole },
            Some(StateName::Succeeded) => {
                let completions = row.spec.as_ref().and_then(|it| it.pointer("/manifest/spec/completions")?.as_i64());
                Self {
                    succeeded: Some(completions.unwrap_or(1)),
                    completion_time: finished_at,
                    conditions: condition("Complete", None).into_iter().collect(),
                    ..whole
                }
            }
            Some(StateName::Failed | StateName::Cancelled) => Self {
                failed: (row.failed_attempts > 0).then_some(row.failed_attempts.into()),
                conditions: condition("Failed", row.reason.as_ref()).into_iter().collect(),
                ..whole
            },
        }
    }
}
