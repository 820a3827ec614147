//! What keeps a pod from running, as its status and its events tell it, and what comes after it has healed.

use serde_json::{Value, json};

use crate::harness::{Cluster, condition, edited, ended, job, phase, pod_condition, state, uid, waiting_for};

#[tokio::test]
async fn a_container_that_cannot_run_waits_with_the_kubelets_reason() {
    let cluster = Cluster::start().await;
    for (outcome, reason, message, warning) in [
        (
            "invalid-image-name",
            "InvalidImageName",
            "couldn't parse image name \"busybox:1\"",
            "InspectFailed: Failed to",
        ),
        ("image-never-pull", "ErrImageNeverPull", "pull policy of Never", "ErrImageNeverPull: Container image"),
        ("image-inspect-error", "ImageInspectError", "Failed to inspect image", "InspectFailed: Failed to inspect"),
        (
            "config-error",
            "CreateContainerConfigError",
            "secret \"absent\" not found",
            "Failed: Error: secret \"absent\"",
        ),
        ("create-error", "CreateContainerError", "no command specified", "Failed: Error: failed to generate"),
        ("run-error", "RunContainerError", "failed to create containerd task", "Failed: Error: failed to create"),
    ] {
        cluster.create(job(outcome, &[("outcome", outcome)])).await;
        let pod = cluster.pod_of(outcome, |pod| waiting_for(pod) == Some(reason)).await;
        assert_eq!(phase(&pod), "Pending");
        let said = json!(pod);
        let text = state(&said, "waiting")["message"].as_str().unwrap_or_default();
        assert!(text.contains(message), "{outcome}: {text}");
        let warnings = cluster.warnings(&uid(&pod)).await;
        assert!(warnings.iter().any(|told| told.starts_with(warning)), "{outcome}: {warnings:?}");
    }
}

#[tokio::test]
async fn a_failed_pull_is_tried_again_and_again() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("outcome", "image-pull-error")])).await;
    for reason in ["ErrImagePull", "ImagePullBackOff", "ErrImagePull", "ImagePullBackOff"] {
        let pod = cluster.pod_of("a", |pod| waiting_for(pod) == Some(reason)).await;
        let said = json!(pod);
        let text = state(&said, "waiting")["message"].as_str().unwrap_or_default();
        assert!(text.contains("failed to resolve reference \"busybox:1\""), "{text}");
    }
    let (_, events) = cluster.get("/api/v1/namespaces/default/events?fieldSelector=reason=BackOff").await;
    assert_eq!(events["items"][0]["type"], "Normal", "{events}");
    assert_eq!(events["items"][0]["message"], "Back-off pulling image \"busybox:1\"");
    assert_eq!(events["items"].as_array().map(Vec::len), Some(1), "what is told again is counted: {events}");
    assert!(events["items"][0]["count"].as_u64() >= Some(2), "{events}");
}

#[tokio::test]
async fn a_volume_that_cannot_be_mounted_is_told_by_an_event_alone() {
    let cluster = Cluster::start().await;
    let mut value = json!(job("a", &[("outcome", "mount-error")]));
    value["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "x"}}]);
    cluster.create(edited(value)).await;
    let pod = cluster.pod_of("a", |pod| waiting_for(pod) == Some("ContainerCreating")).await;
    let told = "FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"x\" not found";
    assert_eq!(cluster.warnings(&uid(&pod)).await, [told]);
}

#[tokio::test]
async fn a_pod_without_a_place_says_so_in_a_condition_and_an_event() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("outcome", "unschedulable")])).await;
    let pod = cluster.pod_of("a", |pod| !pod_condition(&json!(pod), "PodScheduled").is_null()).await;
    let said = pod_condition(&json!(pod), "PodScheduled");
    assert_eq!((&said["status"], &said["reason"]), (&json!("False"), &json!("Unschedulable")));
    let message = said["message"].as_str().unwrap_or_default();
    assert_eq!(cluster.warnings(&uid(&pod)).await, [format!("FailedScheduling: {message}")]);
}

#[tokio::test]
async fn a_job_whose_pod_cannot_be_created_tells_it_by_events() {
    let cluster = Cluster::start().await;
    let made = cluster.create(job("a", &[("outcome", "no-pod")])).await;
    let started = |job: Option<&k8s_openapi::api::batch::v1::Job>| {
        job.and_then(|job| job.status.as_ref()).is_some_and(|status| status.start_time.is_some())
    };
    let tried = cluster.job("a", started).await;
    assert_eq!(tried.status.and_then(|status| status.active), None);
    let warnings = cluster.warnings(&uid(&made)).await;
    let told = "FailedCreate: Error creating: pods \"a-\" is forbidden: error looking up service account default/absent: serviceaccount \"absent\" not found";
    assert_eq!(warnings.first().map(String::as_str), Some(told));
    let (_, pods) = cluster.get(crate::harness::PODS).await;
    assert_eq!(pods["items"], json!([]));
}

