//! The client commands: each turns its arguments into requests and their answers into text, JSON and an exit code.

mod ask;
mod batch;
mod bulk;
mod cancel;
mod each;
mod eta;
mod events;
mod exit;
mod failure;
mod file;
mod filter;
mod get;
mod http;
mod limit;
mod list;
mod listed;
mod logs;
mod output;
mod params;
mod patience;
mod policy;
mod progress;
mod queue;
mod reason;
mod reprioritize;
mod request;
mod retry;
mod scrub;
mod slots;
mod source;
mod sse;
mod stream;
mod submit;
mod template;
pub(crate) mod text;
mod top;
mod view;
mod wait;
mod why;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use exit::Exit;
use failure::Failure;
use http::Http;
use output::Format;

/// Where Longshore is.
#[derive(Debug, Args)]
pub struct Connection {
    /// Where Longshore answers
    // A URL may carry a password, which a help text should not show.
    #[arg(long, global = true, env = "LONGSHORE_URL", hide_env_values = true, default_value = "http://127.0.0.1:8000")]
    #[arg(value_name = "URL", help_heading = "Connection")]
    pub url: String,
}

/// A client command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Submit a job
    Submit(Box<submit::Submit>),
    /// List jobs, newest first
    List(list::List),
    /// Describe a job and its attempts
    Get(get::Get),
    /// Say why a job does not run yet, and who has what it waits for
    Why(why::Why),
    /// Show who holds a slot, and what starts next
    Top(top::Top),
    /// Show what a job printed, live or what was kept of it
    Logs(logs::Logs),
    /// Show what happened to a job, or what happens to all of them
    Events(events::Events),
    /// Cancel jobs: at once where they wait, else they are stopped
    Cancel(cancel::Cancel),
    /// Try jobs again that failed or were cancelled
    Retry(retry::Retry),
    /// Give jobs that wait another priority
    Reprioritize(reprioritize::Reprioritize),
    /// Wait until jobs have ended
    Wait(wait::Wait),
    /// Show queues, and set their caps, bounds and pauses
    Queue(queue::Queue),
    /// Show the queues elsewhere that feed this one, and pause them
    Source(source::Source),
    /// Show or set how many jobs may hold a slot at once
    Limit(limit::Limit),
    /// Show, store and delete templates
    Template(template::Template),
}

/// Runs a client command; whatever went wrong has been said on stderr when it returns.
pub async fn run(connection: Connection, command: Command) -> ExitCode {
    let format = command.format();
    let done = match Http::new(&connection.url) {
        Ok(http) => command.run(&http).await,
        Err(failure) => Err(failure),
    };
    done.unwrap_or_else(|failure| failure.report(format)).into()
}

impl Command {
    fn format(&self) -> Format {
        match self {
            Self::Submit(it) => it.output,
            Self::List(it) => it.output,
            Self::Get(it) => it.output,
            Self::Why(it) => it.output,
            Self::Top(it) => it.output,
            Self::Logs(_) => Format::Table,
            Self::Events(it) => it.output,
            Self::Cancel(it) => it.output,
            Self::Retry(it) => it.output,
            Self::Reprioritize(it) => it.output,
            Self::Wait(it) => it.output,
            Self::Queue(it) => it.output,
            Self::Source(it) => it.output,
            Self::Limit(it) => it.output,
            Self::Template(it) => it.output,
        }
    }

    async fn run(self, http: &Http) -> Result<Exit, Failure> {
        match self {
            Self::Submit(it) => submit::run(http, *it).await,
            Self::List(it) => list::run(http, &it).await,
            Self::Get(it) => get::run(http, &it).await,
            Self::Why(it) => why::run(http, &it).await,
            Self::Top(it) => top::run(http, &it).await,
            Self::Logs(it) => logs::run(http, &it).await,
            Self::Events(it) => events::run(http, &it).await,
            Self::Cancel(it) => cancel::run(http, &it).await,
            Self::Retry(it) => retry::run(http, &it).await,
            Self::Reprioritize(it) => reprioritize::run(http, &it).await,
            Self::Wait(it) => wait::run(http, &it).await,
            Self::Queue(it) => queue::run(http, &it).await,
            Self::Source(it) => source::run(http, &it).await,
            Self::Limit(it) => limit::run(http, &it).await,
            Self::Template(it) => template::run(http, &it).await,
        }
    }
}
