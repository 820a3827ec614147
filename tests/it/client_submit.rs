//! `submit` and `wait` as a user types them: files in either language, many jobs at once, and how they end.

use serde_json::json;

use crate::harness::{
    World,
    cli::{say, say_with},
    scalar,
};

/// A job as `kubectl` would take it, that ends well on either target.
const JOB: &str = "\
# a Job of somebody else
apiVersion: batch/v1
kind: Job
metadata:
  name: from-yaml
  annotations: {sim.longshore.dev/duration: 100ms}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: main, image: 'busybox:latest', command: ['true'], imagePullPolicy: IfNotPresent}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_kubernetes_and_a_request_may_be_yaml() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let said = say_with(&replica, &["submit", "-f", "-", "--wait", "--priority", "3"], JOB).await.with(0);
    assert!(said.out.contains(" from-yaml submitted") && said.out.contains(" from-yaml succeeded"), "{}", said.out);
    assert!(said.err.is_empty(), "where no terminal is, nothing is said of the progress: {}", said.err);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("request.yaml");
    std::fs::write(&file, "name: asked\ndelay: 1h\nlabels: {team: a}\n").unwrap();
    let said = say(&replica, &["submit", "-f", file.to_str().unwrap(), "-o", "jsonl"]).await.with(0);
    let id = said.json()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(said.out.lines().count(), 1);
    let get = say(&replica, &["get", &id, "-o", "jsonl"]).await.with(0);
    assert_eq!((get.out.lines().count(), &get.json()["labels"]), (1, &json!({"team": "a"})));
    let bad = say_with(&replica, &["submit", "-f", "-"], "a: b: c\n").await.with(2);
    assert!(bad.err.contains("error: stdin is neither JSON nor YAML") && bad.err.contains("fix: "), "{}", bad.err);
    say(&replica, &["cancel", &id]).await.with(0);
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_of_a_file_are_told_one_by_one_and_are_not_made_twice_under_one_key() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let lines = "{\"name\":\"a\",\"delay\":\"1h\"}\n{\"name\":\"b\",\"colour\":\"red\"}\n{\"name\":\"c\\u001b[2J\"}\n{\"name\":\"d\"}\n";
    let words = ["submit", "-f", "-", "--queue", "night", "--delay", "2h", "--idempotency-key", "once"];
    let said = say_with(&replica, &words, lines).await.with(6);
    assert_eq!(said.out.lines().count(), 2, "{}", said.out);
    assert!(said.out.lines().all(|it| it.ends_with(" submitted")), "{}", said.out);
    assert!(
        said.err.contains("item 1: ") && said.err.contains("/colour") && said.err.contains("item 2: "),
        "{}",
        said.err
    );
    assert!(!said.err.contains('\u{1b}'));
    let again = say_with(&replica, &words, lines).await.with(6);
    assert!(again.out.lines().all(|it| it.ends_with(" was submitted before")), "{}", again.out);

    let results = say_with(&replica, &["submit", "-f", "-", "-o", "jsonl", "--delay", "1h"], lines).await.with(6);
    let indices: Vec<i64> = (results.out.lines())
        .map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap()["index"].as_i64().unwrap())
        .collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    let all = say_with(&replica, &["submit", "-f", "-", "--atomic", "--delay", "1h"], lines).await.with(6);
    assert!(all.out.is_empty() && all.err.contains("/1/colour"), "{}{}", all.out, all.err);
    say_with(&replica, &["submit", "named", "-f", "-"], lines).await.with(2);
    say_with(&replica, &["submit", "-f", "-", "--follow"], lines).await.with(2);
    let mut conn = world.conn().await;
    assert_eq!(scalar::<i64>(&mut conn, "select count(*) from longshore.jobs").await, 4);
    let list = say(&replica, &["list", "--queue", "night", "-o", "name"]).await.with(0);
    assert_eq!(list.ids().len(), 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_than_fit_in_a_request_are_sent_in_several_and_counted_through() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let lines: String = (0..2_500).map(|it| format!("{{\"name\":\"n{it}\",\"delay\":\"1h\"}}\n")).collect();
    let said = say_with(&replica, &["submit", "-f", "-", "-o", "json"], &lines).await.with(0);
    let results = said.json();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 2_500);
    for (index, it) in results.iter().enumerate() {
        assert_eq!((&it["index"], &it["name"]), (&json!(index), &json!(format!("n{index}"))));
    }
    let names = say(&replica, &["list", "--all", "-o", "jsonl"]).await.with(0);
    assert_eq!(names.out.lines().count(), 2_500);
    world.finish().await;
}

/// The words of a job that ends with exit code 42, on either target.
fn failing<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["submit", "failing", "--image", "busybox:latest"];
    words.extend([
        "--annotation",
        "sim.longshore.dev/outcome=exit=42",
        "--annotation",
        "sim.longshore.dev/duration=200ms",
    ]);
    words.extend(flags);
    words.extend(["--", "sh", "-c", "exit 42"]);
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_of_the_container_becomes_that_of_the_command_where_asked() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    say(&replica, &failing(&["--wait"])).await.with(10);
    say(&replica, &failing(&["--wait", "--exit-code-from-job"])).await.with(42);
    say(&replica, &failing(&["--logs", "--exit-code-from-job"])).await.with(42);
    say(&replica, &failing(&["--exit-code-from-job"])).await.with(2);
    let id = say(&replica, &failing(&["-o", "name"])).await.with(0).ids().remove(0);
    say(&replica, &["wait", &id, "--exit-code-from-job"]).await.with(42);
    say(&replica, &["wait", &id]).await.with(10);
    let later = say(&replica, &["submit", "later", "--delay", "1h", "-o", "name"]).await.with(0).ids().remove(0);
    say(&replica, &["cancel", &later]).await.with(0);
    say(&replica, &["wait", &later, "--exit-code-from-job"]).await.with(11);
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_can_be_tried_again_by_hand() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = say(&replica, &failing(&["-o", "name"])).await.with(0).ids().remove(0);
    say(&replica, &["wait", &id]).await.with(10);
    let said = say(&replica, &["retry", &id]).await.with(0);
    assert!(said.out.contains(" failing ") && said.out.contains("to be tried again"), "{}", said.out);
    let refused = say(&replica, &["retry", "nonsense", &id]).await;
    assert_eq!(refused.code, 4, "{}", refused.err);
    say(&replica, &["wait", &id]).await.with(10);
    let job = say(&replica, &["get", &id, "-o", "json"]).await.with(0).json();
    assert!(job["attempts"].as_array().unwrap().len() >= 2, "{job}");
    let history = say(&replica, &["events", &id]).await.with(0);
    assert!(history.out.lines().next().unwrap().starts_with("AT "), "{}", history.out);
    let row = |from: &str, to: &str| {
        history.out.lines().any(|it| it.contains(&format!(" {from} ")) && it.contains(&format!(" {to} ")))
    };
    assert!(row("-", "pending") && row("failed", "pending"), "{}", history.out);
    let events = say(&replica, &["events", &id, "-o", "json"]).await.with(0).json();
    assert_eq!(events[0]["reason"], "submitted", "{events}");
    say(&replica, &["events"]).await.with(2);
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_printed_for_every_shell_and_need_no_server() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let said = say("http://127.0.0.1:1", &["completion", shell]).await.with(0);
        for command in ["submit", "reprioritize", "template"] {
            assert!(said.out.contains(command), "{shell} knows {command}");
        }
    }
}
