//! The Job controller's notes on one Job: what it counted, and when it may act next.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::sim::state::{Happened, Object};

#[derive(Clone, Debug, Default)]
pub struct Book {
    pub succeeded: u64,
    pub failed: u64,
    /// Completed indexes of an indexed Job.
    pub indexes: BTreeSet<u64>,
    /// When the Job was started, or resumed, for its deadline.
    pub started: Option<Instant>,
    pub finished: Option<Instant>,
    /// No pod is created before.
    pub not_before: Option<Instant>,
    /// How often in a row a pod could not be created.
    pub refused: u32,
    /// Pods the controller deleted because it wants fewer, or none while the Job is suspended: they did not fail.
    pub excused: HashSet<Uuid>,
    counted: HashSet<Uuid>,
}

/// The real controller waits 10 s, then twice as long each time. Nobody wants to wait for that here.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

pub const INDEX_ANNOTATION: &str = "batch.kubernetes.io/job-completion-index";

impl Book {
    /// Counts a pod once, when it ends. A pod that is being deleted has failed, unless it had succeeded.
    ///
    /// This happens inside the commit that ends the pod. So the count is right even when the pod is gone before the
    /// controller looks; the real one needs a finalizer on each pod for that.
    pub fn count(&mut self, uid: Uuid, pod: &Object, happened: Happened, now: Instant) {
        let phase = pod.value["status"]["phase"].as_str().unwrap_or_default();
        let ended = ["Succeeded", "Failed"].contains(&phase) || pod.is_leaving() || happened == Happened::Deleted;
        if !ended || !self.counted.insert(uid) {
            return;
        }
        if phase == "Succeeded" {
            self.succeeded += 1;
            self.indexes.extend(pod.annotation(INDEX_ANNOTATION).and_then(|index| index.parse::<u64>().ok()));
        } else if !self.excused.remove(&uid) {
            self.failed += 1;
            self.not_before = Some(now + backoff(self.failed));
        }
    }
}

pub fn backoff(times: u64) -> Duration {
    let doublings = u32::try_from(times.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    (BACKOFF_FIRST * 2u32.pow(doublings)).min(BACKOFF_MAX)
}
