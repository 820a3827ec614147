//! The pieces of a pod's status, as a kubelet writes them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::NODE_NAME;
use super::container::{Place, Shown, show, starts_over};
use crate::sim::state::{Object, seconds};

const NODE_IP: &str = "192.0.2.1";

/// Bound to the node, which begins to make its containers.
pub fn bind(value: &mut Value) {
    value["spec"]["nodeName"] = NODE_NAME.into();
    let now = seconds(Timestamp::now());
    value["status"]["hostIP"] = NODE_IP.into();
    value["status"]["hostIPs"] = json!([{"ip": NODE_IP}]);
    value["status"]["startTime"] = now.as_str().into();
    value["status"]["conditions"] = json!([
        {"type": "PodReadyToStartContainers", "status": "False", "lastProbeTime": null, "lastTransitionTime": now},
        {"type": "Initialized", "status": "True", "lastProbeTime": null, "lastTransitionTime": now},
        {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastProbeTime": null, "lastTransitionTime": now},
        {"type": "ContainersReady", "status": "False", "reason": "ContainersNotReady", "lastProbeTime": null, "lastTransitionTime": now},
        {"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now},
    ]);
    let initializes = Place::Init.exists_in(value);
    if initializes {
        conditions(value, &["Initialized"], "False", "ContainersNotInitialized");
        show(value, Place::Init, Shown::Waiting { reason: "PodInitializing", message: "" });
    }
    let reason = if initializes { "PodInitializing" } else { "ContainerCreating" };
    show(value, Place::Main, Shown::Waiting { reason, message: "" });
}

pub fn unschedulable(value: &mut Value, message: &str) {
    value["status"]["conditions"] = json!([{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastProbeTime": null, "lastTransitionTime": seconds(Timestamp::now()),
    }]);
}

/// Held up at one of its containers, with a reason that the kubelet shows as the container's state.
pub fn waiting(value: &mut Value, place: Place, reason: &str, message: &str) {
    if place == Place::Main {
        initialized(value);
    }
    conditions(value, &["PodReadyToStartContainers"], "True", "");
    show(value, place, Shown::Waiting { reason, message });
}

/// The init containers have done their work.
fn initialized(value: &mut Value) {
    if Place::Init.exists_in(value) {
        show(value, Place::Init, Shown::Terminated { exit_code: 0, reason: "Completed", message: "" });
    }
    conditions(value, &["Initialized"], "True", "");
}

/// An init container runs; until all have, the pod is pending.
pub fn initializing(value: &mut Value, revision: u64) {
    give_address(value, revision);
    show(value, Place::Init, Shown::Running);
    conditions(value, &["PodReadyToStartContainers"], "True", "");
}

pub fn running(value: &mut Value, revision: u64) {
    initialized(value);
    give_address(value, revision);
    value["status"]["phase"] = "Running".into();
    show(value, Place::Main, Shown::Running);
    conditions(value, &["PodReadyToStartContainers", "Ready", "ContainersReady"], "True", "");
}

fn give_address(value: &mut Value, revision: u64) {
    let ip = format!("10.244.{}.{}", revision / 250 % 250, revision % 250 + 2);
    value["status"]["podIP"] = ip.as_str().into();
    value["status"]["podIPs"] = json!([{"ip": ip}]);
}

/// Its container ended, and so does the pod.
pub fn ended(value: &mut Value, place: Place, how: Shown<'_>) {
    let succeeded = matches!(how, Shown::Terminated { exit_code: 0, .. });
    value["status"]["phase"] = if succeeded { "Succeeded" } else { "Failed" }.into();
    if place == Place::Main {
        initialized(value);
    }
    show(value, place, how);
    let why = if succeeded { "PodCompleted" } else { "PodFailed" };
    conditions(value, &["Ready", "ContainersReady"], "False", why);
    conditions(value, &["PodReadyToStartContainers"], "False", "");
}

/// Told to end before its program ran: the kubelet has no container to tell about.
pub fn ended_unstarted(value: &mut Value) {
    value["status"]["phase"] = "Failed".into();
    let message = "The container could not be located when the pod was terminated";
    let unknown = Shown::Terminated { exit_code: 137, reason: "ContainerStatusUnknown", message };
    if Place::Init.exists_in(value) {
        show(value, Place::Init, unknown);
    }
    show(value, Place::Main, unknown);
    conditions(value, &["Ready", "ContainersReady"], "False", "PodFailed");
}

/// The kubelet ends it for want of memory, and says so in the pod's own reason.
pub fn evicted(value: &mut Value) {
    let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 12Mi.";
    ended(value, Place::Main, Shown::Terminated { exit_code: 137, reason: "Error", message: "" });
    value["status"]["reason"] = "Evicted".into();
    value["status"]["message"] = message.into();
    disrupted(value, "TerminationByKubelet", message);
}

/// Nobody heard of its node for too long. What became of its containers nobody knows, so they stay as they were.
pub fn node_lost(value: &mut Value) {
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    value["status"]["message"] = format!("Node {NODE_NAME} which was running pod {name} is unresponsive").into();
    value["status"]["reason"] = "NodeLost".into();
    value["status"]["phase"] = "Failed".into();
    conditions(value, &["Ready"], "False", "");
    disrupted(value, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
}

/// Somebody other than its own program is about to end it.
pub fn disrupted(value: &mut Value, reason: &str, message: &str) {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": seconds(Timestamp::now()),
    });
    if let Some(list) = value["status"].get_mut("conditions").and_then(Value::as_array_mut) {
        list.push(condition);
    }
}

/// The container ended and will be started again.
pub fn backing_off(value: &mut Value, place: Place, how: Shown<'_>) {
    show(value, place, how);
    starts_over(value, place);
    conditions(value, &["Ready", "ContainersReady"], "False", "ContainersNotReady");
}

fn conditions(value: &mut Value, kinds: &[&str], status: &str, reason: &str) {
    let now = seconds(Timestamp::now());
    let list = value["status"].get_mut("conditions").and_then(Value::as_array_mut);
    for condition in list.into_iter().flatten() {
        if condition["type"].as_str().is_none_or(|kind| !kinds.contains(&kind)) {
            continue;
        }
        if condition["status"] != status {
            condition["lastTransitionTime"] = now.as_str().into();
        }
        condition["status"] = status.into();
        match (reason, condition.as_object_mut()) {
            ("", Some(map)) => drop(map.remove("reason")),
            _ => condition["reason"] = reason.into(),
        }
    }
}

pub fn phase(pod: &Object) -> &str {
    pod.value["status"]["phase"].as_str().unwrap_or_default()
}

pub fn has_ended(pod: &Object) -> bool {
    ["Succeeded", "Failed"].contains(&phase(pod))
}
