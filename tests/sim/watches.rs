//! Watches: resuming, expiring, selecting, and the forms kube-rs uses.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use longshore::sim::SimConfig;
use serde_json::json;

use crate::harness::{BOUND, Cluster, job};

fn word(event: &WatchEvent<Job>) -> String {
    match event {
        WatchEvent::Added(job) => format!("+{}", job.name_any()),
        WatchEvent::Modified(job) => format!("~{}", job.name_any()),
        WatchEvent::Deleted(job) => format!("-{}", job.name_any()),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(status) => format!("error {}", status.code),
    }
}

/// The first events of a watch from this version.
async fn events(jobs: &Api<Job>, params: &WatchParams, version: &str, count: usize) -> Vec<String> {
    read(jobs, params, version, count, |_| true).await
}

/// The same, of objects that come into being.
async fn added(jobs: &Api<Job>, params: &WatchParams, version: &str, count: usize) -> Vec<String> {
    read(jobs, params, version, count, |word| word.starts_with('+')).await
}

async fn read(
    jobs: &Api<Job>,
    params: &WatchParams,
    version: &str,
    count: usize,
    wanted: impl Fn(&str) -> bool,
) -> Vec<String> {
    let stream = jobs.watch(params, version).await.expect("a watch");
    let words = stream.map_ok(|event| word(&event)).try_filter(|word| std::future::ready(wanted(word)));
    let read = words.take(count).try_collect::<Vec<_>>();
    tokio::time::timeout(BOUND, read).await.expect("enough events").expect("a readable watch")
}

#[tokio::test]
async fn a_watch_resumes_where_it_was() {
    let cluster = Cluster::start().await;
    let suspended = |name: &str| crate::harness::with(job(name, &[]), "suspend", json!(true));
    let before = cluster.jobs.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    cluster.create(suspended("a")).await;
    let middle = cluster.create(suspended("b")).await.resource_version().expect("a version");
    cluster.create(suspended("c")).await;
    let params = WatchParams::default();
    let from_start = added(&cluster.jobs, &params, &before.expect("a version"), 3).await;
    assert_eq!(from_start, ["+a", "+b", "+c"]);
    let resumed = events(&cluster.jobs, &params.clone().fields("metadata.name=c"), &middle, 1).await;
    assert_eq!(resumed, ["+c"]);
    let from_now = added(&cluster.jobs, &params, "0", 3).await;
    assert_eq!(from_now, ["+a", "+b", "+c"]);
}

#[tokio::test]
async fn a_version_that_was_forgotten_is_gone() {
    let config = SimConfig { history: 4, duration: Duration::from_millis(5), ..SimConfig::default() };
    let cluster = Cluster::with(config).await;
    cluster.create(job("a", &[])).await;
    cluster.job("a", |job: Option<&_>| crate::harness::ended(job)).await;
    let page = ListParams::default().limit(1);
    let old = WatchParams::default();
    let refused = cluster.jobs.watch(&old, "1").await.map(|_| ()).expect_err("410 at once");
    assert_eq!(crate::harness::code(&refused), 410);
    let mut seen = watcher(cluster.jobs.clone(), watcher::Config::default()).applied_objects().boxed();
    let first = tokio::time::timeout(BOUND, seen.next()).await.expect("an event").expect("open").expect("a Job");
    assert_eq!(first.name_any(), "a", "a watcher that lists again finds it");
    for name in ["b", "c", "d"] {
        cluster.create(job(name, &[])).await;
        cluster.job(name, |job: Option<&_>| crate::harness::ended(job)).await;
    }
    let token = cluster.jobs.list(&page).await.expect("a page").metadata.continue_.expect("more");
    for name in ["e", "f"] {
        cluster.create(job(name, &[])).await;
        cluster.job(name, |job: Option<&_>| crate::harness::ended(job)).await;
    }
    let expired = cluster.jobs.list(&page.continue_token(&token)).await.expect_err("an expired page");
    assert_eq!(crate::harness::code(&expired), 410);
}

#[tokio::test]
async fn a_selecting_watch_sees_objects_come_and_go() {
    let cluster = Cluster::start().await;
    let mut suspended = crate::harness::with(job("a", &[]), "suspend", json!(true));
    suspended.metadata.labels = Some([("shown".to_owned(), "yes".to_owned())].into());
    let version = cluster.create(suspended).await.resource_version().expect("a version");
    for shown in ["no", "yes"] {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"shown": shown}}}));
        cluster.jobs.patch("a", &PatchParams::default(), &patch).await.expect("patched");
    }
    let params = WatchParams::default().labels("shown=yes");
    let seen = read(&cluster.jobs, &params, &version, 2, |word| !word.starts_with('~')).await;
    assert_eq!(seen, ["-a", "+a"]);
}

#[tokio::test]
async fn bookmarks_come_when_asked_for_and_at_the_end() {
    let cluster = Cluster::with(SimConfig { bookmark_every: Duration::from_millis(50), ..SimConfig::default() }).await;
    let params = WatchParams { bookmarks: true, timeout: Some(1), ..WatchParams::default() };
    let words = events(&cluster.jobs, &params, "0", 100).await;
    assert!(words.len() > 3 && words.iter().all(|word| word == "bookmark"), "{words:?}");
}

#[tokio::test]
async fn a_streaming_list_ends_its_initial_events_with_a_bookmark() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.create(job(name, &[("duration", "1h")])).await;
    }
    let mut stream = watcher(cluster.jobs.clone(), watcher::Config::default().streaming_lists()).boxed();
    let mut initial = Vec::new();
    loop {
        let next = tokio::time::timeout(BOUND, stream.next()).await.expect("in time").expect("open").expect("readable");
        match next {
            watcher::Event::InitApply(job) => initial.push(job.name_any()),
            watcher::Event::InitDone => break,
            _ => {}
        }
    }
    assert_eq!(initial, ["a", "b"]);
}

#[tokio::test]
async fn a_stopped_cluster_drops_its_clients_and_keeps_its_objects() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "1h")])).await;
    cluster.pod_of("a", |pod| crate::harness::phase(pod) == "Running").await;
    let stream = cluster.jobs.watch(&WatchParams::default(), "0").await.expect("a watch");
    let address = cluster.sim.address();
    cluster.sim.stop().await;
    let drained = tokio::time::timeout(BOUND, stream.for_each(|_| async {})).await;
    assert!(drained.is_ok(), "the watch ends");
    assert!(cluster.jobs.get("a").await.is_err(), "nobody answers");
    let listener = tokio::net::TcpListener::bind(address).await.expect("the same port");
    cluster.sim.resume(listener).await.expect("it serves again");
    assert_eq!(cluster.jobs.get("a").await.expect("the same Job").name_any(), "a");
}
