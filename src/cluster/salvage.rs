//! What a Kubernetes Job says of the job that it was made for, where no row does any more.

use std::collections::BTreeMap;

use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Map, Value, json};

use crate::spec::{OWN_PREFIX, Spec};

use super::manifest;

/// Labels that Kubernetes puts on a Job and its pods by itself, and the one of ours that is not under our prefix.
const NOT_SAID: [&str; 5] = [
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "app.kubernetes.io/managed-by",
];

/// A job as far as it can be read from its Kubernetes Job. Its priority, its deadlines and its rule for retries are not there.
#[derive(Debug, Clone, PartialEq)]
pub struct Salvaged {
    pub name: String,
    pub queue: String,
    /// A manifest that makes the same pods.
    pub spec: Spec,
}

/// None where it does not say what it was made for.
pub fn of_any(object: &DynamicObject) -> Option<Salvaged> {
    let name = object.annotations().get(manifest::JOB_NAME)?.clone();
    let queue = object.labels().get(manifest::QUEUE)?.clone();
    let mut spec = object.data.get("spec")?.clone();
    let fields = spec.as_object_mut()?;
    // It chooses pods by the uid of this one Job, unless its submitter chose them.
    if fields.get("manualSelector") != Some(&Value::Bool(true)) {
        fields.remove("selector");
    }
    if let Some(meta) = spec.pointer_mut("/template/metadata").and_then(Value::as_object_mut) {
        meta.retain(|key, value| matches!(key.as_str(), "labels" | "annotations") && value.is_object());
        meta.values_mut().filter_map(Value::as_object_mut).for_each(keep_said);
    }
    let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": spec});
    let (labels, annotations) = (said(object.labels()), said(object.annotations()));
    Some(Salvaged { name, queue, spec: Spec { labels, annotations, manifest: Some(manifest), ..Spec::default() } })
}

fn is_said(key: &str) -> bool {
    !key.starts_with(OWN_PREFIX) && !NOT_SAID.contains(&key) && !key.starts_with("batch.kubernetes.io/")
}

fn keep_said(marks: &mut Map<String, Value>) {
    marks.retain(|key, _| is_said(key));
}

fn said(marks: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    marks.iter().filter(|(key, _)| is_said(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        cluster::manifest::{Defaults, Identity},
        id::{JobId, Nonce},
        retry::Policy,
    };

    use super::*;

    #[test]
    fn what_is_salvaged_of_a_job_makes_the_same_job_again() {
        let me = Identity {
            instance: "longshore-test",
            job: JobId::new(),
            attempt: 3,
            nonce: Nonce(uuid::Uuid::nil()),
            spec_hash: "abc",
            kube_name: "nightly-3".into(),
            namespace: "default",
            queue: "reports",
            job_name: "Nightly!",
        };
        let defaults = Defaults { image: "a".into(), image_pull_policy: "Always".into(), start_timeout_secs: None };
        let spec: Spec =
            serde_json::from_value(json!({"command": ["true"], "labels": {"team": "a"}, "annotations": {"x/y": "z"}}))
                .unwrap();
        let made = manifest::build(&spec, &Policy::default(), &me, &defaults).unwrap();
        // What the API server adds.
        let mut seen = serde_json::to_value(&made).unwrap();
        seen["spec"]["selector"] = json!({"matchLabels": {"controller-uid": "1"}});
        for at in ["/metadata", "/spec/template/metadata"] {
            seen.pointer_mut(at).unwrap()["labels"]["controller-uid"] = json!("1");
        }
        seen["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
        seen["status"] = json!({"active": 1});
        let salvaged = of_any(&serde_json::from_value(seen).unwrap()).unwrap();
        assert_eq!((salvaged.name.as_str(), salvaged.queue.as_str()), ("Nightly!", "reports"));
        let again = manifest::build(&salvaged.spec, &Policy::default(), &me, &defaults).unwrap();
        assert_eq!(again, made);
    }

    #[test]
    fn a_job_that_does_not_say_what_it_was_made_for_is_not_salvaged() {
        let job = json!({"metadata": {"name": "a", "labels": {"longshore.dev/queue": "default"}}, "spec": {}});
        assert_eq!(of_any(&serde_json::from_value(job).unwrap()), None);
    }
}
