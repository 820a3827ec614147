//! `cancel`: the jobs that were named, one after the other, or all that pass a filter.

use clap::Args;
use serde_json::Value;

use crate::id::JobId;

use super::{
    Exit, Failure, Format,
    bulk::{Action, Many},
    each::each,
    http::{Ask, Http},
    output::print,
    view::Job,
};

/// The arguments of `cancel`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all are cancelled or being stopped; else that of the first that is not: \
4 there is no such job, 6 it has ended already, 1 the request failed; 2 a filter needs --yes where nobody can be asked.")]
pub struct Cancel {
    /// Ids of jobs, or job/ID
    #[arg(value_name = "ID", conflicts_with = "Filter")]
    ids: Vec<String>,
    #[command(flatten)]
    many: Many,
    /// How to print them; `json` is one array, by a filter what it came to
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Cancels jobs.
pub async fn run(http: &Http, cancel: &Cancel) -> Result<Exit, Failure> {
    if cancel.ids.is_empty() {
        return cancel.many.run(http, Action::Cancel, cancel.output).await;
    }
    each(&cancel.ids, cancel.output, async |id| one(http, id, cancel.output).await).await
}

async fn one(http: &Http, id: JobId, format: Format) -> Result<Value, Failure> {
    let answer = http.send(Ask::delete(&["jobs", &id.to_string()])).await?;
    let job: Job = answer.read()?;
    match format {
        Format::Table | Format::Wide if job.is_finished() => print(&job.line())?,
        Format::Table | Format::Wide => print(&format!("{} {} is being stopped", job.job_id, job.name))?,
        Format::Name => print(&format!("job/{}", job.job_id))?,
        Format::Json | Format::Jsonl => {}
    }
    Ok(answer.body)
}
