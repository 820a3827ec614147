//! What this replica counts and measures, as OpenMetrics or Prometheus' own text: `/metrics`.
//!
//! Counters and histograms are this replica's own, and add up over replicas. What is read from rows is the same at each, and
//! a few seconds old: [`levels`]. [`names`] says which is which, and so does each metric's help. Labels are bounded: a queue
//! beyond the first `queues::LABELLED` is counted under `_other`, and no job, pod or user is ever one.
//!
//! Whatever is counted in a hot path is a handle that was looked up before, or one look at a small map: atomic adds.

mod cap;
mod family;
mod jobs;
pub mod levels;
mod loops;
pub mod names;
mod process;
mod queues;
mod requests;
mod sources;
mod text;
mod watches;

use std::sync::Arc;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{
        counter::Counter,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};

use cap::CapWatch;
use family::{Counters, Histograms, Label, Set, label, labels, of_jobs, of_requests};
use levels::Snapshot;
use loops::Passes;
use names::Described;
use queues::Queues;
use requests::Statements;

pub use family::OTHER;
pub use jobs::{Accepted, AttemptOutcome, Exit, Via};
pub use loops::{Loop, Pass};
pub use requests::{Http, InFlight, KubeRequest, Statement, Throttled};
pub use sources::SourceMetrics;
pub use text::{MEDIA_TYPE, PLAIN_MEDIA_TYPE};
pub use watches::{Restart, Told};

/// Everything that this replica measures.
pub struct Metrics {
    registry: std::sync::RwLock<Registry>,
    queues: Queues,
    submitted: Counters<3>,
    finished: Counters<3>,
    attempts: Counters<2>,
    run: Histograms<2>,
    claims: Counter,
    claims_refused: Counters<1>,
    cap: CapWatch,
    slot_release: Histogram,
    estimates: jobs::Estimates,
    passes: Passes,
    reconcile_lag: Histogram,
    watches: watches::Watches,
    kube: Histograms<3>,
    throttled: [Counter; Throttled::ALL.len()],
    statements: Statements,
    http: Histograms<3>,
    in_flight: Gauge,
    webhook_deliveries: Counters<1>,
    sources: sources::Sources,
    pub levels: Arc<Snapshot>,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let to = &mut registry;
        to.register_collector(Box::new(Constant(&names::BUILD_INFO, build())));
        let levels = Arc::new(Snapshot::default());
        to.register_collector(Box::new(levels::Shown(levels.clone())));
        to.register_collector(Box::new(process::Process::new()));
        let it = Self {
            queues: Queues::new(to),
            submitted: Set::new(to, &names::SUBMITTED, Counter::default),
            finished: Set::new(to, &names::FINISHED, Counter::default),
            attempts: Set::new(to, &names::ATTEMPTS, Counter::default),
            run: Set::new(to, &names::RUN, of_jobs),
            claims: alone(to, &names::CLAIMS, Counter::default()),
            claims_refused: Set::new(to, &names::CLAIMS_REFUSED, Counter::default),
            cap: CapWatch::new(to),
            estimates: jobs::Estimates::default(),
            slot_release: alone(to, &names::SLOT_RELEASE, of_requests()),
            passes: Passes::new(to),
            reconcile_lag: alone(to, &names::RECONCILE_LAG, of_requests()),
            watches: watches::Watches::new(to),
            kube: Set::new(to, &names::KUBE_REQUEST, of_requests),
            throttled: {
                let throttled: Counters<1> = Set::new(to, &names::KUBE_THROTTLED, Counter::default);
                Throttled::ALL.map(|it| throttled.of([label(it.name())]))
            },
            statements: Statements::new(to),
            http: Set::new(to, &names::HTTP_REQUEST, of_requests),
            in_flight: alone(to, &names::HTTP_IN_FLIGHT, Gauge::default()),
            webhook_deliveries: Set::new(to, &names::WEBHOOK_DELIVERIES, Counter::default),
            sources: sources::Sources::new(to),
            levels,
            registry: registry.into(),
        };
        // A counter that is not there yet cannot be told from one that nobody exports, nor its first step be seen.
        it.claims_refused.of([label(GLOBAL)]);
        for result in ["delivered", "failed", "gone"] {
            it.webhook_deliveries.of([label(result)]);
        }
        Arc::new(it)
    }

    /// What is asked for each time that somebody reads the metrics, under the labels that come with it.
    pub fn at_scrape<const N: usize>(
        &self,
        of: &'static Described,
        read: impl Fn() -> Vec<([Label; N], f64)> + Send + Sync + 'static,
    ) {
        self.to_registry(Box::new(AtScrape(of, Box::new(read))));
    }

    /// Tries to deliver to webhooks, by what they came to.
    pub fn delivery(&self, result: &'static str) {
        self.webhook_deliveries.of([label(result)]).inc();
    }

    /// From the first change that a watch told of to the end of the pass that took it in.
    pub fn reconciled(&self, lag: std::time::Duration) {
        self.reconcile_lag.observe(lag.as_secs_f64());
    }

    /// All of it, as OpenMetrics text.
    ///
    /// # Errors
    ///
    /// None that is known: the text is written into memory.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        // It is whole after every statement.
        encode(&mut text, &self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner))?;
        Ok(text)
    }

    /// The same as Prometheus' own text, version 0.0.4.
    ///
    /// # Errors
    ///
    /// As [`Self::encode`].
    pub fn encode_plain(&self) -> Result<String, std::fmt::Error> {
        self.encode().map(|it| text::plain(&it))
    }

    fn to_registry(&self, collector: Box<dyn Collector>) {
        self.registry.write().unwrap_or_else(std::sync::PoisonError::into_inner).register_collector(collector);
    }
}

/// The limit that all jobs are under.
pub const GLOBAL: &str = "global";

/// Makes a metric without labels known, and answers it.
fn alone<M: Metric + Clone>(registry: &mut Registry, of: &Described, metric: M) -> M {
    family::register(registry, of, metric.clone());
    metric
}

fn build() -> Vec<([Label; 3], f64)> {
    let labels = [env!("CARGO_PKG_VERSION"), env!("LONGSHORE_REVISION"), env!("LONGSHORE_RUSTC")];
    vec![(labels.map(label), 1.0)]
}

/// Writes a gauge that is not kept, but told.
fn write_gauge<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    of: &'static Described,
    values: &[([Label; N], f64)],
) -> Result<(), std::fmt::Error> {
    if values.is_empty() {
        return Ok(());
    }
    let unit = family::unit(of);
    let help = format!("{}.", of.help());
    let kind = ConstGauge::new(0.0).metric_type();
    let mut metric = encoder.encode_descriptor(of.stem(), &help, unit.as_ref(), kind)?;
    for (values, value) in values {
        match N {
            0 => ConstGauge::new(*value).encode(metric.encode_family(&[] as &[(&str, &str); 0])?)?,
            _ => ConstGauge::new(*value).encode(metric.encode_family(&labels(of, values.clone()))?)?,
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Constant<const N: usize>(&'static Described, Vec<([Label; N], f64)>);

impl<const N: usize> Collector for Constant<N> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        write_gauge(&mut encoder, self.0, &self.1)
    }
}

type Read<const N: usize> = Box<dyn Fn() -> Vec<([Label; N], f64)> + Send + Sync>;

struct AtScrape<const N: usize>(&'static Described, Read<N>);

impl<const N: usize> std::fmt::Debug for AtScrape<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl<const N: usize> Collector for AtScrape<N> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        write_gauge(&mut encoder, self.0, &(self.1)())
    }
}
