//! What ends an attempt that ran, or was about to: each told by its reason; interruptions are tried again without being
//! counted, up to their limit, and failures under `max_attempts`.

use serde_json::{Value, json};

use crate::harness::{
    World,
    jobs::{by_manifest, container, job},
};

/// The same of every attempt, oldest first.
fn of_attempts<'a>(job: &'a Value, key: &str) -> Vec<&'a Value> {
    job["attempts"].as_array().unwrap().iter().map(|it| &it[key]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oom_kill_is_told_and_counts_as_a_failure() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let greedy = |name: &str| {
        job(name, 100, 0)
            .with("command", json!(["tail", "/dev/zero"]))
            .with("resources", json!({"limits": {"memory": "16Mi"}}))
            .with("backoff", json!("100ms"))
            .sim("outcome", "oom-killed")
    };
    let twice = world.submit(&replica, &greedy("twice").with("max_attempts", json!(2))).await;
    let chosen = greedy("chosen").with("max_attempts", json!(2)).with("retry", json!({"on": ["job_failed"]}));
    let chosen = world.submit(&replica, &chosen).await;
    let twice = world.reaches(&replica, &twice, "failed").await;
    assert_eq!(twice["reason"], "oom_killed");
    assert!(twice["message"].as_str().unwrap().contains("more memory than its limit"), "{twice}");
    assert_eq!(of_attempts(&twice, "reason"), ["oom_killed", "oom_killed"]);
    assert_eq!(of_attempts(&twice, "exit_code"), [137, 137]);
    assert_eq!(of_attempts(&twice, "counts"), [true, true]);
    assert_eq!((&twice["failed_attempts"], &twice["interruptions"]), (&json!(2), &json!(0)));
    // By its policy only an exit code is tried again.
    let chosen = world.reaches(&replica, &chosen, "failed").await;
    assert_eq!(of_attempts(&chosen, "reason"), ["oom_killed"]);
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_an_error_of_its_description_and_not_tried_again() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let absent = |name: &str| {
        job(name, 100, 0)
            .with("command", json!(["no-such-program"]))
            .with("backoff", json!("100ms"))
            .with("max_attempts", json!(2))
            .sim("outcome", "start-error")
    };
    let once = world.submit(&replica, &absent("once")).await;
    let chosen = world.submit(&replica, &absent("chosen").with("retry", json!({"on": ["config_error"]}))).await;
    let once = world.reaches(&replica, &once, "failed").await;
    assert_eq!((&once["reason"], of_attempts(&once, "reason").len()), (&json!("config_error"), 1));
    let message = once["message"].as_str().unwrap();
    assert!(message.contains("could not begin") && message.contains("no-such-program"), "{message}");
    assert_eq!(once["attempts"][0]["started_at"], Value::Null, "nothing of it ran: {once}");
    let chosen = world.reaches(&replica, &chosen, "failed").await;
    assert_eq!(of_attempts(&chosen, "reason"), ["config_error", "config_error"]);
    world.cluster_is_empty().await;
    world.finish().await;
}

