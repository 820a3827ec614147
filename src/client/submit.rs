//! `submit`: one job, or all of a file, under idempotency keys, so that asking again after a lost answer does not make
//! another.

use std::path::PathBuf;

use clap::Args;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Exit, Failure, Format,
    batch::{Batch, Submitted},
    file::{self, Filed},
    http::{Ask, Http, job_id},
    logs,
    output::{note, print},
    params::{Declared, Params},
    progress,
    request::Fields,
    text::Shown,
    wait::{self, Wait},
};

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
    /// Read a request, or a whole batch/v1 Job, from this file, or with `-` from stdin, as JSON or YAML; arguments override
    /// what it says. Where it has several (an array, one in a line, or YAML parted by ---), each becomes a job
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    params: Params,
    /// Of a file with several: accept all of them, or none
    #[arg(long, requires = "file")]
    atomic: bool,
    /// Wait until the job has ended, and exit as `longshore wait` does; how it stands is told on stderr meanwhile, if that is
    /// a terminal
    #[arg(long)]
    wait: bool,
    /// Show what the job prints, attempt after attempt, until it has ended, and exit as with --wait. Then stdout is the
    /// log, and what else there is to say goes to stderr
    #[arg(long, visible_alias = "logs")]
    follow: bool,
    /// Having waited, exit as the container did that decided how the job ended, where one did
    #[arg(long)]
    exit_code_from_job: bool,
    /// How to print it; `json` is one object, with --wait the whole job; of several it is one array
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

/// Submits a job, or several.
pub async fn run(http: &Http, submit: Submit) -> Result<Exit, Failure> {
    submit.check()?;
    match submit.file.as_ref().map(file::read).transpose()? {
        Some(Filed::Many(items)) => many(http, submit, items).await,
        Some(Filed::One(item)) => one(http, submit, Some(item)).await,
        None => one(http, submit, None).await,
    }
}

impl Submit {
    fn check(&self) -> Result<(), Failure> {
        if self.follow && !matches!(self.output, Format::Table | Format::Wide) {
            let fix =
                "leave out --output; or leave out --follow, wait with --wait and read the log with `longshore logs`";
            return Err(Failure::usage("--follow (--logs) prints the log and nothing else to stdout", fix));
        }
        if self.exit_code_from_job && !self.wait && !self.follow {
            return Err(Failure::usage("--exit-code-from-job needs the job's end", "give --wait or --follow as well"));
        }
        Ok(())
    }
}

async fn one(http: &Http, submit: Submit, file: Option<Value>) -> Result<Exit, Failure> {
    let (mut body, key) = submit.fields.request(file, submit.idempotency_key, new_key)?;
    submit.params.write(http, &mut body, &mut Declared::new()).await?;
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
        return Ok(job.exit_of(submit.exit_code_from_job));
    }
    match submit.output {
        Format::Table | Format::Wide => print(&accepted.line(was_before, is_later))?,
        Format::Name => print(&format!("job/{}", accepted.job_id))?,
        _ if submit.wait => note(&format!("note: waiting for job/{}", accepted.job_id)),
        Format::Json | Format::Jsonl => print(&submit.output.json(&answer.body))?,
    }
    if !submit.wait {
        return Ok(Exit::Done);
    }
    let id = job_id(accepted.job_id.as_str())?;
    let (value, job) = progress::shown(http, id, wait::to_the_end(http, id)).await?;
    match submit.output {
        Format::Json => print(&submit.output.json(&value))?,
        // It has been printed.
        Format::Name => {}
        output => wait::tell(&job, &value, output)?,
    }
    Ok(job.exit_of(submit.exit_code_from_job))
}

/// Each under a key of its own: the item's, else one that follows from `--idempotency-key` and its place.
async fn many(http: &Http, submit: Submit, items: Vec<Value>) -> Result<Exit, Failure> {
    if submit.follow || submit.fields.has_name() {
        let fix = "leave out the name and --follow (--logs); --wait waits for all of them";
        return Err(Failure::usage("the file has several jobs", fix));
    }
    let key = submit.idempotency_key.unwrap_or_else(new_key);
    let mut declared = Declared::new();
    let mut bodies = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let request = submit.fields.clone().request(Some(item), None, || format!("{key}-{index}"));
        let (mut body, _) = request.map_err(|it| it.at(&format!("item {index}")))?;
        submit.params.write(http, &mut body, &mut declared).await?;
        bodies.push(body);
    }
    let output = Some(submit.output).filter(|it| !submit.wait || !it.is_json());
    let batch = Batch { http, key: &key, is_atomic: submit.atomic, output };
    let Submitted { ids, exit } = batch.submit(bodies).await?;
    if !submit.wait || ids.is_empty() {
        return Ok(exit);
    }
    let wait = Wait::for_all(ids, submit.output, submit.exit_code_from_job);
    Ok(Exit::first_bad([wait::run(http, &wait).await?, exit]))
}

fn new_key() -> String {
    Uuid::new_v4().to_string()
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
