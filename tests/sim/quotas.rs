//! Quotas, in the words of the real server: for a client that creates Jobs, and for the Job controller that creates pods.

use k8s_openapi::api::batch::v1::Job;
use kube::api::PostParams;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, condition, edited, ended, job, phase, uid};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

async fn limit(cluster: &Cluster, hard: Value) {
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    let (code, answer) = cluster.send(Method::POST, QUOTAS, Some(quota)).await;
    assert_eq!(code, 201, "{answer}");
}

/// A Job that runs for an hour, and whose pod wants these resources.
fn wanting(name: &str, resources: Value) -> Job {
    let mut value = json!(job(name, &[("duration", "1h")]));
    value["spec"]["template"]["spec"]["containers"][0]["resources"] = resources;
    edited(value)
}

/// Why the Job has no pod.
async fn told(cluster: &Cluster, made: &Job) -> String {
    let name = made.metadata.name.clone().unwrap_or_default();
    let started = |job: Option<&Job>| job.and_then(|job| job.status.as_ref()?.start_time.as_ref()).is_some();
    cluster.job(&name, started).await;
    cluster.warnings(&uid(made)).await.into_iter().next().expect("a warning")
}

#[tokio::test]
async fn a_quota_of_jobs_refuses_the_client() {
    let cluster = Cluster::start().await;
    limit(&cluster, json!({"count/jobs.batch": 1})).await;
    cluster.create(job("a", &[])).await;
    let error = cluster.jobs.create(&PostParams::default(), &job("b", &[])).await.expect_err("no quota left");
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "jobs.batch \"b\" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=1, limited: count/jobs.batch=1"
    );
}

#[tokio::test]
async fn a_quota_of_cpu_and_memory_refuses_the_job_controller() {
    let cluster = Cluster::start().await;
    limit(&cluster, json!({"requests.cpu": "1", "limits.memory": "1Gi", "pods": "10"})).await;
    let small = json!({"requests": {"cpu": "600m"}, "limits": {"memory": "512Mi"}});
    cluster.create(wanting("a", small.clone())).await;
    cluster.pod_of("a", |pod| phase(pod) == "Running").await;
    let made = cluster.create(wanting("b", small)).await;
    let message = told(&cluster, &made).await;
    assert!(message.starts_with("FailedCreate: Error creating: pods \"b-"), "{message}");
    let why = "is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1";
    assert!(message.ends_with(why), "{message}");
    let made = cluster.create(wanting("c", json!({"limits": {"cpu": "2", "memory": "768Mi"}}))).await;
    let message = told(&cluster, &made).await;
    let why = "requested: limits.memory=768Mi,requests.cpu=2, used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1";
    assert!(message.ends_with(why), "{message}");
}

#[tokio::test]
async fn a_container_must_say_what_a_quota_is_about() {
    let cluster = Cluster::start().await;
    limit(&cluster, json!({"limits.cpu": "4", "requests.memory": "1Gi"})).await;
    let made = cluster.create(job("a", &[])).await;
    let message = told(&cluster, &made).await;
    assert!(
        message.ends_with("failed quota: q: must specify limits.cpu for: main; requests.memory for: main"),
        "{message}"
    );
}

#[tokio::test]
async fn a_quota_that_is_deleted_lets_the_waiting_job_go_on() {
    let cluster = Cluster::start().await;
    limit(&cluster, json!({"pods": "0"})).await;
    let made = cluster.create(job("a", &[])).await;
    assert!(
        told(&cluster, &made).await.ends_with("exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0")
    );
    let (code, _) = cluster.send(Method::DELETE, &format!("{QUOTAS}/q"), None).await;
    assert_eq!(code, 200);
    let done = cluster.job("a", |job: Option<&_>| ended(job)).await;
    assert!(condition(Some(&done), "Complete").is_some());
}
