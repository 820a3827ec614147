//! What a Kubernetes Job and its pods say, trimmed to what decisions need.
//!
//! Everything is read leniently from untyped objects: labels, annotations and statuses are foreign input, and one strange
//! object must not stop the reading of all others.

use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use crate::{
    id::{AttemptNo, JobId, KubeUid, Nonce},
    lifecycle::{Ending, Facts},
};

use super::{
    manifest,
    pod::{self, SeenPod, Trouble},
};

/// A Kubernetes Job.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenJob {
    pub namespace: String,
    pub name: String,
    pub uid: KubeUid,
    pub resource_version: Option<String>,
    /// None when its labels are not of our making.
    pub attempt: Option<(JobId, AttemptNo)>,
    pub nonce: Option<Nonce>,
    pub spec_hash: Option<String>,
    pub deleting: bool,
    pub suspended: bool,
    pub phase: Phase,
    /// How many of its pods it counts as ended.
    pub ended_pods: i64,
}

/// How far a Kubernetes Job is, by its own conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Active,
    Complete,
    Failed { reason: String, message: String },
}

/// What is seen of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Not everything was listed yet.
    Unknown,
    /// There is no such Job. `live_pods` tells of pods it left behind.
    Absent {
        live_pods: bool,
    },
    /// A consistent read confirmed that there is no such Job, and no pod of it lives.
    Gone,
    /// It has ended, and a consistent read confirmed that no pod of it lives.
    Ended(Box<Sight>),
    Present(Box<Sight>),
}

/// A Job and its pods together.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    pub job: SeenJob,
    pub live_pods: bool,
    /// Whether every pod that the Job counts as ended was seen.
    pub all_seen: bool,
    /// Whether it ended so long ago that a pod which was not seen will not be.
    pub waited: bool,
    /// From the pod that tells most; none before a pod was seen.
    pub facts: Facts,
    /// Why that pod ended badly, where there is more to say than its exit code.
    pub fate: Option<Ending>,
    /// Why its pods do not start, or are not made.
    pub trouble: Option<Trouble>,
    /// How long ago its events were read, in seconds; none: not yet.
    pub inspected_secs: Option<f64>,
}

impl Sight {
    /// Takes in what pods tell that were read from the API server, where the watch has shown none.
    pub fn hear(&mut self, pods: &[SeenPod]) {
        if self.facts.pod.is_none()
            && let Some(telling) = pods.iter().max_by_key(|it| it.how_telling())
        {
            (self.facts, self.fate) = (telling.facts.clone(), telling.fate.clone());
        }
    }
}

/// Reads any object as a Job.
pub fn job_of_any(object: &DynamicObject) -> SeenJob {
    let labels = object.labels();
    let annotations = object.annotations();
    let attempt = || Some((labels.get(manifest::JOB_ID)?.parse().ok()?, labels.get(manifest::ATTEMPT)?.parse().ok()?));
    let status = object.data.get("status").unwrap_or(&Value::Null);
    let count = |key: &str| status.get(key).and_then(Value::as_i64).unwrap_or(0);
    SeenJob {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: KubeUid(object.uid().unwrap_or_default()),
        resource_version: object.resource_version(),
        attempt: attempt(),
        nonce: annotations.get(manifest::NONCE).and_then(|it| it.parse().ok()).map(Nonce),
        spec_hash: annotations.get(manifest::SPEC_HASH).cloned(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        suspended: object.data.pointer("/spec/suspend") == Some(&Value::Bool(true)),
        phase: phase(status),
        ended_pods: count("succeeded").saturating_add(count("failed")),
    }
}

/// Terminal conditions are searched in the whole list: since 1.31 others come first.
fn phase(status: &Value) -> Phase {
    let conditions = status.get("conditions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text = |it: &Value, key: &str| it.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is = |it: &&Value, kind: &str| text(it, "type") == kind && text(it, "status") == "True";
    if let Some(failed) = conditions.iter().find(|it| is(it, "Failed")) {
        return Phase::Failed {
            reason: pod::cut(&text(failed, "reason")),
            message: pod::cut(&text(failed, "message")),
        };
    }
    match conditions.iter().any(|it| is(&it, "Complete")) {
        true => Phase::Complete,
        false => Phase::Active,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn terminal_conditions_are_found_behind_others() {
        let job = |conditions: Value| {
            job_of_any(&object(json!({"metadata": {"name": "a"}, "status": {"conditions": conditions}}))).phase
        };
        let failing = json!({"type": "FailureTarget", "status": "True", "reason": "x"});
        let failed = json!({"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "m"});
        let ended = Phase::Failed { reason: "DeadlineExceeded".into(), message: "m".into() };
        assert_eq!(job(json!([failing, failed])), ended);
        assert_eq!(job(json!([failing])), Phase::Active);
        let strange =
            json!([{"type": "Failed", "status": "True", "reason": "x\u{0}", "message": "\u{0}".repeat(10_000)}]);
        let Phase::Failed { reason, message } = job(strange) else { panic!("it has failed") };
        assert!(
            !reason.contains('\0') && !message.contains('\0') && message.chars().count() <= 4096,
            "Postgres takes it"
        );
        let target = json!({"type": "SuccessCriteriaMet", "status": "True"});
        assert_eq!(job(json!([target, {"type": "Complete", "status": "True"}])), Phase::Complete);
        assert_eq!(job(json!([{"type": "Complete", "status": "False"}])), Phase::Active);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let words = "(status|conditions|phase|type|Failed|True|containerStatuses|state|terminated|exitCode|succeeded)";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            words.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(words, inner, 0..4).prop_map(|it| Value::Object(it.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn no_object_is_too_strange_to_be_read(status in any_json(), spec in any_json(), label in ".{0,40}") {
            let labels = json!({manifest::JOB_ID: label, manifest::ATTEMPT: label});
            let meta = json!({"name": "a", "labels": labels, "annotations": {manifest::NONCE: label},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]});
            let strange = object(json!({"metadata": meta, "spec": spec, "status": status}));
            let _ = job_of_any(&strange);
            let _ = super::super::pod::pod_of_any(&strange);
        }
    }
}
