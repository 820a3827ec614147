//! What a job is to do, as its submitter said it and as it is stored; and the rules that need no cluster to check.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::retry::Policy;

/// The longest job name, in characters. Longer ones are of no use in a table, and end up in a Kubernetes name of 63.
pub const NAME_CHARS: usize = 200;
/// The longest namespace, queue or label value, in characters: Kubernetes' own limit for a DNS label.
pub const LABEL_CHARS: usize = 63;
/// The longest prefix of a label key, in characters: Kubernetes' own limit for a DNS subdomain.
pub const LABEL_PREFIX_CHARS: usize = 253;
/// The most labels a job may carry. Each goes into etcd with the Job and with every pod.
pub const LABELS: usize = 64;
/// The most bytes of annotations a job may carry: a quarter of Kubernetes' own limit of 256 KiB.
pub const ANNOTATION_BYTES: usize = 64 * 1024;
/// The longest idempotency key, in characters. Keys are indexed; a UUID has 36.
pub const IDEMPOTENCY_KEY_CHARS: usize = 255;
/// Labels and annotations under this prefix are Longshore's own.
pub const OWN_PREFIX: &str = "longshore.dev/";

/// Reads a duration such as `100ms`, `90s`, `15m`, `1h30m` or `30d`, where a day is 24 hours.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 100ms, 90s, 15m, 1h30m or 30d");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let given = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(given).map_err(|_| format!("{text:?} is negative"))
}

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The field, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong with it, and what would be right.
    pub detail: String,
}

impl Fault {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// A job to be queued, valid by the rules of this file.
#[derive(Debug, Clone)]
pub struct Submission {
    pub name: String,
    pub priority: i32,
    pub queue: String,
    pub namespace: String,
    pub start: Start,
    pub idempotency_key: Option<String>,
    pub policy: Policy,
    pub spec: Spec,
}

/// When a job may start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    Now,
    At(jiff::Timestamp),
    /// So many seconds after it was accepted, by the database's clock.
    In(f64),
}

/// What a job is to do. Serialised as it is stored; its hash is written on the Kubernetes Job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// An object of strings, or Kubernetes' own list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_from: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completions: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// A whole batch/v1 Job instead of the fields above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
}

impl Spec {
    /// As it is stored, and the SHA-256 of that in hex: of what was asked, not of the manifest built from it, so that a newer
    /// Longshore that builds it differently still recognises the Kubernetes Jobs that an older one made.
    pub fn text_and_hash(&self) -> (String, String) {
        // By way of a value, whose keys are in order whatever order a later version declares them in.
        let text = serde_json::to_value(self).unwrap_or_default().to_string();
        let hash = hex_sha256(&text);
        (text, hash)
    }
}

impl Submission {
    /// Tells apart two requests that came with one idempotency key.
    pub fn request_hash(&self, spec_hash: &str) -> String {
        let start = match self.start {
            Start::Now => String::new(),
            Start::At(at) => at.to_string(),
            Start::In(secs) => format!("+{secs}"),
        };
        let fields = serde_json::json!([self.name, self.priority, self.queue, self.namespace, start, spec_hash]);
        let whole = format!("{fields}{}", serde_json::to_value(&self.policy).unwrap_or_default());
        hex_sha256(&whole)
    }

    /// Every rule of this file that the submission breaks.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |pointer: &str, result: Result<(), String>| {
            if let Err(detail) = result {
                faults.push(Fault::new(pointer, detail));
            }
        };
        check("/name", check_name(&self.name));
        check("/queue", check_queue(&self.queue));
        check("/namespace", check_dns_label(&self.namespace));
        if let Some(key) = &self.idempotency_key {
            check("/idempotency_key", check_idempotency_key(key));
        }
        self.policy.check_into(&mut faults);
        self.spec.check_into(&mut faults);
        faults
    }

    /// The policy as it is stored: nothing, where nothing but the defaults was said.
    pub fn stored_policy(&self) -> Option<Value> {
        (self.policy != Policy::default()).then(|| serde_json::to_value(&self.policy).unwrap_or_default())
    }
}

impl Spec {
    fn check_into(&self, faults: &mut Vec<Fault>) {
        find_nul(&serde_json::to_value(self).unwrap_or_default(), String::new(), faults);
        if self.labels.len() > LABELS {
            faults.push(Fault::new("/labels", format!("has {} entries; {LABELS} are the most", self.labels.len())));
        }
        for (key, value) in &self.labels {
            if let Err(detail) = check_key(key).and_then(|()| check_label_value(value)) {
                faults.push(Fault::new(format!("/labels/{}", escape(key)), detail));
            }
        }
        for key in self.annotations.keys() {
            if let Err(detail) = check_key(key) {
                faults.push(Fault::new(format!("/annotations/{}", escape(key)), detail));
            }
        }
        let bytes: usize = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ANNOTATION_BYTES {
            faults.push(Fault::new("/annotations", format!("has {bytes} bytes; {ANNOTATION_BYTES} are the most")));
        }
        for (pointer, value) in [("/parallelism", self.parallelism), ("/completions", self.completions)] {
            if value.is_some_and(|it| it < 1) {
                faults.push(Fault::new(pointer, "must be 1 or more"));
            }
        }
        if self
            .image
            .as_ref()
            .is_some_and(|it| it.is_empty() || it.chars().any(|c| c.is_whitespace() || c.is_control()))
        {
            faults.push(Fault::new("/image", "must be an image reference such as busybox:latest, without spaces"));
        }
        if self.manifest.is_some() {
            for (pointer, given) in [
                ("/image", self.image.is_some()),
                ("/command", !self.command.is_empty()),
                ("/args", !self.args.is_empty()),
                ("/env", self.env.is_some()),
                ("/env_from", self.env_from.is_some()),
                ("/resources", self.resources.is_some()),
                ("/parallelism", self.parallelism.is_some()),
                ("/completions", self.completions.is_some()),
                ("/service_account", self.service_account.is_some()),
            ] {
                if given {
                    faults.push(Fault::new(pointer, "cannot be combined with `manifest`; say it in the manifest"));
                }
            }
        }
    }
}

