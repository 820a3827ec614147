//! Tables, as `kubectl get` prints them.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::list::metadata_of;
use crate::sim::state::{Object, Resource};

/// Name, type, and whether it is shown only with `-o wide`.
type Column = (&'static str, &'static str, bool);

/// A table of these objects. The columns are described in the first of a watch's tables only.
pub fn of(kind: Resource, version: &str, more: Option<&str>, rows: &[Arc<Object>], include: &str, head: bool) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|object| {
            let mut row = json!({"cells": cells(kind, object)});
            match include {
                "None" => {}
                "Object" => row["object"] = object.value.clone(),
                _ => row["object"] = metadata_of(object),
            }
            row
        })
        .collect();
    let columns: Vec<Value> = columns(kind)
        .iter()
        .map(|(name, kind, wide)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": kind, "format": format, "description": "", "priority": i32::from(*wide)})
        })
        .collect();
    let mut metadata = json!({"resourceVersion": version});
    if let Some(more) = more {
        metadata["continue"] = more.into();
    }
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": if head { columns } else { Vec::new() }, "rows": rows,
    })
}

fn columns(kind: Resource) -> &'static [Column] {
    match kind {
        Resource::Jobs => &[
            ("Name", "string", false),
            ("Status", "string", false),
            ("Completions", "string", false),
            ("Duration", "string", false),
            ("Age", "string", false),
            ("Containers", "string", true),
            ("Images", "string", true),
            ("Selector", "string", true),
        ],
        Resource::Pods => &[
            ("Name", "string", false),
            ("Ready", "string", false),
            ("Status", "string", false),
            ("Restarts", "string", false),
            ("Age", "string", false),
            ("IP", "string", true),
            ("Node", "string", true),
            ("Nominated Node", "string", true),
            ("Readiness Gates", "string", true),
        ],
        Resource::Events => &[
            ("Last Seen", "string", false),
            ("Type", "string", false),
            ("Reason", "string", false),
            ("Object", "string", false),
            ("Subobject", "string", true),
            ("Source", "string", true),
            ("Message", "string", false),
            ("First Seen", "string", true),
            ("Count", "string", true),
            ("Name", "string", true),
        ],
        Resource::Namespaces => &[("Name", "string", false), ("Status", "string", false), ("Age", "string", false)],
        Resource::ConfigMaps => &[("Name", "string", false), ("Data", "string", false), ("Age", "string", false)],
        Resource::Quotas => &[("Name", "string", false), ("Hard", "string", false), ("Age", "string", false)],
        Resource::Nodes => &[
            ("Name", "string", false),
            ("Status", "string", false),
            ("Roles", "string", false),
            ("Age", "string", false),
            ("Version", "string", false),
        ],
    }
}

fn cells(kind: Resource, object: &Object) -> Value {
    let value = &object.value;
    let age = since(&value["metadata"]["creationTimestamp"]);
    match kind {
        Resource::Jobs => json!([
            object.name(),
            job_status(value),
            completions(value),
            job_duration(value),
            age,
            each_container(&value["spec"]["template"]["spec"], "name"),
            each_container(&value["spec"]["template"]["spec"], "image"),
            selector(&value["spec"]["selector"]["matchLabels"]),
        ]),
        Resource::Pods => pod_cells(object, &age),
        Resource::Events => {
            let about = &value["involvedObject"];
            let kind = text(&about["kind"]).to_ascii_lowercase();
            json!([
                since(&value["lastTimestamp"]),
                value["type"],
                value["reason"],
                format!("{kind}/{}", text(&about["name"])),
                text(&about["fieldPath"]),
                text(&value["source"]["component"]),
                text(&value["message"]).trim(),
                since(&value["firstTimestamp"]),
                value["count"].as_i64().unwrap_or(1).to_string(),
                object.name(),
            ])
        }
        Resource::Namespaces => json!([object.name(), text(&value["status"]["phase"]), age]),
        Resource::ConfigMaps => {
            let count = ["data", "binaryData"].map(|part| value[part].as_object().map_or(0, serde_json::Map::len));
            json!([object.name(), (count[0] + count[1]).to_string(), age])
        }
        Resource::Quotas => json!([object.name(), selector(&value["spec"]["hard"]), age]),
        Resource::Nodes => json!([object.name(), "Ready", "<none>", age, "v1.33.0"]),
    }
}

