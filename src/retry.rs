//! Whether an attempt that ended badly is followed by another one, and when. Pure.
//!
//! Three kinds of endings. A failure counts against `max_attempts`, and is tried again when its reason, and its exit code,
//! are among those the policy names. An interruption, which the cluster brought about and the job has no part in, does not
//! count, and is tried again up to a limit of its own, whatever `max_attempts` says. A job whose pods were over a quota was
//! stopped only to make room: it waits, without a limit but its `queue_timeout`.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AttemptNo, JobId},
    lifecycle::{Ending, Reason},
    spec::Fault,
};

/// The most attempts that can be asked for. Each is a Kubernetes Job and a row.
pub const MOST_ATTEMPTS: i32 = 1_000;
/// The most interruptions that can be asked for, for the same reason.
pub const MOST_INTERRUPTIONS: i32 = 1_000;
/// How often an interrupted job is tried again unless its policy says otherwise.
pub const INTERRUPTIONS: i32 = 3;
/// The longest pause between attempts, in seconds: a week. Beyond it is a slip of the pen.
pub const LONGEST_PAUSE_SECS: f64 = 7.0 * 24.0 * 3600.0;
/// The longest deadline, in seconds: a year.
pub const LONGEST_SECS: f64 = 366.0 * 24.0 * 3600.0;
/// The most exit codes in a list.
pub const EXIT_CODES: usize = 256;
/// The pauses of a job that is over a quota: the first, and the longest, in seconds.
const QUOTA_PAUSES_SECS: (f64, f64) = (5.0, 300.0);

/// The reasons that are tried again unless the policy names others: those that another attempt may heal.
pub const RETRIED: &[Reason] = &[
    Reason::JobFailed,
    Reason::OomKilled,
    Reason::DeadlineExceeded,
    Reason::StartTimeout,
    Reason::ImagePull,
    Reason::Unschedulable,
];

/// The reasons that a policy may name: all by which an attempt can fail.
pub const MAY_BE_RETRIED: &[Reason] = &[
    Reason::JobFailed,
    Reason::OomKilled,
    Reason::DeadlineExceeded,
    Reason::StartTimeout,
    Reason::ImagePull,
    Reason::ConfigError,
    Reason::Unschedulable,
    Reason::Lost,
];

/// Deadlines and retries of one job, as its submitter said them. What is not said is as [`Policy::default`] has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// How many attempts may fail before the job does.
    #[serde(skip_serializing_if = "is_one")]
    pub max_attempts: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long an attempt may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<f64>,
    /// How long an attempt may take until the containers of a pod of it run, its init containers before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout_secs: Option<f64>,
    /// How long the job may wait for a slot each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout_secs: Option<f64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            backoff: None,
            retry: None,
            timeout_secs: None,
            start_timeout_secs: None,
            queue_timeout_secs: None,
        }
    }
}

fn is_one(it: &i32) -> bool {
    *it == 1
}

impl Policy {
    /// Every rule of this file that it breaks.
    pub fn check_into(&self, faults: &mut Vec<Fault>) {
        let mut check = |holds: bool, pointer: &str, detail: String| {
            if !holds {
                faults.push(Fault::new(pointer, detail));
            }
        };
        let within = |it: i32, most: i32| (1..=most).contains(&it);
        check(within(self.max_attempts, MOST_ATTEMPTS), "/max_attempts", format!("must be 1 to {MOST_ATTEMPTS}"));
        for (pointer, secs, least) in [
            ("/timeout", self.timeout_secs, 1.0),
            ("/start_timeout", self.start_timeout_secs, 1.0),
            ("/queue_timeout", self.queue_timeout_secs, 0.001),
        ] {
            let detail = format!("must be at least {least} s and at most a year, such as 90s, 15m or 1h30m");
            check(secs.is_none_or(|it| (least..=LONGEST_SECS).contains(&it)), pointer, detail);
        }
        if let Some(it) = &self.backoff {
            let pause = |secs: f64| (0.0..=LONGEST_PAUSE_SECS).contains(&secs);
            check(pause(it.initial_secs), "/backoff/initial", "must be at most a week".into());
            check(pause(it.max_secs), "/backoff/max", "must be at most a week".into());
            check(it.initial_secs <= it.max_secs, "/backoff/max", "must not be shorter than initial".into());
            check((1.0..=1000.0).contains(&it.factor), "/backoff/factor", "must be 1 to 1000".into());
            check((0.0..=1.0).contains(&it.jitter), "/backoff/jitter", "must be 0 to 1".into());
        }
        let Some(retry) = &self.retry else { return };
        let names = || MAY_BE_RETRIED.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
        for (index, reason) in retry.on.iter().flatten().enumerate() {
            let detail = format!("{} cannot be tried again by choice; the choice is {}", reason.name(), names());
            check(MAY_BE_RETRIED.contains(reason), &format!("/retry/on/{index}"), detail);
        }
        for (pointer, codes) in
            [("/retry/exit_codes", &retry.exit_codes), ("/retry/except_exit_codes", &retry.except_exit_codes)]
        {
            let codes = codes.as_deref().unwrap_or_default();
            check(
                codes.len() <= EXIT_CODES,
                pointer,
                format!("has {} entries; {EXIT_CODES} are the most", codes.len()),
            );
            check(codes.iter().all(|it| within(*it, 255)), pointer, "must be exit codes of 1 to 255".into());
        }
        let most = retry.max_interruptions.unwrap_or(0);
        let detail = format!("must be 0 to {MOST_INTERRUPTIONS}");
        check((0..=MOST_INTERRUPTIONS).contains(&most), "/retry/max_interruptions", detail);
    }
}