/// Its volume outgrows its limit, and the kubelet puts the pod out.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_run_again_until_its_job_gives_up_failed_by_itself() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let mut fails = container("main", "busybox:latest");
    fails["command"] = json!(["sh", "-c", "exit 3"]);
    let request = by_manifest("again", json!({"restartPolicy": "OnFailure", "containers": [fails]}));
    let id = world.submit(&replica, &request.sim("outcome", "exit=3")).await;
    // Its pod is deleted by the Job controller, whatever its container does by then: that is no interruption.
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!((&failed["reason"], &failed["interruptions"]), (&json!("job_failed"), &json!(0)), "{failed}");
    assert_eq!(
        (of_attempts(&failed, "exit_code"), of_attempts(&failed, "counts")),
        (vec![&json!(3)], vec![&json!(true)])
    );
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_attempt_is_tried_again_and_does_not_count() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let mut fills = container("main", "busybox:latest");
    fills["command"] = json!(["sh", "-c", "head -c 20000000 /dev/zero > /data/full; sleep 600"]);
    fills["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let volume = json!({"name": "data", "emptyDir": {"sizeLimit": "1Mi"}});
    let pod = json!({"containers": [fills], "volumes": [volume], "terminationGracePeriodSeconds": 0});
    let evicted = by_manifest("evicted", pod)
        .with("backoff", json!("100ms"))
        .with("retry", json!({"max_interruptions": 1}))
        .sim("outcome", "evicted");
    let id = world.submit(&replica, &evicted).await;
    let ended = world.reaches(&replica, &id, "failed").await;
    assert_eq!(of_attempts(&ended, "reason"), ["evicted", "evicted"]);
    assert_eq!(of_attempts(&ended, "counts"), [false, false]);
    assert_eq!((&ended["reason"], &ended["failed_attempts"]), (&json!("evicted"), &json!(0)));
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interruptions_are_told_apart_and_tried_again_up_to_their_limit_sim_only() {
    let kinds = [
        ("evicted", "evicted"),
        ("preempted", "preempted"),
        ("node-lost", "node_lost"),
        ("pod-deleted", "pod_deleted"),
    ];
    let mut world = World::new(2 * kinds.len() as i32).await;
    let replica = world.start(&[]).await;
    let mut jobs = Vec::new();
    for (outcome, reason) in kinds {
        let of = |name: &str, outcomes: &str| {
            job(&format!("{name}-{outcome}"), 100, 0)
                .with("backoff", json!("100ms"))
                .with("retry", json!({"max_interruptions": 2}))
                .sim("outcome", outcomes)
        };
        let ends = world.submit(&replica, &of("ends", outcome)).await;
        let heals = world.submit(&replica, &of("heals", &format!("{outcome},{outcome},succeed"))).await;
        jobs.push((ends, heals, reason));
    }
    for (ends, heals, reason) in jobs {
        let ended = world.reaches(&replica, &ends, "failed").await;
        assert_eq!(of_attempts(&ended, "reason"), [reason; 3]);
        assert_eq!(of_attempts(&ended, "counts"), [false; 3]);
        assert_eq!((&ended["reason"], &ended["interruptions"]), (&json!(reason), &json!(3)), "{ended}");
        assert_eq!(ended["failed_attempts"], 0);
        let healed = world.reaches(&replica, &heals, "succeeded").await;
        assert_eq!(of_attempts(&healed, "reason"), [reason, reason, "completed"]);
        assert_eq!((&healed["interruptions"], &healed["failed_attempts"]), (&json!(2), &json!(0)));
    }
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_between_failures_leaves_max_attempts_as_it_was_sim_only() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let mixed = job("mixed", 100, 0)
        .with("max_attempts", json!(2))
        .with("backoff", json!("100ms"))
        .sim("outcome", "exit=3,evicted,oom-killed,succeed");
    let id = world.submit(&replica, &mixed).await;
    let ended = world.reaches(&replica, &id, "failed").await;
    assert_eq!(of_attempts(&ended, "reason"), ["job_failed", "evicted", "oom_killed"]);
    assert_eq!(of_attempts(&ended, "counts"), [true, false, true]);
    assert_eq!((&ended["failed_attempts"], &ended["interruptions"]), (&json!(2), &json!(1)));
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_vanishes_is_lost_and_tried_again_only_where_its_policy_says_so_sim_only() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let vanishes = |name: &str| {
        job(name, 600, 0)
            .with("max_attempts", json!(2))
            .with("backoff", json!("100ms"))
            .sim("outcome", "vanishes,succeed")
    };
    let lost = world.submit(&replica, &vanishes("lost")).await;
    let again = world.submit(&replica, &vanishes("again").with("retry", json!({"on": ["lost"]}))).await;
    let lost = world.reaches(&replica, &lost, "failed").await;
    assert_eq!(of_attempts(&lost, "reason"), ["lost"]);
    let again = world.reaches(&replica, &again, "succeeded").await;
    assert_eq!(of_attempts(&again, "reason"), ["lost", "completed"]);
    assert_eq!(again["failed_attempts"], 1);
    world.cluster_is_empty().await;
    world.finish().await;
}
