//! The watches: what they tell, how often they break off, and for how long they have been silent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::counter::Counter, registry::Registry,
};

use super::{
    Metrics,
    family::{Counters, Label, Set, label},
    names, write_gauge,
};

/// What a watch told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Applied,
    Deleted,
    Listed,
}

/// Why a watch broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The server forgot where it was.
    Expired,
    /// The server did not want it.
    Refused,
    /// The list before it failed.
    ListFailed,
    /// The connection broke.
    Broken,
}

impl Restart {
    const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::ListFailed => "list_failed",
            Self::Broken => "broken",
        }
    }
}

/// When each watch last said something, by resource and namespace.
#[derive(Debug, Default)]
struct Heard(Mutex<HashMap<(&'static str, String), Instant>>);

impl Collector for Heard {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut oldest: HashMap<&'static str, f64> = HashMap::new();
        for ((resource, _), at) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let age = oldest.entry(resource).or_default();
            *age = age.max(at.elapsed().as_secs_f64());
        }
        let ages: Vec<([Label; 1], f64)> = oldest.into_iter().map(|(it, age)| ([label(it)], age)).collect();
        write_gauge(&mut encoder, &names::WATCH_AGE, &ages)
    }
}

pub struct Watches {
    events: Counters<2>,
    restarts: Counters<2>,
    heard: Arc<Heard>,
}

impl Watches {
    pub fn new(registry: &mut Registry) -> Self {
        let heard = Arc::<Heard>::default();
        registry.register_collector(Box::new(heard.clone()));
        Self {
            events: Set::new(registry, &names::WATCH_EVENTS, Counter::default),
            restarts: Set::new(registry, &names::WATCH_RESTARTS, Counter::default),
            heard,
        }
    }
}

impl Metrics {
    /// A watch begins, or was renewed.
    pub fn watch_heard(&self, resource: &'static str, namespace: &str) {
        let mut heard = self.watches.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert((resource, namespace.to_owned()), Instant::now());
    }

    /// A watch told something.
    pub fn watch_told(&self, resource: &'static str, namespace: &str, what: Told) {
        let cause = match what {
            Told::Applied => "applied",
            Told::Deleted => "deleted",
            Told::Listed => "listed",
        };
        self.watches.events.of([label(resource), label(cause)]).inc();
        self.watch_heard(resource, namespace);
    }

    /// A watch broke off, and will be resumed.
    pub fn watch_restarts(&self, resource: &'static str, why: Restart) {
        self.watches.restarts.of([label(resource), label(why.name())]).inc();
    }
}
