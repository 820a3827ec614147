//! The cluster is ahead of the rows, as after a restore.

use k8s_openapi::api::batch::v1::Job;
use kube::{
    ResourceExt,
    api::{Api, DeleteParams, Patch, PatchParams, PostParams},
};
use longshore::{
    id::ReplicaId,
    roles::Roles,
    store::{
        claims::{self, Claim},
        replicas, stream,
    },
};
use serde_json::{Value, json};

use crate::harness::{
    World, eventually,
    jobs::{Request, job},
    proxy::{Mode, Proxy},
    scalar,
    standby::Standby,
};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_was_still_being_created_when_the_line_changed_is_found() {
    let mut world = World::new(2).await;
    // It takes a lease until nobody creates any more what was claimed before, and the cluster is listed only then: time
    // enough for a Job to be made on a busy machine.
    let replica = world.start(&["--lease=30s"]).await;
    world.is_ready(&replica).await;
    let mut conn = world.conn().await;
    let another = "create or replace function longshore.event_epoch() returns text language sql stable
                   as $$ select 'another' $$";
    sqlx::query(another).execute(&mut conn).await.unwrap();
    let detail = async || -> Option<String> {
        let problem: Value = world.http.get(format!("{replica}/readyz")).send().await.ok()?.json().await.ok()?;
        (problem["code"] == "recovering").then(|| problem["detail"].as_str().unwrap().to_owned())
    };
    eventually("it has met the other line", &detail).await;
    let late = unknown_to_rows(&world, "late-1").await;
    let waits = world.submit(&replica, &job("waits", 50, 0)).await;
    eventually("it has found it", async || detail().await.filter(|it| it.contains("late-1"))).await;
    assert_eq!(world.get(&replica, &format!("/jobs/{waits}")).await["state"], "pending");
    late.delete("late-1", &DeleteParams::background()).await.unwrap();
    world.reaches(&replica, &waits, "succeeded").await;
    world.target.tear_down().await;
}

/// Waits until a replica says that it recovers, and names what these jobs have in the cluster.
async fn recovers_from(world: &World, replica: &str, jobs: &[&str]) {
    let named = |detail: &str| jobs.iter().all(|it| detail.contains(&format!("/{it}-")));
    eventually(&format!("it waits for {jobs:?}"), async || {
        let problem: Value = world.http.get(format!("{replica}/readyz")).send().await.ok()?.json().await.ok()?;
        let detail = problem["detail"].as_str()?;
        let counts = detail.starts_with(&format!("{} Kubernetes Jobs", jobs.len()));
        (problem["code"] == "recovering" && counts && named(detail)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_that_lost_commits_replicas_claim_nothing_beside_what_no_row_knows_and_then_go_on() {
    let mut world = World::new(2).await;
    let host = |url: &str| url.split(['@', '/']).nth(3).unwrap().to_owned();
    let primary = host(&world.url);
    let (relay, way) = (Proxy::to(primary.clone()).await, Proxy::to(primary.clone()).await);
    let Some(standby) = Standby::of(&world.url.replace(&primary, &relay.address.to_string())).await else {
        println!("PostgreSQL's programs are not here, so that there is no standby");
        return world.target.tear_down().await;
    };
    let through = world.url.replace(&primary, &way.address.to_string());
    let replicas = [world.start_on(&through, &[]).await, world.start_on(&through, &[]).await];
    let endless = |name: &str, grace: &str| -> Request {
        job(name, 600_000, 0).with("termination_grace_period", json!(grace)).sim("stop", grace)
    };
    let held = [
        world.submit(&replicas[0], &endless("held0", "1s")).await,
        world.submit(&replicas[1], &endless("held1", "1s")).await,
    ];
    for id in &held {
        world.reaches(&replicas[0], id, "running").await;
    }
    let waits = world.submit(&replicas[0], &endless("waits", "1s")).await;
    let mut conn = standby.conn().await;
    eventually("the standby has all that", async || {
        let known = "select count(*) from longshore.jobs where state = case name when 'waits' then 'pending' else 'running' end";
        (scalar::<i64>(&mut conn, known).await == 3).then_some(())
    })
    .await;
    drop(conn);
    relay.set(Mode::Refuse);
    standby.is_cut_off().await;
    // From now on what is committed is lost: that one was submitted, two ended, and two were claimed in their stead.
    let lost = world.submit(&replicas[1], &endless("lost", "8s")).await;
    world.accepted.lock().unwrap().retain(|it| *it != lost);
    for id in &held {
        world.cancel(&replicas[0], id).await;
        world.reaches(&replicas[0], id, "cancelled").await;
    }
    for id in [&waits, &lost] {
        world.reaches(&replicas[0], id, "running").await;
    }
    way.set(Mode::Refuse);
    world.fail_over(standby).await;
    way.lead_to(host(&world.url));
    way.set(Mode::Pass);

    for replica in &replicas {
        recovers_from(&world, replica, &["lost", "waits"]).await;
    }
    for id in &held {
        assert_eq!(world.reaches(&replicas[0], id, "failed").await["reason"], "lost", "its slot is free");
    }
    let next = world.submit(&replicas[0], &job("next", 50, 0)).await;
    // What has become pending did so in a pass of the scheduler.
    let due = world.submit(&replicas[1], &job("due", 50, 0).with("delay", json!("100ms"))).await;
    world.reaches(&replicas[1], &due, "pending").await;
    assert_eq!(world.names(&replicas[0], "pending").await, ["waits", "next", "due"]);

    let jobs: Api<Job> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    let made = world.target.jobs().await;
    let made_for = |id: &str| made.iter().find(|it| it.labels()["longshore.dev/job-id"] == id).unwrap().name_any();
    // The Job of the one that waits again ends, and stays.
    let soon = Patch::Merge(json!({"spec": {"activeDeadlineSeconds": 1}}));
    jobs.patch(&made_for(&waits), &PatchParams::default(), &soon).await.unwrap();
    for replica in &replicas {
        recovers_from(&world, replica, &["lost"]).await;
    }
    // That of the other one is deleted, and its pod takes its time.
    jobs.delete(&made_for(&lost), &DeleteParams::background()).await.unwrap();
    eventually("its pod is gone", async || {
        let pending = world.names(&replicas[0], "pending").await.len();
        // It lived when that was asked.
        let living = !world.living_pods(&lost).await.is_empty();
        assert!(pending == 3 || !living, "something was claimed while a pod lives that no row knows");
        (!living).then_some(())
    })
    .await;
    for id in [&next, &due] {
        world.reaches(&replicas[0], id, "succeeded").await;
    }
    let waits = world.reaches(&replicas[0], &waits, "failed").await;
    assert_eq!(waits["reason"], "name_conflict", "what ran once is not made again: {waits}");
    for replica in &replicas {
        world.is_ready(replica).await;
    }
    world.finish().await;
}
