//! The cluster is ahead of the rows, as after a restore.

use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams, PostParams};
use longshore::{
    id::ReplicaId,
    roles::Roles,
    store::{
        claims::{self, Claim},
        replicas, stream,
    },
};
use serde_json::{Value, json};

use crate::harness::{World, eventually, jobs::job, scalar};

/// Makes a Job such as one of this installation would be whose row was lost.
async fn unknown_to_rows(world: &World, name: &str) -> Api<Job> {
    let mut conn = world.conn().await;
    let instance: String = scalar(&mut conn, "select name from longshore.instance").await;
    let id = uuid::Uuid::now_v7().to_string();
    let labels = json!({"longshore.dev/instance": instance, "longshore.dev/job-id": id, "longshore.dev/attempt": "1"});
    let container =
        json!({"name": "a", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "600"]});
    let lost = json!({
        "metadata": {"name": name, "labels": labels, "annotations": {"longshore.dev/nonce": id}},
        "spec": {"parallelism": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    });
    let api: Api<Job> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    api.create(&PostParams::default(), &serde_json::from_value(lost).unwrap()).await.unwrap();
    api
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_claimed_before_every_live_job_of_ours_is_explained_by_a_row() {
    let mut world = World::new(2).await;
    let lost = unknown_to_rows(&world, "lost-1").await;
    let replica = world.start(&[]).await;
    let waits = world.submit(&replica, &job("waits", 50, 0)).await;
    let problem = eventually("it says what it waits for", async || {
        let problem: Value = world.http.get(format!("{replica}/readyz")).send().await.ok()?.json().await.ok()?;
        (problem["code"] == "recovering" && problem["detail"].as_str()?.contains("lost-1")).then_some(problem)
    })
    .await;
    assert!(problem["detail"].as_str().unwrap().contains("kubectl delete job"), "{problem}");
    let metrics = world.http.get(format!("{replica}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.lines().any(|it| it.starts_with("longshore_unexplained_jobs") && it.contains(" 1")), "{metrics}");
    // What has become pending did so in a pass of the scheduler.
    let due = world.submit(&replica, &job("due", 50, 0).with("delay", json!("100ms"))).await;
    world.reaches(&replica, &due, "pending").await;
    assert_eq!(world.get(&replica, &format!("/jobs/{waits}")).await["state"], "pending");
    lost.delete("lost-1", &DeleteParams::background()).await.unwrap();
    world.reaches(&replica, &waits, "succeeded").await;
    world.reaches(&replica, &due, "succeeded").await;
    // From now on it is somebody's copy, which stops nothing.
    unknown_to_rows(&world, "copy-1").await;
    let next = world.submit(&replica, &job("next", 50, 0)).await;
    world.reaches(&replica, &next, "succeeded").await;
    // The witness counts what carries our labels, and these are forgeries; so the audit is not asked here.
    world.target.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_in_another_line_of_the_database_than_was_matched_takes_nothing() {
    let mut world = World::new(2).await;
    let mut conn = world.conn().await;
    // One that claims nothing by itself.
    let api = world.start(&["--roles=api"]).await;
    world.submit(&api, &job("waits", 50, 0)).await;
    let replica = ReplicaId::new();
    replicas::beat(&mut conn, replica, "here", Roles::ALL, 60.0).await.unwrap();
    let line = stream::now(&mut conn).await.unwrap().epoch;
    let (claim, look) = claims::claim_and_look(&mut conn, replica, 10, 0.0, true, Some("another")).await.unwrap();
    assert!(matches!(claim, Claim::Claimed { jobs: 0, .. }), "{claim:?}");
    assert_eq!(look.line, line, "whoever claims is told");
    let (claim, _) = claims::claim_and_look(&mut conn, replica, 10, 0.0, true, Some(&line)).await.unwrap();
    assert!(matches!(claim, Claim::Claimed { jobs: 1, .. }), "{claim:?}");
    world.target.tear_down().await;
}
