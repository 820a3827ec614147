//! The schemas of fields that are read in more than one spelling, as the OpenAPI document tells them.

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};

use crate::{
    lifecycle::StateName,
    retry::MAY_BE_RETRIED,
    spec::{LABEL_CHARS, LABELS},
};

/// The common spellings of a duration; a request may use others that mean one.
const DURATION: &str = "^([0-9]{1,4}d)?([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,4}s)?([0-9]{1,4}ms)?$";
/// A label's value; see [`crate::spec::check_label_value`].
const LABEL_VALUE: &str = "^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$";
/// A key of labels and annotations, less those that are Longshore's own.
const LABEL_KEY: &str = "^([a-z0-9]{1,20}\\.[a-z]{2,10}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$";
/// No text may contain U+0000.
const TEXT: &str = "^[^\\u0000]*$";

/// From JSON, because the keywords of JSON Schema are shorter to read in it than in calls.
fn schema(value: Value) -> RefOr<Schema> {
    serde_json::from_value(value).unwrap_or_else(|_| RefOr::T(Schema::default()))
}

fn duration(description: &str, example: &str) -> RefOr<Schema> {
    schema(json!({
        "type": ["string", "null"], "description": description, "pattern": DURATION, "minLength": 2, "examples": [example],
    }))
}

/// `timeout` of a job.
pub fn timeout() -> RefOr<Schema> {
    duration("How long an attempt may run: 1 s to a year. Without it, for ever.", "2h")
}

/// `start_timeout` of a job.
pub fn start_timeout() -> RefOr<Schema> {
    duration("How long an attempt may take until a container runs: 1 s to a year.", "10m")
}

/// `queue_timeout` of a job.
pub fn queue_timeout() -> RefOr<Schema> {
    duration("How long the job may wait for a slot, each time: 1 ms to a year. Without it, for ever.", "1d")
}

/// `delay` of a job.
pub fn delay() -> RefOr<Schema> {
    duration("Not to start before so long from now on, ten years at most. Not with `run_at`.", "15m")
}

/// `timeout` of a long poll.
pub fn wait_timeout() -> RefOr<Schema> {
    duration("How long to wait: 50 s unless given, and at most.", "30s")
}

/// `command` of a job.
pub fn command() -> RefOr<Schema> {
    schema(json!({
        "description": "What to run instead of the image's own entry point. A string is split into words as a shell would, \
                        without a shell.",
        "oneOf": [
            {"type": "string", "pattern": TEXT, "minLength": 1, "description": "A line, to be split into words."},
            {"type": "array", "items": {"type": "string", "pattern": TEXT}, "description": "The words."},
            {"type": "null"},
        ],
        "examples": [["echo", "hello"], "echo hello"],
    }))
}

/// `args` of a job.
pub fn args() -> RefOr<Schema> {
    schema(json!({
        "description": "What follows the command.", "type": ["array", "null"], "items": {"type": "string", "pattern": TEXT},
        "examples": [["--verbose"]],
    }))
}

/// `env` of a job.
pub fn env() -> RefOr<Schema> {
    let name = json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"});
    schema(json!({
        "description": "Environment variables: an object of strings, or Kubernetes' own list.",
        "oneOf": [
            {"type": "object", "propertyNames": name, "additionalProperties": {"type": "string", "pattern": TEXT},
             "description": "Values by name."},
            {"type": "array", "description": "As in a pod's container.", "items": {
                "type": "object", "required": ["name"], "additionalProperties": false,
                "properties": {"name": name, "value": {"type": "string", "pattern": TEXT}, "valueFrom": {"type": "object"}},
            }},
            {"type": "null"},
        ],
        "examples": [{"LEVEL": "debug"}],
    }))
}

fn of_kubernetes(kind: &str, description: &str, example: Value) -> RefOr<Schema> {
    let items = (kind == "array").then(|| json!({"type": "object"}));
    let mut whole = json!({"description": description, "type": [kind, "null"], "examples": [example]});
    if let Some(items) = items {
        whole["items"] = items;
    }
    schema(whole)
}

