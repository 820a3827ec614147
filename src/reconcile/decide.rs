//! What to do next about one job, given what its row says and what the cluster shows. Pure, and exhaustive: no `_`.
//!
//! A slot is given up by [`Step::Finish`] alone, and that only when the Kubernetes Job has ended and no pod of it lives,
//! or when it is confirmed to be gone with all its pods.

use crate::{
    cluster::seen::{Phase, Seen, SeenJob, Sight},
    lifecycle::{Ending, Facts, Reason},
    store::jobs::{Holder, Record},
};

/// For how long after its claim a created Job may be missing from a watch that has yet to show it.
pub const WATCH_LAG_SECS: f64 = 10.0;

/// The one next step for a job that holds a slot.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Wait,
    /// Look again soon, though nothing may change that a watch would tell.
    LookAgain,
    /// A container of it started.
    Start(Facts),
    /// Ask the API server whether it is really gone.
    Confirm,
    /// Someone wants it stopped: record that, then delete it.
    Stop(Ending),
    /// It is being stopped, and nobody deleted it yet.
    Delete(SeenJob),
    Finish(End, Facts),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Succeeded(Ending),
    Failed(Ending),
    /// As it was being stopped for.
    Stopped,
}

/// Decides the next step. The same two sides always give the same step.
pub fn decide(job: &Holder, seen: &Seen) -> Step {
    match (job, seen) {
        (Holder::Claimed(_) | Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Unknown) => Step::Wait,

        // Creating it, and recording that it is created, is the business of the replica that claimed it, or took it over:
        // should anyone else record it, the job could end, and its Kubernetes Job be removed, while a creator that lost the
        // answer is about to send its request again.
        (Holder::Claimed(_), Seen::Absent { .. } | Seen::Gone | Seen::Present(_)) => Step::Wait,

        // Pods that outlived their Job still run: the slot is theirs until they are gone.
        (Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Absent { live_pods: true }) => Step::Wait,
        (Holder::Created(job), Seen::Absent { live_pods: false }) if job.head().held_secs < WATCH_LAG_SECS => {
            Step::LookAgain
        }
        (Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Absent { live_pods: false }) => Step::Confirm,
        (Holder::Created(_) | Holder::Running(_), Seen::Gone) => Step::Finish(End::Failed(lost()), Facts::default()),
        (Holder::Stopping(_), Seen::Gone) => Step::Finish(End::Stopped, Facts::default()),

        (Holder::Created(job), Seen::Present(sight)) => match ended(sight) {
            Some(step) => step,
            None if job.head().cancel_requested => Step::Stop(cancelled()),
            None if sight.facts.started_at.is_some() => Step::Start(sight.facts.clone()),
            None => Step::Wait,
        },
        (Holder::Running(job), Seen::Present(sight)) => match ended(sight) {
            Some(step) => step,
            None if job.head().cancel_requested => Step::Stop(cancelled()),
            None => Step::Wait,
        },
        // If it ended by itself before the delete reached it, that is what happened, and what is told. A Job that is being
        // deleted can fail of it, but not complete of it.
        (Holder::Stopping(_), Seen::Present(sight)) => match ended(sight) {
            Some(step) if !sight.job.deleting || sight.job.phase == Phase::Complete => step,
            Some(_) | None if sight.job.deleting => Step::Wait,
            Some(_) | None => Step::Delete(sight.job.clone()),
        },
    }
}

/// What follows from a Job that has ended; none from one that has not.
fn ended(sight: &Sight) -> Option<Step> {
    let ending = match &sight.job.phase {
        Phase::Active => return None,
        Phase::Complete => End::Succeeded(Ending::new(Reason::Completed, "every pod ended with exit code 0")),
        Phase::Failed { reason, message } => End::Failed(failed(reason, message, sight.facts.exit_code)),
    };
    Some(match (sight.live_pods, sight.settled) {
        (true, _) => Step::Wait,
        (false, false) => Step::LookAgain,
        (false, true) => Step::Finish(ending, sight.facts.clone()),
    })
}

fn failed(reason: &str, message: &str, exit_code: Option<i32>) -> Ending {
    if reason == "DeadlineExceeded" {
        return Ending::new(Reason::DeadlineExceeded, "it ran for longer than its timeout");
    }
    match exit_code {
        Some(code) if code != 0 => Ending::new(Reason::JobFailed, format!("a container ended with exit code {code}")),
        _ => Ending::new(Reason::JobFailed, format!("Kubernetes says: {message} ({reason})")),
    }
}

fn lost() -> Ending {
    Ending::new(Reason::Lost, "its Kubernetes Job was deleted by someone else")
}

fn cancelled() -> Ending {
    Ending::new(Reason::Cancelled, "cancelled, and stopped")
}

/// What to do about a Kubernetes Job that no current attempt accounts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    Keep,
    /// Its outcome is recorded, and it was kept for long enough.
    Remove,
    /// It belongs to an attempt that is over, or to an earlier one, and still runs.
    Stop,
    /// It carries our labels and not our nonce, or no row knows it: never touched, for rows may have been lost.
    Report,
}

/// Decides about the Kubernetes Job of one attempt, given what is on record of that attempt.
pub fn dispose(record: Option<&Record>, phase: &Phase, nonce_is_ours: bool, deleting: bool, keep_secs: f64) -> Leftover {
    match (record, phase) {
        (None, Phase::Active | Phase::Complete | Phase::Failed { .. }) => Leftover::Report,
        (Some(_), Phase::Active | Phase::Complete | Phase::Failed { .. }) if !nonce_is_ours => Leftover::Report,
        (Some(record), Phase::Active | Phase::Complete | Phase::Failed { .. }) if record.current || deleting => Leftover::Keep,
        (Some(_), Phase::Active) => Leftover::Stop,
        (Some(record), Phase::Complete | Phase::Failed { .. }) => match record.finished_secs {
            Some(secs) if secs < keep_secs => Leftover::Keep,
            Some(_) | None => Leftover::Remove,
        },
    }
}
