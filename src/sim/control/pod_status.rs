//! The pieces of a pod's status, as a kubelet writes them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::NODE_NAME;
use crate::sim::state::{Object, seconds};

const NODE_IP: &str = "192.0.2.1";

/// What a container's state is, by the kubelet's names.
#[derive(Clone, Copy)]
pub enum Container<'a> {
    Waiting { reason: &'a str, message: &'a str },
    Running,
    Terminated { exit_code: i64, reason: &'a str },
}

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
    containers(value, Container::Waiting { reason: "ContainerCreating", message: "" });
}

pub fn unschedulable(value: &mut Value, message: &str) {
    value["status"]["conditions"] = json!([{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastProbeTime": null, "lastTransitionTime": seconds(Timestamp::now()),
    }]);
}

pub fn running(value: &mut Value, revision: u64) {
    let ip = format!("10.244.{}.{}", revision / 250 % 250, revision % 250 + 2);
    value["status"]["phase"] = "Running".into();
    value["status"]["podIP"] = ip.as_str().into();
    value["status"]["podIPs"] = json!([{"ip": ip}]);
    containers(value, Container::Running);
    conditions(value, &["PodReadyToStartContainers", "Ready", "ContainersReady"], "True", "");
}

pub fn ended(value: &mut Value, phase: &str, exit_code: i64, reason: &str) {
    value["status"]["phase"] = phase.into();
    containers(value, Container::Terminated { exit_code, reason });
    let why = if phase == "Succeeded" { "PodCompleted" } else { "PodFailed" };
    conditions(value, &["Ready", "ContainersReady"], "False", why);
    conditions(value, &["PodReadyToStartContainers"], "False", "");
}

/// Evicted pods say so themselves; their containers say nothing.
pub fn evicted(value: &mut Value) {
    ended(value, "Failed", 137, "Error");
    value["status"]["reason"] = "Evicted".into();
    value["status"]["message"] =
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 12Mi.".into();
}

/// The container ended and will be started again.
pub fn backing_off(value: &mut Value, exit_code: i64) {
    containers(value, Container::Terminated { exit_code, reason: if exit_code == 0 { "Completed" } else { "Error" } });
    for status in value["status"]["containerStatuses"].as_array_mut().into_iter().flatten() {
        let last = status["state"].take();
        status["lastState"] = last;
        status["restartCount"] = (status["restartCount"].as_i64().unwrap_or(0) + 1).into();
        status["state"] = json!({"waiting": {
            "reason": "CrashLoopBackOff", "message": "back-off restarting failed container",
        }});
    }
    conditions(value, &["Ready", "ContainersReady"], "False", "ContainersNotReady");
}

/// Gives every container this state, keeping its restarts and when it started.
pub fn containers(value: &mut Value, state: Container<'_>) {
    let now = seconds(Timestamp::now());
    let old = value["status"]["containerStatuses"].clone();
    let statuses: Vec<Value> = value["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, container)| container_status(container, &old[index], state, &now))
        .collect();
    value["status"]["containerStatuses"] = statuses.into();
}

fn container_status(container: &Value, old: &Value, state: Container<'_>, now: &str) -> Value {
    let name = container["name"].as_str().unwrap_or_default();
    let image = container["image"].as_str().unwrap_or_default();
    let running = matches!(state, Container::Running);
    let started = old["state"]["running"]["startedAt"].as_str().unwrap_or(now);
    let detail = match state {
        Container::Waiting { reason, message: "" } => json!({"waiting": {"reason": reason}}),
        Container::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        Container::Running => json!({"running": {"startedAt": now}}),
        Container::Terminated { exit_code, reason } => json!({"terminated": {
            "exitCode": exit_code, "reason": reason, "startedAt": started, "finishedAt": now,
            "containerID": format!("containerd://sim-{name}"),
        }}),
    };
    let waits = matches!(state, Container::Waiting { .. });
    json!({
        "name": name,
        "image": image,
        "imageID": if waits { String::new() } else { format!("sim.longshore.dev/{image}") },
        "containerID": if waits { String::new() } else { format!("containerd://sim-{name}") },
        "ready": running,
        "started": running,
        "restartCount": old["restartCount"].as_i64().unwrap_or(0),
        "lastState": if old["lastState"].is_object() { old["lastState"].clone() } else { json!({}) },
        "state": detail,
    })
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
