//! Attempts that follow each other: by policy, each a Kubernetes Job and a row of its own, and the slot free in between.

use std::collections::HashSet;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{World, eventually, jobs::job};

/// The reasons of a job's history, with the states it went to.
async fn history(world: &World, replica: &str, id: &str) -> Vec<(String, String)> {
    let events = world.get(replica, &format!("/jobs/{id}/events?limit=1000")).await;
    let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    events["items"].as_array().unwrap().iter().map(|it| (text(it, "to"), text(it, "reason"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_is_tried_again_and_each_attempt_has_its_own_facts() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let stubborn = job("stubborn", 100, 3).with("max_attempts", json!(3)).with("backoff", json!("200ms"));
    let id = world.submit(&replica, &stubborn).await;
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!((&failed["reason"], &failed["failed_attempts"]), (&json!("job_failed"), &json!(3)));
    let attempts = failed["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3);
    for attempt in attempts {
        assert_eq!((&attempt["exit_code"], &attempt["reason"]), (&json!(3), &json!("job_failed")), "{attempt}");
        assert_eq!(attempt["counts"], true);
        for fact in ["node", "pod", "container", "message", "claimed_at", "created_at", "started_at", "finished_at"] {
            assert!(attempt[fact].is_string(), "{fact} is not on record: {attempt}");
        }
    }
    let uids: HashSet<_> = attempts.iter().map(|it| it["kube_uid"].as_str().unwrap()).collect();
    let names: HashSet<_> = attempts.iter().map(|it| it["kube_name"].as_str().unwrap()).collect();
    assert_eq!((uids.len(), names.len()), (3, 3), "each attempt has a Kubernetes Job of its own");
    let told = history(&world, &replica, &id).await;
    let again = ("scheduled".to_owned(), "job_failed".to_owned());
    assert_eq!(told.iter().filter(|it| **it == again).count(), 2, "{told:?}");
    assert_eq!(told.last(), Some(&("failed".to_owned(), "job_failed".to_owned())));
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_job_that_fails_twice_and_then_succeeds_has_succeeded() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let flaky = job("flaky", 50, 0).sim("outcome", "exit=1,exit=7,succeed");
    let flaky = flaky.with("max_attempts", json!(3)).with("backoff", json!("100ms"));
    let id = world.submit(&replica, &flaky).await;
    let done = world.reaches(&replica, &id, "succeeded").await;
    assert_eq!(
        (&done["reason"], &done["failed_attempts"], &done["attempt"]),
        (&json!("completed"), &json!(2), &json!(3))
    );
    let codes: Vec<&Value> = done["attempts"].as_array().unwrap().iter().map(|it| &it["exit_code"]).collect();
    assert_eq!(codes, [&json!(1), &json!(7), &json!(0)]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_backs_off_holds_no_slot_says_so_and_can_be_cancelled() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let patient = job("patient", 50, 5).with("max_attempts", json!(2)).with("backoff", json!("1h"));
    let id = world.submit(&replica, &patient.priority(9)).await;
    let backs_off = eventually("it backs off", async || {
        let job = world.get(&replica, &format!("/jobs/{id}")).await;
        (job["state"] == "scheduled").then_some(job)
    })
    .await;
    let why = &backs_off["why"];
    assert_eq!((&why["code"], &why["until"]), (&json!("backoff"), &backs_off["due_at"]));
    assert!(why["message"].as_str().unwrap().contains("exit code 5"), "after which error: {why}");
    let next = world.submit(&replica, &job("next", 50, 0)).await;
    world.reaches(&replica, &next, "succeeded").await;
    assert_eq!(world.cancel(&replica, &id).await, StatusCode::OK);
    let cancelled = world.get(&replica, &format!("/jobs/{id}")).await;
    assert_eq!((&cancelled["state"], &cancelled["attempt"]), (&json!("cancelled"), &json!(1)));
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_exit_codes_that_the_policy_names_are_tried_again() {
    let mut world = World::new(3).await;
    let replica = world.start(&[]).await;
    let tried = |name: &str, code: i32, retry: Value| {
        job(name, 50, code).with("max_attempts", json!(2)).with("backoff", json!("100ms")).with("retry", retry)
    };
    let cases = [
        (tried("never-42", 42, json!({"except_exit_codes": [42]})), 1),
        (tried("only-3", 3, json!({"exit_codes": [3]})), 2),
        (tried("only-3-not-4", 4, json!({"exit_codes": [3]})), 1),
        (tried("lost-only", 3, json!({"on": ["lost"]})), 1),
    ];
    for (request, attempts) in cases {
        let id = world.submit(&replica, &request).await;
        let failed = world.reaches(&replica, &id, "failed").await;
        assert_eq!(failed["attempts"].as_array().unwrap().len(), attempts, "{failed}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_too_long_is_tried_again_only_when_nothing_of_it_runs() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    // It takes two seconds to stop, on either target.
    let slow = job("slow", 60_000, 0)
        .with("command", json!(["sh", "-c", "trap 'sleep 2; exit 0' TERM; sleep 60 & wait"]))
        .with("timeout", json!("1s"))
        .with("max_attempts", json!(2))
        .with("backoff", json!("0s"))
        .sim("stop", "2s");
    let id = world.submit(&replica, &slow).await;
    let second = eventually("there is a second attempt", async || {
        let living = world.target.pods().await;
        let alive = |it: &&k8s_openapi::api::core::v1::Pod| {
            let phase = it.status.as_ref().and_then(|it| it.phase.clone()).unwrap_or_default();
            phase != "Succeeded" && phase != "Failed"
        };
        assert!(living.iter().filter(alive).count() <= 1, "two attempts of one job run at once");
        let job = world.get(&replica, &format!("/jobs/{id}")).await;
        (job["attempt"] == 2).then_some(job)
    })
    .await;
    assert_eq!(second["attempts"][0]["reason"], "deadline_exceeded");
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!((&failed["reason"], &failed["failed_attempts"]), (&json!("deadline_exceeded"), &json!(2)));
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_while_it_is_stopped_for_another_reason_is_not_tried_again() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let slow = job("slow", 60_000, 0)
        .with("command", json!(["sh", "-c", "trap 'sleep 2; exit 0' TERM; sleep 60 & wait"]))
        .with("timeout", json!("1s"))
        .with("max_attempts", json!(5))
        .with("backoff", json!("0s"))
        .sim("stop", "2s");
    let id = world.submit(&replica, &slow).await;
    world.reaches(&replica, &id, "stopping").await;
    assert_eq!(world.cancel(&replica, &id).await, StatusCode::ACCEPTED);
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!((&failed["reason"], &failed["attempt"]), (&json!("deadline_exceeded"), &json!(1)));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_makes_no_sense_is_refused_with_the_field() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let wrong = [
        ("max_attempts", json!(0), "/max_attempts"),
        ("max_attempts", json!(1001), "/max_attempts"),
        ("timeout", json!("0s"), "/timeout"),
        ("start_timeout", json!("soon"), "/start_timeout"),
        ("queue_timeout", json!("1000d"), "/queue_timeout"),
        ("backoff", json!("8d"), "/backoff/initial"),
        ("backoff", json!({"factor": 0.5}), "/backoff/factor"),
        ("backoff", json!({"initial": "20m", "max": "10m"}), "/backoff/max"),
        ("backoff", json!({"type": "fixed", "factor": 2}), "/backoff"),
        ("backoff", json!({"initail": "1s"}), "/backoff"),
        ("retry", json!({"on": ["cancelled"]}), "/retry/on/0"),
        ("retry", json!({"on": ["boredom"]}), "/retry/on/0"),
        ("retry", json!({"exit_codes": [0]}), "/retry/exit_codes"),
        ("retry", json!({"max_interruptions": -1}), "/retry/max_interruptions"),
    ];
    for (field, value, pointer) in wrong {
        let request = job("wrong", 50, 0).with(field, value);
        let answer = world.http.post(format!("{replica}/jobs")).json(&request.0).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{}", request.0);
        let problem: Value = answer.json().await.unwrap();
        let pointers: Vec<&str> =
            problem["errors"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap()).collect();
        assert!(pointers.iter().any(|it| it.replace("[0]", "/0") == pointer), "{pointer}: {problem}");
    }
    world.finish().await;
}