#[tokio::test]
async fn what_heals_runs_and_ends_as_it_was_told() {
    let cluster = Cluster::start().await;
    let troubles = ["image-pull-error", "config-error", "mount-error", "unschedulable", "no-pod", "never-starts"];
    for (number, outcome) in troubles.into_iter().enumerate() {
        let then = if number % 2 == 0 { "exit=3" } else { "succeed" };
        cluster.create(job(outcome, &[("outcome", outcome), ("heals-after", "250ms"), ("then", then)])).await;
    }
    for (number, outcome) in troubles.into_iter().enumerate() {
        let done = cluster.job(outcome, |job: Option<&_>| ended(job)).await;
        let complete = condition(Some(&done), "Complete").is_some();
        assert_eq!(complete, number % 2 == 1, "{outcome}");
    }
}

#[tokio::test]
async fn an_init_container_may_be_the_one_in_trouble() {
    let cluster = Cluster::start().await;
    let with_init = |name: &str, annotations: &[(&str, &str)]| {
        let mut value = json!(job(name, annotations));
        value["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "prepare", "image": "busybox:2"}]);
        edited(value)
    };
    let init = |pod: &Value| pod["status"]["initContainerStatuses"][0]["state"].clone();
    cluster.create(with_init("pulls", &[("outcome", "image-pull-error"), ("in", "init")])).await;
    let waits = |pod: &k8s_openapi::api::core::v1::Pod| init(&json!(pod))["waiting"]["reason"] == "ErrImagePull";
    let pod = json!(cluster.pod_of("pulls", waits).await);
    assert!(init(&pod)["waiting"]["message"].to_string().contains("busybox:2"), "{pod}");
    assert_eq!(state(&pod, "waiting")["reason"], "PodInitializing");
    assert_eq!(pod_condition(&pod, "Initialized")["status"], "False");
    cluster.create(with_init("fails", &[("outcome", "exit=7"), ("in", "init")])).await;
    let pod = json!(cluster.pod_of("fails", |pod| phase(pod) == "Failed").await);
    assert_eq!(init(&pod)["terminated"]["exitCode"], 7);
    assert_eq!(state(&pod, "waiting")["reason"], "PodInitializing", "its program never ran");
    cluster.create(with_init("well", &[("in", "init")])).await;
    let pod = json!(cluster.pod_of("well", |pod| phase(pod) == "Succeeded").await);
    assert_eq!((&init(&pod)["terminated"]["exitCode"], &state(&pod, "terminated")["exitCode"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn an_event_is_found_by_every_field_that_kubernetes_selects_events_by() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("outcome", "config-error")])).await;
    cluster.create(job("b", &[("outcome", "config-error")])).await;
    let waits = |pod: &k8s_openapi::api::core::v1::Pod| waiting_for(pod) == Some("CreateContainerConfigError");
    let pod = cluster.pod_of("a", waits).await;
    cluster.pod_of("b", waits).await;
    let events = "/api/v1/namespaces/default/events";
    let find = |selector: String| {
        let cluster = &cluster;
        async move { cluster.get(&format!("{events}?fieldSelector={selector}")).await.1["items"].clone() }
    };
    let (name, uid) = (pod.metadata.name.clone().unwrap_or_default(), uid(&pod));
    let about = format!("involvedObject.name={name},involvedObject.uid={uid},type=Warning");
    let found = find(about.clone()).await;
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    let version = found[0]["involvedObject"]["resourceVersion"].as_str().unwrap_or_default();
    for term in [
        "involvedObject.kind=Pod",
        "involvedObject.namespace=default",
        "involvedObject.apiVersion=v1",
        &format!("involvedObject.resourceVersion={version}"),
        "involvedObject.fieldPath=spec.containers{main}",
        "reason=Failed",
        "reportingComponent=kubelet",
        "source=kubelet",
    ] {
        assert_eq!(find(format!("{about},{term}")).await, found, "{term}");
        assert_eq!(find(format!("{about},{}", term.replace('=', "!="))).await, json!([]), "not {term}");
    }
}
