//! The Job controller and the pretend node: what becomes of a Job, and what the audit log says about it.

use std::path::{Path, PathBuf};
use std::process::Command;

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Cluster, condition, ended, exit_code, job, phase, uid, waiting_for, with};

#[tokio::test]
async fn a_job_completes_and_says_so_in_the_order_of_current_releases() {
    let cluster = Cluster::start().await;
    cluster.create(with(with(job("a", &[]), "completions", json!(3)), "parallelism", json!(2))).await;
    let done = cluster.job("a", |job: Option<&_>| ended(job)).await;
    let status = done.status.as_ref().expect("a status");
    let kinds: Vec<_> = status.conditions.iter().flatten().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(kinds, ["SuccessCriteriaMet", "Complete"]);
    assert_eq!((status.succeeded, status.active, status.failed), (Some(3), None, None));
    assert!(status.start_time.is_some() && status.completion_time.is_some());
    let pods = cluster.pods.list(&ListParams::default().fields("status.phase=Succeeded")).await.expect("pods");
    assert_eq!(pods.items.len(), 3);
    for pod in &pods {
        assert_eq!((exit_code(pod), pod.owner_references()[0].uid.as_str()), (Some(0), uid(&done).as_str()));
    }
}

#[tokio::test]
async fn failures_are_retried_up_to_the_limit() {
    let cluster = Cluster::start().await;
    cluster.create(with(job("a", &[("outcome", "exit=137")]), "backoffLimit", json!(2))).await;
    let failed = cluster.job("a", |job: Option<&_>| ended(job)).await;
    assert_eq!(condition(Some(&failed), "FailureTarget").as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!(condition(Some(&failed), "Failed").as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!(failed.status.and_then(|status| status.failed), Some(3));
    let pods = cluster.pods.list(&ListParams::default()).await.expect("pods");
    assert_eq!(pods.items.iter().map(exit_code).collect::<Vec<_>>(), [Some(137); 3]);
}

#[tokio::test]
async fn a_deadline_stops_the_pods_and_then_fails_the_job() {
    let cluster = Cluster::start().await;
    cluster.create(with(job("a", &[("duration", "1h")]), "activeDeadlineSeconds", json!(1))).await;
    let failed = cluster.job("a", |job: Option<&_>| ended(job)).await;
    assert_eq!(condition(Some(&failed), "Failed").as_deref(), Some("DeadlineExceeded"));
    let alive = ListParams::default().fields("status.phase=Running");
    assert!(cluster.pods.list(&alive).await.expect("pods").items.is_empty());
}

#[tokio::test]
async fn a_finished_job_expires_by_its_time_to_live() {
    let cluster = Cluster::start().await;
    let made = cluster.create(with(job("a", &[]), "ttlSecondsAfterFinished", json!(0))).await;
    cluster.gone(&made).await;
}

#[tokio::test]
async fn a_suspended_job_has_no_pods_until_it_is_resumed() {
    let cluster = Cluster::start().await;
    cluster.create(with(job("a", &[]), "suspend", json!(true))).await;
    let suspended = cluster.job("a", |job: Option<&_>| condition(job, "Suspended").is_some()).await;
    assert_eq!(suspended.status.and_then(|status| status.start_time), None);
    assert!(cluster.pods.list(&ListParams::default()).await.expect("pods").items.is_empty());
    let resume = Patch::Merge(json!({"spec": {"suspend": false}}));
    cluster.jobs.patch("a", &PatchParams::default(), &resume).await.expect("resumed");
    let done = cluster.job("a", |job: Option<&_>| ended(job)).await;
    assert!(condition(Some(&done), "Complete").is_some());
}

#[tokio::test]
async fn an_indexed_job_completes_each_index_once() {
    let cluster = Cluster::start().await;
    let indexed = with(with(job("a", &[]), "completionMode", json!("Indexed")), "completions", json!(3));
    cluster.create(indexed).await;
    let done = cluster.job("a", |job: Option<&_>| ended(job)).await;
    assert_eq!(done.status.and_then(|status| status.completed_indexes).as_deref(), Some("0-2"));
}

#[tokio::test]
async fn a_pod_somebody_deletes_is_a_failure_of_its_job() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "1h")])).await;
    let pod = cluster.pod_of("a", |pod| phase(pod) == "Running").await;
    cluster.pods.delete(&pod.name_any(), &DeleteParams::default()).await.expect("deleted");
    let failed = cluster.job("a", |job: Option<&_>| ended(job)).await;
    assert_eq!(condition(Some(&failed), "Failed").as_deref(), Some("BackoffLimitExceeded"));
}

