//! Requests: those that come over HTTP, those to Kubernetes, and the statements that matter most.

use std::time::{Duration, Instant};

use prometheus_client::{metrics::histogram::Histogram, registry::Registry};

use super::{
    Metrics,
    family::{Histograms, Label, OTHER, Set, label, of_requests},
    names,
};

/// Statements that are measured by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// The claim.
    Claim,
    /// What this replica has to create.
    ReadClaims,
    /// Moves of jobs, many in one.
    Move,
    /// Submissions, many in one.
    Submit,
    /// Jobs that hold a slot.
    ReadHolders,
    /// What these metrics show of rows.
    Sample,
}

/// Their order is that of the handles.
impl Statement {
    const ALL: [Self; 6] = [Self::Claim, Self::ReadClaims, Self::Move, Self::Submit, Self::ReadHolders, Self::Sample];

    const fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::ReadClaims => "read_claims",
            Self::Move => "move",
            Self::Submit => "submit",
            Self::ReadHolders => "read_holders",
            Self::Sample => "sample",
        }
    }
}

pub struct Statements([Histogram; Statement::ALL.len()]);

impl Statements {
    pub fn new(registry: &mut Registry) -> Self {
        let took: Histograms<1> = Set::new(registry, &names::DB_QUERY, of_requests);
        Self(Statement::ALL.map(|it| took.of([label(it.name())])))
    }
}

/// Why a request to Kubernetes was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttled {
    TooMany,
    Quota,
    Client,
}

impl Throttled {
    pub const ALL: [Self; 3] = [Self::TooMany, Self::Quota, Self::Client];

    pub const fn name(self) -> &'static str {
        match self {
            Self::TooMany => "429",
            Self::Quota => "quota_403",
            Self::Client => "client",
        }
    }
}

/// A request to Kubernetes that is under way. Whoever drops it without an answer gave it up.
pub struct KubeRequest<'a> {
    metrics: &'a Metrics,
    verb: &'static str,
    resource: &'static str,
    begun: Instant,
    code: Option<Label>,
}

impl KubeRequest<'_> {
    /// The head of an answer came, with this code of HTTP.
    pub fn answered(mut self, code: u16) {
        self.code = Some(code_label(code));
        if code == 429 {
            self.metrics.throttled(Throttled::TooMany);
        }
    }

    /// The connection failed.
    pub fn failed(mut self) {
        self.code = Some(label("error"));
    }
}

impl Drop for KubeRequest<'_> {
    fn drop(&mut self) {
        let code = self.code.take().unwrap_or(label("gave_up"));
        let took = self.begun.elapsed().as_secs_f64();
        self.metrics.kube.of([label(self.verb), label(self.resource), code]).observe(took);
    }
}

/// A request over HTTP that was answered.
pub struct Http<'a> {
    pub method: &'static str,
    /// Its template; none where no route fits.
    pub route: Option<&'a str>,
    pub code: u16,
    pub took: Duration,
}

/// A request that was not answered yet, counted as long as it lives.
pub struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

impl Metrics {
    /// Measures how long `work` takes, however it ends.
    pub async fn timed<T>(&self, statement: Statement, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        let took = begun.elapsed().as_secs_f64();
        let [claim, claims, moves, submit, holders, sample] = &self.statements.0;
        let of = match statement {
            Statement::Claim => claim,
            Statement::ReadClaims => claims,
            Statement::Move => moves,
            Statement::Submit => submit,
            Statement::ReadHolders => holders,
            Statement::Sample => sample,
        };
        of.observe(took);
        done
    }

    /// A request to Kubernetes is sent.
    pub fn kube_request(&self, verb: &'static str, resource: &'static str) -> KubeRequest<'_> {
        KubeRequest { metrics: self, verb, resource, begun: Instant::now(), code: None }
    }

    /// A request to Kubernetes was held back.
    pub fn throttled(&self, cause: Throttled) {
        let [too_many, quota, client] = &self.throttled;
        match cause {
            Throttled::TooMany => too_many,
            Throttled::Quota => quota,
            Throttled::Client => client,
        }
        .inc();
    }

    /// A request came.
    pub fn http_request(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(self)
    }

    /// The head of its answer goes.
    pub fn http_answered(&self, it: &Http<'_>) {
        // Routes are the program's own; there are some dozen.
        let route = it.route.map_or(label(OTHER), |route| route.to_owned().into());
        self.http.of([label(it.method), route, code_label(it.code)]).observe(it.took.as_secs_f64());
    }
}

fn code_label(code: u16) -> Label {
    match code {
        200 => label("200"),
        201 => label("201"),
        202 => label("202"),
        404 => label("404"),
        409 => label("409"),
        other => other.to_string().into(),
    }
}
