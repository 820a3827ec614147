//! Traces: which request led to which claim and create, told to a collector over OTLP where one is named.
//!
//! A trace goes on from the one that a request came with, or begins with the request. It is kept with the job as a
//! `traceparent` (<https://www.w3.org/TR/trace-context/>), and goes on with the claim and the create, whichever process makes
//! them. Where no collector is named, everything here does nothing, and nothing is kept.

use std::{
    collections::HashMap,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{FutureExt, Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter},
};

/// How long a process that ends waits until the last spans are sent.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);
/// How long a collector may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The header of HTTP that a trace goes on by.
pub const HEADER: &str = "traceparent";

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// As long as it lives, spans are told; when it goes, the last ones are sent.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to tell the collector at this address, the base of its OTLP over HTTP: `/v1/traces` follows. Not to be called
    /// within a runtime, for what sends has a thread of its own and blocks it.
    ///
    /// # Errors
    ///
    /// The address is not one of HTTP.
    pub fn start(collector: &str) -> anyhow::Result<Self> {
        let url: http::Uri = collector.parse().context("--otlp-endpoint is not a URL")?;
        anyhow::ensure!(
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some(),
            "--otlp-endpoint must be as http://HOST:4318"
        );
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
            .with_timeout(ANSWER_WITHIN)
            .build()
            .context("cannot tell --otlp-endpoint")?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        // OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER are obeyed by the library.
        let resource = Resource::builder().with_service_name("longshore").with_attributes([version]).build();
        let exporter = Quiet { exporter, is_away: AtomicBool::new(false) };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        // A process starts them once.
        let _ = TRACER.set(provider.tracer("longshore"));
        Ok(Self(provider))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Whether they arrived was said when they were sent.
        let _ = self.0.shutdown_with_timeout(FLUSH_WITHIN);
    }
}

/// Says once that a collector is away, however often it is told in vain.
#[derive(Debug)]
struct Quiet {
    exporter: opentelemetry_otlp::SpanExporter,
    is_away: AtomicBool,
}

impl SpanExporter for Quiet {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let told = self.exporter.export(batch).await;
        let was_away = self.is_away.swap(told.is_err(), Ordering::Relaxed);
        match &told {
            // Its text may have the address, and that a password.
            Err(_) if !was_away => tracing::warn!("the collector of traces does not answer; spans are lost meanwhile"),
            Ok(()) if was_away => tracing::info!("the collector of traces answers again"),
            _ => {}
        }
        told
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// One HTTP request, until the head of its answer.
pub struct Request(Context);

impl Request {
    /// Begins; none where no collector is named. `route` is the pattern that serves it, and `traceparent` what it came with.
    pub fn begin(method: &'static str, route: Option<&str>, traceparent: Option<&str>) -> Option<Self> {
        let tracer = TRACER.get()?;
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let mut attributes = vec![KeyValue::new("http.request.method", method)];
        attributes.extend(route.map(|it| KeyValue::new("http.route", it.to_owned())));
        let span = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        // A page that asks the API in this process is what the request came from.
        let parent = traceparent.map_or_else(Context::current, remote);
        Some(Self(parent.with_span(tracer.build_with_context(span, &parent))))
    }

    /// Does the work of the request, which then can say [`current`].
    pub async fn around<F: Future>(&self, work: F) -> F::Output {
        work.with_context(self.0.clone()).await
    }

    /// Ends with this status.
    pub fn answered(self, status: u16) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// What is to be kept of the trace that this task is in; none where it is in none, or nobody wants it.
pub fn current() -> Option<String> {
    let context = Context::current();
    let span = context.span().span_context().clone();
    (span.is_valid() && span.is_sampled())
        .then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}

/// What was kept of a trace, with the claim that it goes on with.
#[derive(Debug, Clone)]
pub struct Claim {
    pub traceparent: String,
    /// When it began to wait, and when it was claimed.
    pub waited: (SystemTime, SystemTime),
}

/// The creation of the Kubernetes Job of one claim.
pub struct Create(Context);

impl Create {
    /// Tells of the claim, and begins; none where no collector is named.
    pub fn begin(claim: &Claim, job: &str, attempt: i64, kube_name: &str, namespace: &str) -> Option<Self> {
        let tracer = TRACER.get()?;
        let parent = remote(&claim.traceparent);
        let mut attributes =
            vec![KeyValue::new("longshore.job.id", job.to_owned()), KeyValue::new("longshore.job.attempt", attempt)];
        let claimed =
            SpanBuilder::from_name("claim").with_start_time(claim.waited.0).with_attributes(attributes.clone());
        let mut claimed = tracer.build_with_context(claimed, &parent);
        claimed.end_with_timestamp(claim.waited.1);
        let parent = parent.with_remote_span_context(claimed.span_context().clone());
        attributes.push(KeyValue::new("k8s.job.name", kube_name.to_owned()));
        attributes.push(KeyValue::new("k8s.namespace.name", namespace.to_owned()));
        let create = SpanBuilder::from_name("create").with_kind(SpanKind::Client).with_attributes(attributes);
        Some(Self(parent.with_span(tracer.build_with_context(create, &parent))))
    }

    /// Ends; `done` says whether it is on record what became of it.
    pub fn ended(self, done: bool) {
        let span = self.0.span();
        if !done {
            span.set_status(Status::error("it is not on record what became of it"));
        }
        span.end();
    }
}

/// The span elsewhere that this names; none if it names none.
fn remote(traceparent: &str) -> Context {
    let carrier = HashMap::from([(HEADER.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_obeyed_where_it_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(remote(good).span().span_context().trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        for bad in ["", "00", "00-0-0-01", "\u{0}", "00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01"] {
            assert!(!remote(bad).span().span_context().is_valid(), "{bad:?}");
        }
    }

    #[test]
    fn without_a_collector_nothing_is_begun_and_nothing_kept() {
        assert!(Request::begin("GET", Some("/jobs"), None).is_none());
        assert_eq!(current(), None);
    }

    #[test]
    fn an_address_that_is_none_is_refused_by_name() {
        for bad in ["collector", "ftp://collector", "http://", "unix:/x"] {
            let refused = Traces::start(bad).err().map(|it| it.to_string());
            assert!(refused.is_some_and(|it| it.contains("--otlp-endpoint")), "{bad}");
        }
    }
}
