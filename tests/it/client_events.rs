//! `events -f` as a user types it: what happens, as it happens, whichever replica tells it.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

use crate::harness::{
    BOUND, World,
    cli::{longshore, say},
    jobs::job,
};

async fn next(lines: &mut Lines<BufReader<tokio::process::ChildStdout>>) -> Value {
    let line =
        tokio::time::timeout(BOUND, lines.next_line()).await.expect("an event comes").unwrap().expect("it goes on");
    serde_json::from_str(&line).unwrap_or_else(|err| panic!("{err}: {line}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_followed_from_its_beginning_to_its_end_with_each_event_once() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("followed", 1_000, 0)).await;
    let said = say(&replica, &["events", "-f", &id, "-o", "jsonl"]).await.with(0);
    let events: Vec<Value> = said.out.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let history = say(&replica, &["events", &id, "-o", "json"]).await.with(0).json();
    let ids = |events: &[Value]| events.iter().map(|it| it["id"].as_i64().unwrap()).collect::<Vec<_>>();
    let told = ids(&events);
    assert_eq!(told, ids(history.as_array().unwrap())[..told.len()], "all to the end, in order, once");
    assert_eq!(events.last().unwrap()["to"], "succeeded");
    let over = say(&replica, &["events", "-f", &id]).await.with(0);
    assert!(over.out.contains("succeeded"), "{}", over.out);
    say(&replica, &["events", "-f", "00000000-0000-7000-8000-000000000000"]).await.with(4);
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_jobs_of_a_queue_are_followed_as_things_happen() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let words = ["events", "-f", "--queue", "seen", "--state", "succeeded,cancelled", "-o", "jsonl"];
    let mut child = longshore(&replica, &words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The stream begins when it is open, which nothing tells: so there is something to see until something was seen.
    let seen = tokio::select! {
        event = next(&mut lines) => event,
        () = async {
            loop {
                world.submit(&replica, &job("unseen", 50, 0)).await;
                let id = world.submit(&replica, &job("seen", 50, 0).with("queue", "seen".into())).await;
                world.reaches(&replica, &id, "succeeded").await;
            }
        } => unreachable!(),
    };
    assert_eq!((&seen["name"], &seen["queue"], &seen["to"]), (&"seen".into(), &"seen".into(), &"succeeded".into()));
    child.kill().await.unwrap();
    world.all_end().await;
    world.finish().await;
}
