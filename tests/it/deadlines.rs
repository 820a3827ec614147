//! Deadlines: for waiting, and for running. (For starting: see `cannot_start`.)

use k8s_openapi::api::batch::v1::Job;
use kube::{
    ResourceExt,
    api::{Api, Patch, PatchParams},
};
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{
    World, eventually,
    jobs::{Request, job},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_too_long_fails_without_an_attempt() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let busy = world.submit(&replica, &job("busy", 600_000, 0).priority(9)).await;
    world.reaches(&replica, &busy, "running").await;
    let late = world.submit(&replica, &job("late", 50, 0).with("queue_timeout", json!("1s"))).await;
    let patient = world.submit(&replica, &job("patient", 50, 0).with("queue_timeout", json!("10m"))).await;
    let failed = world.reaches(&replica, &late, "failed").await;
    assert_eq!((&failed["reason"], &failed["attempts"]), (&json!("queue_timeout"), &json!([])));
    let message = failed["message"].as_str().unwrap();
    assert!(message.starts_with("it waited for longer than its queue_timeout of 1 s"), "{message}");
    let still = world.get(&replica, &format!("/jobs/{busy}")).await;
    assert_eq!(still["state"], "running", "it did not wait for the slot to be free");
    assert_eq!(world.cancel(&replica, &busy).await, StatusCode::ACCEPTED);
    world.reaches(&replica, &patient, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_before_a_job_is_due_is_no_waiting() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let later = job("later", 50, 0).with("delay", json!("6s")).with("queue_timeout", json!("5s"));
    let id = world.submit(&replica, &later).await;
    world.reaches(&replica, &id, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_too_long_holds_its_slot_until_its_pod_is_gone() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    // It takes two seconds to stop, on either target.
    let slow = job("slow", 60_000, 0)
        .with("command", json!(["sh", "-c", "trap 'sleep 2; exit 0' TERM; sleep 60 & wait"]))
        .with("timeout", json!("1s"))
        .sim("stop", "2s");
    let slow = world.submit(&replica, &slow.priority(9)).await;
    let next = world.submit(&replica, &job("next", 100, 0)).await;
    let stopping = world.reaches(&replica, &slow, "stopping").await;
    assert_eq!(stopping["reason"], "deadline_exceeded");
    let waits = world.get(&replica, &format!("/jobs/{next}")).await;
    assert_eq!((&waits["state"], &waits["why"]["code"]), (&json!("pending"), &json!("global_cap")));
    let failed = world.reaches(&replica, &slow, "failed").await;
    assert_eq!(failed["reason"], "deadline_exceeded");
    world.reaches(&replica, &next, "succeeded").await;
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_ends_a_job_that_runs_too_long_while_no_replica_is_there() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let long = job("long", 600_000, 0).with("timeout", json!("8m")).with("start_timeout", json!("5m"));
    let id = world.submit(&replica, &long).await;
    world.reaches(&replica, &id, "running").await;
    for replica in std::mem::take(&mut world.replicas) {
        replica.stop().await;
    }
    let job = world.target.jobs().await.remove(0);
    let deadline = job.spec.as_ref().unwrap().active_deadline_seconds.unwrap();
    assert!(deadline >= 13 * 60, "no sooner than Longshore would end it: {deadline} s");
    // Nobody waits for that long here: from now on only Kubernetes looks at the clock.
    let jobs: Api<Job> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    let soon = Patch::Merge(json!({"spec": {"activeDeadlineSeconds": 1}}));
    jobs.patch(&job.name_any(), &PatchParams::default(), &soon).await.unwrap();
    eventually("Kubernetes ends it", async || {
        let jobs = world.target.jobs().await;
        let conditions = jobs.first()?.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|it| it.type_ == "Failed" && it.status == "True").map(|_| ())
    })
    .await;
    let replica = world.start(&[]).await;
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!(failed["reason"], "deadline_exceeded");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_suspended_time_does_not_count_against_the_start_timeout() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let container = json!({"name": "main", "image": "busybox:latest"});
    let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": true, "template": {"spec": {
        "containers": [container]}}}});
    let held = json!({"name": "held", "manifest": manifest, "start_timeout": "2s",
        "annotations": {"sim.longshore.dev/duration": "50ms"}});
    let id = world.submit(&replica, &Request(held)).await;
    let kube_name = eventually("it has been suspended for longer than its start may take", async || {
        let job = world.get(&replica, &format!("/jobs/{id}")).await;
        assert_eq!(job["state"].as_str().filter(|it| *it == "failed"), None, "{job}");
        let since: jiff::Timestamp = job["why"]["since"].as_str()?.parse().unwrap();
        let long = jiff::Timestamp::now().duration_since(since).as_secs_f64() > 3.0;
        (job["why"]["code"] == "suspended" && long)
            .then(|| job["attempts"][0]["kube_name"].as_str().unwrap().to_owned())
    })
    .await;
    let jobs: Api<Job> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    let resume = Patch::Merge(json!({"spec": {"suspend": false}}));
    jobs.patch(&kube_name, &PatchParams::default(), &resume).await.unwrap();
    world.reaches(&replica, &id, "succeeded").await;
    world.finish().await;
}
