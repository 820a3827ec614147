//! Requests as they are on the wire.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::{
    retry::{Backoff, Policy, Retry},
    spec::{self, Fault, Spec, Start, Submission},
};

use super::policy::{self, RetryRequest};

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
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    start_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    queue_timeout: Option<Duration>,
    max_attempts: Option<i32>,
    #[serde(default, deserialize_with = "policy::backoff")]
    backoff: Option<Backoff>,
    retry: Option<RetryRequest>,
    run_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "duration")]
    delay: Option<Duration>,
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
            policy: Policy {
                max_attempts: self.max_attempts.unwrap_or(1),
                backoff: self.backoff,
                retry: self.retry.map(Retry::from),
                timeout_secs: self.timeout.map(|it| it.as_secs_f64()),
                start_timeout_secs: self.start_timeout.map(|it| it.as_secs_f64()),
                queue_timeout_secs: self.queue_timeout.map(|it| it.as_secs_f64()),
            },
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

/// A duration as [`spec::duration`] reads it.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    spec::duration(&text).map(Some).map_err(de::Error::custom)
}
