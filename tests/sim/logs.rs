//! Logs: what there is of one at each moment, and the ways to ask for a part of it.

use kube::ResourceExt;
use reqwest::Response;
use serde_json::json;

use crate::harness::{BOUND, Cluster, PODS, edited, ended, job, phase, waiting_for};

async fn ask(cluster: &Cluster, pod: &impl ResourceExt, query: &str) -> Response {
    let url = format!("{}{PODS}/{}/log?{query}", cluster.sim.url(), pod.name_any());
    cluster.http.get(url).timeout(BOUND).send().await.expect("an answer")
}

async fn text(cluster: &Cluster, pod: &impl ResourceExt, query: &str) -> String {
    let answer = ask(cluster, pod, query).await;
    assert_eq!(answer.status(), 200, "{query}");
    answer.text().await.expect("the whole log")
}

/// The message with which a log is refused.
async fn refused(cluster: &Cluster, pod: &impl ResourceExt, query: &str) -> String {
    let answer = ask(cluster, pod, query).await;
    assert_eq!(answer.status(), 400, "{query}");
    let status: serde_json::Value = answer.json().await.expect("a Status");
    status["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_log_is_followed_to_its_end() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "200ms"), ("log", "one\ntwo")])).await;
    let pod = cluster.pod_of("a", |pod| phase(pod) == "Running").await;
    let log = text(&cluster, &pod, "follow=true").await;
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[1..4], ["$ sh -c 'echo hi'", "one", "two"]);
    assert!(lines[4].contains("exit code 0"), "{lines:?}");
    assert_eq!(text(&cluster, &pod, "tailLines=2").await.lines().count(), 2);
}

#[tokio::test]
async fn lines_come_while_it_runs() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "1h"), ("log", "one\ntwo")])).await;
    let pod = cluster.pod_of("a", |pod| phase(pod) == "Running").await;
    let now = text(&cluster, &pod, "").await;
    assert_eq!(now.lines().last(), Some("one"), "the other comes in half an hour");
    cluster.create(job("b", &[("duration", "1s"), ("log", "one\ntwo\nthree")])).await;
    let pod = cluster.pod_of("b", |pod| phase(pod) == "Running").await;
    let mut answer = ask(&cluster, &pod, "follow=true").await;
    let mut chunks = Vec::new();
    while let Some(chunk) = answer.chunk().await.expect("bytes") {
        chunks.push(String::from_utf8_lossy(&chunk).into_owned());
    }
    assert!(chunks.len() >= 2, "they came one after the other: {chunks:?}");
    assert_eq!(chunks.concat(), text(&cluster, &pod, "").await);
}

#[tokio::test]
async fn a_log_may_have_many_bytes_and_one_enormous_line() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("log-bytes", "100050"), ("log-line-bytes", "70000")])).await;
    let pod = cluster.pod_of("a", |pod| phase(pod) == "Succeeded").await;
    let log = text(&cluster, &pod, "").await;
    let lines: Vec<_> = log.lines().collect();
    let numbered = &lines[2..lines.len() - 2];
    assert_eq!(numbered.iter().map(|line| line.len() + 1).sum::<usize>(), 100_050);
    assert!(numbered[999].starts_with("line 1000 ..."), "{}", numbered[999]);
    assert_eq!(lines[lines.len() - 2].len(), 70_000);
    assert_eq!(
        text(&cluster, &pod, "tailLines=4").await,
        log.lines().skip(lines.len() - 4).fold(String::new(), |all, line| all + line + "\n")
    );
}

#[tokio::test]
async fn a_part_of_a_log_is_cut_as_kubernetes_cuts_it() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("log", "first\nsecond\nthird")])).await;
    let pod = cluster.pod_of("a", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(text(&cluster, &pod, "tailLines=3&limitBytes=8").await, "second\nt", "from the start of the tail");
    assert_eq!(text(&cluster, &pod, "tailLines=3&limitBytes=8&follow=true").await, "second\nt");
    assert_eq!(
        text(&cluster, &pod, "container=main&sinceSeconds=3600&tailLines=4").await.lines().next(),
        Some("first")
    );
    assert_eq!(text(&cluster, &pod, "sinceTime=2999-01-01T00:00:00Z").await, "");
    assert!(text(&cluster, &pod, "timestamps=true&tailLines=1").await.contains("Z longshore-sim: exit code 0"));
    assert_eq!(
        refused(&cluster, &pod, "container=other").await,
        format!("container other is not valid for pod {}", pod.name_any())
    );
}

#[tokio::test]
async fn a_container_that_has_not_started_has_no_log() {
    let cluster = Cluster::start().await;
    for (outcome, reason, why) in [
        ("mount-error", "ContainerCreating", "ContainerCreating"),
        ("config-error", "CreateContainerConfigError", "CreateContainerConfigError"),
        ("image-pull-error", "ImagePullBackOff", "trying and failing to pull image"),
    ] {
        cluster.create(job(outcome, &[("outcome", outcome)])).await;
        let pod = cluster.pod_of(outcome, |pod| waiting_for(pod) == Some(reason)).await;
        let expected = format!("container \"main\" in pod \"{}\" is waiting to start: {why}", pod.name_any());
        assert_eq!(refused(&cluster, &pod, "").await, expected);
    }
    cluster.create(job("nowhere", &[("outcome", "unschedulable")])).await;
    let pod = cluster.pod_of("nowhere", |_| true).await;
    assert_eq!(ask(&cluster, &pod, "").await.status(), 204, "there is no node to ask");
    cluster.create(job("never", &[("outcome", "start-error")])).await;
    let pod = cluster.pod_of("never", |pod| phase(pod) == "Failed").await;
    assert_eq!(text(&cluster, &pod, "").await, "", "its program printed nothing");
}

#[tokio::test]
async fn a_log_is_kept_until_the_pod_is_gone_and_shows_what_was_printed_by_its_end() {
    let cluster = Cluster::start().await;
    cluster.create(job("a", &[("duration", "1h"), ("log", "one\ntwo"), ("stop", "300ms")])).await;
    let pod = cluster.pod_of("a", |pod| phase(pod) == "Running").await;
    let suspend = json!({"spec": {"suspend": true}});
    let patch = kube::api::Patch::Merge(suspend);
    cluster.jobs.patch("a", &kube::api::PatchParams::default(), &patch).await.expect("suspended");
    let log = text(&cluster, &pod, "follow=true&tailLines=2").await;
    assert!(log.contains("one") && !log.contains("two"), "{log}");
    cluster.pod(&pod.name_any(), kube::runtime::conditions::is_deleted(&crate::harness::uid(&pod))).await;
    assert_eq!(ask(&cluster, &pod, "").await.status(), 404);
    cluster.create(job("b", &[("outcome", "node-lost")])).await;
    let pod = cluster.pod_of("b", |pod| phase(pod) == "Failed").await;
    assert_eq!(ask(&cluster, &pod, "").await.status(), 500, "its node cannot be reached");
}

#[tokio::test]
async fn an_init_container_that_fails_has_its_log() {
    let cluster = Cluster::start().await;
    let mut value = json!(job("a", &[("outcome", "fail"), ("in", "init"), ("log", "no such table")]));
    value["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "prepare", "image": "busybox:2"}]);
    cluster.create(edited(value)).await;
    cluster.job("a", |job: Option<&_>| ended(job)).await;
    let pod = cluster.pod_of("a", |pod| phase(pod) == "Failed").await;
    assert!(text(&cluster, &pod, "container=prepare").await.contains("\nno such table\n"));
    assert!(refused(&cluster, &pod, "container=main").await.ends_with("is waiting to start: PodInitializing"));
}
