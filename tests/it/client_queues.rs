//! `queue` and `limit` as a user types them, and what `why` makes of a queue that is full or paused.

use serde_json::json;

use crate::harness::{World, cli::say, jobs::job};

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_set_paused_and_resumed_and_why_says_so() {
    let mut world = World::new(4).await;
    let replica = world.start(&[]).await;
    say(&replica, &["queue", "get", "gpu"]).await.with(4);
    let set = say(&replica, &["queue", "set", "gpu", "cap=1", "max-pending=100", "-o", "json"]).await.with(0).json();
    assert_eq!((&set["cap"], &set["max_pending"], &set["paused"]), (&json!(1), &json!(100), &json!(false)));
    let set = say(&replica, &["queue", "set", "gpu", "max-pending=none"]).await.with(0);
    let row = set.out.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row, ["gpu", "1", "0", "0", "0", "-", "no"]);

    let held = world.submit(&replica, &job("held", 60_000, 0).with("queue", json!("gpu"))).await;
    world.reaches(&replica, &held, "running").await;
    let elsewhere = world.submit(&replica, &job("elsewhere", 60_000, 0)).await;
    world.reaches(&replica, &elsewhere, "running").await;
    let waits = world.submit(&replica, &job("waits", 100, 0).with("queue", json!("gpu"))).await;
    world.waits_for(&replica, &waits, "queue_cap").await;
    let why = say(&replica, &["why", &waits]).await.with(3);
    assert!(why.out.contains("1 of 1") && why.out.contains(&held) && !why.out.contains(&elsewhere), "{}", why.out);

    say(&replica, &["queue", "pause", "gpu"]).await.with(0);
    world.waits_for(&replica, &waits, "queue_paused").await;
    let why = say(&replica, &["why", &waits]).await.with(3);
    assert!(why.out.contains("`longshore queue resume gpu`"), "{}", why.out);
    let list = say(&replica, &["queue", "list"]).await.with(0);
    assert!(list.out.lines().any(|it| it.starts_with("gpu ") && it.ends_with("yes")), "{}", list.out);
    let names = say(&replica, &["queue", "list", "-o", "name"]).await.with(0);
    assert_eq!(names.ids(), ["default", "gpu"]);
    say(&replica, &["queue", "resume", "gpu"]).await.with(0);
    say(&replica, &["queue", "resume", "nowhere"]).await.with(4);
    say(&replica, &["queue", "set", "gpu", "colour=red"]).await.with(2);
    say(&replica, &["cancel", &held, &elsewhere, &waits]).await.with(0);
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_global_cap_is_shown_and_set() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    assert!(say(&replica, &["limit"]).await.with(0).has_line("0 of 2 slots held"));
    assert!(say(&replica, &["limit", "set", "5"]).await.with(0).has_line("0 of 5 slots held"));
    assert_eq!(say(&replica, &["limit", "get", "-o", "json"]).await.with(0).json()["cap"], 5);
    say(&replica, &["limit", "set", "many"]).await.with(2);
    world.set_cap(5).await;
    world.finish().await;
}
