//! The timeline of the system that Longshore replaces: its README's example, played with the binary and real requests.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{eventually, process::Process};

/// A job of this dry run takes this long: long enough to look at each step on a busy machine.
const TAKES: &str = "4s";

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_the_seeds_own_timeline_holds() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(["serve", "--dry-run", "--max-concurrency", "2", "--port", "0", "--dry-run-duration", TAKES]);
    // The burst is three requests by hand; a busy machine may need longer than 100 ms for them.
    command.args(["--dispatch-delay", "2s"]).env_remove("DATABASE_URL").env("LONGSHORE_LOG_FORMAT", "json");
    let server = Process::start(command).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let submit = async |name: &str, priority: i32| {
        let request = json!({"name": name, "priority": priority});
        let answer = http.post(format!("{}/jobs", server.url)).json(&request).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(location, format!("/jobs/{}", answer["job_id"].as_str().unwrap()));
        assert_eq!(answer["name"], name);
        assert_eq!(answer["status"], "Job submitted successfully");
        answer["queue_position"].as_str().unwrap().to_owned()
    };
    let list = async |which: &str| {
        let answer = http.get(format!("{}/jobs/{which}", server.url)).send().await.unwrap();
        let jobs: Vec<Value> = answer.json().await.unwrap();
        let line = |it: &Value| format!("{} {}", it["name"].as_str().unwrap(), it["priority"]);
        assert!(jobs.iter().all(|it| it["job_id"].is_string()));
        jobs.iter().map(line).collect::<Vec<_>>()
    };
    let is_running = async |names: &[&str]| {
        eventually(&format!("{names:?} run"), async || {
            let mut running = list("running").await;
            running.sort();
            (running == names).then_some(())
        })
        .await;
    };

    assert_eq!(http.get(format!("{}/health", server.url)).send().await.unwrap().text().await.unwrap(), "OK");
    // job1 comes first, to an idle server, and still waits: the burst is ordered before anything starts.
    assert_eq!(submit("job1", 2).await, "0");
    assert_eq!(submit("job2", 5).await, "0");
    assert_eq!(submit("job3", 5).await, "1", "of equal priority, the first to come is the first to start");
    is_running(&["job2 5", "job3 5"]).await;
    assert_eq!(list("pending").await, ["job1 2"]);
    assert_eq!(submit("job4", 3).await, "0");
    assert_eq!(submit("job5", 3).await, "1");
    assert_eq!(list("pending").await, ["job4 3", "job5 3", "job1 2"]);
    is_running(&["job4 3", "job5 3"]).await;
    assert_eq!(list("pending").await, ["job1 2"]);
    is_running(&["job1 2"]).await;
    is_running(&[]).await;
    assert_eq!(list("pending").await, [""; 0]);
    server.terminate().await;
}
