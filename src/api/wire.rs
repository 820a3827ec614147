//! Requests as they are on the wire.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    retry::{Backoff, Policy, Retry},
    spec::{self, Fault, PodFields, Spec, Start, Submission},
};

use super::{
    doc::fields,
    object::Object,
    policy::{self, RetryRequest},
};

/// The furthest that a job may be scheduled ahead: ten years. Beyond it is a slip of the pen.
pub(super) const FURTHEST: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

/// A submission: `name` is all that it needs.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// What people call it. Need not be unique; not only spaces, and without control characters.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    pub(super) name: String,
    /// Higher starts first.
    #[schema(default = 0)]
    pub(super) priority: Option<i32>,
    /// Comes into being with its first job.
    #[schema(
        default = "default",
        min_length = 1,
        max_length = 63,
        pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
    )]
    pub(super) queue: Option<String>,
    /// One of those that this installation serves; the first of them unless given.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    namespace: Option<String>,
    /// A container image; `--default-image` unless given.
    #[schema(min_length = 1, pattern = "^[!-~]+$")]
    pub(super) image: Option<String>,
    #[serde(default, deserialize_with = "words")]
    #[schema(schema_with = fields::command)]
    pub(super) command: Option<Command>,
    #[schema(schema_with = fields::args)]
    pub(super) args: Option<Vec<String>>,
    #[schema(schema_with = fields::env)]
    pub(super) env: Option<Value>,
    #[schema(schema_with = fields::env_from)]
    env_from: Option<Value>,
    #[schema(schema_with = fields::resources)]
    resources: Option<Value>,
    /// How many pods at once; Kubernetes' own default unless given.
    #[schema(minimum = 1)]
    parallelism: Option<i32>,
    /// How many pods have to end well; Kubernetes' own default unless given.
    #[schema(minimum = 1)]
    completions: Option<i32>,
    /// The service account of its pods; the namespace's own unless given.
    service_account: Option<String>,
    /// The folder in which the container begins; the image's own unless given.
    #[schema(pattern = "^[^\\u0000]*$")]
    working_dir: Option<String>,
    /// When a node pulls the image: `Always`, `IfNotPresent` or `Never`; `--image-pull-policy` unless given.
    image_pull_policy: Option<String>,
    /// Names of Secrets with which the image is pulled.
    image_pull_secrets: Option<Vec<String>>,
    /// Labels that a node must have.
    node_selector: Option<BTreeMap<String, String>>,
    #[schema(schema_with = fields::tolerations)]
    tolerations: Option<Value>,
    #[schema(schema_with = fields::affinity)]
    affinity: Option<Value>,
    #[schema(schema_with = fields::volumes)]
    volumes: Option<Value>,
    #[schema(schema_with = fields::volume_mounts)]
    volume_mounts: Option<Value>,
    #[schema(schema_with = fields::ports)]
    ports: Option<Value>,
    #[schema(schema_with = fields::host_aliases)]
    host_aliases: Option<Value>,
    #[schema(schema_with = fields::security_context)]
    security_context: Option<Value>,
    #[schema(schema_with = fields::pod_security_context)]
    pod_security_context: Option<Value>,
    /// The PriorityClass of its pods, which has nothing to do with `priority`.
    priority_class: Option<String>,
    /// The RuntimeClass of its pods.
    runtime_class: Option<String>,
    /// Whether its pods get the token of their service account.
    service_account_token: Option<bool>,
    #[serde(default, deserialize_with = "duration")]
    #[schema(schema_with = fields::termination_grace_period)]
    termination_grace_period: Option<Duration>,
    /// `NonIndexed` or `Indexed`.
    completion_mode: Option<String>,
    #[schema(schema_with = fields::labels)]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[schema(schema_with = fields::annotations)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "duration")]
    #[schema(schema_with = fields::timeout)]
    pub(super) timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    #[schema(schema_with = fields::start_timeout)]
    pub(super) start_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    #[schema(schema_with = fields::queue_timeout)]
    pub(super) queue_timeout: Option<Duration>,
    /// How many attempts may fail before the job does.
    #[schema(minimum = 1, maximum = 1000, default = 1)]
    pub(super) max_attempts: Option<i32>,
    #[serde(default, deserialize_with = "policy::backoff")]
    #[schema(schema_with = fields::backoff)]
    backoff: Option<Backoff>,
    /// Which endings are tried again.
    #[schema(value_type = Option<RetryRequest>)]
    retry: Option<Object<RetryRequest>>,
    /// Not to start before; ten years ahead at most.
    run_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "duration")]
    #[schema(schema_with = fields::delay)]
    delay: Option<Duration>,
    /// The same key and the same request make one job, however often they are sent. Also as header `Idempotency-Key`.
    #[schema(min_length = 1, max_length = 255, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    idempotency_key: Option<String>,
    #[schema(schema_with = fields::manifest)]
    pub(super) manifest: Option<Value>,
    /// The template that makes the manifest.
    pub(super) template: Option<String>,
    /// The values of the template's parameters, by their names.
    #[schema(value_type = Option<std::collections::HashMap<String, Value>>)]
    pub(super) params: Option<Map<String, Value>>,
}

