//! Lists by filter, and what is done to many jobs at once, as a user types it.

use serde_json::json;

use crate::harness::{
    World,
    cli::{say, say_with},
};

/// Six jobs that wait for an hour: of two teams, in two queues.
async fn six(replica: &str) {
    for (name, team, queue) in [
        ("etl-1", "a", "night"),
        ("etl-2", "a", "night"),
        ("etl-3", "b", "night"),
        ("report", "a", "night"),
        ("etl-4", "a", "day"),
        ("other", "b", "day"),
    ] {
        let label = format!("team={team}");
        say(replica, &["submit", name, "--delay", "1h", "--label", &label, "--queue", queue]).await.with(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_what_passes_every_filter() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    six(&replica).await;
    let names = async |words: &[&str]| {
        let said = say(&replica, &[&["list", "-o", "jsonl"], words].concat()).await.with(0);
        let name =
            |it: &str| serde_json::from_str::<serde_json::Value>(it).unwrap()["name"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = said.out.lines().map(name).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&["-l", "team=a", "--queue", "night", "--name", "etl*"]).await, "etl-1 etl-2");
    assert_eq!(names(&["-l", "team", "-l", "team=b"]).await, "etl-3 other");
    assert_eq!(names(&["--state", "pending,scheduled", "--since", "1h"]).await, "etl-1 etl-2 etl-3 etl-4 other report");
    assert_eq!(names(&["--until", "1h"]).await, "");
    assert_eq!(names(&["--reason", "job_failed"]).await, "");
    let wide = say(&replica, &["list", "-o", "wide", "--name", "report"]).await.with(0);
    assert!(wide.out.contains("LABELS") && wide.out.contains("team=a"), "{}", wide.out);
    let none = say(&replica, &["list", "-l", "team=c", "-o", "json"]).await.with(0);
    assert_eq!((none.json(), none.err.trim()), (json!([]), "No jobs match."));
    say(&replica, &["list", "--pending", "-l", "team=a"]).await.with(2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_are_cancelled_by_filter_only_when_that_is_confirmed() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    six(&replica).await;
    let cancel = ["cancel", "-l", "team=a", "--queue", "night", "--name", "etl*"];
    let asked = say_with(&replica, &cancel, "y\n").await.with(2);
    assert!(asked.err.contains("--yes") && asked.err.contains("--dry-run"), "{}", asked.err);
    let counted = say(&replica, &[&cancel[..], &["--dry-run"]].concat()).await.with(0);
    assert_eq!(counted.out, "2 jobs\n");
    assert_eq!(say(&replica, &["list", "--state", "scheduled", "-o", "name"]).await.ids().len(), 6);
    let done = say(&replica, &[&cancel[..], &["--yes"]].concat()).await.with(0);
    assert_eq!(done.out, "2 jobs cancelled or being stopped\n");
    assert_eq!(say(&replica, &["list", "--state", "scheduled", "-o", "name"]).await.ids().len(), 4);
    let nothing = say(&replica, &[&cancel[..], &["--yes", "-o", "json"]].concat()).await.with(0).json();
    assert_eq!((&nothing["matched"], &nothing["done"]), (&json!(0), &json!(0)));
    say(&replica, &["cancel", "--yes"]).await.with(2);
    say(&replica, &["cancel", "some-id", "-l", "team=a"]).await.with(2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_get_another_priority_by_id_and_by_filter() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    six(&replica).await;
    let id = say(&replica, &["list", "--name", "report", "-o", "name"]).await.with(0).ids().remove(0);
    let said = say(&replica, &["reprioritize", &id, "--priority", "-7"]).await.with(0);
    assert!(said.out.contains("report") && said.out.contains("priority -7"), "{}", said.out);
    assert_eq!(say(&replica, &["get", &id, "-o", "json"]).await.json()["priority"], -7);
    let said = say(&replica, &["reprioritize", "--queue", "day", "--priority", "9", "--yes"]).await.with(0);
    assert_eq!(said.out, "2 jobs now of priority 9\n");
    say(&replica, &["cancel", &id]).await.with(0);
    say(&replica, &["reprioritize", &id, "--priority", "1"]).await.with(6);
    say(&replica, &["reprioritize", &id]).await.with(2);
    world.finish().await;
}
