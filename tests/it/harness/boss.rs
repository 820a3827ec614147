//! pg-boss itself, of any of the four versions, as Node runs it: see tests/pgboss.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{BOUND, World};

/// The versions that Longshore knows.
pub const VERSIONS: [u32; 4] = [9, 10, 11, 12];

/// A program that uses pg-boss, and says what pg-boss answered.
pub struct Boss {
    pub version: u32,
    _child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Boss {
    /// Has pg-boss make its tables in a schema, where they are missing.
    pub async fn start(version: u32, url: &str, schema: &str) -> Self {
        let install = Command::new("scripts/pgboss").current_dir(env!("CARGO_MANIFEST_DIR")).output().await.unwrap();
        assert!(install.status.success(), "scripts/pgboss: {}", String::from_utf8_lossy(&install.stderr));
        let driver = String::from_utf8(install.stdout).unwrap();
        let mut command = Command::new("node");
        command.arg(driver.trim()).args([&version.to_string(), url, schema]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let asks = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut boss = Self { version, _child: child, asks, answers };
        let ready = boss.answer().await;
        assert_eq!(ready["ready"], json!(version.to_string()), "{ready}");
        boss
    }

    /// Has it do something, and expects that to work.
    pub async fn ask(&mut self, what: Value) -> Value {
        self.asks.write_all(format!("{what}\n").as_bytes()).await.unwrap();
        let answer = self.answer().await;
        assert!(answer.get("error").is_none(), "pg-boss {}: {what}: {answer}", self.version);
        answer["answer"].clone()
    }

    async fn answer(&mut self) -> Value {
        let line = tokio::time::timeout(BOUND, self.answers.next_line()).await.expect("pg-boss does not answer");
        serde_json::from_str(&line.unwrap().expect("pg-boss ended")).unwrap()
    }

    /// A queue with the options that every version takes; none where items bring it into being.
    pub async fn queue(&mut self, queue: &str, options: Value) {
        self.ask(json!({"do": "queue", "queue": queue, "options": options})).await;
    }

    /// Sends an item. Answers its id.
    pub async fn send(&mut self, queue: &str, data: Value, options: Value) -> String {
        let sent = self.ask(json!({"do": "send", "queue": queue, "data": data, "options": options})).await;
        sent.as_str().expect("pg-boss takes the item").to_owned()
    }

    /// An item as pg-boss's own getJobById shows it, under the names of version 10 on.
    pub async fn item(&mut self, queue: &str, id: &str) -> Value {
        let mut item = self.ask(json!({"do": "item", "queue": queue, "id": id})).await;
        for (old, new) in [
            ("retrycount", "retryCount"),
            ("retrylimit", "retryLimit"),
            ("startafter", "startAfter"),
            ("startedon", "startedOn"),
            ("completedon", "completedOn"),
            ("createdon", "createdOn"),
            ("keepuntil", "keepUntil"),
        ] {
            if let Some(value) = item.as_object_mut().and_then(|it| it.remove(old)) {
                item[new] = value;
            }
        }
        item
    }
}

impl World {
    /// Another database on the same server.
    pub async fn elsewhere(&self) -> String {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        let url = format!("{server}/elsewhere");
        longshore::store::migrate::create_database(&url).await.unwrap();
        url
    }

    /// A file of sources for `--sources`, each as JSON.
    pub fn sources(&self, sources: &[Value]) -> SourcesFile {
        let dir = tempfile::tempdir().unwrap();
        let file = SourcesFile { flag: format!("--sources={}", dir.path().join("sources.json").display()), dir };
        file.write(sources);
        file
    }
}

/// The flag that names it; it is gone when this is dropped.
pub struct SourcesFile {
    pub flag: String,
    dir: tempfile::TempDir,
}

impl SourcesFile {
    pub fn write(&self, sources: &[Value]) {
        std::fs::write(self.dir.path().join("sources.json"), json!({"sources": sources}).to_string()).unwrap();
    }

    /// A file beside it that holds a secret.
    pub fn secret(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}
