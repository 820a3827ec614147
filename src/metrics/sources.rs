//! What is measured of queues elsewhere, a source each. Names of sources are the operator's own.

use std::{sync::Arc, time::Duration};

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::{
    Metrics,
    family::{Counters, Label, Level, Levels, Set, label},
    names,
};

pub struct Sources {
    messages: Counters<2>,
    received: Counters<1>,
    waiting: Levels<1>,
    lag: Levels<1>,
    oldest: Levels<1>,
    up: Levels<1>,
}

impl Sources {
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            received: Set::new(registry, &names::SOURCE_RECEIVED, Counter::default),
            messages: Set::new(registry, &names::SOURCE_MESSAGES, Counter::default),
            waiting: Set::new(registry, &names::SOURCE_WAITING, Level::default),
            lag: Set::new(registry, &names::SOURCE_LAG, Level::default),
            oldest: Set::new(registry, &names::SOURCE_OLDEST, Level::default),
            up: Set::new(registry, &names::SOURCE_UP, Level::default),
        }
    }
}

impl Metrics {
    /// The metrics of one source.
    pub fn source(self: &Arc<Self>, name: &str) -> SourceMetrics {
        let name: Label = name.to_owned().into();
        let of = |result| self.sources.messages.of([name.clone(), label(result)]);
        SourceMetrics {
            received: self.sources.received.of([name.clone()]),
            submitted: of("submitted"),
            duplicates: of("duplicate"),
            refused: of("refused"),
            all: self.clone(),
            name,
        }
    }
}

/// What is measured of one source.
pub struct SourceMetrics {
    received: Counter,
    submitted: Counter,
    duplicates: Counter,
    refused: Counter,
    all: Arc<Metrics>,
    name: Label,
}

impl SourceMetrics {
    pub fn received(&self, messages: usize) {
        self.received.inc_by(messages as u64);
    }

    pub fn submitted(&self, messages: usize) {
        self.submitted.inc_by(messages as u64);
    }

    pub fn duplicates(&self, messages: usize) {
        self.duplicates.inc_by(messages as u64);
    }

    pub fn refused(&self) {
        self.refused.inc();
    }

    /// Whether the last look at the queue went well.
    pub fn up(&self, up: bool) {
        self.all.sources.up.of([self.name.clone()]).set(if up { 1.0 } else { 0.0 });
    }

    /// How old a message was when its job was committed.
    pub fn lag(&self, lag: Duration) {
        self.all.sources.lag.of([self.name.clone()]).set(lag.as_secs_f64());
    }

    /// What the rows say of how much waits there.
    pub fn waits(&self, waiting: Option<i64>, oldest_secs: Option<f64>) {
        if let Some(waiting) = waiting {
            self.all.sources.waiting.of([self.name.clone()]).set(waiting as f64);
        }
        if let Some(secs) = oldest_secs {
            self.all.sources.oldest.of([self.name.clone()]).set(secs);
        }
    }
}
