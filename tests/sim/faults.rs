//! Injected faults take effect as they say, and count that they did.

use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::{PostParams, WatchEvent, WatchParams};
use longshore::sim::{Effect, Rule};
use reqwest::Method;
use serde_json::json;

use crate::harness::{BOUND, Cluster, JOBS, code, condition, job, with};

#[tokio::test]
async fn a_dropped_answer_hides_a_create_that_happened() {
    let cluster = Cluster::start().await;
    let fault = cluster.sim.faults().add(Rule::new("create", "jobs", Effect::DropAnswer).times(1));
    let lost = cluster.jobs.create(&PostParams::default(), &job("a", &[])).await.expect_err("no answer");
    assert!(!matches!(lost, kube::Error::Api(_)), "not an answer: {lost}");
    assert_eq!(cluster.sim.faults().took(fault), 1);
    assert_eq!(cluster.jobs.get("a").await.expect("it was created").name_any(), "a");
    let again = cluster.jobs.create(&PostParams::default(), &job("a", &[])).await.expect_err("a conflict");
    assert_eq!(code(&again), 409);
    assert!(cluster.audit().iter().any(|e| e["verb"] == "create" && e["responseStatus"]["code"] == 201));
}

#[tokio::test]
async fn a_dropped_request_did_not_happen() {
    let cluster = Cluster::start().await;
    cluster.sim.faults().add(Rule::new("create", "jobs", Effect::DropRequest).times(1));
    assert!(cluster.jobs.create(&PostParams::default(), &job("a", &[])).await.is_err());
    assert_eq!(code(&cluster.jobs.get("a").await.expect_err("never created")), 404);
}

#[tokio::test]
async fn statuses_are_answered_as_often_as_told() {
    let cluster = Cluster::start().await;
    let busy = Effect::Status { code: 429, reason: None, message: None, retry_after: Some(7) };
    let fault = cluster.sim.faults().add(Rule::new("create", "jobs", busy).times(2));
    for _ in 0..2 {
        let url = format!("{}{JOBS}", cluster.sim.url());
        let answer = cluster.http.post(url).json(&job("a", &[])).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (429, &b"7"[..]));
    }
    cluster.create(job("a", &[])).await;
    assert_eq!(cluster.sim.faults().took(fault), 2);
    for (effect, part) in [(Effect::ExceededQuota, "exceeded quota: "), (Effect::NotAllowed, "cannot create resource")]
    {
        cluster.sim.faults().set(vec![Rule::new("create", "jobs", effect)]);
        let error = cluster.jobs.create(&PostParams::default(), &job("b", &[])).await.expect_err("refused");
        assert!(matches!(&error, kube::Error::Api(s) if s.code == 403 && s.message.contains(part)), "{error}");
    }
}

#[tokio::test]
async fn a_fault_hits_only_the_client_it_names() {
    let cluster = Cluster::start().await;
    let away = Effect::Status { code: 503, reason: None, message: None, retry_after: None };
    let fault = cluster.sim.faults().add(Rule::new("*", "*", away).from_agent("longshore/"));
    cluster.create(job("a", &[])).await;
    let url = format!("{}{JOBS}/a", cluster.sim.url());
    let answer = cluster.http.get(&url).header("user-agent", "longshore/0.1.0").send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), cluster.sim.faults().took(fault)), (503, 1));
}

