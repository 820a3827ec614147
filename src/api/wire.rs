//! Requests and answers as they are on the wire.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::{
    id::JobId,
    spec::{Fault, Spec, Start, Submission},
    store::lists::{AttemptRow, EventRow, JobRow, Listed},
};

/// The furthest that a job may be scheduled ahead: ten years. Beyond it is a slip of the pen.
const FURTHEST: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

/// A submission.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    name: String,
    #[serde(default)]
    priority: i32,
    queue: Option<String>,
    namespace: Option<String>,
    image: Option<String>,
    #[serde(default, deserialize_with = "words")]
    command: Option<Command>,
    args: Option<Vec<String>>,
    env: Option<Value>,
    env_from: Option<Value>,
    resources: Option<Value>,
    parallelism: Option<i32>,
    completions: Option<i32>,
    service_account: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<SignedDuration>,
    run_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "duration")]
    delay: Option<SignedDuration>,
    idempotency_key: Option<String>,
    manifest: Option<Value>,
}

/// A command in one of its two spellings.
#[derive(Debug)]
enum Command {
    /// To be split into words as a shell would, without a shell.
    Line(String),
    Words(Vec<String>),
}

impl SubmitRequest {
    /// The job it asks for, or every field that is wrong.
    pub fn into_submission(
        self,
        key_header: Option<String>,
        default_namespace: &str,
    ) -> Result<Submission, Vec<Fault>> {
        let mut faults = Vec::new();
        let command = match self.command {
            None => Vec::new(),
            Some(Command::Words(words)) => words,
            Some(Command::Line(line)) => shlex::split(&line).filter(|it| !it.is_empty()).unwrap_or_else(|| {
                faults
                    .push(Fault::new("/command", "cannot be split into words: a quote is not closed, or it is empty"));
                Vec::new()
            }),
        };
        let start = match (self.run_at, self.delay) {
            (Some(_), Some(_)) => {
                faults.push(Fault::new("/delay", "cannot be combined with `run_at`"));
                Start::Now
            }
            (Some(at), None) => Start::At(at),
            (None, Some(delay)) => Start::In(delay.as_secs_f64()),
            (None, None) => Start::Now,
        };
        let too_far = match start {
            Start::Now => false,
            Start::At(at) => at.duration_since(Timestamp::now()) > FURTHEST,
            Start::In(secs) => secs > FURTHEST.as_secs_f64(),
        };
        if too_far {
            faults
                .push(Fault::new(if self.run_at.is_some() { "/run_at" } else { "/delay" }, "is over ten years ahead"));
        }
        if let (Some(header), Some(field)) = (&key_header, &self.idempotency_key)
            && header != field
        {
            faults.push(Fault::new("/idempotency_key", "differs from the header Idempotency-Key; give one of them"));
        }
        let of_manifest = self.manifest.as_ref().and_then(|it| it.pointer("/metadata/namespace")?.as_str());
        let submission = Submission {
            name: self.name,
            priority: self.priority,
            queue: self.queue.unwrap_or_else(|| "default".into()),
            namespace: self.namespace.as_deref().or(of_manifest).unwrap_or(default_namespace).to_owned(),
            start,
            idempotency_key: self.idempotency_key.or(key_header),
            spec: Spec {
                image: self.image,
                command,
                args: self.args.unwrap_or_default(),
                env: self.env.filter(|it| !it.is_null()),
                env_from: self.env_from.filter(|it| !it.is_null()),
                resources: self.resources.filter(|it| !it.is_null()),
                parallelism: self.parallelism,
                completions: self.completions,
                service_account: self.service_account,
                labels: self.labels.unwrap_or_default(),
                annotations: self.annotations.unwrap_or_default(),
                timeout_secs: self.timeout.map(|it| it.as_secs() + i64::from(it.subsec_nanos() > 0)),
                manifest: self.manifest.filter(|it| !it.is_null()),
            },
        };
        faults.extend(submission.faults());
        if faults.is_empty() { Ok(submission) } else { Err(faults) }
    }
}

fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Command>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(line) => Ok(Some(Command::Line(line))),
        Value::Array(items) => {
            let word = |it| match it {
                Value::String(word) => Ok(word),
                other => Err(de::Error::custom(format!("must be a list of strings, and has {other} in it"))),
            };
            Ok(Some(Command::Words(items.into_iter().map(word).collect::<Result<_, _>>()?)))
        }
        other => Err(de::Error::custom(format!("must be a string or a list of strings, not {other}"))),
    }
}

