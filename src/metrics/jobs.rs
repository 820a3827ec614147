//! What happens to jobs: accepted, claimed, started, ended; and how far an estimate was off.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::id::JobId;

use super::{GLOBAL, Label, Metrics, label};

/// The most estimates that are remembered until their jobs are claimed, some hundred kilobytes.
const ESTIMATES: usize = 10_000;
/// For how long one is remembered: what takes longer, or is claimed by another replica, is not compared.
const REMEMBERED: Duration = Duration::from_secs(6 * 3600);
/// Of shorter waits no estimate is taken at its word: it would be off by the time that a claim takes.
const SHORTEST: f64 = 1.0;

/// Who brought a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Http,
    Batch,
    Template,
    Filter,
    Source,
    Sql,
}

impl Via {
    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Batch => "batch",
            Self::Template => "template",
            Self::Filter => "filter",
            Self::Source => "source",
            Self::Sql => "sql",
        }
    }
}

/// What a submission came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    New,
    Before,
    No,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    Succeeded,
    Failed,
    Cancelled,
    /// The cluster ended it, and it does not count.
    Interrupted,
}

impl AttemptOutcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A move that this replica committed, as far as it is measured. Spans are in seconds, by the database's clock.
#[derive(Debug, Clone, Copy)]
pub struct Exit<'a> {
    pub queue: &'a str,
    /// It was claimed, and nothing more: how long it had waited for its claim.
    pub waited: Option<f64>,
    /// It began to run: how long after the claim.
    pub started: Option<f64>,
    /// Its attempt is over, after running so long if it ran.
    pub attempt: Option<(AttemptOutcome, Option<f64>)>,
    /// The job is over: how, and why.
    pub finished: Option<(&'static str, &'static str)>,
}

#[derive(Default)]
pub struct Estimates(Mutex<HashMap<JobId, (Instant, f64)>>);

impl Estimates {
    fn told(&self, job: JobId, secs: f64) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= ESTIMATES {
            told.retain(|_, it| it.0.elapsed() < REMEMBERED);
        }
        if told.len() < ESTIMATES {
            told.entry(job).or_insert((Instant::now(), secs));
        }
    }

    fn came_true(&self, job: JobId) -> Option<f64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, secs) = told.remove(&job)?;
        Some(at.elapsed().as_secs_f64() / secs)
    }
}

impl Metrics {
    /// A submission ended so. A name that was refused is not made a label.
    pub fn submitted(&self, via: Via, queue: Option<&str>, accepted: Accepted) {
        let (queue, result) = match accepted {
            Accepted::New => (queue.map(|it| self.queues.of(it)), "accepted"),
            Accepted::Before => (queue.map(|it| self.queues.of(it)), "duplicate"),
            Accepted::No => (queue.map(|it| self.queues.if_known(it)), "rejected"),
        };
        let queue = queue.map_or(label(super::OTHER), |it| it.label.clone());
        self.submitted.of([queue, label(via.name()), label(result)]).inc();
    }

    /// A move was committed.
    pub fn moved(&self, it: &Exit<'_>) {
        let queue = self.queues.of(it.queue);
        if let Some(secs) = it.waited {
            queue.wait.observe(secs);
        }
        if let Some(secs) = it.started {
            queue.start.observe(secs);
        }
        if let Some((outcome, ran)) = it.attempt {
            let outcome = label(outcome.name());
            self.attempts.of([queue.label.clone(), outcome.clone()]).inc();
            if let Some(secs) = ran {
                self.run.of([queue.label.clone(), outcome]).observe(secs);
            }
        }
        if let Some((outcome, reason)) = it.finished {
            self.finished_in(&queue.label, 1, outcome, reason);
        }
    }

    /// So many jobs of a queue ended without an attempt.
    pub fn finished(&self, queue: &str, jobs: u64, outcome: &'static str, reason: &'static str) {
        let queue = self.queues.of(queue);
        self.finished_in(&queue.label, jobs, outcome, reason);
    }

    fn finished_in(&self, queue: &Label, jobs: u64, outcome: &'static str, reason: &'static str) {
        self.finished.of([queue.clone(), label(outcome), label(reason)]).inc_by(jobs);
    }

    /// A pass claimed so many jobs.
    pub fn claimed(&self, jobs: usize) {
        self.claims.inc_by(jobs as u64);
    }

    /// A pass found jobs waiting, and every slot held.
    pub fn refused_by_cap(&self) {
        self.claims_refused.of([label(GLOBAL)]).inc();
    }

    /// The same of the cap of a queue.
    pub fn refused_by_queue(&self, queue: &str) {
        self.queues.configured(queue);
        self.claims_refused.of([limit_of(&self.queues.if_known(queue).label)]).inc();
    }

    /// What was seen of the global cap, in one snapshot: `version` changes whenever somebody writes the cap. Of looks that
    /// follow each other.
    pub fn saw_cap(&self, version: &str, cap: i64, held: i64) {
        self.cap.saw(label(GLOBAL), version, cap, held);
    }

    /// A slot became free so long after its Kubernetes Job was seen to have ended.
    pub fn slot_released(&self, after: Duration) {
        self.slot_release.observe(after.as_secs_f64());
    }

    /// Somebody was told that this job starts in so many seconds.
    pub fn estimated(&self, job: JobId, secs: f64) {
        if secs >= SHORTEST {
            self.estimates.told(job, secs);
        }
    }

    /// This replica has claimed the job.
    pub fn came_true(&self, job: JobId, queue: &str) {
        if let Some(ratio) = self.estimates.came_true(job) {
            self.queues.of(queue).eta.observe(ratio);
        }
    }
}

/// The cap of a queue, as a limit.
pub fn limit_of(queue: &str) -> Label {
    format!("queue:{queue}").into()
}
