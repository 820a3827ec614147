//! What a Kubernetes Job and its pods say, trimmed to what decisions need.
//!
//! Everything is read leniently from untyped objects: labels, annotations and statuses are foreign input, and one strange
//! object must not stop the reading of all others.

use jiff::Timestamp;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use crate::{
    id::{AttemptNo, JobId, KubeUid, Nonce},
    lifecycle::Facts,
};

use super::manifest;

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

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenPod {
    pub namespace: String,
    pub name: String,
    /// The Job that controls it.
    pub owner: KubeUid,
    pub owner_name: String,
    /// Whose job its labels say it is; only a hint where to look.
    pub job: Option<JobId>,
    /// Whether anything of it may still run.
    pub alive: bool,
    /// What it says of the attempt; `started_at` once a container of it started.
    pub facts: Facts,
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
        return Phase::Failed { reason: text(failed, "reason"), message: text(failed, "message") };
    }
    match conditions.iter().any(|it| is(&it, "Complete")) {
        true => Phase::Complete,
        false => Phase::Active,
    }
}

/// Reads any object as a pod; none when no Job controls it, nor did when it was made: a Job that is deleted without its
/// pods leaves them with its marks and without an owner.
pub fn pod_of_any(object: &DynamicObject) -> Option<SeenPod> {
    let owner = object.owner_references().iter().find(|it| it.controller == Some(true) && it.kind == "Job");
    let label = |names: [&str; 2]| names.iter().find_map(|it| object.labels().get(*it).cloned());
    let orphaned = object.owner_references().is_empty();
    let (owner_uid, owner_name) = match owner {
        Some(owner) => (owner.uid.clone(), owner.name.clone()),
        None if orphaned => (
            label(["batch.kubernetes.io/controller-uid", "controller-uid"])?,
            label(["batch.kubernetes.io/job-name", "job-name"])?,
        ),
        None => return None,
    };
    let status = object.data.get("status").unwrap_or(&Value::Null);
    let name = object.name_any();
    let phase = status.get("phase").and_then(Value::as_str).unwrap_or_default();
    Some(SeenPod {
        namespace: object.namespace().unwrap_or_default(),
        owner: KubeUid(owner_uid),
        owner_name,
        job: object.labels().get(manifest::JOB_ID).and_then(|it| it.parse().ok()),
        alive: !matches!(phase, "Succeeded" | "Failed"),
        facts: Facts {
            node: object.data.pointer("/spec/nodeName").and_then(Value::as_str).map(str::to_owned),
            pod: Some(name.clone()),
            exit_code: exit_code(status),
            started_at: started_at(status),
        },
        name,
    })
}

/// The first exit code that is not zero, else zero, of the containers that ended.
fn exit_code(status: &Value) -> Option<i32> {
    let codes = containers(status).filter_map(|it| it.pointer("/state/terminated/exitCode")?.as_i64());
    codes.reduce(|first, next| if first == 0 { next } else { first }).and_then(|it| i32::try_from(it).ok())
}

fn started_at(status: &Value) -> Option<Timestamp> {
    let starts = containers(status).filter_map(|it| {
        let state = it.get("state")?;
        let start = state.pointer("/running/startedAt").or_else(|| state.pointer("/terminated/startedAt"))?;
        start.as_str()?.parse().ok()
    });
    starts.min()
}

fn containers(status: &Value) -> impl Iterator<Item = &Value> {
    let list = |key| status.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list("initContainerStatuses").iter().chain(list("containerStatuses"))
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
        let target = json!({"type": "SuccessCriteriaMet", "status": "True"});
        assert_eq!(job(json!([target, {"type": "Complete", "status": "True"}])), Phase::Complete);
        assert_eq!(job(json!([{"type": "Complete", "status": "False"}])), Phase::Active);
    }

    #[test]
    fn a_pod_without_a_job_in_control_is_nobodys() {
        let pod = |owners: Value| {
            let meta = json!({"name": "p", "labels": {manifest::JOB_ID: "x"}, "ownerReferences": owners});
            pod_of_any(&object(json!({"metadata": meta, "status": {"phase": "Running"}})))
        };
        assert_eq!(pod(json!([])), None);
        let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true});
        assert!(pod(json!([owner])).is_some_and(|it| it.alive && it.owner == KubeUid("u".into())));
    }

    #[test]
    fn the_exit_code_that_tells_most_is_taken() {
        let ended =
            |code: i64| json!({"state": {"terminated": {"exitCode": code, "startedAt": "2026-01-01T00:00:00Z"}}});
        assert_eq!(exit_code(&json!({"containerStatuses": [ended(0), ended(3), ended(4)]})), Some(3));
        assert_eq!(exit_code(&json!({"containerStatuses": [ended(0)]})), Some(0));
        assert_eq!(exit_code(&json!({"initContainerStatuses": [ended(2)], "containerStatuses": [{}]})), Some(2));
        assert_eq!(exit_code(&json!({"containerStatuses": [{"state": {"running": {}}}]})), None);
        assert_eq!(exit_code(&json!({"containerStatuses": "strange"})), None);
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
            let _ = pod_of_any(&strange);
        }
    }
}
