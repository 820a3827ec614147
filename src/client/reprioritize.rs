//! `reprioritize`: another priority for the jobs that were named, or for all that pass a filter, while they wait.

use clap::Args;
use serde_json::{Value, json};

use crate::id::JobId;

use super::{
    Exit, Failure, Format,
    bulk::{Action, Many},
    each::each,
    http::{Ask, Http},
    output::print,
    view::Job,
};

/// The arguments of `reprioritize`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all have it; else that of the first that has not: 4 there is no such job, \
6 it does not wait any more, 1 the request failed; 2 a filter needs --yes where nobody can be asked.")]
pub struct Reprioritize {
    /// Ids of jobs, or job/ID
    #[arg(value_name = "ID", conflicts_with = "Filter")]
    ids: Vec<String>,
    /// Higher starts first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: i32,
    #[command(flatten)]
    many: Many,
    /// How to print them; `json` is one array, by a filter what it came to
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Gives jobs another priority.
pub async fn run(http: &Http, asked: &Reprioritize) -> Result<Exit, Failure> {
    if asked.ids.is_empty() {
        return asked.many.run(http, Action::Reprioritize(asked.priority), asked.output).await;
    }
    each(&asked.ids, asked.output, async |id| one(http, id, asked).await).await
}

async fn one(http: &Http, id: JobId, asked: &Reprioritize) -> Result<Value, Failure> {
    let body = json!({"priority": asked.priority});
    let answer = http.send(Ask::patch(&["jobs", &id.to_string()], &body)).await?;
    let job: Job = answer.read()?;
    match asked.output {
        Format::Table | Format::Wide => {
            print(&format!("{} {} {}, priority {}", job.job_id, job.name, job.state, job.priority))?;
        }
        Format::Name => print(&format!("job/{}", job.job_id))?,
        Format::Json | Format::Jsonl => {}
    }
    Ok(answer.body)
}
