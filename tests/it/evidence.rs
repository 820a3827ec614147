//! What is kept of an attempt when its pod goes: the end of its log, its termination message, its exit code.

use longshore::sim::{Effect, Rule};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{
    World,
    jobs::{Request, job},
};

/// A job that writes so many numbered lines, and then waits and ends as it is told, on either target.
fn writer(name: &str, lines: usize, millis: u64, exit_code: i32) -> Request {
    let secs = format!("{}.{:03}", millis / 1000, millis % 1000);
    let script = format!(
        "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i of it; done; sleep {secs}; exit {exit_code}"
    );
    let log: Vec<String> = (1..=lines).map(|it| format!("line {it} of it")).collect();
    job(name, millis, exit_code).with("command", json!(["sh", "-c", script])).sim("log", &log.join("\n"))
}

/// The log of a job: where it came from, whether it is cut, and its text.
async fn log_of(world: &World, replica: &str, id: &str, query: &str) -> (String, String, String) {
    let answer = world.http.get(format!("{replica}/jobs/{id}/logs{query}")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let (from, truncated) = (header("longshore-log"), header("longshore-log-truncated"));
    (from, truncated, answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_log_of_a_failed_attempt_is_kept_when_its_pod_is_gone() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &writer("talkative", 3_000, 200, 1)).await;
    world.reaches(&replica, &id, "failed").await;
    world.cluster_is_empty().await;
    let failed = world.get(&replica, &format!("/jobs/{id}")).await;
    assert_eq!(failed["attempts"][0]["log"], "kept");
    let (from, truncated, text) = log_of(&world, &replica, &id, "").await;
    assert_eq!((from.as_str(), truncated.as_str()), ("kept", "true"));
    assert!(text.len() <= 16 * 1024 && text.len() > 15 * 1024, "{} bytes", text.len());
    assert!(text.contains("line 2999 of it\nline 3000 of it\n"), "its end is what tells");
    let (_, _, last) = log_of(&world, &replica, &id, "?tail=1").await;
    assert!(last.lines().count() == 1 && text.ends_with(&last), "{last}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_live_while_there_is_a_pod_and_each_attempt_has_its_own() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--keep-finished=1h"]).await;
    let twice = writer("twice", 3, 200, 1).with("max_attempts", json!(2)).with("backoff", json!("0s"));
    let id = world.submit(&replica, &twice).await;
    world.reaches(&replica, &id, "failed").await;
    for attempt in 1..=2 {
        let (from, _, text) = log_of(&world, &replica, &id, &format!("?attempt={attempt}")).await;
        assert_eq!(from, "live");
        assert!(text.contains("line 1 of it\nline 2 of it\nline 3 of it\n"), "{text}");
    }
    let none = world.http.get(format!("{replica}/jobs/{id}/logs?attempt=3")).send().await.unwrap();
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn which_logs_are_kept_is_a_setting() {
    for (keep, outcome, kept) in [("failed", 0, false), ("all", 0, true), ("none", 1, false)] {
        let mut world = World::new(1).await;
        let replica = world.start(&[&format!("--keep-logs={keep}")]).await;
        let id = world.submit(&replica, &writer("writer", 2, 100, outcome)).await;
        world.all_end().await;
        world.cluster_is_empty().await;
        let answer = world.http.get(format!("{replica}/jobs/{id}/logs")).send().await.unwrap();
        if kept {
            assert!(answer.text().await.unwrap().contains("line 1 of it\nline 2 of it\n"));
        } else {
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "--keep-logs={keep}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "no_log");
        }
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_wrote_before_it_was_stopped_for_its_deadline_is_kept() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    // The simulator spreads a log over the run: a second line would come in half an hour.
    let hung = writer("hung", 1, 3_600_000, 0).with("timeout", json!("2s"));
    let id = world.submit(&replica, &hung).await;
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!((&failed["reason"], &failed["attempts"][0]["log"]), (&json!("deadline_exceeded"), &json!("kept")));
    world.cluster_is_empty().await;
    let (from, _, text) = log_of(&world, &replica, &id, "").await;
    assert_eq!(from, "kept");
    assert!(text.contains("line 1 of it\n"), "{text}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_termination_message_is_kept() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let speaks = job("speaks", 100, 4)
        .with("command", json!(["sh", "-c", "printf 'out of cheese' > /dev/termination-log; exit 4"]))
        .sim("termination-message", "out of cheese");
    let id = world.submit(&replica, &speaks).await;
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!(failed["attempts"][0]["termination_message"], "out of cheese");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_log_that_cannot_be_read_keeps_nothing_else_waiting() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let broken = Effect::Status { code: 500, reason: None, message: None, retry_after: None };
    let faults = world.target.sim().faults().clone();
    let rule = faults.add(Rule::new("get", "pods/log", broken).from_agent("longshore"));
    let id = world.submit(&replica, &writer("unheard", 2, 50, 1)).await;
    world.reaches(&replica, &id, "failed").await;
    let next = world.submit(&replica, &job("next", 50, 0)).await;
    world.reaches(&replica, &next, "succeeded").await;
    world.cluster_is_empty().await;
    assert!(faults.took(rule) > 1, "it is asked for again before it is given up");
    let failed = world.get(&replica, &format!("/jobs/{id}")).await;
    assert_eq!(failed["attempts"][0]["log"], "missing");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_are_removed_many_at_a_time() {
    let mut world = World::new(10).await;
    let replica = world.start(&[]).await;
    for index in 0..30 {
        world.submit(&replica, &job(&format!("job{index}"), 50, 0)).await;
    }
    world.all_end().await;
    world.cluster_is_empty().await;
    let log = world.target.audit_log().await;
    let mut conn = world.conn().await;
    let instance: String = crate::harness::scalar(&mut conn, "select name from longshore.instance").await;
    if let Some(log) = log {
        let audit = crate::harness::audit::read(&log, &instance);
        let count = |verb: &str| -> u64 {
            audit.requests.iter().filter(|(key, _)| key.starts_with(&format!("{verb} jobs "))).map(|it| it.1).sum()
        };
        // Another test's removals are in a shared server's log too, so only what this one made is compared there.
        if !crate::harness::cluster::is_real() {
            assert!(count("delete") + count("deletecollection") < 15, "{:?}", audit.requests);
            assert!(count("deletecollection") > 0, "{:?}", audit.requests);
        }
    }
    world.finish().await;
}
