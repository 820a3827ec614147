//! The workers that run the filter: a few, used again and again, each thrown away as soon as it misbehaves.
//!
//! A request takes a worker for itself, and whatever its filter does to it is over with the worker. What is bounded: how
//! many workers there are, how many requests wait for one, and for each request its time, memory and output.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    time::timeout,
};

use super::{
    frame::{self, Answer, Start},
    worker,
};

/// The most workers. Each may take the memory of [`Limits`], and keeps one processor busy at most.
const MOST_WORKERS: usize = 4;
/// The most requests that wait for a worker: a burst of good ones is through in less than a second, and each holds a body
/// of up to a mebibyte.
const WAITING: usize = 256;
/// The longest that a request waits for a worker: others may take theirs to the end of its time, and together with its own
/// it must be less than the longest request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many requests a worker serves: whatever a filter's engine may leave behind goes with it.
const SERVED: u32 = 10_000;
/// How long a worker may take to start and to compile the filter: a few milliseconds, on a machine that has time.
const STARTING: Duration = Duration::from_secs(20);
/// How much of a dead worker's last words is read, in bytes.
const LAST_WORDS_BYTES: usize = 4 * 1024;

/// What one run of the filter may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// By the clock on the wall.
    pub timeout: Duration,
    /// Address space, on top of what the worker itself takes.
    pub memory_bytes: u64,
    /// As JSON. A larger Job could not be created: etcd refuses objects over 1.5 MiB.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(2), memory_bytes: 256 * 1024 * 1024, output_bytes: 1024 * 1024 }
    }
}

/// Why a request has no output.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("too many requests wait for the filter; ask again soon")]
    Busy,
    #[error("the filter took longer than {0:?}")]
    TimedOut(Duration),
    /// The filter's own doing.
    #[error("the filter failed: {0}")]
    Failed(String),
    /// Nobody's doing who asked.
    #[error("cannot start the filter: {0}")]
    NotStarted(String),
}

/// The filter, ready to be asked.
pub struct Filters {
    program: PathBuf,
    start: Vec<u8>,
    limits: Limits,
    idle: Mutex<Vec<Worker>>,
    /// One for each worker.
    places: Semaphore,
    /// One for each request that is served or waits.
    room: Semaphore,
}

