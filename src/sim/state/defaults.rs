//! The defaults a real API server fills into new objects.

use serde_json::{Map, Value, json};

use super::object::meta;
use super::resource::Resource;

pub fn fill(resource: Resource, value: &mut Value) {
    match resource {
        Resource::Jobs => job(value),
        Resource::Pods => {
            let spec = &mut value["spec"];
            pod_spec(spec);
            or(spec, "enableServiceLinks", json!(true));
            or(spec, "serviceAccountName", json!("default"));
            or(spec, "serviceAccount", json!("default"));
            or(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
            or(spec, "priority", json!(0));
        }
        Resource::Namespaces => {
            let name = meta(value, "name").to_owned();
            set(&mut value["metadata"], "labels", "kubernetes.io/metadata.name", &name);
            value["spec"] = json!({"finalizers": ["kubernetes"]});
            value["status"] = json!({"phase": "Active"});
        }
        Resource::Nodes | Resource::Events | Resource::ConfigMaps | Resource::Quotas => {}
    }
}

fn job(value: &mut Value) {
    let spec = &mut value["spec"];
    // A Job that sets its parallelism alone is a work queue: it has no number of completions.
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        spec["completions"] = 1.into();
    }
    or(spec, "parallelism", json!(1));
    let per_index = !spec["backoffLimitPerIndex"].is_null();
    or(spec, "backoffLimit", json!(if per_index { i32::MAX } else { 6 }));
    or(spec, "completionMode", json!("NonIndexed"));
    or(spec, "manualSelector", json!(false));
    or(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    or(spec, "suspend", json!(false));
    pod_spec(&mut spec["template"]["spec"]);
}

/// What the Job strategy adds once the Job has its uid: the selector, and the labels it selects.
pub fn own_pods(value: &mut Value) {
    let (name, uid) = (meta(value, "name").to_owned(), meta(value, "uid").to_owned());
    if value["spec"]["manualSelector"] != Value::Bool(true) {
        let metadata = &mut value["spec"]["template"]["metadata"];
        for (key, text) in [
            ("controller-uid", &uid),
            ("batch.kubernetes.io/controller-uid", &uid),
            ("job-name", &name),
            ("batch.kubernetes.io/job-name", &name),
        ] {
            set(metadata, "labels", key, text);
        }
        value["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    }
    let unlabelled = value["metadata"]["labels"].as_object().is_none_or(Map::is_empty);
    if unlabelled {
        value["metadata"]["labels"] = value["spec"]["template"]["metadata"]["labels"].clone();
    }
}

fn pod_spec(spec: &mut Value) {
    or(spec, "restartPolicy", json!("Always"));
    or(spec, "dnsPolicy", json!("ClusterFirst"));
    or(spec, "schedulerName", json!("default-scheduler"));
    or(spec, "securityContext", json!({}));
    or(spec, "terminationGracePeriodSeconds", json!(30));
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            or(container, "resources", json!({}));
            or(container, "terminationMessagePath", json!("/dev/termination-log"));
            or(container, "terminationMessagePolicy", json!("File"));
            let image = container["image"].as_str().unwrap_or_default();
            let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
            or(container, "imagePullPolicy", json!(policy));
            for port in items(container, "ports") {
                or(port, "protocol", json!("TCP"));
            }
            for variable in items(container, "env") {
                if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
                    or(field, "apiVersion", json!("v1"));
                }
            }
        }
    }
}

fn is_latest(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// The items of a list that may be absent (indexing mutably would leave a null there).
fn items<'a>(parent: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    parent.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

fn or(parent: &mut Value, field: &str, value: Value) {
    if parent.is_object() && parent[field].is_null() {
        parent[field] = value;
    }
}

/// Sets one entry of a map of strings, which may not be there yet.
pub fn set(parent: &mut Value, map: &str, key: &str, text: &str) {
    if !parent[map].is_object() {
        parent[map] = Value::Object(Map::new());
    }
    parent[map][key] = text.into();
}