/// Postgres keeps every character but this one.
fn find_nul(value: &Value, at: String, faults: &mut Vec<Fault>) {
    match value {
        Value::String(text) if text.contains('\0') => {
            faults.push(Fault::new(at, "must not contain the character U+0000"))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, it)| find_nul(it, format!("{at}/{index}"), faults));
        }
        Value::Object(fields) => {
            for (key, it) in fields {
                let at = format!("{at}/{}", escape(key));
                if key.contains('\0') {
                    faults.push(Fault::new(at.clone(), "must not contain the character U+0000"));
                }
                find_nul(it, at, faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let chars = name.chars().count();
    if name.trim().is_empty() {
        return Err("must not be empty".into());
    }
    if chars > NAME_CHARS {
        return Err(format!("has {chars} characters; {NAME_CHARS} are the most"));
    }
    if name.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    Ok(())
}

fn check_queue(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must not be empty; leave it out for the queue `default`".into());
    }
    check_label_value(name)
}

fn check_idempotency_key(key: &str) -> Result<(), String> {
    let chars = key.chars().count();
    if chars == 0 || chars > IDEMPOTENCY_KEY_CHARS || key.chars().any(char::is_control) {
        return Err(format!("must have 1 to {IDEMPOTENCY_KEY_CHARS} characters, none of them a control character"));
    }
    Ok(())
}

/// A DNS label (RFC 1123), which Kubernetes wants of a namespace.
pub fn check_dns_label(text: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty()
        || text.len() > LABEL_CHARS
        || !text.chars().all(inner)
        || text.starts_with('-')
        || text.ends_with('-')
    {
        return Err(format!(
            "must be 1 to {LABEL_CHARS} lower-case letters, digits or `-`, beginning and ending with a letter or digit"
        ));
    }
    Ok(())
}

/// Kubernetes' rule for a label's value.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_part(value) {
        return Ok(());
    }
    Err(format!(
        "must be at most {LABEL_CHARS} letters, digits, `-`, `_` or `.`, beginning and ending with a letter or digit"
    ))
}

/// Kubernetes' rule for a label's or annotation's key, and ours that some keys are taken.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
    if key.starts_with(OWN_PREFIX) {
        return Err(format!("keys under {OWN_PREFIX} are Longshore's own"));
    }
    if key == "app.kubernetes.io/managed-by" {
        return Err("is set by Longshore".into());
    }
    let prefix_is_valid = prefix.is_empty()
        || (prefix.len() <= LABEL_PREFIX_CHARS && prefix.split('.').all(|part| check_dns_label(part).is_ok()));
    if key.starts_with('/') || !prefix_is_valid || !is_label_part(name) {
        return Err("is not a valid key: `name` or `example.com/name`, names as Kubernetes has them".into());
    }
    Ok(())
}

fn is_label_part(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LABEL_CHARS
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// Escapes a key for a JSON Pointer (RFC 6901).
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn hex_sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        Submission {
            name: "job1".into(),
            priority: 0,
            queue: "default".into(),
            namespace: "default".into(),
            start: Start::Now,
            idempotency_key: None,
            policy: Policy::default(),
            spec: Spec::default(),
        }
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let mut bad = submission();
        bad.name = "a\nb".into();
        bad.queue = "-".into();
        bad.namespace = "Upper".into();
        bad.spec.labels.insert("longshore.dev/job-id".into(), "forged".into());
        bad.spec.parallelism = Some(0);
        bad.spec.manifest = Some(Value::Null);
        bad.spec.image = Some("busybox".into());
        let pointers: Vec<String> = bad.faults().into_iter().map(|it| it.pointer).collect();
        assert_eq!(
            pointers,
            [
                "/name",
                "/queue",
                "/namespace",
                "/labels/longshore.dev~1job-id",
                "/parallelism",
                "/image",
                "/parallelism"
            ]
        );
        assert_eq!(submission().faults(), []);
    }

    #[test]
    fn the_hash_of_a_stored_spec_is_the_hash_of_the_submitted_one() {
        let mut spec = Spec { env: Some(serde_json::json!({"B": "2", "A": "1"})), ..Spec::default() };
        spec.annotations.insert("example.com/note".into(), "ü".into());
        let stored: Spec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(stored.text_and_hash(), spec.text_and_hash());
        spec.args.push("more".into());
        assert_ne!(stored.text_and_hash(), spec.text_and_hash());
    }
}
