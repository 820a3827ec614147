//! Workers of pg-boss's queues: the files that say what they are, playing them, and what must hold of them.

use std::path::PathBuf;

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{World, boss::Boss, eventually, scalar};

/// What must be nowhere but in the Secret and in the file that Longshore reads.
pub const PASSWORD: &str = "hunter2-in-the-clear";

/// Files of one test: sources, and the URL of pg-boss's database.
pub struct Files(tempfile::TempDir);

impl Files {
    pub async fn new(world: &World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let role = format!("create role chief login superuser password '{PASSWORD}'");
        sqlx::query(sqlx::AssertSqlSafe(role)).execute(&mut world.conn().await).await.unwrap();
        let (_, place) = world.url.split_once('@').unwrap();
        std::fs::write(dir.path().join("url"), format!("postgres://chief:{PASSWORD}@{place}\n")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An entry for jobs, with more to it.
    pub fn entry(&self, jobs: Value, more: Value) -> Value {
        let mut entry =
            json!({"name": "chief", "type": "pg-boss-workers", "jobs": jobs, "database_url_file": self.path("url")});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    }

    /// Writes them down; answers the flag.
    pub fn sources(&self, entries: &[Value]) -> String {
        let file = self.path("sources.yaml");
        std::fs::write(&file, json!({"sources": entries}).to_string()).unwrap();
        format!("--sources={}", file.display())
    }
}

/// A job of a jobs file whose pods run for a while, with short waits; on either target.
pub fn job(queue: &str, millis: u64, exit_code: i32) -> Value {
    let outcome = if exit_code == 0 { "succeed".to_owned() } else { format!("exit={exit_code}") };
    json!({
        "queueName": queue,
        "podConfig": {
            "parallelism": 1, "image": "busybox:latest", "pullPolicy": "IfNotPresent", "liveness": {"enabled": false},
            "injectPgConfig": false,
            "command": ["sh", "-c", format!("sleep {}.{:03}; exit {exit_code}", millis / 1000, millis % 1000)],
            "annotations": {"sim.longshore.dev/duration": format!("{millis}ms"), "sim.longshore.dev/outcome": outcome},
        },
        "queueCheckInterval": "100ms", "jobStartTimeout": "90s", "waitTimeAfterSuccessfulRun": "100ms",
        "waitTimeAfterFailedRun": "100ms", "waitTimeAfterTimeout": "100ms", "waitTimeAfterError": "100ms",
    })
}

/// The same with more in its podConfig.
pub fn with(mut job: Value, pod: Value) -> Value {
    job["podConfig"].as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
    job
}

/// As a worker would: takes items and completes them.
pub async fn work_off(boss: &mut Boss, queue: &str, items: usize) {
    for _ in 0..items {
        let taken = boss.ask(json!({"do": "fetch", "queue": queue})).await;
        let id = taken[0]["id"].as_str().expect("there is an item").to_owned();
        boss.ask(json!({"do": "complete", "queue": queue, "id": id})).await;
    }
}

/// A source as `/sources` has it; nothing before it is known there.
pub async fn source(world: &World, replica: &str, name: &str) -> Value {
    let all = world.get(replica, "/sources").await;
    all["items"].as_array().unwrap().iter().find(|it| it["name"] == name).cloned().unwrap_or_default()
}

/// The worker jobs that a queue has had, oldest first: id, and state.
pub async fn workers_of(conn: &mut PgConnection, queue: &str) -> Vec<(String, String)> {
    sqlx::query_as("select id::text, state from longshore.jobs where name = $1 order by seq")
        .bind(queue)
        .fetch_all(conn)
        .await
        .unwrap()
}

/// Ends when a queue has had so many worker jobs; answers the last one's id.
pub async fn nth(conn: &mut PgConnection, queue: &str, count: usize) -> String {
    eventually(&format!("{queue} gets worker job {count}"), async || {
        let all = workers_of(conn, queue).await;
        (all.len() >= count).then(|| all[count - 1].0.clone())
    })
    .await
}

/// No worker job may have come into being before the one before it was over.
pub async fn no_two_at_once(conn: &mut PgConnection) {
    let overlaps: i64 = scalar(
        conn,
        "select count(*) from longshore.jobs a join longshore.jobs b on a.name = b.name and a.seq < b.seq
          where a.finished_at is null or b.created_at < a.finished_at",
    )
    .await;
    assert_eq!(overlaps, 0, "two worker jobs of a queue at once");
    let runs: i64 = scalar(conn, "select sum(runs)::bigint from longshore.source_workers").await;
    let jobs: i64 = scalar(conn, "select count(*) from longshore.jobs").await;
    assert_eq!(runs, jobs, "every worker job is a queue's");
}
