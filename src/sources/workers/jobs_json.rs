//! A jobs.json of job-chief, as it is: what it may say, and what is wrong with one, by file, job and field.
//!
//! job-chief's README shows one with comments and a comma after the last field, which its own reader refused. Both are taken
//! here, for neither can mean anything else; whatever else is not JSON is refused with line and column. A field that
//! job-chief did not know, and dropped in silence, is refused too: it is a misspelt one.

use std::{collections::BTreeMap, fmt, io::Read, path::Path, time::Duration};

use jsonc_parser::{ParseOptions, parse_to_serde_value};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::spec;

/// The largest jobs file, in bytes: a ConfigMap, in which it mostly comes, takes as much.
const FILE_BYTES: usize = 1024 * 1024;
/// The most jobs of one file: each is a source of its own, with a loop in every replica.
const JOBS: usize = 200;
/// The most pods of one worker job. Beyond it is a slip of the pen; job-chief took 30.
const PODS: i32 = 1_000;
/// The longest queue name, in characters: the most that pg-boss's tables are made for.
const QUEUE_NAME_CHARS: usize = 200;
/// The longest of its times: beyond a year is a slip of the pen.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// One job of the file: a queue, and the pods that work it off.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    pub queue_name: String,
    pub pod_config: PodConfig,
    #[serde(deserialize_with = "time")]
    pub queue_check_interval: Duration,
    #[serde(deserialize_with = "time")]
    pub job_start_timeout: Duration,
    #[serde(deserialize_with = "time")]
    pub wait_time_after_successful_run: Duration,
    #[serde(deserialize_with = "time")]
    pub wait_time_after_failed_run: Duration,
    #[serde(deserialize_with = "time")]
    pub wait_time_after_timeout: Duration,
    #[serde(deserialize_with = "time")]
    pub wait_time_after_error: Duration,
}

/// `podConfig`. The last two fields are Longshore's.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodConfig {
    #[serde(default = "one")]
    pub parallelism: i32,
    pub image: String,
    pub command: Option<Vec<String>>,
    pub args: Option<Vec<String>>,
    #[serde(default)]
    pub inject_pg_config: bool,
    pub env: Option<Vec<Variable>>,
    pub configmaps: Option<Vec<String>>,
    pub secrets: Option<Vec<String>>,
    pub resources: Option<Value>,
    pub liveness: Option<Liveness>,
    pub pull_policy: Option<PullPolicy>,
    pub annotations: Option<BTreeMap<String, String>>,
    pub items_per_pod: Option<i64>,
    pub max_parallelism: Option<i32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

/// A probe by HTTP. Where `enabled` is false the rest may stand there, and means nothing.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Liveness {
    pub enabled: bool,
    pub path: Option<String>,
    pub port: Option<u16>,
    pub initial_delay_seconds: Option<u32>,
    pub period_seconds: Option<u32>,
    pub timeout_seconds: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

fn one() -> i32 {
    1
}

/// A jobs file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("cannot read {place}; the list of jobs is read from there")]
    Read { place: String, source: std::io::Error },
    #[error("{place} is over {FILE_BYTES} bytes")]
    TooLarge { place: String },
    #[error(
        "{place}, line {line}, column {column}: {cause}. It must be JSON; comments, and a comma after the last item, are \
         taken as well"
    )]
    Syntax { place: String, line: usize, column: usize, cause: String },
    #[error("{place}: must be a list of 1 to {JOBS} jobs, as job-chief takes one: [{{\"queueName\": …}}]")]
    NotAList { place: String },
    #[error("{place}, {job}: {wrong}")]
    Job { place: String, job: Which, wrong: String },
}

/// Which job of a file.
#[derive(Debug)]
pub struct Which {
    index: usize,
    queue: Option<String>,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.index + 1)?;
        self.queue.iter().try_for_each(|it| write!(f, " ({it:?})"))
    }
}

/// Reads the jobs of a file.
pub fn read(file: &Path) -> Result<Vec<Job>, Unusable> {
    let place = file.display().to_string();
    let text = open(file).map_err(|source| Unusable::Read { place: place.clone(), source })?;
    match text.len() > FILE_BYTES {
        true => Err(Unusable::TooLarge { place }),
        false => parse(&text, &place),
    }
}

