//! What to do next about one job, given what its row says and what the cluster shows. Pure, and exhaustive: no `_`.
//!
//! A slot is given up by [`Step::Finish`] alone, and that only when the Kubernetes Job has ended and no pod of it lives,
//! or when it is confirmed to be gone with all its pods.

use crate::{
    cluster::seen::{Phase, Seen, SeenJob, Sight},
    lifecycle::{Ending, Facts, Reason},
    store::jobs::{Holder, Record},
};

/// By how much one replica's watch may lag behind another's, or behind what was created.
pub const WATCH_LAG_SECS: f64 = 10.0;

/// The one next step for a job that holds a slot.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Wait,
    /// Look again soon, though nothing may change that a watch would tell.
    LookAgain,
    /// A container of it started.
    Start(Facts),
    /// Ask the API server whether it is really gone, or its pods are.
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
        (Holder::Claimed(_) | Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Unknown) => {
            Step::Wait
        }

        (Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Ended(sight)) => {
            ended(sight, true).unwrap_or(Step::Wait)
        }

        // Creating it, and recording that it is created, is the business of the replica that claimed it, or took it over:
        // should anyone else record it, the job could end, and its Kubernetes Job be removed, while a creator that lost the
        // answer is about to send its request again.
        (Holder::Claimed(_), Seen::Absent { .. } | Seen::Gone | Seen::Ended(_) | Seen::Present(_)) => Step::Wait,

        // Pods that outlived their Job still run: the slot is theirs until they are gone.
        (Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Absent { live_pods: true }) => Step::Wait,
        (Holder::Created(job), Seen::Absent { live_pods: false }) if job.head().held_secs < WATCH_LAG_SECS => {
            Step::LookAgain
        }
        (Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_), Seen::Absent { live_pods: false }) => {
            Step::Confirm
        }
        (Holder::Created(_) | Holder::Running(_), Seen::Gone) => Step::Finish(End::Failed(lost()), Facts::default()),
        (Holder::Stopping(_), Seen::Gone) => Step::Finish(End::Stopped, Facts::default()),

        // Told even if it has ended since: it did run.
        (Holder::Created(_), Seen::Present(sight)) if sight.facts.started_at.is_some() => {
            Step::Start(sight.facts.clone())
        }
        (Holder::Created(job), Seen::Present(sight)) => match ended(sight, false) {
            Some(step) => step,
            None if job.head().cancel_requested => Step::Stop(cancelled()),
            None => Step::Wait,
        },
        (Holder::Running(job), Seen::Present(sight)) => match ended(sight, false) {
            Some(step) => step,
            None if job.head().cancel_requested => Step::Stop(cancelled()),
            None => Step::Wait,
        },
        // Once it is being deleted, whatever it says of itself may come of that: a program that ends well when told to stop
        // makes its Job complete. Before, an end is its own, and is told; the delete meets no Job that has ended, for it
        // names the version that was seen.
        (Holder::Stopping(_), Seen::Present(sight)) => match ended(sight, false) {
            Some(_) | None if sight.job.deleting => Step::Wait,
            Some(step) => step,
            None => Step::Delete(sight.job.clone()),
        },
    }
}

