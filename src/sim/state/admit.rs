//! What a real API server would refuse in an object: names, labels, pods and Jobs that make no sense.

use serde_json::Value;

use super::object::meta;
use super::refusal::{Cause, Refusal};
use super::resource::Resource;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const LABEL_KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

pub fn check(resource: Resource, value: &Value) -> Result<(), Refusal> {
    let mut wrong = Vec::new();
    check_metadata(resource, value, &mut wrong);
    match resource {
        Resource::Jobs => check_job(&value["spec"], &mut wrong),
        Resource::Pods => check_pod(&value["spec"], "spec", &mut wrong),
        Resource::Namespaces | Resource::Nodes | Resource::Events | Resource::ConfigMaps | Resource::Quotas => {}
    }
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::invalid(resource, meta(value, "name"), &wrong)) }
}

fn check_metadata(resource: Resource, value: &Value, wrong: &mut Vec<Cause>) {
    let name = meta(value, "name");
    let said = Value::from(name);
    if name.is_empty() {
        wrong.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if resource == Resource::Namespaces {
        if !is_label_name(name) {
            wrong.push(Cause::invalid("metadata.name", &said, LABEL));
        }
    } else if name.len() > 253 || !name.split('.').all(is_label_name_of_any_length) {
        wrong.push(Cause::invalid("metadata.name", &said, SUBDOMAIN));
    } else if resource == Resource::Jobs && name.len() > 63 {
        // The pods carry the name as a label.
        wrong.push(Cause::invalid("metadata.name", &said, "must be no more than 63 characters"));
    }
    check_labels(&value["metadata"]["labels"], "metadata.labels", wrong);
    let annotations = value["metadata"]["annotations"].as_object();
    let bytes: usize = annotations.into_iter().flatten().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATIONS_MAX_BYTES {
        let message = format!("Too long: may not be more than {ANNOTATIONS_MAX_BYTES} bytes");
        wrong.push(Cause { reason: "FieldValueTooLong", field: "metadata.annotations".to_owned(), message });
    }
    for (key, _) in annotations.into_iter().flatten().filter(|(key, _)| !is_qualified_name(key)) {
        wrong.push(Cause::invalid("metadata.annotations", &key.as_str().into(), LABEL_KEY));
    }
}

fn check_labels(labels: &Value, path: &str, wrong: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if !is_qualified_name(key) {
            wrong.push(Cause::invalid(path, &key.as_str().into(), LABEL_KEY));
        }
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            wrong.push(Cause::invalid(path, value, "must be no more than 63 characters"));
        } else if !text.is_empty() && !is_name_part(text) {
            wrong.push(Cause::invalid(path, value, LABEL_VALUE));
        }
    }
}

fn check_job(spec: &Value, wrong: &mut Vec<Cause>) {
    for field in ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"] {
        if spec[field].as_i64().is_some_and(|number| number < 0) {
            wrong.push(Cause::invalid(format!("spec.{field}"), &spec[field], "must be greater than or equal to 0"));
        }
    }
    check_labels(&spec["template"]["metadata"]["labels"], "spec.template.metadata.labels", wrong);
    if spec["completionMode"] == "Indexed" && spec["completions"].is_null() {
        wrong.push(Cause::required("spec.completions", "when completion mode is Indexed"));
    }
    let mode = &spec["completionMode"];
    if mode.as_str().is_some_and(|mode| !["Indexed", "NonIndexed"].contains(&mode)) {
        wrong.push(Cause::unsupported("spec.completionMode", mode, "\"Indexed\", \"NonIndexed\""));
    }
    let pod = &spec["template"]["spec"];
    check_pod(pod, "spec.template.spec", wrong);
    if !["Never", "OnFailure"].contains(&pod["restartPolicy"].as_str().unwrap_or_default()) {
        let field = "spec.template.spec.restartPolicy";
        wrong.push(Cause::required(field, "valid values: \"OnFailure\", \"Never\""));
    }
}