/// A duration such as `90s`, `15m` or `1h30m`.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SignedDuration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let parsed: SignedDuration =
        text.parse().map_err(|_| de::Error::custom(format!("{text:?} is not a duration such as 90s, 15m or 1h30m")))?;
    match parsed.is_negative() {
        true => Err(de::Error::custom(format!("{text:?} is negative"))),
        false => Ok(Some(parsed)),
    }
}

/// The answer to a submission.
#[derive(Debug, Serialize)]
pub struct SubmitAnswer {
    pub job_id: String,
    pub name: String,
    pub queue_position: String,
    pub status: &'static str,
}

/// A job in the lists of what waits and what holds a slot.
#[derive(Debug, Serialize)]
pub struct Brief {
    name: String,
    job_id: JobId,
    priority: i32,
    queue: String,
    namespace: String,
    state: String,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_at: Option<Timestamp>,
}

impl From<Listed> for Brief {
    fn from(it: Listed) -> Self {
        Self {
            name: it.name,
            job_id: it.id,
            priority: it.priority,
            queue: it.queue,
            namespace: it.namespace,
            state: it.state,
            created_at: it.created_at,
            claimed_at: it.claimed_at,
        }
    }
}

/// A job.
#[derive(Debug, Serialize)]
pub struct JobView {
    job_id: JobId,
    name: String,
    queue: String,
    namespace: String,
    priority: i32,
    state: String,
    reason: Option<String>,
    message: Option<String>,
    labels: Value,
    attempt: i32,
    created_at: Timestamp,
    run_at: Option<Timestamp>,
    claimed_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    /// How many jobs would start before it, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
}

impl From<JobRow> for JobView {
    fn from(it: JobRow) -> Self {
        Self {
            job_id: JobId(it.id),
            name: it.name,
            queue: it.queue,
            namespace: it.namespace,
            priority: it.priority,
            state: it.state,
            reason: it.reason,
            message: it.message,
            labels: it.spec.get("labels").cloned().unwrap_or_else(|| Value::Object(Default::default())),
            attempt: it.attempt,
            created_at: it.created_at.to_jiff(),
            run_at: it.run_at.map(|it| it.to_jiff()),
            claimed_at: it.claimed_at.map(|it| it.to_jiff()),
            started_at: it.started_at.map(|it| it.to_jiff()),
            finished_at: it.finished_at.map(|it| it.to_jiff()),
            cancel_requested_at: it.cancel_requested_at.map(|it| it.to_jiff()),
            queue_position: None,
            attempts: None,
            spec: None,
        }
    }
}

/// One attempt of a job.
#[derive(Debug, Serialize)]
pub struct AttemptView {
    attempt: i32,
    kube_name: Option<String>,
    kube_uid: Option<String>,
    node: Option<String>,
    pod: Option<String>,
    exit_code: Option<i32>,
    reason: Option<String>,
    message: Option<String>,
    claimed_at: Timestamp,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl From<AttemptRow> for AttemptView {
    fn from(it: AttemptRow) -> Self {
        Self {
            attempt: it.attempt,
            kube_name: it.kube_name,
            kube_uid: it.kube_uid,
            node: it.node,
            pod: it.pod,
            exit_code: it.exit_code,
            reason: it.reason,
            message: it.message,
            claimed_at: it.claimed_at.to_jiff(),
            created_at: it.created_at.map(|it| it.to_jiff()),
            started_at: it.started_at.map(|it| it.to_jiff()),
            finished_at: it.finished_at.map(|it| it.to_jiff()),
        }
    }
}

/// One line of a job's history.
#[derive(Debug, Serialize)]
pub struct EventView {
    id: i64,
    at: Timestamp,
    attempt: i32,
    from: Option<String>,
    to: String,
    reason: Option<String>,
    message: Option<String>,
    replica: Option<String>,
}

impl From<EventRow> for EventView {
    fn from(it: EventRow) -> Self {
        Self {
            id: it.id,
            at: it.at.to_jiff(),
            attempt: it.attempt,
            from: it.from_state,
            to: it.to_state,
            reason: it.reason,
            message: it.message,
            replica: it.replica.map(|it| it.to_string()),
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to give as `cursor` for the next page; null on the last one.
    pub next: Option<String>,
}
