//! How a pod that ran ends, by itself or because something ended it, as a client sees it.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, condition, edited, ended, job, phase, pod_condition, state, uid, waiting_for};

/// Its Job has failed as one does that may not retry.
async fn failed(cluster: &Cluster, name: &str) -> Job {
    let failed = cluster.job(name, |job: Option<&_>| ended(job)).await;
    assert_eq!(condition(Some(&failed), "Failed").as_deref(), Some("BackoffLimitExceeded"), "{name}");
    failed
}

async fn failed_pod(cluster: &Cluster, outcome: &str) -> Value {
    cluster.create(job(outcome, &[("outcome", outcome)])).await;
    let pod = json!(cluster.pod_once(outcome, |pod| phase(pod) == "Failed").await);
    failed(cluster, outcome).await;
    pod
}

#[tokio::test]
async fn a_disrupted_pod_says_who_ended_it() {
    let cluster = Cluster::start().await;
    for (outcome, reason, message) in [
        ("evicted", "TerminationByKubelet", "The node was low on resource: memory."),
        ("preempted", "PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
        ("node-lost", "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
    ] {
        let pod = failed_pod(&cluster, outcome).await;
        let said = pod_condition(&pod, "DisruptionTarget");
        assert_eq!((&said["status"], &said["reason"]), (&json!("True"), &json!(reason)), "{outcome}");
        assert!(said["message"].as_str().is_some_and(|text| text.starts_with(message)), "{said}");
    }
}

#[tokio::test]
async fn an_evicted_pod_and_one_on_a_lost_node_carry_a_reason_of_their_own() {
    let cluster = Cluster::start().await;
    let evicted = failed_pod(&cluster, "evicted").await;
    assert_eq!(evicted["status"]["reason"], "Evicted");
    let lost = failed_pod(&cluster, "node-lost").await;
    assert_eq!(lost["status"]["reason"], "NodeLost");
    assert!(state(&lost, "running").is_object(), "nobody knows what became of its container");
}

#[tokio::test]
async fn a_preempted_pod_is_deleted_and_a_little_later_gone() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("outcome", "preempted")])).await;
    let pod = cluster.pod_once("a", |pod| phase(pod) == "Failed").await;
    assert!(pod.metadata.deletion_timestamp.is_some());
    let name = pod.metadata.name.clone().expect("a name");
    cluster.pod(&name, kube::runtime::conditions::is_deleted(&uid(&pod))).await;
    let (_, events) = cluster.get("/api/v1/namespaces/default/events?fieldSelector=reason=Preempted").await;
    assert_eq!(events["items"][0]["reportingComponent"], "default-scheduler");
}

#[tokio::test]
async fn a_pod_deleted_by_hand_leaves_a_failed_job_without_pods() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("outcome", "pod-deleted"), ("stop", "100ms")])).await;
    let leaving = |pod: &Pod| pod.metadata.deletion_timestamp.is_some() && phase(pod) == "Running";
    let pod = cluster.pod_once("a", leaving).await;
    let done = failed(&cluster, "a").await;
    assert_eq!(done.status.and_then(|status| status.failed), Some(1));
    let name = pod.metadata.name.clone().expect("a name");
    cluster.pod(&name, kube::runtime::conditions::is_deleted(&uid(&pod))).await;
    assert!(cluster.pods.list(&ListParams::default()).await.expect("pods").items.is_empty());
}

#[tokio::test]
async fn a_program_that_cannot_be_started_ends_with_128() {
    let cluster = Cluster::start().await;
    let mut value = json!(job("a", &[("outcome", "start-error")]));
    value["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["nope"]);
    cluster.create(edited(value)).await;
    let pod = json!(cluster.pod_once("a", |pod| phase(pod) == "Failed").await);
    let how = state(&pod, "terminated");
    assert_eq!((&how["exitCode"], &how["reason"]), (&json!(128), &json!("StartError")));
    assert_eq!(how["startedAt"], "1970-01-01T00:00:00Z");
    let message = how["message"].as_str().unwrap_or_default();
    assert!(message.contains("exec: \"nope\": executable file not found in $PATH"), "{message}");
    failed(&cluster, "a").await;
}

#[tokio::test]
async fn a_container_leaves_its_last_words() {
    let cluster = Cluster::start().await;
    let long = format!("{}disk full: /data", "x".repeat(5_000));
    for (name, text, kept) in [("a", "disk full", "disk full"), ("b", &long, &long[long.len() - 4_096..])] {
        cluster.create(job(name, &[("outcome", "exit=3"), ("termination-message", text)])).await;
        let pod = json!(cluster.pod_of(name, |pod| phase(pod) == "Failed").await);
        assert_eq!(state(&pod, "terminated")["message"], kept);
    }
}

#[tokio::test]
async fn each_attempt_ends_as_the_list_says() {
    let cluster = Cluster::start().await;
    for (attempt, exit) in [("1", 4), ("2", 5), ("3", 0), ("4", 0)] {
        let name = format!("a{attempt}");
        let mut value = json!(job(&name, &[("outcome", "exit=4,exit=5,succeed")]));
        value["spec"]["template"]["metadata"] = json!({"labels": {"longshore.dev/attempt": attempt}});
        cluster.create(edited(value)).await;
        let pod = json!(cluster.pod_of(&name, |pod| ["Succeeded", "Failed"].contains(&phase(pod))).await);
        assert_eq!(state(&pod, "terminated")["exitCode"], exit, "attempt {attempt}");
    }
}

#[tokio::test]
async fn a_pod_that_is_deleted_before_it_ran_has_an_exit_code_that_means_nothing() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("outcome", "config-error")])).await;
    let pod = cluster.pod_of("a", |pod| waiting_for(pod) == Some("CreateContainerConfigError")).await;
    let name = pod.metadata.name.clone().expect("a name");
    cluster.pods.delete(&name, &DeleteParams::default()).await.expect("deleted");
    let last = json!(cluster.pod_once("a", |pod| phase(pod) == "Failed").await);
    let how = state(&last, "terminated");
    assert_eq!((&how["exitCode"], &how["reason"]), (&json!(137), &json!("ContainerStatusUnknown")));
    assert!(how["startedAt"].is_null(), "it never started");
}
