//! Several replicas on one database and one cluster.

use std::sync::Arc;

use longshore::{
    id::KubeUid,
    lifecycle::{Created, Facts},
    roles::Roles,
    sim::{Effect, Rule},
    store::{
        Conn, Db, claims,
        moves::{Moved, Moves},
        replicas,
    },
};
use reqwest::StatusCode;
use sqlx::Connection;

use crate::harness::{World, audit, eventually, jobs::job, scalar};

#[tokio::test(flavor = "multi_thread")]
async fn four_replicas_run_every_job_once_under_the_cap_and_leave_nothing_behind() {
    let mut world = World::new(5).await;
    let mut urls = Vec::new();
    for _ in 0..4 {
        urls.push(world.start(&[]).await);
    }
    let count = if crate::harness::cluster::is_real() { 24 } else { 120 };
    for index in 0..count {
        let request = job(&format!("job{index}"), 20, i32::from(index % 10 == 9)).priority(index % 7);
        world.submit(&urls[index as usize % 4], &request).await;
    }
    world.all_end().await;
    world.cluster_is_empty().await;
    let mut conn = world.conn().await;
    let failed: i64 = scalar(&mut conn, "select count(*) from longshore.jobs where state = 'failed'").await;
    assert_eq!(failed, i64::from(count / 10), "those that were to fail failed, and no other");
    let attempts: i64 = scalar(&mut conn, "select count(*) from longshore.attempts").await;
    assert_eq!(attempts, i64::from(count));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_every_replica_was_down_is_recorded_when_one_returns() {
    let mut world = World::new(3).await;
    let replica = world.start(&["--keep-finished=1h"]).await;
    let short = world.submit(&replica, &job("short", 1500, 3)).await;
    let long = world.submit(&replica, &job("long", 4000, 0)).await;
    world.reaches(&replica, &short, "running").await;
    world.replicas.remove(0).stop().await;
    eventually("one of them ends while nobody looks", async || {
        let jobs = world.target.jobs().await;
        let failed = jobs.iter().any(|it| it.status.as_ref().is_some_and(|it| it.failed.is_some()));
        failed.then_some(())
    })
    .await;
    let replica = world.start(&[]).await;
    let short = world.reaches(&replica, &short, "failed").await;
    assert_eq!(short["attempts"][0]["exit_code"], 3);
    world.reaches(&replica, &long, "succeeded").await;
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_replica_claimed_and_died_over_is_finished_by_a_survivor_and_the_dead_one_moves_nothing_more() {
    let mut world = World::new(0).await;
    let accepts = world.start(&["--claim-period=1h"]).await;
    let id = world.submit(&accepts, &job("orphan", 500, 0)).await;
    world.replicas.remove(0).stop().await;
    world.set_cap(3).await;
    let mut conn: Conn = world.conn().await;
    let dead = longshore::id::ReplicaId::new();
    replicas::beat(&mut conn, dead, "dead", Roles::ALL, 60.0).await.unwrap();
    claims::claim(&mut conn, dead, 10, 0.0, true).await.unwrap();
    let work = claims::mine(&mut conn, dead, &[], 10).await.unwrap().remove(0);
    assert_eq!(work.job.id().to_string(), id);
    replicas::beat(&mut conn, dead, "dead", Roles::ALL, 0.0).await.unwrap();
    let survivor = world.start(&[]).await;
    let done = world.reaches(&survivor, &id, "succeeded").await;
    assert_eq!(done["attempt"], 1, "a take-over is the same attempt");
    // The dead one wakes up and wants to record what it thinks.
    let to = Created { nonce: work.job.state().nonce, uid: KubeUid("late".into()) };
    let late = Moves::new(Arc::new(Db::new(&world.url, 1).unwrap()), dead)
        .advance(work.job, to, &Facts::default())
        .await
        .unwrap();
    assert!(matches!(late, Moved::Lost));
    conn.close().await.unwrap();
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_while_the_replica_that_claimed_it_is_dead_is_never_created() {
    let mut world = World::new(0).await;
    let asked = world.start(&["--roles=api"]).await;
    let id = world.submit(&asked, &job("orphan", 500, 0)).await;
    world.set_cap(3).await;
    let mut conn: Conn = world.conn().await;
    let dead = longshore::id::ReplicaId::new();
    replicas::beat(&mut conn, dead, "dead", Roles::ALL, 60.0).await.unwrap();
    claims::claim(&mut conn, dead, 10, 0.0, true).await.unwrap();
    assert_eq!(world.cancel(&asked, &id).await, StatusCode::ACCEPTED);
    replicas::beat(&mut conn, dead, "dead", Roles::ALL, 0.0).await.unwrap();
    world.start(&[]).await;
    // Only when nothing that the dead one may have sent can still be carried out; the bound of this test is longer.
    let over = world.reaches(&asked, &id, "cancelled").await;
    assert!(over["message"].as_str().unwrap().contains("never made"), "{over}");
    if let Some(log) = world.target.audit_log().await {
        let instance: String = scalar(&mut conn, "select name from longshore.instance").await;
        assert_eq!(audit::read(&log, &instance).creates.len(), 0);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_replica_that_is_told_to_stop_hands_back_what_it_did_not_create() {
    let mut world = World::new(3).await;
    let replica = world.start(&[]).await;
    let faults = world.target.sim().faults().clone();
    let full = Effect::Status { code: 429, reason: None, message: None, retry_after: None };
    let rule = faults.add(Rule::new("create", "jobs", full).from_agent("longshore"));
    let id = world.submit(&replica, &job("job", 100, 0)).await;
    eventually("it is turned away", async || (faults.took(rule) > 0).then_some(())).await;
    world.replicas.remove(0).stop().await;
    let mut conn = world.conn().await;
    let state: String = scalar(&mut conn, "select state from longshore.jobs").await;
    assert_eq!(state, "pending", "it was handed back, and did not wait for a lease to run out");
    faults.clear();
    let replica = world.start(&[]).await;
    let done = world.reaches(&replica, &id, "succeeded").await;
    assert_eq!(done["attempt"], 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_see_the_cluster_claims_nothing_and_leaves_it_to_the_others() {
    let mut world = World::new(3).await;
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
    });
    std::fs::write(kubeconfig.path(), config.to_string()).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.arg("serve").args(world.flags(&[])).args(["--database-url", &world.url]).arg("--kubeconfig");
    command.arg(kubeconfig.path()).env("LONGSHORE_LOG_FORMAT", "json");
    let blind = crate::harness::process::Process::start(command).await;
    let id = world.submit(&blind.url, &job("job", 100, 0)).await;
    let sees = world.start(&[]).await;
    world.reaches(&sees, &id, "succeeded").await;
    let mut conn = world.conn().await;
    let claimed: i64 =
        scalar(&mut conn, "select count(distinct replica) from longshore.job_events where from_state = 'pending'")
            .await;
    assert_eq!(claimed, 1);
    blind.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_someone_has_locked_does_not_keep_the_others_from_being_recorded() {
    let mut world = World::new(3).await;
    let replica = world.start(&[]).await;
    let locked = world.submit(&replica, &job("locked", 1000, 0)).await;
    let free = world.submit(&replica, &job("free", 1000, 0)).await;
    world.reaches(&replica, &locked, "running").await;
    let mut someone = world.conn().await;
    let mut tx = someone.begin().await.unwrap();
    sqlx::query("select from longshore.jobs where name = 'locked' for update").execute(&mut *tx).await.unwrap();
    world.reaches(&replica, &free, "succeeded").await;
    tx.rollback().await.unwrap();
    world.reaches(&replica, &locked, "succeeded").await;
    world.finish().await;
}
