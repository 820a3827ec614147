//! The client commands as a user types them, against a replica: what they print, where, and with which exit code.

use std::{process::Stdio, time::Duration};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::harness::{
    BOUND, World,
    cli::{longshore, say},
    jobs::{Request, job},
};

/// A job that prints two lines, one at its beginning and one at its end, on either target.
fn talker(name: &str, millis: u64) -> Request {
    let secs = format!("{}.{:03}", millis / 1000, millis % 1000);
    job(name, millis, 0)
        .with("command", json!(["sh", "-c", format!("echo first; sleep {secs}; echo last")]))
        .sim("log", "first\nlast")
}

#[tokio::test(flavor = "multi_thread")]
async fn why_answers_whether_a_job_still_waits_by_its_exit_code() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let later = world.submit(&replica, &job("later", 100, 0).with("delay", json!("1h"))).await;
    let waits = say(&replica, &["why", &later]).await.with(3);
    assert!(waits.out.starts_with(&format!("{later} later scheduled\n")) && waits.err.is_empty(), "{}", waits.out);
    let waits = say(&replica, &["why", &format!("job/{later}"), "-o", "json"]).await.with(3).json();
    assert_eq!((&waits["job_id"], &waits["state"], &waits["slots"]), (&json!(later), &json!("scheduled"), &json!([])));
    say(&replica, &["cancel", &later]).await.with(0);
    let over = say(&replica, &["why", &later]).await.with(0);
    assert!(over.out.contains("cancelled"), "{}", over.out);
    say(&replica, &["why", "00000000-0000-7000-8000-000000000000"]).await.with(4);
    say(&replica, &["why", "no such id"]).await.with(4);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_slot_is_named_to_who_waits_for_it() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let holder = world.submit(&replica, &job("holder", 60_000, 0)).await;
    world.reaches(&replica, &holder, "running").await;
    let waiter = world.submit(&replica, &job("waiter", 100, 0)).await;

    let why = say(&replica, &["why", &waiter]).await.with(3);
    assert!(why.out.contains("1 of 1") && why.out.contains("holder") && why.out.contains(&holder), "{}", why.out);
    let why = say(&replica, &["why", &waiter, "-o", "json"]).await.with(3).json();
    assert_eq!((&why["why"]["code"], &why["slots"][0]["job_id"]), (&json!("global_cap"), &json!(holder)));
    let why = say(&replica, &["why", &holder]).await.with(0);
    assert!(!why.out.contains("waiter"), "{}", why.out);
    assert!(say(&replica, &["why", &holder, "--slots"]).await.with(0).out.contains("STATE"));

    let top = say(&replica, &["top"]).await.with(0);
    assert!(top.out.starts_with("Slots: 1 of 1 held\n") && top.err.is_empty(), "{}", top.out);
    assert!(top.out.contains("holder") && top.out.contains("waiter"), "{}", top.out);
    let top = say(&replica, &["top", "-o", "json"]).await.with(0).json();
    assert_eq!((&top["cap"], &top["held"]), (&json!(1), &json!(1)));
    assert_eq!(top["pending"][0]["job_id"], json!(waiter));
    let get = say(&replica, &["get", &waiter]).await.with(0);
    assert!(get.out.lines().any(|it| it.starts_with("Why it waits:")), "{}", get.out);

    say(&replica, &["cancel", &waiter, &holder]).await.with(0);
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_goes_on_in_plain_text_where_nobody_watches() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let mut child = longshore(&replica, &["top", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let read = async {
        let mut screens = 0;
        while screens < 2 {
            let line = lines.next_line().await.unwrap().expect("it goes on");
            assert!(!line.contains('\u{1b}'), "{line:?}");
            assert!(!line.starts_with("Slots: ") || line == "Slots: 0 of 1 held", "{line:?}");
            screens += usize::from(line.starts_with("Slots: "));
        }
    };
    tokio::time::timeout(BOUND, read).await.expect("it is printed again");
    child.kill().await.unwrap();
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_from_before_the_start_and_can_be_read_when_the_pod_is_gone() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--keep-logs=all"]).await;
    let id = world.submit(&replica, &talker("talker", 1_500)).await;
    let live = say(&replica, &["logs", "-f", &id]).await.with(0);
    assert!(live.has_line("first") && live.has_line("last") && live.err.is_empty(), "{}{}", live.out, live.err);
    world.reaches(&replica, &id, "succeeded").await;
    world.cluster_is_empty().await;

    let kept = say(&replica, &["logs", &format!("job/{id}")]).await.with(0);
    assert!(kept.has_line("first") && kept.has_line("last"), "{}", kept.out);
    assert!(kept.err.is_empty(), "the whole log was kept: {}", kept.err);
    let tail = say(&replica, &["logs", &id, "--tail", "1"]).await.with(0);
    assert_eq!(tail.out.lines().count(), 1, "{}", tail.out);
    say(&replica, &["logs", &id, "--attempt", "9"]).await.with(4);
    say(&replica, &["logs", "00000000-0000-7000-8000-000000000000"]).await.with(4);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_told_to_be_only_the_end_of_it() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--keep-logs=all"]).await;
    let line = "x".repeat(99);
    let long = job("long", 500, 0)
        .with("command", json!(["sh", "-c", format!("for i in $(seq 400); do echo {line}; done")]))
        .sim("log", &[line.as_str(); 400].join("\n"));
    let id = world.submit(&replica, &long).await;
    world.reaches(&replica, &id, "succeeded").await;
    world.cluster_is_empty().await;
    let kept = say(&replica, &["logs", &id]).await.with(0);
    assert!(kept.err.contains("only the last") && kept.err.contains("were kept"), "{}", kept.err);
    assert!(kept.has_line(&line) && kept.out.len() <= 16 * 1024, "{} bytes", kept.out.len());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_log_says_to_a_terminal_is_taken_out_unless_asked_for() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--keep-logs=all"]).await;
    let hostile = job("hostile", 300, 0)
        .with("command", json!(["sh", "-c", r"printf '\033]0;owned\007plain\n'"]))
        .sim("log", "\u{1b}]0;owned\u{7}plain");
    let id = world.submit(&replica, &hostile).await;
    world.reaches(&replica, &id, "succeeded").await;
    assert!(say(&replica, &["logs", &id]).await.with(0).has_line("plain"));
    assert!(say(&replica, &["logs", &id, "--raw"]).await.with(0).out.contains("\u{1b}]0;owned\u{7}plain"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_a_followed_log_without_a_word() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    // It says more than a pipe holds, and goes on for longer than anybody listens: there is always something left to write.
    let endless = job("talker", 600_000, 0)
        .with("command", json!(["sh", "-c", "yes line | head -c 300000; sleep 600"]))
        .sim("log-bytes", "300000");
    let id = world.submit(&replica, &endless).await;
    let mut command = longshore(&replica, &["logs", "-f", &id]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(BOUND, lines.next_line()).await.expect("the log begins").unwrap();
    assert!(first.is_some());
    drop(lines);
    let status = tokio::time::timeout(BOUND, child.wait()).await.expect("it ends").unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(141), ""));
    say(&replica, &["cancel", &id]).await.with(0);
    world.reaches(&replica, &id, "cancelled").await;
    world.finish().await;
}

/// The words of a submission that fails with exit code 3, on either target, after it said something.
fn failing<'a>(name: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["submit", name, "--image", "busybox:latest"];
    words.extend(["--annotation", "sim.longshore.dev/outcome=exit=3", "--annotation", "sim.longshore.dev/log=first"]);
    words.extend(["--annotation", "sim.longshore.dev/duration=500ms"]);
    words.extend(flags);
    words.extend(["--", "sh", "-c", "echo first; exit 3"]);
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_submission_prints_the_log_alone_and_ends_as_the_job_does() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let said = say(&replica, &failing("followed", &["--wait", "--logs"])).await.with(10);
    assert!(said.has_line("first") && !said.out.contains("submitted"), "{}", said.out);
    assert!(said.err.contains("submitted") && said.err.contains("failed (job_failed)"), "{}", said.err);
    say(&replica, &failing("both", &["--follow", "-o", "json"])).await.with(2);
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_may_be_tried_again_is_followed_through_its_attempts() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let policy =
        ["--max-attempts", "2", "--backoff", "1s", "--retry-on", "job_failed", "--retry-exit-codes", "3,4", "--follow"];
    let said = say(&replica, &failing("again", &policy)).await.with(10);
    assert_eq!(said.out.lines().filter(|it| *it == "first").count(), 2, "{}\n{}", said.out, said.err);
    let list = say(&replica, &["list", "--name", "again", "-o", "name"]).await.with(0);
    let get = say(&replica, &["get", list.out.trim()]).await.with(0);
    assert!(get.out.lines().any(|it| it == "Failed attempts: 2 of 2"), "{}", get.out);
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_taken_and_told_by_their_exit_code() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let holder = world.submit(&replica, &job("holder", 60_000, 0)).await;
    world.reaches(&replica, &holder, "running").await;
    let asked = tokio::time::Instant::now();
    let words = ["submit", "late", "--queue-timeout", "1s", "--start-timeout", "5m", "--wait", "-o", "json"];
    let late = say(&replica, &words).await.with(12).json();
    assert_eq!(late["reason"], "queue_timeout");
    assert!(asked.elapsed() >= Duration::from_secs(1));
    say(&replica, &["cancel", &holder]).await.with(0);
    world.all_end().await;
    world.finish().await;
}