#[tokio::test]
async fn pods_that_never_run_say_why() {
    let cluster = Cluster::start().await;
    for outcome in ["image-pull-error", "unschedulable", "never-starts"] {
        cluster.create(job(outcome, &[("outcome", outcome)])).await;
    }
    let pulls = cluster.pod_of("image-pull-error", |pod| waiting_for(pod) == Some("ImagePullBackOff")).await;
    assert_eq!(phase(&pulls), "Pending");
    let unscheduled =
        cluster.pod_of("unschedulable", |pod| pod.status.as_ref().is_some_and(|s| s.conditions.is_some()));
    let conditions = unscheduled.await.status.and_then(|status| status.conditions).expect("conditions");
    assert_eq!((conditions[0].status.as_str(), conditions[0].reason.as_deref()), ("False", Some("Unschedulable")));
    cluster.pod_of("never-starts", |pod| waiting_for(pod) == Some("ContainerCreating")).await;
    let (_, events) = cluster.get("/api/v1/namespaces/default/events?fieldSelector=type%3DWarning").await;
    let reasons: Vec<_> =
        events["items"].as_array().into_iter().flatten().map(|event| event["reason"].clone()).collect();
    for reason in ["Failed", "FailedScheduling", "FailedMount"] {
        assert!(reasons.contains(&json!(reason)), "{reasons:?}");
    }
    let log = cluster.pods.logs(&pulls.name_any(), &LogParams::default()).await.expect_err("no log yet");
    assert_eq!(crate::harness::code(&log), 400);
}

#[tokio::test]
async fn a_job_that_vanishes_leaves_nothing_behind() {
    let cluster = Cluster::start().await;
    let made = cluster.create(job("a", &[("outcome", "vanishes"), ("duration", "100ms")])).await;
    cluster.gone(&made).await;
    assert!(cluster.pods.list(&ListParams::default()).await.expect("pods").items.is_empty());
}

/// Where the independent witness lies: `LONGSHORE_WITNESS`, or beside the checkout.
fn witness() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/witness/witness.py");
    let found = std::env::var_os("LONGSHORE_WITNESS").map_or(beside, PathBuf::from);
    found.exists().then_some(found)
}

#[tokio::test]
async fn the_audit_log_satisfies_the_witness() {
    let cluster = Cluster::start().await;
    for (number, outcome) in ["succeed", "fail", "vanishes", "succeed"].into_iter().enumerate() {
        let mut job = job(&format!("w{number}"), &[("outcome", outcome)]);
        let labels = [("longshore.dev/job-id", number.to_string()), ("longshore.dev/attempt", "1".to_owned())];
        let labels: std::collections::BTreeMap<_, _> = labels.map(|(key, value)| (key.to_owned(), value)).into();
        job.metadata.labels = Some(labels.clone());
        let template = &mut job.spec.as_mut().expect("a spec").template;
        template.metadata = Some(kube::core::ObjectMeta { labels: Some(labels), ..Default::default() });
        let made = cluster.create(job).await;
        let name = made.name_any();
        if outcome == "vanishes" {
            cluster.gone(&made).await;
        } else {
            cluster.job(&name, |job: Option<&_>| ended(job)).await;
        }
    }
    let controllers = cluster.audit().into_iter().filter(|event| event["objectRef"]["subresource"] == "status");
    assert!(controllers.count() >= 12, "the controllers' writes are in the log");
    let Some(witness) = witness() else {
        println!("skipped: no witness.py to be found; name it in LONGSHORE_WITNESS");
        return;
    };
    let output = Command::new("python3").arg(witness).arg(cluster.audit_log()).args(["--cap", "1"]).output();
    let output = output.expect("python3 runs");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("figures");
    assert!(output.status.success(), "{figures:#}");
    assert_eq!((&figures["attempts"], &figures["peak_live"]), (&json!(4), &json!(1)));
    assert_eq!(figures["attempts_never_ended"], json!(0), "{figures:#}");
}