#[tokio::test]
async fn a_fault_hits_only_the_objects_it_names() {
    let cluster = Cluster::start().await;
    cluster.send(Method::POST, "/api/v1/namespaces", Some(json!({"metadata": {"name": "n"}}))).await;
    let labelled = |name: &str, team: &str| {
        let mut job = job(name, &[]);
        job.metadata.labels = Some([("team".to_owned(), team.to_owned())].into());
        job
    };
    let rule = || Rule::new("create", "jobs", Effect::ExceededQuota);
    for (rule, refused) in [
        (rule().name_contains("big"), "a-big-one"),
        (rule().labels("team in (x,y)"), "of-x"),
        (rule().namespace("n"), "elsewhere"),
    ] {
        cluster.sim.faults().set(vec![rule]);
        for (name, team, path) in
            [("a-big-one", "z", JOBS), ("of-x", "x", JOBS), ("elsewhere", "z", "/apis/batch/v1/namespaces/n/jobs")]
        {
            let (code, answer) =
                cluster.send(Method::POST, &format!("{path}?dryRun=All"), Some(json!(labelled(name, team)))).await;
            assert_eq!(code, if name == refused { 403 } else { 201 }, "{name}: {answer}");
        }
    }
    cluster.sim.faults().clear();
    cluster.create(labelled("a", "x")).await;
    cluster.create(labelled("b", "y")).await;
    let away = Effect::Status { code: 503, reason: None, message: None, retry_after: None };
    cluster.sim.faults().add(Rule::new("get", "jobs", away).labels("team=x"));
    assert_eq!(cluster.get(&format!("{JOBS}/a")).await.0, 503);
    assert_eq!(cluster.get(&format!("{JOBS}/b")).await.0, 200);
    let wrong = json!({"labels": "a b c", "effect": {"kind": "not_allowed"}});
    assert_eq!(cluster.send(Method::PUT, "/sim/faults", Some(wrong)).await.0, 400);
}

#[tokio::test]
async fn one_job_gets_no_pod_while_others_go_on() {
    let cluster = Cluster::start().await;
    cluster.sim.faults().add(Rule::new("create", "pods", Effect::ExceededQuota).name_contains("big"));
    let big = cluster.create(job("big", &[])).await;
    cluster.create(job("small", &[])).await;
    let done = cluster.job("small", |job: Option<&_>| crate::harness::ended(job)).await;
    assert!(condition(Some(&done), "Complete").is_some());
    let warnings = cluster.warnings(&crate::harness::uid(&big)).await;
    assert!(warnings[0].starts_with("FailedCreate: Error creating: pods \"big-"), "{warnings:?}");
}

#[tokio::test]
async fn watches_are_cut_and_expired() {
    let cluster = Cluster::start().await;
    let version = cluster.create(with(job("a", &[]), "suspend", json!(true))).await.resource_version().expect("one");
    cluster.job("a", |job: Option<&_>| condition(job, "Suspended").is_some()).await;
    let open = || async { cluster.jobs.watch(&WatchParams::default(), &version).await.expect("a watch").boxed() };
    let watch = open().await;
    let cut = cluster.sim.faults().add(Rule::new("watch", "jobs", Effect::CutWatches));
    let rest = tokio::time::timeout(BOUND, watch.try_collect::<Vec<_>>()).await.expect("it ends");
    assert!(rest.is_ok(), "closed in good order");
    assert_eq!(cluster.sim.faults().took(cut), 1);
    let watch = open().await;
    cluster.sim.faults().add(Rule::new("watch", "jobs", Effect::ExpireWatches));
    let rest = tokio::time::timeout(BOUND, watch.try_collect::<Vec<_>>()).await.expect("it ends").expect("readable");
    assert!(matches!(rest.last(), Some(WatchEvent::Error(status)) if status.code == 410), "{rest:?}");
    let resumed = cluster.jobs.watch(&WatchParams::default(), &version).await.map(|_| ());
    assert_eq!(code(&resumed.expect_err("the history is gone")), 410);
}

#[tokio::test]
async fn a_silent_watch_catches_up_when_the_fault_is_removed() {
    let cluster = Cluster::start().await;
    let silence = cluster.sim.faults().add(Rule::new("watch", "jobs", Effect::SilentWatch));
    let mut watch = cluster.jobs.watch(&WatchParams::default(), "0").await.expect("a watch").boxed();
    cluster.create(with(job("a", &[]), "suspend", json!(true))).await;
    let next = watch.next();
    tokio::pin!(next);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(100), &mut next).await.is_err(), "silent");
    assert_eq!(cluster.sim.faults().took(silence), 1);
    cluster.sim.faults().clear();
    let event = tokio::time::timeout(BOUND, next).await.expect("in time").expect("open").expect("readable");
    assert!(matches!(event, WatchEvent::Added(job) if job.name_any() == "a"));
}

