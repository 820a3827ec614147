//! Queues as labels: those that somebody configured, and the first others; the rest is counted under `_other`.
//!
//! Anyone who may submit can make queues. Places are kept for those that have a cap, a bound or a pause, so that nobody's
//! invented names take them away.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus_client::{metrics::histogram::Histogram, registry::Registry};

use super::{
    family::{Histograms, Label, OTHER, Set, label, of_jobs, of_ratios},
    names,
};

/// The most queues with labels of their own: each has about a hundred series, and Prometheus bears some ten thousand of one
/// process.
pub const LABELLED: usize = 100;
/// How many of them are given to whoever comes first.
const FIRST_COME: usize = LABELLED / 2;
/// The one that is always there.
const DEFAULT: &str = "default";

/// What is measured of one queue in each move, looked up once.
pub struct OfQueue {
    pub label: Label,
    pub wait: Histogram,
    pub start: Histogram,
    pub eta: Histogram,
}

pub struct Queues {
    wait: Histograms<1>,
    start: Histograms<1>,
    eta: Histograms<1>,
    known: RwLock<HashMap<String, Arc<OfQueue>>>,
    other: Arc<OfQueue>,
}

impl Queues {
    pub fn new(registry: &mut Registry) -> Self {
        let wait = Set::new(registry, &names::WAIT, of_jobs);
        let start = Set::new(registry, &names::START, of_jobs);
        let eta = Set::new(registry, &names::ETA_ERROR, of_ratios);
        let other = of_queue(&wait, &start, &eta, label(OTHER));
        let it = Self { wait, start, eta, known: RwLock::default(), other };
        it.configured(DEFAULT);
        it
    }

    /// What a job of this queue is measured under.
    pub fn of(&self, queue: &str) -> Arc<OfQueue> {
        match self.known(queue) {
            Some(known) => known,
            None => self.place(queue, FIRST_COME),
        }
    }

    /// The same, without giving a place to a name that somebody only asked for.
    pub fn if_known(&self, queue: &str) -> Arc<OfQueue> {
        self.known(queue).unwrap_or_else(|| self.other.clone())
    }

    /// Keeps a place for a queue that somebody set something of.
    pub fn configured(&self, queue: &str) {
        if self.known(queue).is_none() {
            self.place(queue, LABELLED);
        }
    }

    fn known(&self, queue: &str) -> Option<Arc<OfQueue>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(queue).cloned()
    }

    fn place(&self, queue: &str, most: usize) -> Arc<OfQueue> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= most && !known.contains_key(queue) {
            return self.other.clone();
        }
        let place = known.entry(queue.to_owned());
        place.or_insert_with(|| of_queue(&self.wait, &self.start, &self.eta, queue.to_owned().into())).clone()
    }
}

fn of_queue(wait: &Histograms<1>, start: &Histograms<1>, eta: &Histograms<1>, label: Label) -> Arc<OfQueue> {
    Arc::new(OfQueue {
        wait: wait.of([label.clone()]),
        start: start.of([label.clone()]),
        eta: eta.of([label.clone()]),
        label,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_names_take_no_place_from_queues_that_somebody_set_up() {
        let queues = Queues::new(&mut Registry::default());
        for n in 0..10_000 {
            queues.of(&format!("invented-{n}"));
        }
        assert_eq!(queues.of("invented-1").label, "invented-1");
        assert_eq!(queues.of("invented-9999").label, OTHER);
        queues.configured("gpu");
        assert_eq!((queues.of("gpu").label.as_ref(), queues.of(DEFAULT).label.as_ref()), ("gpu", DEFAULT));
        for n in 0..10_000 {
            queues.configured(&format!("set-{n}"));
        }
        assert_eq!(queues.known.read().unwrap().len(), LABELLED);
    }
}