impl Filters {
    /// Starts a first worker, which compiles the filter.
    pub async fn start(program: &Path, start: &Start, limits: Limits) -> Result<Self, Refused> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        let filters = Self {
            program: program.to_owned(),
            start: serde_json::to_vec(start).map_err(|err| Refused::NotStarted(err.to_string()))?,
            limits,
            idle: Mutex::default(),
            places: Semaphore::new(workers),
            room: Semaphore::new(workers + WAITING),
        };
        let worker = filters.spawn().await?;
        filters.idle().push(worker);
        Ok(filters)
    }

    /// The filter's first output for one request.
    pub async fn run(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        let body = body.to_string();
        let _room = self.room.try_acquire().map_err(|_| Refused::Busy)?;
        let Ok(Ok(_place)) = timeout(PATIENCE, self.places.acquire()).await else { return Err(Refused::Busy) };
        loop {
            let rested = self.rested();
            let was_idle = rested.is_some();
            let mut worker = match rested {
                Some(worker) => worker,
                None => self.spawn().await?,
            };
            match timeout(self.limits.timeout, worker.ask(path, &body, self.limits.output_bytes)).await {
                Err(_) => return Err(Refused::TimedOut(self.limits.timeout)),
                Ok(Ok(answer)) => {
                    worker.served += 1;
                    if worker.served < SERVED {
                        self.idle().push(worker);
                    }
                    return read(answer);
                }
                Ok(Err(_)) => match worker.autopsy().await {
                    // It died of the end of the thread that had started it, or was stopped by hand, and not of this request.
                    (Some(Signal::SIGTERM), _) if was_idle => {}
                    (signal, last_words) => return Err(self.verdict(signal, &last_words)),
                },
            }
        }
    }

    /// A worker that waits for work, if there is one that did not die of something else meanwhile.
    fn rested(&self) -> Option<Worker> {
        let mut idle = self.idle();
        loop {
            let mut worker = idle.pop()?;
            if matches!(worker.child.try_wait(), Ok(None)) {
                return Some(worker);
            }
        }
    }

    async fn spawn(&self) -> Result<Worker, Refused> {
        let not_started = |err: std::io::Error| Refused::NotStarted(err.to_string());
        let mut command = Command::new(&self.program);
        command.arg0("longshore").arg(worker::ARGUMENT).env_clear().current_dir("/").kill_on_drop(true);
        // A group of its own: Ctrl-C is for the replica, which then finishes what is under way.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (to, from) = pipes.ok_or_else(|| Refused::NotStarted("it has no pipes".into()))?;
        let mut worker = Worker { child, to, from, served: 0 };
        let ready = async {
            worker.send(&self.start).await?;
            worker.receive(self.limits.output_bytes).await
        };
        match timeout(STARTING, ready).await {
            Ok(Ok(Answer::Output(_))) => Ok(worker),
            Ok(Ok(Answer::Failed(why))) => Err(Refused::Failed(why)),
            Ok(Err(err)) => {
                let (_, last_words) = worker.autopsy().await;
                Err(Refused::NotStarted(format!("{err}; {last_words}")))
            }
            Err(_) => Err(Refused::NotStarted(format!("it is not ready after {STARTING:?}"))),
        }
    }

    /// What a filter's worker died of, in words for who wrote the filter.
    fn verdict(&self, signal: Option<Signal>, last_words: &str) -> Refused {
        tracing::info!(?signal, last_words, "a filter ended its worker");
        let out_of_memory = ["memory allocation of", "capacity overflow"].iter().any(|it| last_words.contains(it));
        let why = match signal {
            Some(Signal::SIGXCPU) => return Refused::TimedOut(self.limits.timeout),
            _ if last_words.contains("overflowed its stack") => "it recurses too deeply".to_owned(),
            _ if out_of_memory => {
                format!("it needs more than {} MiB of memory", self.limits.memory_bytes / 1024 / 1024)
            }
            Some(Signal::SIGKILL) => "it was killed; this machine may be short of memory".to_owned(),
            _ => "it ended the process that it ran in".to_owned(),
        };
        Refused::Failed(why)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        // A list of workers is whole after every push and pop.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(answer: Answer) -> Result<Value, Refused> {
    match answer {
        Answer::Output(json) => serde_json::from_slice(&json).map_err(|err| {
            Refused::Failed(format!("its output is not JSON, for jq has values that JSON does not have: {err}"))
        }),
        Answer::Failed(why) => Err(Refused::Failed(why)),
    }
}

/// One worker. It is killed when it is dropped, in the middle of a request too.
struct Worker {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    served: u32,
}

impl Worker {
    async fn ask(&mut self, path: &str, body: &str, output_bytes: usize) -> std::io::Result<Answer> {
        self.send(path.as_bytes()).await?;
        self.send(body.as_bytes()).await?;
        self.receive(output_bytes).await
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.to.write_all(&frame::head(bytes.len())?).await?;
        self.to.write_all(bytes).await
    }

    async fn receive(&mut self, output_bytes: usize) -> std::io::Result<Answer> {
        let strange = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let mut head = [0; frame::HEAD_BYTES];
        self.from.read_exact(&mut head).await?;
        let length = u32::from_le_bytes(head) as usize;
        if length > output_bytes + 1 {
            return Err(strange());
        }
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).await?;
        Answer::decode(bytes).ok_or_else(strange)
    }

    /// By which signal it ended, and what it said in the end.
    async fn autopsy(mut self) -> (Option<Signal>, String) {
        let mut words = Vec::new();
        let dying = async {
            if let Some(said) = self.child.stderr.take() {
                let _ = said.take(LAST_WORDS_BYTES as u64).read_to_end(&mut words).await;
            }
            self.child.wait().await.ok()
        };
        // It closed its pipe, so it is about to end; should it not, it is made to.
        let status = timeout(Duration::from_secs(1), dying).await.ok().flatten();
        let signal = status.as_ref().and_then(ExitStatus::signal).and_then(|it| Signal::try_from(it).ok());
        (signal, String::from_utf8_lossy(&words).trim().to_owned())
    }
}
