//! How jobs end, each told with its reason, and its slot freed when its pods are gone and not before.

use kube::api::{Api, DeleteParams};
use longshore::sim::{Effect, Rule};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{World, cluster::is_real, eventually, jobs::job};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_succeeds_and_one_that_fails_are_told_apart_with_their_exit_codes() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let good = world.submit(&replica, &job("good", 300, 0)).await;
    let bad = world.submit(&replica, &job("bad", 300, 7)).await;
    let good = world.reaches(&replica, &good, "succeeded").await;
    let bad = world.reaches(&replica, &bad, "failed").await;
    assert_eq!((&good["reason"], &good["attempts"][0]["exit_code"]), (&json!("completed"), &json!(0)));
    assert_eq!((&bad["reason"], &bad["attempts"][0]["exit_code"]), (&json!("job_failed"), &json!(7)));
    for job in [&good, &bad] {
        let attempt = &job["attempts"][0];
        for fact in ["kube_name", "kube_uid", "node", "pod", "claimed_at", "created_at", "started_at", "finished_at"] {
            assert!(attempt[fact].is_string(), "{fact} is not on record: {attempt}");
        }
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    }
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_job_is_cancelled_at_once_and_never_created() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let first = world.submit(&replica, &job("first", 1500, 0).priority(9)).await;
    world.reaches(&replica, &first, "running").await;
    let waits = world.submit(&replica, &job("waits", 100, 0)).await;
    assert_eq!(world.cancel(&replica, &waits).await, StatusCode::OK);
    let cancelled = world.get(&replica, &format!("/jobs/{waits}")).await;
    assert_eq!((&cancelled["state"], &cancelled["attempts"]), (&json!("cancelled"), &json!([])));
    assert_eq!(world.cancel(&replica, &waits).await, StatusCode::OK, "cancelling again changes nothing");
    world.reaches(&replica, &first, "succeeded").await;
    assert_eq!(world.cancel(&replica, &first).await, StatusCode::CONFLICT);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_holds_its_slot_until_its_pod_is_gone() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    // It takes two seconds to stop, on either target.
    let slow = job("slow", 60_000, 0)
        .with("command", json!(["sh", "-c", "trap 'sleep 2; exit 0' TERM; sleep 60 & wait"]))
        .sim("duration", "60s")
        .sim("stop", "2s");
    let slow = world.submit(&replica, &slow).await;
    world.reaches(&replica, &slow, "running").await;
    let next = world.submit(&replica, &job("next", 100, 0)).await;
    assert_eq!(world.cancel(&replica, &slow).await, StatusCode::ACCEPTED);
    world.reaches(&replica, &slow, "stopping").await;
    let next_job = world.get(&replica, &format!("/jobs/{next}")).await;
    let pods = world.target.pods().await.len();
    assert_eq!((next_job["state"].as_str().unwrap(), pods), ("pending", 1), "the slot was freed under a living pod");
    let cancelled = world.reaches(&replica, &slow, "cancelled").await;
    assert_eq!(cancelled["reason"], "cancelled");
    world.reaches(&replica, &next, "succeeded").await;
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_takes_its_whole_grace_of_twenty_seconds_keeps_its_slot_for_so_long() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    // It does not listen to SIGTERM, so that Kubernetes kills it when its grace is over.
    let container = json!({"name": "deaf", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]});
    let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
        "terminationGracePeriodSeconds": 20, "containers": [container]}}}});
    let deaf = json!({"name": "deaf", "priority": 9, "manifest": manifest, "annotations": {
        "sim.longshore.dev/duration": "1h", "sim.longshore.dev/stop": "20s"}});
    let deaf = world.submit(&replica, &crate::harness::jobs::Request(deaf)).await;
    world.reaches(&replica, &deaf, "running").await;
    let next = world.submit(&replica, &job("next", 100, 0)).await;
    assert_eq!(world.cancel(&replica, &deaf).await, StatusCode::ACCEPTED);
    world.reaches(&replica, &deaf, "cancelled").await;
    world.reaches(&replica, &next, "succeeded").await;
    let mut conn = world.conn().await;
    let held = "select extract(epoch from n.claimed_at - d.cancel_requested_at)::float8
                  from longshore.jobs n, longshore.jobs d where n.name = 'next' and d.name = 'deaf'";
    let held: f64 = crate::harness::scalar(&mut conn, held).await;
    assert!(held >= 19.0, "the next one took the slot after {held} s, under a living pod");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_too_long_is_stopped_and_says_so() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("long", 60_000, 0).with("timeout", json!("1s"))).await;
    let ended = world.reaches(&replica, &id, "failed").await;
    assert_eq!(ended["reason"], "deadline_exceeded");
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_kubernetes_refuses_fails_its_job_and_frees_the_slot() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    // Variables of a plain job are checked here alone: since 1.30 Kubernetes takes this name, and 1.20 does not.
    let bad = job("bad", 100, 0).with("env", json!({"A B": "c"}));
    if !is_real() {
        let says = "Job.batch \"bad\" is invalid: spec.template.spec.containers[0].env[0].name: Invalid value: \"A B\"";
        let effect = Effect::Status { code: 422, reason: None, message: Some(says.into()), retry_after: None };
        world.target.sim().faults().add(Rule { name: Some("bad-".into()), ..Rule::new("create", "jobs", effect) });
    }
    let bad = world.submit(&replica, &bad).await;
    let good = world.submit(&replica, &job("good", 100, 0)).await;
    let bad = world.reaches(&replica, &bad, "failed").await;
    assert_eq!(bad["reason"], "manifest_rejected");
    assert!(bad["message"].as_str().unwrap().contains("env[0].name"), "{bad}");
    let log = world.http.get(format!("{replica}/jobs/{}/logs", bad["job_id"].as_str().unwrap())).send().await.unwrap();
    let none: Value = log.json().await.unwrap();
    assert_eq!(none["code"], "no_log");
    assert!(none["detail"].as_str().unwrap().contains("no pod of attempt 1 was ever known"), "{none}");
    world.reaches(&replica, &good, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_kubernetes_job_someone_deletes_is_lost_once_its_pods_are_gone() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    // It takes a second to stop, on either target.
    let victim = job("victim", 60_000, 0)
        .with("command", json!(["sh", "-c", "trap 'sleep 1; exit 1' TERM; sleep 60 & wait"]))
        .sim("stop", "1s");
    let id = world.submit(&replica, &victim).await;
    let running = world.reaches(&replica, &id, "running").await;
    let api: Api<k8s_openapi::api::batch::v1::Job> =
        Api::namespaced(world.target.stranger().await, world.target.namespace());
    let name = running["attempts"][0]["kube_name"].as_str().unwrap();
    api.delete(name, &DeleteParams::background()).await.unwrap();
    let lost = world.reaches(&replica, &id, "failed").await;
    assert_eq!(lost["reason"], "lost");
    let phases: Vec<String> =
        world.target.pods().await.into_iter().filter_map(|it| it.status.and_then(|it| it.phase)).collect();
    assert!(
        phases.iter().all(|it| it == "Failed" || it == "Succeeded"),
        "it was given up while a pod lived: {phases:?}"
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_job_waits_for_its_time_and_then_runs() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("later", 100, 0).with("delay", json!("2s"))).await;
    assert_eq!(world.get(&replica, &format!("/jobs/{id}")).await["state"], "scheduled");
    let other = world.submit(&replica, &job("now", 100, 0).priority(-5)).await;
    world.reaches(&replica, &other, "succeeded").await;
    let done = world.reaches(&replica, &id, "succeeded").await;
    let at = |key: &str| done[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at("claimed_at") >= at("run_at"), "{done}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_stays_in_the_cluster_for_as_long_as_it_is_to_be_kept() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--keep-finished=1h"]).await;
    let id = world.submit(&replica, &job("kept", 100, 0)).await;
    world.reaches(&replica, &id, "succeeded").await;
    // Two whole passes later it is still there.
    let mut conn = world.conn().await;
    let beats = "select extract(epoch from max(heartbeat_at))::float8 from longshore.replicas";
    let before: f64 = crate::harness::scalar(&mut conn, beats).await;
    eventually("two passes go by", async || {
        let now: f64 = crate::harness::scalar(&mut conn, beats).await;
        (now - before > 1.5).then_some(())
    })
    .await;
    assert_eq!(world.target.jobs().await.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_log_that_was_kept_is_not_passed_off_as_another_containers() {
    let mut world = World::new(1).await;
    let url = world.start(&[]).await;
    let id = world.submit(&url, &job("fails", 50, 3)).await;
    world.reaches(&url, &id, "failed").await;
    world.cluster_is_empty().await;
    let status = async |query: &str| {
        world.http.get(format!("{url}/jobs/{id}/logs{query}")).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("?container=main").await, 200);
    assert_eq!(status("?container=sidecar").await, 404);
    world.finish().await;
}