fn check_pod(spec: &Value, path: &str, wrong: &mut Vec<Cause>) {
    let policy = &spec["restartPolicy"];
    if policy.as_str().is_some_and(|policy| !["Always", "OnFailure", "Never"].contains(&policy)) {
        let supported = "\"Always\", \"Never\", \"OnFailure\"";
        wrong.push(Cause::unsupported(format!("{path}.restartPolicy"), policy, supported));
    }
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        wrong.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut names = std::collections::HashSet::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let at = format!("{path}.{list}[{index}]");
            let name = container["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                wrong.push(Cause::required(format!("{at}.name"), ""));
            } else if !is_label_name(name) {
                wrong.push(Cause::invalid(format!("{at}.name"), &container["name"], LABEL));
            } else if !names.insert(name) {
                let message = format!("Duplicate value: {}", container["name"]);
                wrong.push(Cause { reason: "FieldValueDuplicate", field: format!("{at}.name"), message });
            }
            match container["image"].as_str().unwrap_or_default() {
                "" => wrong.push(Cause::required(format!("{at}.image"), "")),
                image if image.trim() != image => wrong.push(Cause::invalid(
                    format!("{at}.image"),
                    &container["image"],
                    "must not have leading or trailing whitespace",
                )),
                _ => {}
            }
            check_env(&container["env"], &at, wrong);
        }
    }
}

fn check_env(env: &Value, at: &str, wrong: &mut Vec<Cause>) {
    for (index, variable) in env.as_array().into_iter().flatten().enumerate() {
        let name = variable["name"].as_str().unwrap_or_default();
        let field = format!("{at}.env[{index}].name");
        if name.is_empty() {
            wrong.push(Cause::required(field, ""));
        } else if name.contains('=') || name.chars().any(char::is_control) {
            wrong.push(Cause::invalid(
                field,
                &variable["name"],
                "a valid environment variable name must not contain '='",
            ));
        }
        let path = &variable["valueFrom"]["fieldRef"]["fieldPath"];
        if path.as_str().is_some_and(|it| !is_field_of_a_pod(it)) {
            let why =
                format!("error converting fieldPath: field label not supported: {}", path.as_str().unwrap_or_default());
            wrong.push(Cause::invalid(format!("{at}.env[{index}].valueFrom.fieldRef.fieldPath"), path, &why));
        }
    }
}

/// What a container may be told of its pod.
fn is_field_of_a_pod(path: &str) -> bool {
    let fields = ["metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName"];
    let addresses = ["status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"];
    let maps = ["metadata.labels['", "metadata.annotations['"];
    fields.contains(&path) || addresses.contains(&path) || maps.iter().any(|it| path.starts_with(it))
}

/// Fields that may not change once the object exists.
pub fn check_update(resource: Resource, old: &Value, new: &Value) -> Result<(), Refusal> {
    check(resource, new)?;
    let mut wrong = Vec::new();
    if resource == Resource::Jobs {
        let was_suspended = old["spec"]["suspend"] == Value::Bool(true);
        for field in ["completions", "selector", "template"] {
            let (before, after) = (&old["spec"][field], &new["spec"][field]);
            if before != after && !(field == "template" && was_suspended) {
                wrong.push(Cause::invalid(format!("spec.{field}"), after, "field is immutable"));
            }
        }
    }
    if resource == Resource::Pods && old["spec"] != new["spec"] {
        let why = "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations`";
        let mut stripped = [old["spec"].clone(), new["spec"].clone()];
        for spec in &mut stripped {
            spec["activeDeadlineSeconds"] = Value::Null;
            spec["tolerations"] = Value::Null;
            for container in spec["containers"].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        if stripped[0] != stripped[1] {
            let message = format!("Forbidden: {why}");
            wrong.push(Cause { reason: "FieldValueForbidden", field: "spec".to_owned(), message });
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::invalid(resource, meta(new, "name"), &wrong)) }
}

fn is_label_name(name: &str) -> bool {
    name.len() <= 63 && is_label_name_of_any_length(name)
}

fn is_label_name_of_any_length(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(inside) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_name_part(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= 63 && edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inside)
}

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            prefix.len() <= 253 && prefix.split('.').all(is_label_name_of_any_length) && is_name_part(name)
        }
        None => is_name_part(key),
    }
}