fn open(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One more than is allowed, so as to see that it is too large.
    std::fs::File::open(file)?.take(FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The jobs of a text; `place` is where it is from, for errors.
pub fn parse(text: &str, place: &str) -> Result<Vec<Job>, Unusable> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value = parse_to_serde_value(text, &options).map_err(|err| Unusable::Syntax {
        place: place.to_owned(),
        line: err.line_display(),
        column: err.column_display(),
        cause: err.kind().to_string(),
    })?;
    from_value(value, place)
}

/// The jobs of a list that was read already.
pub fn from_value(value: Value, place: &str) -> Result<Vec<Job>, Unusable> {
    let items = match value {
        Value::Array(items) if (1..=JOBS).contains(&items.len()) => items,
        _ => return Err(Unusable::NotAList { place: place.to_owned() }),
    };
    let mut jobs: Vec<Job> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let queue = item.get("queueName").and_then(Value::as_str).map(str::to_owned);
        let wrong = |wrong| Unusable::Job { place: place.to_owned(), job: Which { index, queue }, wrong };
        let read: Result<Job, String> = serde_path_to_error::deserialize(item).map_err(|err| {
            let at = err.path().to_string();
            if at == "." { err.into_inner().to_string() } else { format!("{at}: {}", err.into_inner()) }
        });
        let checked = read.and_then(|job| {
            job.check()?;
            match jobs.iter().position(|it| it.queue_name == job.queue_name) {
                Some(before) => Err(format!(
                    "queueName: job {} has the same queue; a queue has one worker job at a time, so join the two",
                    before + 1
                )),
                None => Ok(job),
            }
        });
        jobs.push(checked.map_err(wrong)?);
    }
    Ok(jobs)
}

impl Job {
    /// The rules that its types do not hold.
    fn check(&self) -> Result<(), String> {
        let pod = &self.pod_config;
        let chars = self.queue_name.chars().count();
        if !(1..=QUEUE_NAME_CHARS).contains(&chars) || self.queue_name.chars().any(char::is_control) {
            return Err(format!(
                "queueName: must have 1 to {QUEUE_NAME_CHARS} characters, none of them a control character"
            ));
        }
        if self.job_start_timeout < Duration::from_secs(1) {
            return Err("jobStartTimeout: must be 1s or more".into());
        }
        if pod.image.trim().is_empty() {
            return Err("podConfig.image: must not be empty".into());
        }
        if !(1..=PODS).contains(&pod.parallelism) {
            return Err(format!("podConfig.parallelism: must be 1 to {PODS}, and is {}", pod.parallelism));
        }
        if pod.items_per_pod.is_some_and(|it| it < 1) {
            return Err("podConfig.itemsPerPod: must be 1 or more".into());
        }
        if pod.max_parallelism.is_some_and(|it| !(pod.parallelism..=PODS).contains(&it)) {
            return Err(format!("podConfig.maxParallelism: must be {} (parallelism) to {PODS}", pod.parallelism));
        }
        pod.liveness.as_ref().map_or(Ok(()), Liveness::check)
    }
}

impl Liveness {
    fn check(&self) -> Result<(), String> {
        let Self { enabled, path, port, initial_delay_seconds, period_seconds, timeout_seconds } = self;
        if !enabled {
            return Ok(());
        }
        let missing = [
            ("path", path.is_none()),
            ("port", port.is_none()),
            ("initialDelaySeconds", initial_delay_seconds.is_none()),
            ("periodSeconds", period_seconds.is_none()),
            ("timeoutSeconds", timeout_seconds.is_none()),
        ];
        if let Some((name, _)) = missing.into_iter().find(|it| it.1) {
            return Err(format!("podConfig.liveness.{name}: must be given where liveness is enabled"));
        }
        if *port == Some(0) {
            return Err("podConfig.liveness.port: must be 1 to 65535".into());
        }
        for (name, given) in [("periodSeconds", period_seconds), ("timeoutSeconds", timeout_seconds)] {
            if *given == Some(0) {
                return Err(format!("podConfig.liveness.{name}: must be 1 or more"));
            }
        }
        Ok(())
    }
}

/// A time as job-chief writes it, such as `30s`, `1m`, `2h` or `1d`; and as Longshore does, such as `1h30m`.
fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let time = spec::duration(&String::deserialize(from)?).map_err(de::Error::custom)?;
    match time > LONGEST {
        true => Err(de::Error::custom("must be a year at most")),
        false => Ok(time),
    }
}

#[cfg(test)]
mod tests;
