//! Replicas as processes of their own, which can be killed.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{BOUND, World};

pub struct Process {
    child: Child,
    /// What it said before it was ready.
    starting: Vec<String>,
    log: Arc<Mutex<Vec<String>>>,
    /// The address of its API.
    pub url: String,
}

impl World {
    /// Starts a replica as a process; answers when it is ready.
    pub async fn spawn(&self, flags: &[&str], env: &[(&str, &str)]) -> Process {
        self.spawn_on(&self.url, flags, env).await
    }

    /// The same, with its own way to the database.
    pub async fn spawn_on(&self, database_url: &str, flags: &[&str], env: &[(&str, &str)]) -> Process {
        let mut command = self.command(database_url, flags);
        command.envs(env.iter().copied());
        Process::start(command).await
    }

    /// What starts a replica as a process.
    pub fn command(&self, database_url: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.arg("serve").args(self.flags(flags)).env_remove("DATABASE_URL").env("LONGSHORE_LOG_FORMAT", "json");
        command.args(["--database-url", database_url]).arg("--kubeconfig").arg(self.target.kubeconfig());
        command
    }
}

impl Process {
    /// Starts `command`, which logs JSON, and waits until it says that it is ready.
    pub async fn start(command: Command) -> Self {
        Self::start_until(command, "ready").await
    }

    /// The same until it says `message`, with its address.
    pub async fn start_until(mut command: Command, message: &str) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = async {
            let mut said = Vec::new();
            while let Some(line) = log.next_line().await.unwrap() {
                let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if event["message"] == message {
                    let address = event["address"].as_str().unwrap().to_owned();
                    return (address.rsplit_once(':').unwrap().1.to_owned(), said);
                }
                // As text: its last field but one or two.
                let field = line.contains(" ready ").then(|| line.split_once(" address="));
                if let Some((_, address)) = field.flatten() {
                    let address = address.split(' ').next().unwrap();
                    return (address.rsplit_once(':').unwrap().1.to_owned(), said);
                }
                said.push(line);
            }
            panic!("it ended before it said {message:?}: {said:?}");
        };
        let (port, starting) =
            tokio::time::timeout(BOUND, ready).await.unwrap_or_else(|_| panic!("it does not say {message:?}"));
        let kept: Arc<Mutex<Vec<String>>> = Arc::default();
        let keep = kept.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                println!("replica: {line}");
                keep.lock().unwrap().push(line);
            }
        });
        Self { child, starting, log: kept, url: format!("http://127.0.0.1:{port}") }
    }

    /// What it said from the start.
    pub fn log(&self) -> Vec<String> {
        [self.starting.clone(), self.log.lock().unwrap().clone()].concat()
    }

    /// Whether a line of its log contains this.
    pub fn said(&self, text: &str) -> bool {
        self.log.lock().unwrap().iter().any(|it| it.contains(text))
    }

    /// How many lines of its log contain this.
    pub fn count(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|it| it.contains(text)).count()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().expect("it runs").try_into().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// As kill -9.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// As an orchestrator stops it; it must end well.
    pub async fn terminate(mut self) {
        self.signal(Signal::SIGTERM);
        let status = tokio::time::timeout(BOUND, self.child.wait()).await.expect("it does not stop").unwrap();
        assert!(status.success(), "it was told to stop, and ended with {status}");
    }

    /// Ends when the process has ended, however.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        tokio::time::timeout(BOUND, self.child.wait()).await.expect("it goes on").unwrap()
    }
}
