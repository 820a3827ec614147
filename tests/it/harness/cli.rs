//! The binary as a user types it: what it prints, where, and with which exit code.

use std::process::Stdio;

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use super::BOUND;

/// What a command came to.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn longshore(url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(words).env("LONGSHORE_URL", url).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn say(url: &str, words: &[&str]) -> Said {
    say_with(url, words, "").await
}

/// The same, with something on its stdin.
pub async fn say_with(url: &str, words: &[&str], input: &str) -> Said {
    let mut command = longshore(url, words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let run = async {
        // Who does not read all of it says why on stderr.
        let write = async {
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        tokio::join!(write, child.wait_with_output()).1.unwrap()
    };
    let output = tokio::time::timeout(BOUND, run).await.unwrap_or_else(|_| panic!("{words:?} ends"));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

impl Said {
    /// What it printed, of which the exit code is as expected.
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|err| panic!("{err}: {}", self.out))
    }

    pub fn has_line(&self, line: &str) -> bool {
        self.out.lines().any(|it| it == line)
    }

    /// The ids that it printed with `-o name`.
    pub fn ids(&self) -> Vec<String> {
        self.out.lines().map(|it| it.trim_start_matches("job/").to_owned()).collect()
    }
}
