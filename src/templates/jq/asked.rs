//! From a filter's output to a submission, like any other from there on.
//!
//! What such a Job is known by is its name: a second one of the same name in the same namespace is the first. The name is
//! kept as an idempotency key under a prefix that no request may use.

use rand::RngExt;
use serde_json::{Map, Value};

use crate::{
    retry::Policy,
    spec::{self, Fault, JOB_KEY_PREFIX, OWN_PREFIX, Spec, Start, Submission, escape},
};

const PRIORITY: &str = "longshore.dev/priority";
const QUEUE: &str = "longshore.dev/queue";
/// How many random characters follow a `generateName`. Kubernetes adds five and tries again where the name is taken; these
/// are enough never to meet.
const RANDOM_CHARS: usize = 10;
/// As Kubernetes has them: no vowels, and nothing that looks like another.
const RANDOM_FROM: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The idempotency key of the Job of that name.
pub fn key(namespace: &str, name: &str) -> String {
    format!("{JOB_KEY_PREFIX}{namespace}/{name}")
}

/// The job that a filter's output asks for, or every fault of it that needs no cluster to be seen.
pub fn submission(output: Value, default_namespace: &str) -> Result<Submission, Vec<Fault>> {
    let Value::Object(mut manifest) = output else {
        let kind = match output {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) | Value::Object(_) => "an array",
        };
        return Err(vec![Fault::new("/manifest", format!("must be a batch/v1 Job; the filter's output is {kind}"))]);
    };
    // The dispatcher knew nothing but Jobs, and filters written for it do not say so.
    for (field, value) in [("apiVersion", "batch/v1"), ("kind", "Job")] {
        if manifest.get(field).is_none_or(Value::is_null) {
            manifest.insert(field.into(), value.into());
        }
    }
    let mut faults = Vec::new();
    let pod_meta = manifest.get_mut("spec").and_then(|it| it.get_mut("template")?.get_mut("metadata"));
    own_keys(pod_meta, "/manifest/spec/template/metadata", &mut faults);
    let mut meta = match manifest.remove("metadata") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    let name = name(&mut meta, &mut faults);
    let (priority, queue) = (take(&mut meta, PRIORITY, &mut faults), take(&mut meta, QUEUE, &mut faults));
    let priority = match priority.as_deref().map(str::parse::<i32>) {
        None => 0,
        Some(Ok(priority)) => priority,
        Some(Err(_)) => {
            faults.push(Fault::new(annotation(PRIORITY), "must be a 32-bit integer as text, such as \"5\""));
            0
        }
    };
    let namespace = meta.get("namespace").and_then(Value::as_str).unwrap_or(default_namespace).to_owned();
    manifest.insert("metadata".into(), Value::Object(meta));
    own_keys(manifest.get_mut("metadata"), "/manifest/metadata", &mut faults);
    let submission = Submission {
        idempotency_key: Some(key(&namespace, &name)),
        name,
        priority,
        queue: queue.unwrap_or_else(|| "default".into()),
        namespace,
        start: Start::Now,
        policy: Policy::default(),
        spec: Spec { manifest: Some(Value::Object(manifest)), ..Spec::default() },
    };
    if faults.is_empty() {
        faults.extend(submission.faults().into_iter().map(in_manifest));
    }
    if faults.is_empty() { Ok(submission) } else { Err(faults) }
}

/// The name that the manifest gives, or one that begins as it says.
fn name(meta: &mut Map<String, Value>, faults: &mut Vec<Fault>) -> String {
    let text = |field: &str| meta.get(field).and_then(Value::as_str).filter(|it| !it.is_empty()).map(str::to_owned);
    let (name, field) = match (text("name"), text("generateName")) {
        (Some(name), _) => (name, "name"),
        (None, Some(begin)) => {
            let mut rng = rand::rng();
            let random = (0..RANDOM_CHARS).map(|_| char::from(RANDOM_FROM[rng.random_range(0..RANDOM_FROM.len())]));
            let name: String = begin.chars().chain(random).collect();
            meta.insert("name".into(), name.clone().into());
            (name, "generateName")
        }
        (None, None) => {
            faults.push(Fault::new("/manifest/metadata/name", "must be given, or generateName"));
            return String::new();
        }
    };
    if let Err(detail) = spec::check_kube_name(&name) {
        faults.push(Fault::new(format!("/manifest/metadata/{field}"), detail));
    }
    name
}

