//! Counters, gauges and histograms with labels, made from their description.

use std::{borrow::Cow, sync::atomic::AtomicU64};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry, Unit},
};

use super::names::Described;

pub type Label = Cow<'static, str>;
pub type Level = Gauge<f64, AtomicU64>;
type Labels<const N: usize> = [(&'static str, Label); N];

/// What a queue is counted under that has no place of its own, and a request that nobody serves.
pub const OTHER: &str = "_other";

/// The unit as the registry knows it.
pub fn unit(of: &Described) -> Option<Unit> {
    of.unit.map(|it| match it {
        "seconds" => Unit::Seconds,
        "bytes" => Unit::Bytes,
        other => Unit::Other(other.to_owned()),
    })
}

/// Makes a metric known under its name.
pub fn register(registry: &mut Registry, of: &Described, metric: impl Metric) {
    match unit(of) {
        Some(unit) => registry.register_with_unit(of.stem(), of.help(), unit, metric),
        None => registry.register(of.stem(), of.help(), metric),
    }
}

/// The labels of a description with these values.
pub fn labels<const N: usize>(of: &'static Described, values: [Label; N]) -> Labels<N> {
    let mut names = of.labels.iter();
    values.map(|value| (names.next().copied().unwrap_or_default(), value))
}

/// Metrics of one name, apart by their labels.
pub struct Set<M, const N: usize, C = fn() -> M> {
    of: &'static Described,
    family: Family<Labels<N>, M, C>,
}

pub type Counters<const N: usize> = Set<Counter, N>;
pub type Levels<const N: usize> = Set<Level, N>;
pub type Histograms<const N: usize> = Set<Histogram, N>;

impl<M: Clone, const N: usize> Set<M, N>
where
    Family<Labels<N>, M, fn() -> M>: Metric,
{
    pub fn new(registry: &mut Registry, of: &'static Described, make: fn() -> M) -> Self {
        let family = Family::new_with_constructor(make);
        register(registry, of, family.clone());
        Self { of, family }
    }

    /// The one with these values of its labels, in the order of the description.
    pub fn of(&self, values: [Label; N]) -> M {
        self.family.get_or_create(&labels(self.of, values)).clone()
    }
}

/// A value as a label.
pub fn label(value: &'static str) -> Label {
    Cow::Borrowed(value)
}

/// From a tenth of a second to hours: what jobs wait and run for.
pub fn of_jobs() -> Histogram {
    let doubled = std::iter::successors(Some(5.0), |it| Some(it * 2.0)).take_while(|it| *it <= 20_480.0);
    Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5].into_iter().chain(doubled))
}

/// From a millisecond to half a minute: what requests, statements and passes take.
pub fn of_requests() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

/// Around 1: what a guess was off by.
pub fn of_ratios() -> Histogram {
    Histogram::new([0.1, 0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0])
}
