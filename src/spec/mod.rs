//! What a job is to do, as its submitter said it and as it is stored; and the rules that need no cluster to check.

mod pod;
mod rules;

use std::{collections::BTreeMap, time::Duration};

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::retry::Policy;

pub use pod::PodFields;
pub use rules::{check_dns_label, check_kube_name, check_label_value, check_qualified_name, check_queue};
use rules::{check_idempotency_key, check_key, check_name};

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
/// An idempotency key under this prefix is the name of a Job that a filter made.
pub const JOB_KEY_PREFIX: &str = "longshore.dev/job/";

/// Reads a duration such as `100ms`, `90s`, `15m`, `1h30m` or `30d`, where a day is 24 hours.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || match text.parse::<u64>() {
        Ok(number) => format!("{text:?} has no unit: write {number}s, or such as 100ms, 15m, 1h30m or 30d"),
        Err(_) => format!("{text:?} is not a duration such as 100ms, 90s, 15m, 1h30m or 30d"),
    };
    let span: Span = text.parse().map_err(|_| wrong())?;
    let given = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(given).map_err(|_| format!("{text:?} is negative"))
}

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FieldError)]
pub struct Fault {
    /// The field, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong with it, and what would be right.
    pub detail: String,
    /// The rule of the pod policy that forbids it, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
}

impl Fault {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into(), rule: None }
    }

    /// The field of the request that it is in; empty where it is about all of it.
    pub fn field(&self) -> &str {
        self.pointer.split('/').nth(1).unwrap_or_default()
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
    #[serde(flatten)]
    pub pod: PodFields,
    /// A whole batch/v1 Job instead of the fields above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
    /// The template that the manifest was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// What that was given.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
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
    /// Tells apart two requests that came with one idempotency key; none without one. A key of Longshore's own says by itself
    /// which job is meant.
    pub fn request_hash(&self) -> Option<String> {
        if self.idempotency_key.as_ref()?.starts_with(OWN_PREFIX) {
            return Some(String::new());
        }
        let (_, spec_hash) = self.spec.text_and_hash();
        let start = match self.start {
            Start::Now => String::new(),
            Start::At(at) => at.to_string(),
            Start::In(secs) => format!("+{secs}"),
        };
        let fields = serde_json::json!([self.name, self.priority, self.queue, self.namespace, start, spec_hash]);
        let whole = format!("{fields}{}", serde_json::to_value(&self.policy).unwrap_or_default());
        Some(hex_sha256(&whole))
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
        faults.extend(label_faults(&self.labels));
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
                    faults.push(Fault::new(
                        pointer,
                        match self.template {
                            Some(_) => "is for the template to say, or for a parameter that it declares",
                            None => "cannot be combined with `manifest`; say it in the manifest",
                        },
                    ));
                }
            }
            for name in self.pod.given() {
                let detail = "cannot be combined with `manifest`; say it in the manifest";
                faults.push(Fault::new(format!("/{name}"), detail));
            }
        }
    }
}

/// Every label that Kubernetes would not take, or that is Longshore's own.
pub fn label_faults(labels: &BTreeMap<String, String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if labels.len() > LABELS {
        faults.push(Fault::new("/labels", format!("has {} entries; {LABELS} are the most", labels.len())));
    }
    for (key, value) in labels {
        if let Err(detail) = check_key(key).and_then(|()| check_label_value(value)) {
            faults.push(Fault::new(format!("/labels/{}", escape(key)), detail));
        }
    }
    faults
}

/// The same of labels that are to take the place of others. What Longshore set itself stays as it is.
pub fn relabel_faults(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Fault> {
    let own = |labels: &BTreeMap<String, String>, other: &BTreeMap<String, String>| -> Vec<String> {
        let own = labels.iter().filter(|(key, value)| key.starts_with(OWN_PREFIX) && other.get(*key) != Some(value));
        own.map(|it| it.0.clone()).collect()
    };
    let mut others = after.clone();
    others.retain(|key, _| !key.starts_with(OWN_PREFIX));
    let mut faults = label_faults(&others);
    let mut changed = own(before, after);
    changed.extend(own(after, before));
    changed.sort();
    changed.dedup();
    for key in changed {
        let detail = format!("keys under {OWN_PREFIX} are Longshore's own");
        faults.push(Fault::new(format!("/labels/{}", escape(&key)), detail));
    }
    faults
}

/// A stored spec with other labels, as it is stored, and its hash: see [`Spec::text_and_hash`]. What a later version wrote of
/// it, and this one does not know, stays.
pub fn relabelled(mut spec: Value, labels: &BTreeMap<String, String>) -> (String, String) {
    if let Value::Object(fields) = &mut spec {
        match labels.is_empty() {
            true => drop(fields.remove("labels")),
            false => drop(fields.insert("labels".into(), serde_json::json!(labels))),
        }
    }
    let text = spec.to_string();
    let hash = hex_sha256(&text);
    (text, hash)
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
    fn labels_of_longshores_own_stay_as_they_are_when_others_change() {
        let labels = |of: &[(&str, &str)]| of.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
        let before: BTreeMap<_, _> = labels(&[("longshore.dev/source", "mails"), ("team", "a")]);
        let faults = |after: &[(&str, &str)]| relabel_faults(&before, &labels(after));
        assert_eq!(faults(&[("longshore.dev/source", "mails"), ("team", "b")]), []);
        for wrong in [
            &[("team", "b")][..],
            &[("longshore.dev/source", "others")],
            &[("longshore.dev/source", "mails"), ("longshore.dev/new", "x")],
            &[("longshore.dev/source", "mails"), ("a b", "x")],
        ] {
            assert_eq!(faults(wrong).len(), 1, "{wrong:?}");
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
    fn a_stored_spec_that_is_labelled_anew_is_the_one_that_would_have_been_submitted_so() {
        let mut spec = Spec { env: Some(serde_json::json!({"B": "2", "A": "1"})), ..Spec::default() };
        let stored = serde_json::to_value(&spec).unwrap();
        spec.labels = [("team".to_owned(), "a".to_owned())].into();
        assert_eq!(relabelled(stored.clone(), &spec.labels), spec.text_and_hash());
        let labelled = serde_json::to_value(&spec).unwrap();
        spec.labels.clear();
        assert_eq!(relabelled(labelled, &spec.labels), spec.text_and_hash());
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