/// Takes one of the annotations that are meant for Longshore off the manifest.
fn take(meta: &mut Map<String, Value>, key: &str, faults: &mut Vec<Fault>) -> Option<String> {
    match meta.get_mut("annotations")?.as_object_mut()?.remove(key)? {
        Value::String(text) => Some(text),
        Value::Null => None,
        _ => {
            faults.push(Fault::new(annotation(key), "must be text, as annotations are"));
            None
        }
    }
}

fn annotation(key: &str) -> String {
    format!("/manifest/metadata/annotations/{}", escape(key))
}

/// Names each label and annotation that is not for a filter to set.
fn own_keys(meta: Option<&mut Value>, at: &str, faults: &mut Vec<Fault>) {
    let Some(meta) = meta else { return };
    for field in ["labels", "annotations"] {
        for key in meta.get(field).and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            if key.starts_with(OWN_PREFIX) {
                let detail = format!(
                    "keys under {OWN_PREFIX} are Longshore's own; of a Job's annotations {PRIORITY} and {QUEUE} may be set"
                );
                faults.push(Fault::new(format!("{at}/{field}/{}", escape(key)), detail));
            }
        }
    }
}

/// Says where in the manifest a field of a submission is from.
fn in_manifest(fault: Fault) -> Fault {
    let pointer = match fault.pointer.as_str() {
        "/name" => "/manifest/metadata/name".to_owned(),
        "/namespace" => "/manifest/metadata/namespace".to_owned(),
        "/queue" => annotation(QUEUE),
        _ => return fault,
    };
    Fault { pointer, ..fault }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(output: Value) -> Vec<String> {
        submission(output, "default").err().unwrap_or_default().into_iter().map(|it| it.pointer).collect()
    }

    #[test]
    fn a_job_that_does_not_say_what_it_is_becomes_one_with_its_priority_and_queue() {
        let asked = submission(
            json!({"metadata": {"name": "a", "annotations": {PRIORITY: "-7", QUEUE: "slow", "team": "x"}}, "spec": {}}),
            "jobs",
        )
        .unwrap();
        assert_eq!((asked.name.as_str(), asked.priority, asked.queue.as_str()), ("a", -7, "slow"));
        assert_eq!(asked.idempotency_key.as_deref(), Some("longshore.dev/job/jobs/a"));
        let manifest = asked.spec.manifest.unwrap();
        assert_eq!((&manifest["apiVersion"], &manifest["kind"]), (&json!("batch/v1"), &json!("Job")));
        assert_eq!(manifest["metadata"]["annotations"], json!({"team": "x"}));
    }

    #[test]
    fn a_generated_name_is_another_each_time() {
        let made = || submission(json!({"metadata": {"generateName": "import-"}}), "default").unwrap().name;
        let (one, two) = (made(), made());
        assert!(one.starts_with("import-") && one.len() == "import-".len() + RANDOM_CHARS && one != two, "{one} {two}");
    }

    #[test]
    fn what_cannot_be_a_job_is_refused_with_the_place() {
        let meta = |meta: Value| json!({"metadata": meta});
        assert_eq!(pointers(json!("Job")), ["/manifest"]);
        assert_eq!(pointers(json!([])), ["/manifest"]);
        assert_eq!(pointers(json!({})), ["/manifest/metadata/name"]);
        assert_eq!(pointers(meta(json!({"name": 5}))), ["/manifest/metadata/name"]);
        assert_eq!(pointers(meta(json!({"name": "Not Kubernetes'"}))), ["/manifest/metadata/name"]);
        assert_eq!(pointers(meta(json!({"name": "x".repeat(64)}))), ["/manifest/metadata/name"]);
        assert_eq!(pointers(meta(json!({"generateName": "_"}))), ["/manifest/metadata/generateName"]);
        assert_eq!(pointers(meta(json!({"name": "a", "namespace": "No"}))), ["/manifest/metadata/namespace"]);
        let with = |key: &str, value: Value| pointers(meta(json!({"name": "a", "annotations": {key: value}})));
        assert_eq!(with(PRIORITY, json!("high")), ["/manifest/metadata/annotations/longshore.dev~1priority"]);
        assert_eq!(with(PRIORITY, json!(5)), ["/manifest/metadata/annotations/longshore.dev~1priority"]);
        assert_eq!(with(QUEUE, json!("no spaces")), ["/manifest/metadata/annotations/longshore.dev~1queue"]);
        assert_eq!(with("longshore.dev/nonce", json!("x")), ["/manifest/metadata/annotations/longshore.dev~1nonce"]);
        let pod = json!({"metadata": {"name": "a"}, "spec": {"template": {"metadata": {"labels": {"longshore.dev/job-id": "x"}}}}});
        assert_eq!(pointers(pod), ["/manifest/spec/template/metadata/labels/longshore.dev~1job-id"]);
    }
}
