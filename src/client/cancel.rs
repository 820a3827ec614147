//! `cancel`: one job after the other; what cannot be cancelled does not keep the others from it.

use clap::Args;
use serde_json::Value;

use super::{
    Exit, Failure, Format,
    http::{Ask, Http, job_id},
    output::print,
    text,
    view::Job,
};

/// The arguments of `cancel`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all are cancelled or being stopped; else that of the first that is not: \
4 there is no such job, 6 it has ended already, 1 the request failed.")]
pub struct Cancel {
    /// Ids of jobs, or job/ID
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// How to print them; `json` is one array
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Cancels jobs.
pub async fn run(http: &Http, cancel: &Cancel) -> Result<Exit, Failure> {
    let mut exits = Vec::new();
    let mut cancelled = Vec::new();
    for id in &cancel.ids {
        match one(http, id, cancel.output).await {
            Ok(job) => cancelled.push(job),
            Err(failure) => {
                exits.push(failure.report(cancel.output));
                if failure.is_for_all() {
                    break;
                }
            }
        }
    }
    if cancel.output == Format::Json {
        print(&text::json(&Value::Array(cancelled), true))?;
    }
    Ok(Exit::first_bad(exits))
}

async fn one(http: &Http, id: &str, format: Format) -> Result<Value, Failure> {
    let id = job_id(id)?;
    let answer = http.send(Ask::delete(&["jobs", &id.to_string()])).await?;
    let job: Job = answer.read()?;
    match format {
        Format::Table if job.is_finished() => print(&job.line())?,
        Format::Table => print(&format!("{} {} is being stopped", job.job_id, job.name))?,
        Format::Name => print(&format!("job/{}", job.job_id))?,
        Format::Json => {}
    }
    Ok(answer.body)
}
