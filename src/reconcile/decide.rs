//! What to do next about one job, given what its row says and what the cluster shows. Pure, and exhaustive: no `_`.
//!
//! A slot is given up by [`Step::Finish`] alone, and that only when the Kubernetes Job has ended and no pod of it lives,
//! or when it is confirmed to be gone with all its pods. Every deadline is counted by the database's clock, which has read
//! the spans in the row's head.

use crate::{
    cluster::seen::{Phase, Seen, SeenJob, Sight},
    lifecycle::{AttemptEnd, Ending, Facts, KeepLogs, Log, Reason, Stopping, Wait, WaitCode},
    retry::{self, Next},
    store::jobs::{Head, Holder, Job},
    trouble::{Grace, Line, Table},
};

/// By how much one replica's watch may lag behind another's, or behind what was created.
pub const WATCH_LAG_SECS: f64 = 10.0;
/// A job that has not started for so long has its events read: most have started by then.
const INSPECT_AFTER_SECS: f64 = 5.0;
/// The longest pause before they are read again. Until then it is a quarter of the time it has not started.
const INSPECT_EVERY_SECS: f64 = 60.0;

/// What no status tells.
const ONLY_EVENTS_TELL: &[WaitCode] = &[WaitCode::VolumeMount, WaitCode::NoPod, WaitCode::PodQuota];

/// What the operator decided.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long a start may take whose job says nothing; none is for ever.
    pub start_timeout_secs: Option<f64>,
    pub troubles: Table,
    pub logs: KeepLogs,
}

/// The one next step for a job that holds a slot.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing; look again in so many seconds, if a deadline is due then.
    Wait(Option<f64>),
    /// Look again soon, though nothing may change that a watch would tell.
    LookAgain,
    /// A container of it started.
    Start(Facts),
    /// Ask the API server whether it is really gone, or its pods are.
    Confirm,
    /// It does not start, and nothing says why: read its events.
    Inspect,
    /// Write down what it waits for.
    Tell(Option<Wait>),
    /// It has to be stopped: record that, then delete it.
    Stop(Ending, Facts),
    /// It is being stopped, and nobody deleted it yet.
    Delete(SeenJob),
    Finish(End, Facts),
}

/// How an attempt ended, and what follows.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Succeeded(AttemptEnd),
    Failed(AttemptEnd),
    Cancelled(AttemptEnd),
    /// There will be another attempt.
    Again {
        in_secs: f64,
        wait: Wait,
        end: AttemptEnd,
    },
}

/// Decides the next step. The same sides always give the same step.
pub fn decide(job: &Holder, seen: &Seen, rules: &Rules) -> Step {
    match (job, seen) {
        (Holder::Claimed(_) | Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Unknown) => {
            Step::Wait(None)
        }

        (Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Ended(sight)) => {
            ended(job.head(), sight, true, rules).unwrap_or(Step::Wait(None))
        }

        // Creating it, and recording that it is created, is the business of the replica that claimed it, or took it over:
        // should anyone else record it, the job could end, and its Kubernetes Job be removed, while a creator that lost the
        // answer is about to send its request again.
        (Holder::Claimed(_), Seen::Absent { .. } | Seen::Gone | Seen::Ended(_) | Seen::Present(_)) => Step::Wait(None),

        // Pods that outlived their Job still run: the slot is theirs until they are gone.
        (Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Absent { live_pods: true }) => {
            Step::Wait(None)
        }
        (Holder::Created(job), Seen::Absent { live_pods: false }) if job.head().held_secs < WATCH_LAG_SECS => {
            Step::LookAgain
        }
        (Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Absent { live_pods: false }) => {
            Step::Confirm
        }
        (Holder::Created(_) | Holder::Running(_), Seen::Gone) => {
            let ending = Ending::new(Reason::Lost, "its Kubernetes Job was deleted by someone else");
            conclude(job.head(), ending, Facts::default(), Log::Missing, rules)
        }
        (Holder::Stopping(job), Seen::Gone) => stopped(job, rules),

        // Told even if it has ended since: it did run.
        (Holder::Created(_), Seen::Present(sight)) if sight.facts.started_at.is_some() => {
            Step::Start(sight.facts.clone())
        }
        (Holder::Created(job), Seen::Present(sight)) => match ended(job.head(), sight, false, rules) {
            Some(step) => step,
            None if job.head().cancel_requested => Step::Stop(cancelled(), sight.facts.clone()),
            None => not_started(job.head(), sight, rules),
        },
        (Holder::Running(job), Seen::Present(sight)) => match ended(job.head(), sight, false, rules) {
            Some(step) => step,
            None if job.head().cancel_requested => Step::Stop(cancelled(), sight.facts.clone()),
            None => runs(job.head(), sight),
        },
        // Once it is being deleted, whatever it says of itself may come of that: a program that ends well when told to stop
        // makes its Job complete. Before, an end is its own, and is told; the delete meets no Job that has ended, for it
        // names the version that was seen.
        (Holder::Stopping(job), Seen::Present(sight)) => match ended(job.head(), sight, false, rules) {
            Some(_) | None if sight.job.deleting => Step::Wait(None),
            Some(step) => step,
            None => Step::Delete(sight.job.clone()),
        },
    }
}