/// How long to pause before the next attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    pub initial_secs: f64,
    /// What each pause is multiplied by to give the next; 1 for pauses of one length.
    pub factor: f64,
    pub max_secs: f64,
    /// By which share of itself a pause is made longer at most, so that jobs that failed together do not return together.
    pub jitter: f64,
}

impl Default for Backoff {
    /// As Kubernetes' Job controller paces its own retries: 10 s, 20 s, 40 s …, and no more than 10 minutes.
    fn default() -> Self {
        Self { initial_secs: 10.0, factor: 2.0, max_secs: 600.0, jitter: 0.1 }
    }
}

impl Backoff {
    /// Pauses of one length.
    pub fn fixed(secs: f64) -> Self {
        Self { initial_secs: secs, factor: 1.0, max_secs: secs, jitter: 0.0 }
    }

    /// The pause after the `failures`-th failure, in seconds. The jitter is drawn from the attempt, so that whoever decides
    /// this decides the same.
    fn pause_secs(&self, failures: i32, job: JobId, attempt: AttemptNo) -> f64 {
        let grown = self.initial_secs * self.factor.powi((failures - 1).clamp(0, MOST_ATTEMPTS));
        let drawn = (job.0.as_u128() ^ u128::from(attempt.unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15)) % 1_000;
        let share = drawn as f64 / 1_000.0;
        (grown.min(self.max_secs) * (1.0 + self.jitter * share)).clamp(0.0, LONGEST_PAUSE_SECS)
    }
}

/// Which endings are tried again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// The reasons; [`RETRIED`] if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<Reason>>,
    /// Of containers that ended with an exit code, only these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_codes: Option<Vec<i32>>,
    /// And none of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except_exit_codes: Option<Vec<i32>>,
    /// How often a job is tried again whose pod was evicted, preempted, deleted or lost with its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interruptions: Option<i32>,
}

/// What has happened to a job so far.
#[derive(Debug, Clone, Copy)]
pub struct Tries {
    pub job: JobId,
    pub attempt: AttemptNo,
    /// Earlier attempts that count.
    pub failed: i32,
    /// Earlier attempts that the cluster ended.
    pub interruptions: i32,
    /// Whether someone wants the job to be over.
    pub cancel_requested: bool,
}

/// What follows an attempt that ended badly.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The job ends as its attempt did.
    End { counts: Option<bool> },
    /// Another attempt, after a pause.
    Again { in_secs: f64, counts: Option<bool>, message: String },
}

/// Decides what follows.
pub fn next(policy: &Policy, tries: &Tries, ending: &Ending, exit_code: Option<i32>) -> Next {
    let backoff = policy.backoff.clone().unwrap_or_default();
    if ending.reason == Reason::Quota && !tries.cancel_requested {
        let before = (tries.attempt - 1 - tries.failed - tries.interruptions).clamp(0, 16);
        let in_secs = (QUOTA_PAUSES_SECS.0 * f64::from(1 << before)).min(QUOTA_PAUSES_SECS.1);
        return Next::Again { in_secs, counts: None, message: ending.message.clone() };
    }
    let interrupted = ending.reason.is_interruption();
    let counts = Some(!interrupted);
    let (made, most, of) = match interrupted {
        true => {
            let most = policy.retry.as_ref().and_then(|it| it.max_interruptions).unwrap_or(INTERRUPTIONS);
            (tries.interruptions + 1, most, "interruption")
        }
        false => (tries.failed + 1, policy.max_attempts - 1, "retry"),
    };
    if tries.cancel_requested || made > most || !(interrupted || is_retried(policy, ending.reason, exit_code)) {
        return Next::End { counts };
    }
    let in_secs = backoff.pause_secs(made, tries.job, tries.attempt);
    let message = format!(
        "attempt {} ended as {}: {}; {of} {made} of {most}",
        tries.attempt,
        ending.reason.name(),
        ending.message
    );
    Next::Again { in_secs, counts, message }
}