fn job_status(job: &Value) -> &'static str {
    let holds = |kind: &str| {
        let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
        conditions.clone().any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if job["metadata"]["deletionTimestamp"].is_string() => "Terminating",
        () if holds("Suspended") => "Suspended",
        () if holds("FailureTarget") => "FailureTarget",
        () if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = job["status"]["succeeded"].as_u64().unwrap_or(0);
    match (job["spec"]["completions"].as_u64(), job["spec"]["parallelism"].as_u64()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(parallelism)) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn job_duration(job: &Value) -> String {
    let time = |field: &str| text(&job["status"][field]).parse::<Timestamp>().ok();
    match (time("startTime"), time("completionTime")) {
        (Some(start), Some(end)) => human(end.as_second() - start.as_second()),
        (Some(start), None) => human(Timestamp::now().as_second() - start.as_second()),
        _ => String::new(),
    }
}

fn pod_cells(pod: &Object, age: &str) -> Value {
    let value = &pod.value;
    let statuses = || value["status"]["containerStatuses"].as_array().into_iter().flatten();
    let ready = statuses().filter(|status| status["ready"] == Value::Bool(true)).count();
    let all = value["spec"]["containers"].as_array().map_or(0, Vec::len);
    let restarts: i64 = statuses().filter_map(|status| status["restartCount"].as_i64()).sum();
    let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
    json!([
        pod.name(),
        format!("{ready}/{all}"),
        pod_status(pod),
        restarts.to_string(),
        age,
        or_none(text(&value["status"]["podIP"])),
        or_none(text(&value["spec"]["nodeName"])),
        "<none>",
        "<none>",
    ])
}

/// The reason of the first container that has one, as kubectl prints it, or the phase.
fn pod_status(pod: &Object) -> String {
    let status = &pod.value["status"];
    let mut said = text(&status["reason"]).to_owned();
    if said.is_empty() {
        said = text(&status["phase"]).to_owned();
    }
    for container in status["containerStatuses"].as_array().into_iter().flatten() {
        for state in ["waiting", "terminated"] {
            if let Some(reason) = container["state"][state]["reason"].as_str()
                && status["reason"].is_null()
            {
                said = reason.to_owned();
            }
        }
    }
    let first = &status["initContainerStatuses"][0]["state"];
    let trouble = |kind: &str| first[kind]["reason"].as_str().filter(|r| !["Completed", "PodInitializing"].contains(r));
    if let Some(reason) = trouble("waiting").or(trouble("terminated")) {
        said = format!("Init:{reason}");
    }
    if pod.is_leaving() { "Terminating".to_owned() } else { said }
}

fn each_container(spec: &Value, field: &str) -> String {
    let containers = spec["containers"].as_array().into_iter().flatten();
    containers.map(|container| text(&container[field])).collect::<Vec<_>>().join(",")
}

fn selector(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(",")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn since(at: &Value) -> String {
    match text(at).parse::<Timestamp>() {
        Ok(at) => human(Timestamp::now().as_second() - at.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// As kubectl abbreviates: `45s`, `5m30s`, `3h`, `2d`.
fn human(secs: i64) -> String {
    let secs = secs.max(0);
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    match () {
        () if secs < 120 => format!("{secs}s"),
        () if minutes < 10 && secs % 60 > 0 => format!("{minutes}m{}s", secs % 60),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 && minutes % 60 > 0 => format!("{hours}h{}m", minutes % 60),
        () if hours < 48 => format!("{hours}h"),
        () => format!("{days}d"),
    }
}