/// A command in one of its two spellings.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// To be split into words as a shell would, without a shell.
    Line(String),
    Words(Vec<String>),
}

impl SubmitRequest {
    /// Takes from the defaults of its queue what it leaves out.
    pub fn leave_to(&mut self, defaults: Self) {
        self.priority = self.priority.or(defaults.priority);
        self.timeout = self.timeout.or(defaults.timeout);
        self.start_timeout = self.start_timeout.or(defaults.start_timeout);
        self.queue_timeout = self.queue_timeout.or(defaults.queue_timeout);
        self.max_attempts = self.max_attempts.or(defaults.max_attempts);
        self.backoff = self.backoff.take().or(defaults.backoff);
        self.retry = self.retry.take().or(defaults.retry);
    }

    /// The job it asks for, or every field that is wrong.
    pub fn into_submission(
        mut self,
        key_header: Option<String>,
        default_namespace: &str,
    ) -> Result<Submission, Vec<Fault>> {
        let mut faults = Vec::new();
        let pod = self.take_pod_fields();
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
        if key_header.as_ref().or(self.idempotency_key.as_ref()).is_some_and(|it| it.starts_with(spec::OWN_PREFIX)) {
            let detail = format!("keys under {} are Longshore's own", spec::OWN_PREFIX);
            faults.push(Fault::new("/idempotency_key", detail));
        }
        let of_manifest = self.manifest.as_ref().and_then(|it| it.pointer("/metadata/namespace")?.as_str());
        let submission = Submission {
            name: self.name,
            priority: self.priority.unwrap_or(0),
            queue: self.queue.unwrap_or_else(|| "default".into()),
            namespace: self.namespace.as_deref().or(of_manifest).unwrap_or(default_namespace).to_owned(),
            start,
            idempotency_key: self.idempotency_key.or(key_header),
            policy: Policy {
                max_attempts: self.max_attempts.unwrap_or(1),
                backoff: self.backoff,
                retry: self.retry.map(|it| Retry::from(it.0)),
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
                pod,
                manifest: self.manifest.filter(|it| !it.is_null()),
                template: self.template,
                params: self.params.unwrap_or_default(),
            },
        };
        faults.extend(submission.faults());
        if faults.is_empty() { Ok(submission) } else { Err(faults) }
    }

    fn take_pod_fields(&mut self) -> PodFields {
        let given = |it: &mut Option<Value>| it.take().filter(|it| !it.is_null());
        PodFields {
            working_dir: self.working_dir.take(),
            image_pull_policy: self.image_pull_policy.take(),
            image_pull_secrets: self.image_pull_secrets.take().unwrap_or_default(),
            node_selector: self.node_selector.take().unwrap_or_default(),
            tolerations: given(&mut self.tolerations),
            affinity: given(&mut self.affinity),
            volumes: given(&mut self.volumes),
            volume_mounts: given(&mut self.volume_mounts),
            ports: given(&mut self.ports),
            host_aliases: given(&mut self.host_aliases),
            security_context: given(&mut self.security_context),
            pod_security_context: given(&mut self.pod_security_context),
            priority_class: self.priority_class.take(),
            runtime_class: self.runtime_class.take(),
            service_account_token: self.service_account_token,
            termination_grace_period_secs: whole_secs(self.termination_grace_period),
            completion_mode: self.completion_mode.take(),
        }
    }
}

/// Kubernetes counts in whole seconds: a part of one is a whole one.
fn whole_secs(given: Option<Duration>) -> Option<i64> {
    given.map(|it| i64::try_from(it.as_secs() + u64::from(it.subsec_nanos() > 0)).unwrap_or(i64::MAX))
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
