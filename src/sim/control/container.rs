//! The statuses of a pod's containers, as a kubelet writes them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::state::{Object, seconds};

/// Which of a pod's two lists of containers is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Init,
    Main,
}

/// What a container's state is, by the kubelet's names.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    Waiting { reason: &'a str, message: &'a str },
    Running,
    Terminated { exit_code: i64, reason: &'a str, message: &'a str },
}

/// As much of what a container left at its termination message path as a kubelet reads, from the end.
const TERMINATION_MESSAGE_MAX_BYTES: usize = 4096;
/// When a container started that never did, as the container runtime tells it.
const NEVER_STARTED: &str = "1970-01-01T00:00:00Z";

impl Place {
    pub fn list(self) -> &'static str {
        match self {
            Place::Init => "initContainers",
            Place::Main => "containers",
        }
    }

    pub fn statuses(self) -> &'static str {
        match self {
            Place::Init => "initContainerStatuses",
            Place::Main => "containerStatuses",
        }
    }

    pub fn exists_in(self, pod: &Value) -> bool {
        pod["spec"][self.list()].as_array().is_some_and(|list| !list.is_empty())
    }

    /// Its first container.
    pub fn first(self, pod: &Object) -> &Value {
        &pod.value["spec"][self.list()][0]
    }

    /// `spec.containers{main}`, as events name the part they are about.
    pub fn part(self, pod: &Object) -> String {
        format!("spec.{}{{{}}}", self.list(), self.first(pod)["name"].as_str().unwrap_or_default())
    }
}

/// Gives every container of a list this state, keeping its restarts and when it started. Of the init containers, which
/// run one by one, only the first; what is behind it waits, unless all have ended well.
pub fn show(value: &mut Value, place: Place, state: Shown<'_>) {
    let now = seconds(Timestamp::now());
    let old = value["status"][place.statuses()].clone();
    let behind = match (place, state) {
        (Place::Main, _) | (Place::Init, Shown::Terminated { exit_code: 0, .. }) => state,
        (Place::Init, _) => Shown::Waiting { reason: "PodInitializing", message: "" },
    };
    let containers = value["spec"][place.list()].as_array().into_iter().flatten().enumerate();
    let statuses: Vec<Value> = containers
        .map(|(index, container)| status(container, &old[index], if index == 0 { state } else { behind }, &now))
        .map(|status| if place == Place::Init { ready_once_completed(status) } else { status })
        .collect();
    value["status"][place.statuses()] = statuses.into();
}

fn status(container: &Value, old: &Value, state: Shown<'_>, now: &str) -> Value {
    let name = container["name"].as_str().unwrap_or_default();
    let image = container["image"].as_str().unwrap_or_default();
    // It ended well before this was known of it; it does not end again.
    if matches!(state, Shown::Terminated { .. }) && old["state"]["terminated"].is_object() {
        return old.clone();
    }
    let running = matches!(state, Shown::Running);
    let waits = matches!(state, Shown::Waiting { .. });
    json!({
        "name": name,
        "image": image,
        "imageID": if waits { String::new() } else { format!("sim.longshore.dev/{image}") },
        "containerID": if waits { String::new() } else { format!("containerd://sim-{name}") },
        "ready": running,
        "started": running,
        "restartCount": old["restartCount"].as_i64().unwrap_or(0),
        "lastState": if old["lastState"].is_object() { old["lastState"].clone() } else { json!({}) },
        "state": detail(state, old, name, now),
    })
}

/// An init container is ready when it has done its work.
fn ready_once_completed(mut status: Value) -> Value {
    if status["state"]["terminated"]["exitCode"] == 0 {
        status["ready"] = true.into();
    }
    status
}

fn detail(state: Shown<'_>, old: &Value, name: &str, now: &str) -> Value {
    match state {
        Shown::Waiting { reason, message: "" } => json!({"waiting": {"reason": reason}}),
        Shown::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        Shown::Running => json!({"running": {"startedAt": now}}),
        Shown::Terminated { exit_code, reason: reason @ "ContainerStatusUnknown", message } => json!({"terminated": {
            "exitCode": exit_code, "reason": reason, "message": message, "startedAt": null, "finishedAt": null,
        }}),
        Shown::Terminated { exit_code, reason, message } => {
            let started = match reason {
                "StartError" => NEVER_STARTED,
                _ => old["state"]["running"]["startedAt"].as_str().unwrap_or(now),
            };
            let mut terminated = json!({
                "exitCode": exit_code, "reason": reason, "startedAt": started, "finishedAt": now,
                "containerID": format!("containerd://sim-{name}"),
            });
            if !message.is_empty() {
                terminated["message"] = last_bytes(message, TERMINATION_MESSAGE_MAX_BYTES).into();
            }
            json!({"terminated": terminated})
        }
    }
}

/// The end of a text, cut between two characters.
fn last_bytes(text: &str, max: usize) -> &str {
    let mut from = text.len().saturating_sub(max);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// What ended is now what the container was last, and it waits to be started again.
pub fn starts_over(value: &mut Value, place: Place) {
    let statuses = value["status"].get_mut(place.statuses()).and_then(Value::as_array_mut);
    let ended = |status: &&mut Value| status["state"]["terminated"].is_object();
    for status in statuses.into_iter().flatten().filter(ended) {
        let last = status["state"].take();
        status["lastState"] = last;
        status["restartCount"] = (status["restartCount"].as_i64().unwrap_or(0) + 1).into();
        status["state"] = json!({"waiting": {
            "reason": "CrashLoopBackOff", "message": "back-off restarting failed container",
        }});
    }
}
