//! What a source did at this replica: counted here, told to the database once a second, and shown by /metrics.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    metrics::SourceMetrics,
    store::sources::{Heard, Told},
};

/// The longest error or reason that is kept, in characters: one line on a screen, and not the message that it is about.
const TEXT_CHARS: usize = 500;

/// The tally of one source.
pub struct Tally {
    told: Mutex<Told>,
    paused: AtomicBool,
    metrics: SourceMetrics,
}

impl Tally {
    /// It begins paused, until the database said whether it is.
    pub fn new(metrics: SourceMetrics) -> Self {
        Self { told: Mutex::default(), paused: AtomicBool::new(true), metrics }
    }

    /// Messages came.
    pub fn received(&self, messages: usize) {
        self.metrics.received(messages);
        self.told().received += messages as i64;
    }

    /// Messages became jobs.
    pub fn submitted(&self, messages: usize) {
        self.metrics.submitted(messages);
        self.told().submitted += messages as i64;
    }

    /// Messages were jobs already.
    pub fn duplicates(&self, messages: usize) {
        self.metrics.duplicates(messages);
        self.told().duplicates += messages as i64;
    }

    /// A message can never become a job.
    pub fn refused(&self, why: &str) {
        self.metrics.refused();
        let mut told = self.told();
        told.refused += 1;
        told.refusal = Some(short(why));
    }

    /// How old a message was when its job was committed.
    pub fn lag(&self, lag: Duration) {
        self.metrics.lag(lag);
        self.told().lag_secs = Some(lag.as_secs_f64());
    }

    /// A pass went wrong.
    pub fn failed(&self, error: &str) {
        self.metrics.up(false);
        let mut told = self.told();
        (told.error, told.worked) = (Some(short(error)), false);
    }

    /// A pass went well.
    pub fn worked(&self) {
        self.metrics.up(true);
        self.told().worked = true;
    }

    pub fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// What is to be told now.
    pub fn take(&self) -> Told {
        std::mem::take(&mut *self.told())
    }

    /// It could not be told: it is, the next time.
    pub fn put_back(&self, it: Told) {
        let mut told = self.told();
        told.received += it.received;
        told.submitted += it.submitted;
        told.duplicates += it.duplicates;
        told.refused += it.refused;
        told.lag_secs = told.lag_secs.or(it.lag_secs);
        told.refusal = told.refusal.take().or(it.refusal);
        told.worked |= it.worked && told.error.is_none();
        told.error = told.error.take().or(it.error);
    }

    /// What the database answered.
    pub fn heard(&self, heard: Heard) {
        self.paused.store(heard.paused, Ordering::Relaxed);
        self.metrics.waits(heard.waiting, heard.oldest_secs);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // It is whole after every line.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a text, on one line and without control characters: it may be of whoever wrote the message.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS).collect()
}
