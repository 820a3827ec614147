//! What follows for a queue: from what became of its last worker job, and what is due in it. Pure.
//!
//! There is one worker job at a time, because nothing is ever submitted while the last one goes on; and a Longshore job ends
//! only when nothing of it can run any more. So a job that did not start in time is stopped, and confirmed gone, before the
//! wait even begins that [`Plan::after_timeout`] says.

use std::time::Duration;

use crate::lifecycle::Reason;

/// How often a worker job that goes on is looked at: one row by its key.
const FOLLOW: Duration = Duration::from_secs(1);
/// The shortest time between two looks into a queue, whatever the file says: `0s` must not become a busy loop.
pub const SHORTEST_CHECK: Duration = Duration::from_millis(100);

/// The times and the pods of one queue.
#[derive(Debug, Clone)]
pub struct Plan {
    pub check_every: Duration,
    pub after_success: Duration,
    pub after_failure: Duration,
    pub after_timeout: Duration,
    pub after_error: Duration,
    pub pods: Pods,
}

/// How many pods work a queue off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pods {
    pub least: i32,
    /// Where it is given, there is a pod for each so many items that are due.
    pub items_each: Option<i64>,
    pub most: i32,
}

/// What became of a queue's last worker job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// There was none, or it is no longer on record.
    None,
    GoesOn,
    Ended {
        how: How,
        /// How long ago, by the database's clock.
        ago: Duration,
    },
}

/// How a worker job ended, as far as the waits tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Succeeded,
    /// It ran, and failed; or someone cancelled it.
    Failed,
    /// It did not start in time.
    TimedOut,
    /// It cannot run as it is described.
    Error,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for so long.
    Wait(Duration),
    /// Count what is due, and ask again.
    Count,
    /// Submit a worker job of so many pods.
    Submit { pods: i32 },
}

/// `due` is how many items wait whose time has come; none where they were not counted yet.
pub fn decide(plan: &Plan, last: &Last, due: Option<i64>) -> Step {
    match last {
        Last::GoesOn => return Step::Wait(plan.check_every().min(FOLLOW)),
        Last::Ended { how, ago } => {
            let left = plan.after(*how).saturating_sub(*ago);
            if !left.is_zero() {
                return Step::Wait(left);
            }
        }
        Last::None => {}
    }
    match due {
        None => Step::Count,
        Some(due) if due > 0 => Step::Submit { pods: plan.pods.of(due) },
        Some(_) => Step::Wait(plan.check_every()),
    }
}

impl Plan {
    fn check_every(&self) -> Duration {
        self.check_every.max(SHORTEST_CHECK)
    }

    fn after(&self, how: How) -> Duration {
        match how {
            How::Succeeded => self.after_success,
            How::Failed => self.after_failure,
            How::TimedOut => self.after_timeout,
            How::Error => self.after_error,
        }
    }
}

impl Pods {
    pub fn of(self, due: i64) -> i32 {
        let Some(each) = self.items_each else { return self.least };
        let wanted = due.max(0).div_euclid(each.max(1)) + i64::from(due.max(0) % each.max(1) > 0);
        i32::try_from(wanted).unwrap_or(i32::MAX).clamp(self.least, self.most.max(self.least))
    }
}

impl How {
    /// As job-chief would have told them apart: what the cluster says of a container that cannot be made is an error, and what
    /// only never comes to run is a timeout.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::Completed => Self::Succeeded,
            Reason::StartTimeout | Reason::Unschedulable | Reason::QueueTimeout => Self::TimedOut,
            Reason::ImagePull
            | Reason::ConfigError
            | Reason::ManifestRejected
            | Reason::NameConflict
            | Reason::Refused => Self::Error,
            Reason::JobFailed
            | Reason::OomKilled
            | Reason::Evicted
            | Reason::Preempted
            | Reason::NodeLost
            | Reason::PodDeleted
            | Reason::DeadlineExceeded
            | Reason::Quota
            | Reason::Cancelled
            | Reason::Lost => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests;