/// What follows from a Job that has ended; none from one that has not. `confirmed`: no pod of it lives.
fn ended(head: &Head, sight: &Sight, confirmed: bool, rules: &Rules) -> Option<Step> {
    let complete = match &sight.job.phase {
        Phase::Active => return None,
        Phase::Complete => true,
        Phase::Failed { .. } => false,
    };
    if sight.live_pods {
        return Some(Step::Wait(None));
    }
    // Every pod that a complete Job counts was seen to end well, so none of them is left. A failed one can have failed
    // while pods of it still stop, and the watch of pods may lag behind that of Jobs.
    if !(confirmed || complete && sight.all_seen) {
        return Some(if sight.all_seen || sight.waited { Step::Confirm } else { Step::LookAgain });
    }
    let facts = sight.facts.clone();
    Some(match &sight.job.phase {
        Phase::Active => return None,
        Phase::Complete => {
            let ending = Ending::new(Reason::Completed, "every pod ended with exit code 0");
            let log = rules.logs.wants(ending.reason).then_some(Log::Wanted);
            Step::Finish(End::Succeeded(AttemptEnd { ending, counts: None, log }), facts)
        }
        Phase::Failed { reason, message } => conclude(head, failed(reason, message, sight), facts, Log::Wanted, rules),
    })
}

fn failed(reason: &str, message: &str, sight: &Sight) -> Ending {
    if reason == "DeadlineExceeded" {
        let message = "Kubernetes ended it: it was active for longer than its activeDeadlineSeconds";
        return Ending::new(Reason::DeadlineExceeded, message);
    }
    let container = sight.facts.container.as_deref().unwrap_or("a container");
    match (&sight.fate, sight.facts.exit_code) {
        (Some(fate), _) => fate.clone(),
        (None, Some(code)) if code != 0 => {
            Ending::new(Reason::JobFailed, format!("the container {container} ended with exit code {code}"))
        }
        (None, Some(_) | None) => Ending::new(Reason::JobFailed, format!("Kubernetes says: {message} ({reason})")),
    }
}

/// An attempt that ended badly: its job ends with it, or is tried again.
fn conclude(head: &Head, ending: Ending, facts: Facts, log: Log, rules: &Rules) -> Step {
    let log = rules.logs.wants(ending.reason).then_some(log);
    let code = if ending.reason == Reason::Quota { WaitCode::PodQuota } else { WaitCode::Backoff };
    match retry::next(&head.policy, &head.tries(), &ending, facts.exit_code) {
        Next::End { counts } => Step::Finish(End::Failed(AttemptEnd { ending, counts, log }), facts),
        Next::Again { in_secs, counts, message } => {
            let end = AttemptEnd { ending, counts, log };
            Step::Finish(End::Again { in_secs, wait: Wait::new(code, message), end }, facts)
        }
    }
}

/// It was stopped, and nothing of it is left.
fn stopped(job: &Job<Stopping>, rules: &Rules) -> Step {
    let ending = job.state().ending.clone();
    let made_room = ending.reason == Reason::Quota && job.head().cancel_requested;
    if ending.reason == Reason::Cancelled || made_room {
        let ending = if made_room { cancelled() } else { ending };
        let log = rules.logs.wants(ending.reason).then_some(Log::Missing);
        return Step::Finish(End::Cancelled(AttemptEnd { ending, counts: None, log }), Facts::default());
    }
    conclude(job.head(), ending, Facts::default(), Log::Missing, rules)
}

fn runs(head: &Head, sight: &Sight) -> Step {
    match head.policy.timeout_secs {
        Some(secs) if head.run_secs >= secs => {
            let message = format!("it ran for longer than its timeout of {secs} s");
            Step::Stop(Ending::new(Reason::DeadlineExceeded, message), sight.facts.clone())
        }
        Some(secs) => Step::Wait(Some(secs - head.run_secs)),
        None => Step::Wait(None),
    }
}