fn is_retried(policy: &Policy, reason: Reason, exit_code: Option<i32>) -> bool {
    let retry = policy.retry.clone().unwrap_or_default();
    let by_code = match exit_code {
        Some(code) if matches!(reason, Reason::JobFailed | Reason::OomKilled) => {
            retry.exit_codes.is_none_or(|it| it.contains(&code))
                && !retry.except_exit_codes.is_some_and(|it| it.contains(&code))
        }
        _ => true,
    };
    by_code && retry.on.as_deref().unwrap_or(RETRIED).contains(&reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tries(failed: i32, interruptions: i32) -> Tries {
        Tries { job: JobId::new(), attempt: failed + interruptions + 1, failed, interruptions, cancel_requested: false }
    }

    fn again(policy: &Policy, tries: Tries, reason: Reason, code: Option<i32>) -> bool {
        matches!(next(policy, &tries, &Ending::new(reason, "m"), code), Next::Again { .. })
    }

    #[test]
    fn failures_are_tried_again_as_often_as_the_policy_says() {
        let three = Policy { max_attempts: 3, ..Policy::default() };
        assert!(again(&three, tries(0, 0), Reason::JobFailed, Some(1)));
        assert!(again(&three, tries(1, 2), Reason::OomKilled, Some(137)));
        assert!(!again(&three, tries(2, 0), Reason::JobFailed, Some(1)));
        assert!(!again(&Policy::default(), tries(0, 0), Reason::JobFailed, Some(1)));
        for never in [Reason::ManifestRejected, Reason::NameConflict, Reason::Lost, Reason::ConfigError] {
            assert!(!again(&three, tries(0, 0), never, None), "{never:?}");
        }
    }

    #[test]
    fn interruptions_do_not_count_and_have_a_limit_of_their_own() {
        let once = Policy::default();
        for interruption in [Reason::Evicted, Reason::Preempted, Reason::NodeLost, Reason::PodDeleted] {
            assert!(again(&once, tries(0, 2), interruption, None));
            assert!(!again(&once, tries(0, 3), interruption, None));
        }
        let none =
            Policy { retry: Some(Retry { max_interruptions: Some(0), ..Retry::default() }), ..Policy::default() };
        assert!(!again(&none, tries(0, 0), Reason::Evicted, None));
    }

    #[test]
    fn exit_codes_choose() {
        let only = |on: Retry| Policy { max_attempts: 9, retry: Some(on), ..Policy::default() };
        let some = only(Retry { exit_codes: Some(vec![3, 4]), ..Retry::default() });
        assert!(again(&some, tries(0, 0), Reason::JobFailed, Some(3)));
        assert!(!again(&some, tries(0, 0), Reason::JobFailed, Some(5)));
        let all_but = only(Retry { except_exit_codes: Some(vec![42]), ..Retry::default() });
        assert!(again(&all_but, tries(0, 0), Reason::JobFailed, Some(1)));
        assert!(!again(&all_but, tries(0, 0), Reason::JobFailed, Some(42)));
        let lost_too = only(Retry { on: Some(vec![Reason::Lost]), ..Retry::default() });
        assert!(again(&lost_too, tries(0, 0), Reason::Lost, None));
        assert!(!again(&lost_too, tries(0, 0), Reason::JobFailed, Some(1)));
    }

    #[test]
    fn nothing_is_tried_again_that_is_to_be_cancelled() {
        let policy = Policy { max_attempts: 9, ..Policy::default() };
        for reason in [Reason::JobFailed, Reason::Evicted, Reason::Quota] {
            assert!(!again(&policy, Tries { cancel_requested: true, ..tries(0, 0) }, reason, Some(1)));
        }
    }

    proptest! {
        #[test]
        fn pauses_grow_and_stay_within_their_bounds(
            initial in 0.0..1e9_f64, factor in 1.0..1e3_f64, max in 0.0..1e9_f64, jitter in 0.0..1.0_f64, failed in 0..999_i32,
        ) {
            let backoff = Backoff { initial_secs: initial, factor, max_secs: max, jitter };
            let job = JobId::new();
            let pause = backoff.pause_secs(failed + 1, job, 1);
            prop_assert!(pause >= 0.0 && pause <= (max * (1.0 + jitter)).min(LONGEST_PAUSE_SECS));
            let plain = Backoff { jitter: 0.0, ..backoff };
            prop_assert!(plain.pause_secs(failed + 2, job, 1) >= plain.pause_secs(failed + 1, job, 1));
        }
    }
}
