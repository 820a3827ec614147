//! What a pod says: how far it is, why it does not start, and what became of it.
//!
//! Everything is read leniently from untyped objects, as in [`super::seen`].

use jiff::Timestamp;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use crate::{
    id::{JobId, KubeUid},
    lifecycle::{Ending, Facts, Reason},
    trouble::OVER_QUOTA,
};

use super::manifest;

/// The longest message that is kept, in characters: what Kubernetes itself keeps of a termination message.
const MESSAGE_CHARS: usize = 4096;

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenPod {
    pub namespace: String,
    pub name: String,
    pub uid: KubeUid,
    /// The Job that controls it.
    pub owner: KubeUid,
    pub owner_name: String,
    /// Whose job its labels say it is; only a hint where to look.
    pub job: Option<JobId>,
    /// Whether anything of it may still run.
    pub alive: bool,
    /// What it says of the attempt; `started_at` once all its containers started, or any of a pod that is over.
    pub facts: Facts,
    /// Why it does not start.
    pub trouble: Option<Trouble>,
    /// Why it ended badly, where there is more to say than an exit code.
    pub fate: Option<Ending>,
}

impl SeenPod {
    /// How much it tells of its attempt: that the cluster ended it tells most, then that it ended badly by itself, then that
    /// somebody deleted it (a Job that fails deletes its other pods), then that it ended well, then that it started.
    pub fn how_telling(&self) -> u8 {
        match (&self.fate, self.facts.exit_code) {
            (Some(fate), _) if fate.reason != Reason::PodDeleted => 5,
            (None, Some(code)) if code != 0 => 4,
            (Some(_), _) => 3,
            (None, Some(_)) => 2,
            (None, None) => u8::from(self.facts.started_at.is_some()),
        }
    }
}

/// Why a pod, or the making of one, does not get on, in the words of whoever said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub said: String,
    pub message: String,
}

impl Trouble {
    fn new(said: &str, message: &str, part: &str) -> Self {
        let about = if part.is_empty() { String::new() } else { format!("{part}: ") };
        let message = if message.is_empty() { said.to_owned() } else { format!("{said}: {message}") };
        Self { said: said.to_owned(), message: cut(&format!("{about}{message}")) }
    }