#[tokio::test]
async fn an_event_is_lost_and_the_list_still_tells_the_truth() {
    let cluster = Cluster::start().await;
    let fault = cluster.sim.faults().add(Rule::new("watch", "jobs", Effect::LoseEvent).times(1));
    let mut watch = cluster.jobs.watch(&WatchParams::default(), "0").await.expect("a watch").boxed();
    for name in ["a", "b"] {
        cluster.create(with(job(name, &[]), "suspend", json!(true))).await;
    }
    let first = tokio::time::timeout(BOUND, watch.next()).await.expect("in time").expect("open").expect("readable");
    assert!(!matches!(first, WatchEvent::Added(job) if job.name_any() == "a"), "the first event was lost");
    assert_eq!(cluster.sim.faults().took(fault), 1);
}

#[tokio::test]
async fn a_stale_list_shows_what_was() {
    let cluster = Cluster::start().await;
    cluster.create(with(job("a", &[]), "suspend", json!(true))).await;
    cluster.sim.faults().add(Rule::new("list", "jobs", Effect::Stale { age_ms: 3_600_000 }));
    let list = cluster.jobs.list(&kube::api::ListParams::default()).await.expect("a list");
    assert!(list.items.is_empty(), "an hour ago there was no Job");
}

#[tokio::test]
async fn a_paused_controller_makes_no_pods_and_a_refused_pod_is_told() {
    let cluster = Cluster::start().await;
    let refused =
        Effect::Status { code: 403, reason: None, message: Some("violates PodSecurity".into()), retry_after: None };
    let fault = cluster.sim.faults().add(Rule::new("create", "pods", refused));
    cluster.create(job("a", &[])).await;
    let events: kube::Api<k8s_openapi::api::core::v1::Event> = kube::Api::default_namespaced(cluster.client.clone());
    let params = WatchParams::default().fields("reason=FailedCreate");
    let mut told = events.watch(&params, "0").await.expect("a watch").boxed();
    let event = tokio::time::timeout(BOUND, told.next()).await.expect("in time").expect("open").expect("readable");
    assert!(
        matches!(event, WatchEvent::Added(e) if e.message.as_deref() == Some("Error creating: violates PodSecurity"))
    );
    assert!(cluster.sim.faults().remove(fault));
    cluster.job("a", |job: Option<&_>| crate::harness::ended(job)).await;
}

#[tokio::test]
async fn faults_are_set_listed_and_removed_over_http() {
    let cluster = Cluster::start().await;
    let rules = json!([
        {"verb": "create", "resource": "jobs", "times": 3, "effect": {"kind": "status", "code": 500}},
        {"verb": "list", "probability": 0.5, "effect": {"kind": "delay", "before_ms": 5}},
    ]);
    let (code, listed) = cluster.send(Method::PUT, "/sim/faults", Some(rules)).await;
    assert_eq!((code, listed.as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(cluster.send(Method::POST, JOBS, Some(json!(job("a", &[])))).await.0, 500);
    let (_, listed) = cluster.get("/sim/faults").await;
    assert_eq!((&listed[0]["took"], &listed[0]["effect"]["code"]), (&json!(1), &json!(500)));
    let wrong = json!({"verb": "create", "effect": {"kind": "explode"}});
    assert_eq!(cluster.send(Method::PUT, "/sim/faults", Some(wrong)).await.0, 400);
    let (_, left) = cluster.send(Method::DELETE, &format!("/sim/faults/{}", listed[0]["id"]), None).await;
    assert_eq!(left.as_array().map(Vec::len), Some(1));
    assert_eq!(cluster.send(Method::DELETE, "/sim/faults", None).await.1, json!([]));
}

#[tokio::test]
async fn a_delayed_answer_comes_after_the_commit() {
    let cluster = Cluster::start().await;
    let slow = Effect::Delay { before_ms: 0, after_ms: 3_600_000 };
    let fault = cluster.sim.faults().add(Rule::new("create", "jobs", slow).times(1));
    let (jobs, made) = (cluster.jobs.clone(), job("a", &[]));
    let create = tokio::spawn(async move { jobs.create(&PostParams::default(), &made).await });
    cluster.job("a", |job: Option<&_>| crate::harness::ended(job)).await;
    assert!(!create.is_finished(), "the answer is still on its way");
    assert_eq!(cluster.sim.faults().took(fault), 1);
    create.abort();
}