/// Its Kubernetes Job exists, and no container of it has started.
fn not_started(head: &Head, sight: &Sight, rules: &Rules) -> Step {
    if sight.job.suspended {
        return match head.waits {
            Some((WaitCode::Suspended, _)) => Step::Wait(None),
            Some(_) | None => {
                Step::Tell(Some(Wait::new(WaitCode::Suspended, "its Kubernetes Job is suspended (spec.suspend)")))
            }
        };
    }
    // Its clock begins anew when this is on record.
    if matches!(head.waits, Some((WaitCode::Suspended, _))) {
        return Step::Tell(None);
    }
    let limit_secs = head.policy.start_timeout_secs.or(rules.start_timeout_secs);
    if let Some(secs) = limit_secs.filter(|it| head.start_secs >= *it) {
        return Step::Stop(too_late(secs, sight, rules), sight.facts.clone());
    }
    let left_secs = limit_secs.map(|it| it - head.start_secs);
    let known = sight.trouble.as_ref().and_then(|it| Some((rules.troubles.find(&it.said)?, it.message.as_str())));
    match known {
        Some((line, message)) => in_trouble(head, sight, line, message, left_secs),
        None => no_trouble(head, sight, left_secs),
    }
}

fn in_trouble(head: &Head, sight: &Sight, line: &Line, message: &str, left_secs: Option<f64>) -> Step {
    let since = head.waits.and_then(|(code, secs)| (code == line.code).then_some(secs));
    // A status is as it is now; an event is as it was, and what it told may have healed without another one that is seen.
    let read_secs = sight.inspected_secs.filter(|_| ONLY_EVENTS_TELL.contains(&line.code));
    let again_secs = read_secs.map(|it| inspect_every_secs(head) - it);
    let is_stale = |secs: f64| read_secs.is_some_and(|it| it >= secs);
    match (line.grace, since) {
        (Grace::For(_) | Grace::UntilStartTimeout, Some(_)) if is_stale(inspect_every_secs(head)) => Step::Inspect,
        (Grace::For(grace), Some(secs)) if secs >= grace.as_secs_f64() && is_stale(INSPECT_AFTER_SECS) => Step::Inspect,
        (Grace::None, Some(_) | None) => Step::Stop(Ending::new(line.reason, message), sight.facts.clone()),
        (Grace::For(_) | Grace::UntilStartTimeout, None) => Step::Tell(Some(Wait::new(line.code, message))),
        (Grace::For(grace), Some(secs)) if secs >= grace.as_secs_f64() => {
            let message = format!("{message} (for longer than the {grace:?} it is given)");
            Step::Stop(Ending::new(line.reason, message), sight.facts.clone())
        }
        (Grace::For(grace), Some(secs)) => {
            let grace_secs = grace.as_secs_f64() - secs;
            Step::Wait([Some(grace_secs), left_secs, again_secs].into_iter().flatten().reduce(f64::min))
        }
        (Grace::UntilStartTimeout, Some(_)) => {
            Step::Wait([left_secs, again_secs].into_iter().flatten().reduce(f64::min))
        }
    }
}

/// The pause between two readings of its events.
fn inspect_every_secs(head: &Head) -> f64 {
    (head.start_secs / 4.0).clamp(INSPECT_AFTER_SECS, INSPECT_EVERY_SECS)
}

/// Nothing that is seen keeps it from starting. What only events tell was not looked into before they are read.
fn no_trouble(head: &Head, sight: &Sight, left_secs: Option<f64>) -> Step {
    let due_secs = match sight.inspected_secs {
        Some(secs) => inspect_every_secs(head) - secs,
        None => INSPECT_AFTER_SECS - head.start_secs,
    };
    match (head.waits, sight.inspected_secs) {
        (Some(_), Some(_)) => Step::Tell(None),
        (Some((code, _)), None) if ONLY_EVENTS_TELL.contains(&code) => Step::Inspect,
        (Some(_), None) => Step::Tell(None),
        (None, Some(_) | None) if due_secs <= 0.0 => Step::Inspect,
        (None, Some(_) | None) => Step::Wait(Some(left_secs.map_or(due_secs, |it| it.min(due_secs)))),
    }
}

fn too_late(limit_secs: f64, sight: &Sight, rules: &Rules) -> Ending {
    let said = sight.trouble.as_ref().map(|it| it.message.as_str());
    let code = sight.trouble.as_ref().and_then(|it| rules.troubles.find(&it.said)).map(|it| it.code);
    let why = said.map_or_else(|| "nothing says why".to_owned(), str::to_owned);
    let message = format!("no container of it ran within its start timeout of {limit_secs} s: {why}");
    match code {
        Some(WaitCode::Unschedulable) => Ending::new(Reason::Unschedulable, message),
        Some(_) | None => Ending::new(Reason::StartTimeout, message),
    }
}

fn cancelled() -> Ending {
    Ending::new(Reason::Cancelled, "cancelled, and stopped")
}

#[cfg(test)]
pub(super) mod tests;