/// `tolerations` of a job.
pub fn tolerations() -> RefOr<Schema> {
    let example = json!([{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]);
    of_kubernetes("array", "Taints of nodes that its pods bear: Kubernetes' own list.", example)
}

/// `affinity` of a job.
pub fn affinity() -> RefOr<Schema> {
    of_kubernetes(
        "object",
        "Where its pods would rather run: Kubernetes' own `affinity`.",
        json!({"podAntiAffinity": {}}),
    )
}

/// `volumes` of a job.
pub fn volumes() -> RefOr<Schema> {
    let example = json!([{"name": "scratch", "emptyDir": {}}]);
    of_kubernetes("array", "Volumes of its pods: Kubernetes' own list.", example)
}

/// `volume_mounts` of a job.
pub fn volume_mounts() -> RefOr<Schema> {
    let example = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    of_kubernetes("array", "Where the container finds them: Kubernetes' own list of `volumeMounts`.", example)
}

/// `ports` of a job.
pub fn ports() -> RefOr<Schema> {
    of_kubernetes("array", "Ports of the container: Kubernetes' own list.", json!([{"containerPort": 8080}]))
}

/// `host_aliases` of a job.
pub fn host_aliases() -> RefOr<Schema> {
    let example = json!([{"ip": "10.0.0.7", "hostnames": ["db"]}]);
    of_kubernetes("array", "Lines of its pods' hosts file: Kubernetes' own list of `hostAliases`.", example)
}

/// `security_context` of a job.
pub fn security_context() -> RefOr<Schema> {
    let example = json!({"runAsNonRoot": true, "runAsUser": 65532});
    of_kubernetes("object", "What the container may do: Kubernetes' own `securityContext` of a container.", example)
}

/// `pod_security_context` of a job.
pub fn pod_security_context() -> RefOr<Schema> {
    of_kubernetes(
        "object",
        "The same of the pod: Kubernetes' own `securityContext` of a pod.",
        json!({"fsGroup": 65532}),
    )
}

/// `termination_grace_period` of a job.
pub fn termination_grace_period() -> RefOr<Schema> {
    duration("How long its pods may take to end when they are told to; Kubernetes' own 30 s unless given.", "1m")
}

/// `env_from` of a job.
pub fn env_from() -> RefOr<Schema> {
    let source = json!({"type": "object", "properties": {"name": {"type": "string"}, "optional": {"type": "boolean"}}});
    schema(json!({
        "description": "Environment variables from ConfigMaps and Secrets: Kubernetes' own list.",
        "type": ["array", "null"],
        "items": {"type": "object", "additionalProperties": false,
            "properties": {"prefix": {"type": "string"}, "configMapRef": source, "secretRef": source}},
        "examples": [[{"configMapRef": {"name": "settings"}}]],
    }))
}

/// `resources` of a job.
pub fn resources() -> RefOr<Schema> {
    let amounts = json!({"type": "object", "additionalProperties": {"oneOf": [
        {"type": "string", "pattern": "^[0-9]{1,6}(\\.[0-9]{1,3})?(m|k|Ki|Mi|Gi)?$"},
        {"type": "integer", "minimum": 0, "maximum": 1_000_000},
    ]}});
    schema(json!({
        "description": "What a pod asks for and may use at most: Kubernetes' own `resources`. Numbers may be given as numbers.",
        "type": ["object", "null"], "additionalProperties": false,
        "properties": {"limits": amounts, "requests": amounts},
        "examples": [{"requests": {"cpu": "500m", "memory": "256Mi"}}],
    }))
}

/// `labels` of a job.
pub fn labels() -> RefOr<Schema> {
    schema(json!({
        "description": "Labels for Job and pods, by Kubernetes' rules. Not under `longshore.dev/`.",
        "type": ["object", "null"], "maxProperties": LABELS,
        "propertyNames": {"type": "string", "pattern": LABEL_KEY},
        "additionalProperties": {"type": "string", "maxLength": LABEL_CHARS, "pattern": LABEL_VALUE},
        "examples": [{"team": "billing"}],
    }))
}

/// `annotations` of a job.
pub fn annotations() -> RefOr<Schema> {
    schema(json!({
        "description": "Annotations for Job and pods: 64 KiB at most. Not under `longshore.dev/`.",
        "type": ["object", "null"],
        "propertyNames": {"type": "string", "pattern": LABEL_KEY},
        "additionalProperties": {"type": "string", "pattern": TEXT},
        "examples": [{"example.com/ticket": "T-17"}],
    }))
}

/// `manifest` of a job.
pub fn manifest() -> RefOr<Schema> {
    schema(json!({
        "description": "A whole batch/v1 Job instead of the fields of a container. Its name is replaced; misspelt fields are refused.",
        "type": ["object", "null"], "required": ["apiVersion", "kind", "spec"],
        "properties": {
            "apiVersion": {"type": "string", "enum": ["batch/v1"]},
            "kind": {"type": "string", "enum": ["Job"]},
            "metadata": {"type": "object"},
            "spec": {"type": "object", "required": ["template"], "properties": {"template": {"type": "object"}}},
        },
    }))
}

/// `on` of `retry`.
pub fn retried() -> RefOr<Schema> {
    let names: Vec<&str> = MAY_BE_RETRIED.iter().map(|it| it.name()).collect();
    schema(json!({
        "description": "The reasons that are tried again. An empty list is none.",
        "type": ["array", "null"], "items": {"type": "string", "enum": names},
        "examples": [["job_failed", "oom_killed"]],
    }))
}

/// A list of exit codes of `retry`.
fn exit_codes(description: &str) -> RefOr<Schema> {
    schema(json!({
        "description": description, "type": ["array", "null"], "maxItems": crate::retry::EXIT_CODES,
        "items": {"type": "integer", "minimum": 1, "maximum": 255},
    }))
}

/// `exit_codes` of `retry`.
pub fn only_exit_codes() -> RefOr<Schema> {
    exit_codes("Of containers that ended with an exit code, only those with one of these are tried again.")
}

/// `except_exit_codes` of `retry`.
pub fn except_exit_codes() -> RefOr<Schema> {
    exit_codes("And those with one of these are not.")
}

/// `backoff` of a job.
pub fn backoff() -> RefOr<Schema> {
    let pause = |description: &str| json!({"type": ["string", "null"], "pattern": DURATION, "minLength": 2, "description": description});
    schema(json!({
        "description": "The pause between attempts: a duration for a fixed one, or an object that says how pauses grow.",
        "oneOf": [
            {"type": "string", "pattern": DURATION, "minLength": 2, "description": "A pause that is always the same."},
            {"type": "object", "additionalProperties": false, "description": "How pauses grow.", "properties": {
                "type": {"type": "string", "enum": ["exponential", "fixed"], "default": "exponential",
                         "description": "`fixed` has no `factor` and no `max`."},
                "initial": pause("The first pause, 10 s unless given; a week at most."),
                "factor": {"type": ["number", "null"], "minimum": 1, "maximum": 1000, "default": 2,
                           "description": "What each pause is multiplied by for the next."},
                "max": pause("The longest pause, ten minutes unless given; a week at most, and not shorter than `initial`."),
                "jitter": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 0.1,
                           "description": "By which share of itself a pause is made longer at most; of a fixed one 0."},
            }},
            {"type": "null"},
        ],
        "examples": [{"initial": "30s", "max": "10m"}, "1m"],
    }))
}

/// `states` of a webhook.
pub fn endings() -> RefOr<Schema> {
    let names: Vec<&str> = StateName::ALL.into_iter().filter(|it| it.is_finished()).map(StateName::name).collect();
    schema(json!({
        "description": "Only of jobs that ended so; all of them unless given.",
        "type": ["array", "null"], "minItems": 1, "items": {"type": "string", "enum": names}, "examples": [["failed"]],
    }))
}
