//! `retry`: jobs that failed or were cancelled, tried again by hand.
//!
//! The server refuses the second of two such requests, since the first made the job wait. So where an answer got lost and
//! the repeated request is refused, the job itself tells whether the first one did it.

use clap::Args;
use serde_json::Value;

use crate::id::JobId;

use super::{
    Exit, Failure, Format,
    each::each,
    http::{Ask, Http},
    output::print,
    view::Job,
};

/// The arguments of `retry`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all wait again; else that of the first that does not: 4 there is no such job, \
6 it is not over, or succeeded, 1 the request failed.")]
pub struct Retry {
    /// Ids of jobs, or job/ID
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// How to print them; `json` is one array
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Tries jobs again.
pub async fn run(http: &Http, retry: &Retry) -> Result<Exit, Failure> {
    each(&retry.ids, retry.output, async |id| one(http, id, retry.output).await).await
}

async fn one(http: &Http, id: JobId, format: Format) -> Result<Value, Failure> {
    let id = id.to_string();
    let answer = match http.send(Ask::post_nothing(&["jobs", &id, "retry"])).await {
        Err(failure) if failure.exit() == Exit::Conflict && failure.is_unsure() => {
            let answer = http.send(Ask::get(&["jobs", &id])).await?;
            if answer.read::<Job>()?.is_finished() {
                return Err(failure);
            }
            answer
        }
        answered => answered?,
    };
    let job: Job = answer.read()?;
    match format {
        Format::Table | Format::Wide => {
            print(&format!("{} {} {}, to be tried again", job.job_id, job.name, job.state))?
        }
        Format::Name => print(&format!("job/{}", job.job_id))?,
        Format::Json | Format::Jsonl => {}
    }
    Ok(answer.body)
}