    /// What a warning event tells.
    pub fn of_event(reason: &str, message: &str) -> Self {
        let over_quota = reason == "FailedCreate" && message.contains("exceeded quota");
        let said = if over_quota { OVER_QUOTA } else { reason };
        Self { said: said.to_owned(), message: cut(&format!("{reason}: {message}")) }
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
    let alive = !matches!(phase, "Succeeded" | "Failed");
    let deleting = object.metadata.deletion_timestamp.is_some();
    let telling = telling_container(status, deleting);
    let ended = telling.and_then(|it| end_of(it, deleting));
    let named = object.data.pointer("/spec/containers/0/name").and_then(Value::as_str);
    Some(SeenPod {
        namespace: object.namespace().unwrap_or_default(),
        uid: KubeUid(object.uid().unwrap_or_default()),
        owner: KubeUid(owner_uid),
        owner_name,
        job: object.labels().get(manifest::JOB_ID).and_then(|it| it.parse().ok()),
        alive,
        facts: Facts {
            node: object.data.pointer("/spec/nodeName").and_then(Value::as_str).map(str::to_owned),
            pod: Some(name.clone()),
            container: telling.and_then(|it| text(it, "name")).or(named).map(str::to_owned),
            exit_code: ended.and_then(exit_code),
            termination_message: ended.and_then(|it| text(it, "message")).filter(|it| !it.is_empty()).map(cut),
            started_at: started_at(status, alive),
        },
        trouble: trouble(status),
        fate: fate(status, deleting),
        name,
    })
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// A foreign text as it can be kept: Postgres takes every character but U+0000.
pub(super) fn cut(text: &str) -> String {
    text.chars().map(|it| if it == '\0' { char::REPLACEMENT_CHARACTER } else { it }).take(MESSAGE_CHARS).collect()
}

/// The kubelet makes a code up for a container of which it knows nothing.
fn exit_code(terminated: &Value) -> Option<i32> {
    if text(terminated, "reason") == Some("ContainerStatusUnknown") {
        return None;
    }
    terminated.get("exitCode")?.as_i64().and_then(|it| i32::try_from(it).ok())
}

/// How a container ended by itself, before it was run again: under `restartPolicy: OnFailure`, where a Job that is over its
/// `backoffLimit` deletes the pod, whatever its container does by then. None of one that did not fail before.
fn failed_before(container: &Value) -> Option<&Value> {
    container.pointer("/lastState/terminated").filter(|it| exit_code(it).is_some_and(|it| it != 0))
}

/// How a container ended; in a pod that is being deleted, how it had ended before it was told to.
fn end_of(container: &Value, deleting: bool) -> Option<&Value> {
    let end = container.pointer("/state/terminated");
    let by_itself = end.filter(|it| !deleting || !may_be_told(it));
    by_itself.or_else(|| failed_before(container).filter(|_| deleting)).or(end)
}

/// Whether a container may have ended so because it was told to.
fn may_be_told(terminated: &Value) -> bool {
    matches!(exit_code(terminated).unwrap_or(0), 0 | 137 | 143)
}

/// The first container that ended badly, else the first that ended, else the first that started.
fn telling_container(status: &Value, deleting: bool) -> Option<&Value> {
    let code = |it: &&Value| end_of(it, deleting).and_then(exit_code);
    let all = || containers(status);
    all()
        .find(|it| code(it).is_some_and(|it| it != 0))
        .or_else(|| main_containers(status).find(|it| code(it).is_some()))
        .or_else(|| main_containers(status).find(|it| it.pointer("/state/running").is_some()))
        .or_else(|| all().find(|it| code(it).is_some()))
}

/// A pod runs when every container of it does, or did: one that ran, an init container among them, must not hide the
/// trouble of another that cannot. Of a pod that is over, whatever ran is told.
fn started_at(status: &Value, alive: bool) -> Option<Timestamp> {
    let began = |it: &Value| {
        let of = |state: &Value| {
            state.pointer("/running/startedAt").or_else(|| state.pointer("/terminated/startedAt")).cloned()
        };
        // What waits to be run again has begun before.
        let start = it.get("state").and_then(of).or_else(|| it.get("lastState").and_then(of))?;
        // A container that could not begin is said to have begun in 1970.
        start.as_str()?.parse::<Timestamp>().ok().filter(|it| *it > Timestamp::UNIX_EPOCH)
    };
    if alive && main_containers(status).any(|it| began(it).is_none()) {
        return None;
    }
    match alive {
        true => main_containers(status).filter_map(began).min(),
        false => containers(status).filter_map(began).min(),
    }
}

/// What the scheduler says, else what the first container that waits for more than its turn does.
fn trouble(status: &Value) -> Option<Trouble> {
    let unschedulable = conditions(status).find(|it| {
        text(it, "type") == Some("PodScheduled")
            && text(it, "status") == Some("False")
            && text(it, "reason") == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        return Some(Trouble::new("FailedScheduling", text(condition, "message").unwrap_or_default(), ""));
    }
    containers(status).find_map(|it| {
        let waiting = it.pointer("/state/waiting")?;
        let said = text(waiting, "reason").filter(|it| !matches!(*it, "" | "ContainerCreating" | "PodInitializing"))?;
        Some(Trouble::new(said, text(waiting, "message").unwrap_or_default(), text(it, "name").unwrap_or_default()))
    })
}

/// The pod's own word first, then that of whoever disrupted it, then that of its containers.
fn fate(status: &Value, deleting: bool) -> Option<Ending> {
    let of = |reason, message: &str| Some(Ending::new(reason, cut(message)));
    let message = text(status, "message").unwrap_or_default();
    let by_pod = match text(status, "reason").unwrap_or_default() {
        "Evicted" => Some(Reason::Evicted),
        "Preempting" | "Preempted" => Some(Reason::Preempted),
        "NodeLost" | "Shutdown" | "NodeShutdown" | "Terminated" => Some(Reason::NodeLost),
        // The kubelet had no room left for what the scheduler had sent.
        refused if refused.starts_with("OutOf") || refused == "NodeAffinity" => Some(Reason::Evicted),
        _ => None,
    };
    if let Some(reason) = by_pod {
        return of(reason, &format!("its pod was ended by the cluster: {message}"));
    }
    let disrupted = conditions(status)
        .find(|it| text(it, "type") == Some("DisruptionTarget") && text(it, "status") == Some("True"));
    if let Some(condition) = disrupted {
        let said = text(condition, "reason").unwrap_or_default();
        let reason = match said {
            "PreemptionByScheduler" => Reason::Preempted,
            "DeletionByTaintManager" | "DeletionByPodGC" => Reason::NodeLost,
            _ => Reason::Evicted,
        };
        let message = text(condition, "message").unwrap_or_default();
        return of(reason, &format!("its pod was ended by the cluster: {message} ({said})"));
    }
    let ended = containers(status).filter_map(|it| Some((it, end_of(it, deleting)?)));
    let mut deleted_while_it_ran = deleting && !containers(status).any(|it| failed_before(it).is_some());
    for (container, terminated) in ended {
        let name = text(container, "name").unwrap_or_default();
        let code = exit_code(terminated).unwrap_or(0);
        match text(terminated, "reason").unwrap_or_default() {
            "OOMKilled" => {
                let message = format!("the container {name} used more memory than its limit (exit code {code})");
                return of(Reason::OomKilled, &message);
            }
            "ContainerCannotRun" | "StartError" => {
                let why = text(terminated, "message").unwrap_or_default();
                return of(Reason::ConfigError, &format!("the container {name} could not begin: {why}"));
            }
            // It had an end of its own before anyone deleted it, unless that is how it was told to end.
            _ => deleted_while_it_ran &= may_be_told(terminated),
        }
    }
    deleted_while_it_ran.then(|| Ending::new(Reason::PodDeleted, "its pod was deleted before it had ended"))
}

fn conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status.get("conditions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter()
}

fn main_containers(status: &Value) -> impl Iterator<Item = &Value> {
    status.get("containerStatuses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter()
}

fn containers(status: &Value) -> impl Iterator<Item = &Value> {
    let init = status.get("initContainerStatuses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    init.iter().chain(main_containers(status))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: Value, deleting: bool) -> SeenPod {
        let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true});
        let mut object = json!({"metadata": {"name": "p", "ownerReferences": [owner]}, "status": status});
        if deleting {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        pod_of_any(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn ended(code: i64, reason: &str) -> Value {
        json!({"name": format!("c{code}"), "state": {"terminated": {
            "exitCode": code, "reason": reason, "startedAt": "2026-01-01T00:00:00Z", "message": "said\0so"}}})
    }

    #[test]
    fn a_pod_without_a_job_in_control_is_nobodys() {
        let object = json!({"metadata": {"name": "p", "labels": {manifest::JOB_ID: "x"}, "ownerReferences": []}});
        assert_eq!(pod_of_any(&serde_json::from_value(object).unwrap()), None);
        assert!(pod(json!({"phase": "Running"}), false).alive);
    }

    #[test]
    fn the_container_that_tells_most_is_taken() {
        let facts = |statuses: Value| pod(json!({"containerStatuses": statuses}), false).facts;
        let three = facts(json!([ended(0, "Completed"), ended(3, "Error"), ended(4, "Error")]));
        assert_eq!((three.exit_code, three.container.as_deref()), (Some(3), Some("c3")));
        assert_eq!(three.termination_message.as_deref(), Some("said\u{FFFD}so"));
        assert_eq!(facts(json!([ended(0, "Completed")])).exit_code, Some(0));
        assert_eq!(facts(json!([{"state": {"running": {}}}])).exit_code, None);
        assert_eq!(facts(json!("strange")).exit_code, None);
        let init = json!({"initContainerStatuses": [ended(2, "Error")], "containerStatuses": [{}]});
        assert_eq!(pod(init, false).facts.exit_code, Some(2));
    }

    #[test]
    fn what_became_of_a_pod_is_told_apart() {
        let fate = |status: Value, deleting| pod(status, deleting).fate.map(|it| it.reason);
        let disrupted =
            |by: &str| json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": by}]});
        assert_eq!(fate(json!({"reason": "Evicted"}), false), Some(Reason::Evicted));
        assert_eq!(fate(json!({"reason": "OutOfcpu"}), false), Some(Reason::Evicted));
        assert_eq!(fate(disrupted("PreemptionByScheduler"), true), Some(Reason::Preempted));
        assert_eq!(fate(disrupted("DeletionByTaintManager"), true), Some(Reason::NodeLost));
        assert_eq!(fate(json!({"containerStatuses": [ended(137, "OOMKilled")]}), false), Some(Reason::OomKilled));
        assert_eq!(fate(json!({"containerStatuses": [ended(128, "StartError")]}), false), Some(Reason::ConfigError));
        assert_eq!(fate(json!({"containerStatuses": [ended(143, "Error")]}), true), Some(Reason::PodDeleted));
        assert_eq!(fate(json!({"containerStatuses": [ended(7, "Error")]}), true), None, "it had ended by itself");
        assert_eq!(fate(json!({"containerStatuses": [ended(7, "Error")]}), false), None);
    }

    #[test]
    fn a_pod_whose_job_gave_it_up_ended_as_its_container_last_did() {
        let again = |last: Value, now: Value| json!({"containerStatuses": [{"name": "a", "restartCount": 1, "lastState": last["state"], "state": now}]});
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        for now in [waits.clone(), json!({"running": {}}), ended(143, "Error")["state"].clone()] {
            let it = pod(again(ended(3, "Error"), now), true);
            assert_eq!((it.fate, it.facts.exit_code, it.facts.container.as_deref()), (None, Some(3), Some("a")));
        }
        // Nobody had told it to, then.
        let told = pod(again(ended(143, "Error"), json!({"running": {}})), true);
        assert_eq!((told.fate, told.facts.exit_code), (None, Some(143)));
        let greedy = pod(again(ended(137, "OOMKilled"), waits.clone()), true);
        assert_eq!(greedy.fate.map(|it| it.reason), Some(Reason::OomKilled));
        let lives = pod(again(ended(3, "Error"), waits), false);
        assert_eq!((lives.fate, lives.facts.exit_code), (None, None), "it may end well yet");
        let well = pod(again(ended(0, "Completed"), json!({"running": {}})), true);
        assert_eq!(well.fate.map(|it| it.reason), Some(Reason::PodDeleted));
    }

    #[test]
    fn a_pod_that_lives_has_started_when_all_its_containers_have() {
        let started = |status: Value| pod(status, false).facts.started_at.is_some();
        let runs = json!({"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
        let waits = json!({"state": {"waiting": {"reason": "ErrImagePull"}}});
        let again =
            json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended(1, "Error")["state"]});
        assert!(started(json!({"containerStatuses": [runs, ended(0, "Completed"), again]})));
        assert!(!started(json!({"containerStatuses": [runs, waits]})), "the other one cannot start");
        assert!(!started(json!({"initContainerStatuses": [ended(0, "Completed")], "containerStatuses": [waits]})));
        assert!(!started(json!({"initContainerStatuses": [runs]})));
        let over =
            json!({"phase": "Failed", "initContainerStatuses": [ended(2, "Error")], "containerStatuses": [waits]});
        assert!(started(over), "what ran of a pod that is over is told");
        let never = json!({"state": {"terminated": {"exitCode": 128, "startedAt": "1970-01-01T00:00:00Z"}}});
        assert!(!started(json!({"phase": "Failed", "containerStatuses": [never]})));
    }

    #[test]
    fn why_a_pod_does_not_start_is_found_in_every_container() {
        let waits = |reason: &str| json!([{"name": "a", "state": {"waiting": {"reason": reason, "message": "m"}}}]);
        let said = |status: Value| pod(status, false).trouble.map(|it| it.said);
        assert_eq!(said(json!({"containerStatuses": waits("ErrImagePull")})).as_deref(), Some("ErrImagePull"));
        assert_eq!(
            said(json!({"initContainerStatuses": waits("InvalidImageName")})).as_deref(),
            Some("InvalidImageName")
        );
        assert_eq!(said(json!({"containerStatuses": waits("ContainerCreating")})), None);
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"});
        assert_eq!(said(json!({"conditions": [condition]})).as_deref(), Some("FailedScheduling"));
        let quota = Trouble::of_event("FailedCreate", "pods \"x\" is forbidden: exceeded quota: q");
        assert_eq!(quota.said, OVER_QUOTA);
    }
}
