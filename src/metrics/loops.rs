//! The loops of a replica: how long their passes take, and when one last went well.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::{metrics::histogram::Histogram, registry::Registry};

use super::{
    Metrics,
    family::{Histograms, Level, Levels, Set, label, of_requests},
    names,
};

/// A loop, or what one does besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// Claims what fits under the cap.
    Claim,
    /// Creates the Kubernetes Jobs of what was claimed; a pass is one request and its record.
    Launch,
    /// Matches rows to the cluster.
    Observe,
    /// Keeps logs and removes what is over.
    Reap,
    /// Lets history age out.
    Age,
}

impl Loop {
    const ALL: [Self; 5] = [Self::Claim, Self::Launch, Self::Observe, Self::Reap, Self::Age];

    const fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Launch => "launch",
            Self::Observe => "observe",
            Self::Reap => "reap",
            Self::Age => "age",
        }
    }
}

pub struct Passes {
    took: [Histogram; Loop::ALL.len()],
    /// Only of loops that run here: a gauge that is there is expected to move.
    succeeded: Levels<1>,
}

impl Passes {
    pub fn new(registry: &mut Registry) -> Self {
        let took: Histograms<1> = Set::new(registry, &names::PASS, of_requests);
        Self {
            took: Loop::ALL.map(|it| took.of([label(it.name())])),
            succeeded: Set::new(registry, &names::PASS_SUCCESS, Level::default),
        }
    }
}

/// A pass that is under way. Its time is measured however it ends.
pub struct Pass<'a> {
    metrics: &'a Metrics,
    of: Loop,
    begun: Instant,
}

impl Pass<'_> {
    /// It went well.
    pub fn succeeded(self) {
        self.metrics.nothing_to_do(self.of);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed().as_secs_f64();
        let [claim, launch, observe, reap, age] = &self.metrics.passes.took;
        let of = match self.of {
            Loop::Claim => claim,
            Loop::Launch => launch,
            Loop::Observe => observe,
            Loop::Reap => reap,
            Loop::Age => age,
        };
        of.observe(took);
    }
}

impl Metrics {
    /// A pass begins.
    pub fn pass(&self, of: Loop) -> Pass<'_> {
        Pass { metrics: self, of, begun: Instant::now() }
    }

    /// A loop has nothing to do, or begins: as good as a pass that went well.
    pub fn nothing_to_do(&self, of: Loop) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.passes.succeeded.of([label(of.name())]).set(now.as_secs_f64());
    }
}
