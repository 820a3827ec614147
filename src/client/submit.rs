//! `submit`: one job, under an idempotency key, so that asking again after a lost answer does not make a second one.

use std::{io::Read, path::PathBuf};

use clap::Args;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Exit, Failure, Format,
    http::{Ask, Http, job_id},
    logs,
    output::{note, print},
    request::Fields,
    text::{self, Shown},
    wait,
};

/// The largest file that is read, in bytes: beyond what any server takes, and far below what fills the memory.
const FILE_BYTES: u64 = 8 * 1024 * 1024;

/// The arguments of `submit`.
#[derive(Debug, Args)]
#[command(after_help = format!("Exit codes: 0 it was accepted, 6 it was refused, 1 the request failed. With --wait or --follow: {}.",
    wait::EXITS))]
pub struct Submit {
    #[command(flatten)]
    fields: Fields,
    /// Make one job of all submissions with this key [default: a random one, so that this call makes one job]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Read a request, or a whole batch/v1 Job, from this file, or with `-` from stdin. It must be JSON; arguments
    /// override what it says
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Wait until the job has ended, and exit as `longshore wait` does
    #[arg(long)]
    wait: bool,
    /// Show what the job prints, attempt after attempt, until it has ended, and exit as with --wait. Then stdout is the
    /// log, and what else there is to say goes to stderr
    #[arg(long, conflicts_with = "wait")]
    follow: bool,
    /// How to print it; `json` is one object, with --wait the whole job
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Deserialize)]
struct Accepted {
    job_id: Shown,
    #[serde(default)]
    name: Shown,
    #[serde(default)]
    queue_position: Shown,
}

/// Submits a job.
pub async fn run(http: &Http, submit: Submit) -> Result<Exit, Failure> {
    if submit.follow && submit.output != Format::Table {
        let fix = "leave out --output, or wait with --wait and read the log with `longshore logs`";
        return Err(Failure::usage("--follow prints the log and nothing else to stdout", fix));
    }
    let file = submit.file.as_ref().map(read).transpose()?;
    let (body, key) = submit.fields.request(file, submit.idempotency_key, || Uuid::new_v4().to_string())?;
    let is_later = ["delay", "run_at"].iter().any(|it| body.get(it).is_some_and(|it| !it.is_null()));
    let unsure = |cause: Failure| match cause.is_unsure() {
        true => Failure::Unsure { cause: Box::new(cause), key: key.clone() },
        false => cause,
    };
    let answer = http.send(Ask::post(&["jobs"], &body)).await.map_err(unsure)?;
    let accepted: Accepted = answer.read().map_err(unsure)?;
    let was_before = answer.status == StatusCode::OK;
    if submit.follow {
        note(&accepted.line(was_before, is_later));
        let job = logs::to_the_end(http, job_id(accepted.job_id.as_str())?).await?;
        note(&job.line());
        return Ok(job.exit());
    }
    match submit.output {
        Format::Table => print(&accepted.line(was_before, is_later))?,
        Format::Name => print(&format!("job/{}", accepted.job_id))?,
        Format::Json if submit.wait => note(&format!("note: waiting for job/{}", accepted.job_id)),
        Format::Json => print(&text::json(&answer.body, true))?,
    }
    if !submit.wait {
        return Ok(Exit::Done);
    }
    let (value, job) = wait::to_the_end(http, job_id(accepted.job_id.as_str())?).await?;
    match submit.output {
        Format::Table => wait::tell(&job, Format::Table)?,
        Format::Json => print(&text::json(&value, true))?,
        // It has been printed.
        Format::Name => {}
    }
    Ok(job.exit())
}

impl Accepted {
    fn line(&self, was_before: bool, is_later: bool) -> String {
        let Self { job_id, name, queue_position } = self;
        let before = match queue_position.as_str() {
            _ if was_before => "was submitted before".to_owned(),
            _ if is_later => "submitted, to start when its time has come".to_owned(),
            "" => "submitted".to_owned(),
            "0" => "submitted, next to start".to_owned(),
            "1" => "submitted, 1 job before it".to_owned(),
            more => format!("submitted, {more} jobs before it"),
        };
        format!("{job_id} {name} {before}")
    }
}

fn read(path: &PathBuf) -> Result<Value, Failure> {
    let shown = path.display();
    let failed = |err: std::io::Error| {
        Failure::usage(format!("cannot read {shown}: {err}"), "give a file that can be read, or `-` for stdin")
    };
    let mut text = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(FILE_BYTES + 1).read_to_end(&mut text),
        false => std::fs::File::open(path).and_then(|it| it.take(FILE_BYTES + 1).read_to_end(&mut text)),
    };
    if read.map_err(failed)? as u64 > FILE_BYTES {
        let fix = "a request or a manifest is at most about a megabyte";
        return Err(Failure::usage(format!("{shown} is longer than {FILE_BYTES} bytes"), fix));
    }
    serde_json::from_slice(&text).map_err(|err| {
        let fix = "YAML becomes JSON with `kubectl create --dry-run=client -o json -f FILE`";
        Failure::usage(format!("{shown} is not JSON: {err}"), fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_fits_in_a_line() {
        let line = |position: &str, was_before, is_later| {
            let accepted = Accepted { job_id: "1".into(), name: "a".into(), queue_position: position.into() };
            accepted.line(was_before, is_later)
        };
        assert_eq!(line("0", false, false), "1 a submitted, next to start");
        assert_eq!(line("10000+", false, false), "1 a submitted, 10000+ jobs before it");
        assert_eq!(line("0", false, true), "1 a submitted, to start when its time has come");
        assert_eq!(line("3", true, false), "1 a was submitted before");
    }
}