/// What follows from a Job that has ended; none from one that has not. `confirmed`: no pod of it lives.
fn ended(sight: &Sight, confirmed: bool) -> Option<Step> {
    let ending = match &sight.job.phase {
        Phase::Active => return None,
        Phase::Complete => End::Succeeded(Ending::new(Reason::Completed, "every pod ended with exit code 0")),
        Phase::Failed { reason, message } => End::Failed(failed(reason, message, sight.facts.exit_code)),
    };
    Some(match (sight.live_pods, &ending) {
        (true, _) => Step::Wait,
        // Every pod that it counts was seen to end well, so none of them is left.
        (false, End::Succeeded(_)) if sight.all_seen || confirmed => Step::Finish(ending, sight.facts.clone()),
        (false, End::Failed(_)) if confirmed => Step::Finish(ending, sight.facts.clone()),
        // It can have failed while pods of it still stop, and the watch of pods may lag behind that of Jobs.
        (false, _) if sight.all_seen || sight.waited => Step::Confirm,
        (false, _) => Step::LookAgain,
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
pub fn dispose(record: Option<&Record>, job: &SeenJob, keep_secs: f64) -> Leftover {
    let nonce_is_ours = record.is_some_and(|it| job.nonce == Some(it.nonce));
    match (record, &job.phase) {
        (None, Phase::Active | Phase::Complete | Phase::Failed { .. }) => Leftover::Report,
        (Some(_), Phase::Active | Phase::Complete | Phase::Failed { .. }) if !nonce_is_ours => Leftover::Report,
        (Some(record), Phase::Active | Phase::Complete | Phase::Failed { .. }) if record.current || job.deleting => {
            Leftover::Keep
        }
        (Some(record), Phase::Active) => match record.finished_secs {
            // Another replica's watch was ahead of ours and saw it end. Any other Job of the attempt is a late one.
            Some(secs) if secs < WATCH_LAG_SECS && record.uid.as_ref() == Some(&job.uid) => Leftover::Keep,
            Some(_) | None => Leftover::Stop,
        },
        (Some(record), Phase::Complete | Phase::Failed { .. }) => match record.finished_secs {
            Some(secs) if secs < keep_secs => Leftover::Keep,
            Some(_) | None => Leftover::Remove,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::{JobId, KubeUid, Nonce},
        lifecycle::StateName,
        store::jobs::read_row,
    };

    fn any_holder() -> impl Strategy<Value = Holder> {
        let states = prop_oneof![
            Just((StateName::Starting, false)),
            Just((StateName::Starting, true)),
            Just((StateName::Running, true)),
            Just((StateName::Stopping, true)),
        ];
        (states, any::<bool>(), 0.0..100.0_f64)
            .prop_map(|((state, created), cancel, held)| read_row(state, created, cancel, held))
    }

    fn any_phase() -> impl Strategy<Value = Phase> {
        let failed = |reason: &str| Phase::Failed { reason: reason.into(), message: "m".into() };
        prop_oneof![
            Just(Phase::Active),
            Just(Phase::Complete),
            Just(failed("BackoffLimitExceeded")),
            Just(failed("DeadlineExceeded")),
        ]
    }

    fn any_seen() -> impl Strategy<Value = Seen> {
        let facts = (any::<bool>(), proptest::option::of(any::<i32>())).prop_map(|(started, exit_code)| Facts {
            started_at: started.then(jiff::Timestamp::now),
            exit_code,
            ..Facts::default()
        });
        let sight = (any_phase(), any::<[bool; 5]>(), facts).prop_map(
            |(phase, [deleting, live_pods, all_seen, waited, confirmed], facts)| {
                let live_pods = live_pods && !confirmed;
                let sight = Box::new(Sight { job: seen_job(phase, deleting), live_pods, all_seen, waited, facts });
                if confirmed { Seen::Ended(sight) } else { Seen::Present(sight) }
            },
        );
        prop_oneof![
            Just(Seen::Unknown),
            any::<bool>().prop_map(|live_pods| Seen::Absent { live_pods }),
            Just(Seen::Gone),
            sight
        ]
    }

    fn seen_job(phase: Phase, deleting: bool) -> SeenJob {
        SeenJob {
            namespace: "default".into(),
            name: "job-1".into(),
            uid: KubeUid("uid".into()),
            resource_version: None,
            attempt: None,
            nonce: None,
            spec_hash: None,
            deleting,
            phase,
            ended_pods: 1,
        }
    }

    proptest! {
        #[test]
        fn a_slot_is_given_up_only_when_nothing_of_the_job_can_run_any_more(job in any_holder(), seen in any_seen()) {
            if let Step::Finish(end, _) = decide(&job, &seen) {
                let over = match &seen {
                    Seen::Gone => true,
                    Seen::Ended(sight) => sight.job.phase != Phase::Active,
                    Seen::Present(sight) => !sight.live_pods && sight.all_seen && sight.job.phase == Phase::Complete,
                    Seen::Unknown | Seen::Absent { .. } => false,
                };
                prop_assert!(over, "{job:?} {seen:?}");
                let stopping = matches!(job, Holder::Stopping(_));
                prop_assert!(stopping || end != End::Stopped, "only what was being stopped ends as stopped");
                prop_assert!(!matches!(job, Holder::Claimed(_)), "what a claim came to is for its claimant to say");
            }
        }

        #[test]
        fn nothing_is_deleted_that_has_ended_or_that_nobody_wants_stopped(job in any_holder(), seen in any_seen()) {
            match decide(&job, &seen) {
                Step::Delete(_) => {
                    let stopping = matches!(job, Holder::Stopping(_));
                    let active = matches!(&seen, Seen::Present(it) if it.job.phase == Phase::Active && !it.job.deleting);
                    prop_assert!(stopping && active, "{job:?} {seen:?}");
                }
                Step::Stop(_) => prop_assert!(job.head().cancel_requested),
                Step::Wait | Step::LookAgain | Step::Start(_) | Step::Confirm | Step::Finish(..) => {}
            }
        }

        #[test]
        fn every_step_is_one_that_its_state_has(job in any_holder(), seen in any_seen()) {
            let step = decide(&job, &seen);
            let fits = matches!(
                (&step, &job),
                (Step::Wait | Step::LookAgain | Step::Confirm, _)
                    | (Step::Start(_), Holder::Created(_))
                    | (Step::Stop(_), Holder::Created(_) | Holder::Running(_))
                    | (Step::Delete(_), Holder::Stopping(_))
                    | (Step::Finish(..), Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_))
            );
            prop_assert!(fits, "{step:?} {job:?}");
        }

        #[test]
        fn a_leftover_is_touched_only_when_it_is_ours_and_its_attempt_is_over(
            current in any::<bool>(), known in any::<bool>(), ours in any::<bool>(), deleting in any::<bool>(),
            late in any::<bool>(), phase in any_phase(), finished in proptest::option::of(0.0..100.0_f64), keep in 0.0..100.0_f64,
        ) {
            let record = Record {
                job: JobId(uuid::Uuid::nil()),
                attempt: 1,
                nonce: Nonce(uuid::Uuid::nil()),
                uid: Some(KubeUid(if late { "another" } else { "uid" }.into())),
                current,
                finished_secs: finished,
            };
            let nonce = if ours { record.nonce } else { Nonce(uuid::Uuid::max()) };
            let job = SeenJob { nonce: Some(nonce), ..seen_job(phase.clone(), deleting) };
            let decided = dispose(known.then_some(&record), &job, keep);
            if matches!(decided, Leftover::Remove | Leftover::Stop) {
                prop_assert!(known && ours && !current && !deleting);
            }
            if decided == Leftover::Remove {
                prop_assert!(finished.is_none_or(|it| it >= keep) && phase != Phase::Active);
            }
            if decided == Leftover::Stop {
                prop_assert!((late || finished.is_none_or(|it| it >= WATCH_LAG_SECS)) && phase == Phase::Active);
            }
        }
    }
}
