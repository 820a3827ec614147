//! Traces: from the request through the claim to the create, in one trace, whichever processes had a part in it.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message;
use tokio::net::TcpListener;

use crate::harness::{World, jobs::job, scalar};

/// A collector: its address, and the spans that it was told.
async fn collector() -> (String, Arc<Mutex<Vec<Span>>>) {
    async fn take(State(told): State<Arc<Mutex<Vec<Span>>>>, body: Bytes) {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let spans = request.resource_spans.into_iter().flat_map(|it| it.scope_spans).flat_map(|it| it.spans);
        told.lock().unwrap().extend(spans);
    }
    let told: Arc<Mutex<Vec<Span>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/traces", post(take)).with_state(told.clone());
    tokio::spawn(axum::serve(listener, app).into_future());
    (url, told)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_request_to_the_create_in_another_process() {
    let world = World::new(1).await;
    let (url, told) = collector().await;
    let flag = format!("--otlp-endpoint={url}");
    let api = world.spawn(&["--roles=api", &flag], &[]).await;
    // The one is told by the flag, the other as every program of OpenTelemetry is.
    let loops = world.spawn(&["--roles=scheduler,watcher"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let request = world.http.post(format!("{}/jobs", api.url)).json(&job("traced", 50, 0).0);
    let answer = request.header("traceparent", format!("00-{trace}-{caller}-01")).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let id = answer.json::<serde_json::Value>().await.unwrap()["job_id"].as_str().unwrap().to_owned();
    world.accepted.lock().unwrap().push(id.clone());
    world.reaches(&api.url, &id, "succeeded").await;
    // What came with no trace begins one; what its caller does not want to be traced is not.
    let other = world.submit(&api.url, &job("other", 50, 0)).await;
    world.reaches(&api.url, &other, "succeeded").await;
    let unwanted = world.http.post(format!("{}/jobs", api.url)).json(&job("unwanted", 50, 0).0);
    let unwanted = unwanted.header("traceparent", format!("00-{}-{caller}-00", "1".repeat(32))).send().await.unwrap();
    let unwanted = unwanted.json::<serde_json::Value>().await.unwrap()["job_id"].as_str().unwrap().to_owned();
    world.accepted.lock().unwrap().push(unwanted.clone());
    world.reaches(&api.url, &unwanted, "succeeded").await;
    // Who ends sends what it has left.
    api.terminate().await;
    loops.terminate().await;

    let spans = told.lock().unwrap().clone();
    let of_trace: Vec<&Span> = spans.iter().filter(|it| hex(&it.trace_id) == trace).collect();
    let named = |name: &str| {
        let mut found = of_trace.iter().filter(|it| it.name == name);
        let span = found.next().unwrap_or_else(|| panic!("no span {name}: {of_trace:?}"));
        assert!(found.next().is_none(), "{name} is there once");
        (hex(&span.span_id), hex(&span.parent_span_id), *span)
    };
    let (request, claim, create) = (named("POST /jobs"), named("claim"), named("create"));
    assert_eq!([&request.1, &claim.1, &create.1], [caller, &request.0, &claim.0], "each comes from the one before");
    let attributes = format!("{:?}", create.2.attributes);
    assert!(attributes.contains("longshore.job.id") && attributes.contains(&id), "{attributes}");
    assert!(claim.2.start_time_unix_nano <= claim.2.end_time_unix_nano, "{claim:?}");
    assert_eq!(of_trace.len(), 3, "{of_trace:?}");
    let begun: Vec<&Span> = spans.iter().filter(|it| format!("{:?}", it.attributes).contains(&other)).collect();
    assert_eq!(begun.len(), 2, "a claim and a create");
    assert!(begun.iter().all(|it| hex(&it.trace_id) != trace), "{begun:?}");
    assert!(!format!("{spans:?}").contains(&unwanted));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_one_warning_and_jobs_nothing() {
    let world = World::new(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("--otlp-endpoint=http://user:hunter2@{}", listener.local_addr().unwrap());
    drop(listener);
    // It sends what it has every 50 ms, and so often in vain.
    let often = [("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let replica = world.spawn(&[&nobody], &often).await;
    let warning = "the collector of traces does not answer";
    for index in 0..5 {
        let id = world.submit(&replica.url, &job(&format!("job-{index}"), 50, 0)).await;
        world.reaches(&replica.url, &id, "succeeded").await;
    }
    crate::harness::eventually("it warns", async || replica.said(warning).then_some(())).await;
    assert_eq!(replica.count(warning), 1);
    assert!(!replica.said("hunter2"));
    let mut conn = world.conn().await;
    let kept: i64 = scalar(&mut conn, "select count(traceparent) from longshore.job_specs").await;
    assert_eq!(kept, 5);
    replica.terminate().await;
    // Without a collector, nothing is kept, whatever comes.
    let replica = world.spawn(&[], &[]).await;
    let request = world.http.post(format!("{}/jobs", replica.url)).json(&job("untraced", 50, 0).0);
    let header = format!("00-{}-{}-01", "2".repeat(32), "3".repeat(16));
    let answer: serde_json::Value = request.header("traceparent", header).send().await.unwrap().json().await.unwrap();
    let id = answer["job_id"].as_str().unwrap().to_owned();
    world.accepted.lock().unwrap().push(id.clone());
    world.reaches(&replica.url, &id, "succeeded").await;
    let kept: i64 = scalar(&mut conn, "select count(traceparent) from longshore.job_specs").await;
    assert_eq!(kept, 5);
    replica.terminate().await;
    world.finish().await;
}
