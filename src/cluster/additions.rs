//! What a request adds to a manifest that it did not write: variables, arguments, labels, annotations. Nothing that the
//! manifest says is written over: whoever wrote it decided that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::EnvVar;
use serde_json::{Value, json};

use crate::spec::{Fault, escape};

use super::strict;

/// Where the variables and arguments go: into the first container, which by custom is the one that does the work.
const CONTAINER: &str = "/spec/template/spec/containers/0";
/// Where a Job has labels and annotations of its own, and of its pods.
const METADATA: [&str; 2] = ["/metadata", "/spec/template/metadata"];

/// Adds variables and arguments to `manifest`, and names whatever of these it has already. Labels and annotations are only
/// looked at: they are put on Job and pods where those are built.
pub fn add(
    manifest: &mut Value,
    env: Option<&Value>,
    args: &[String],
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    for (field, added) in [("labels", labels), ("annotations", annotations)] {
        let fixed = |key: &str| METADATA.iter().any(|at| says(manifest, at, field, key));
        for key in added.keys().filter(|key| fixed(key)) {
            let pointer = format!("/{field}/{}", escape(key));
            faults.push(Fault::new(pointer, "is fixed by the template, and can only be added to"));
        }
    }
    if let Err(more) = env.map_or(Ok(()), |env| add_env(manifest, env)) {
        faults.extend(more);
    }
    if let (false, Some(container)) = (args.is_empty(), container(manifest)) {
        let list = container.entry("args").or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        if let Value::Array(list) = list {
            list.extend(args.iter().cloned().map(Value::String));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Whether the metadata at `at` has this label or annotation.
fn says(manifest: &Value, at: &str, field: &str, key: &str) -> bool {
    manifest.pointer(at).and_then(|it| it.get(field)?.get(key)).is_some()
}

fn container(manifest: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    manifest.pointer_mut(CONTAINER)?.as_object_mut()
}

fn add_env(manifest: &mut Value, env: &Value) -> Result<(), Vec<Fault>> {
    // What it is called by the request: an object's keys, or a list's places.
    let (added, by_name) = match env {
        Value::Object(entries) => {
            let entry = |(name, value): (&String, &Value)| json!({"name": name, "value": value});
            (entries.iter().map(entry).collect(), true)
        }
        Value::Array(list) => (list.clone(), false),
        _ => return Err(vec![Fault::new("/env", "must be an object of strings, or Kubernetes' list")]),
    };
    if by_name {
        let wrong = added.iter().filter(|it| !it["value"].is_string());
        let fault = |it: &Value| Fault::new(format!("/env/{}", escape(&name_of(it))), "must be a string");
        let wrong: Vec<Fault> = wrong.map(fault).collect();
        if !wrong.is_empty() {
            return Err(wrong);
        }
    } else {
        strict::read::<Vec<EnvVar>>(Value::Array(added.clone()), "/env")?;
    }
    let Some(container) = container(manifest) else { return Ok(()) };
    let list = container.entry("env").or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    let Value::Array(list) = list else { return Ok(()) };
    let fixed: BTreeSet<String> = list.iter().map(name_of).collect();
    let mut faults = Vec::new();
    for (index, it) in added.iter().enumerate() {
        let name = name_of(it);
        if fixed.contains(&name) {
            let pointer = if by_name { format!("/env/{}", escape(&name)) } else { format!("/env/{index}/name") };
            faults.push(Fault::new(pointer, format!("`{name}` is fixed by the template; add others")));
        }
    }
    list.extend(added);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn name_of(variable: &Value) -> String {
    variable["name"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Value {
        json!({
            "metadata": {"labels": {"team": "a"}},
            "spec": {"template": {
                "metadata": {"annotations": {"example.com/note": "b"}},
                "spec": {"containers": [{"name": "main", "env": [{"name": "MODE", "value": "fast"}]}, {"name": "second"}]},
            }},
        })
    }

    fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn additions_go_behind_what_the_first_container_has() {
        let mut job = manifest();
        let args = ["--more".to_owned()];
        add(&mut job, Some(&json!({"EXTRA": "1"})), &args, &strings(&[("app", "x")]), &BTreeMap::new()).unwrap();
        let containers = &job["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers[0]["env"], json!([{"name": "MODE", "value": "fast"}, {"name": "EXTRA", "value": "1"}]));
        assert_eq!(containers[0]["args"], json!(["--more"]));
        assert_eq!(containers[1], json!({"name": "second"}));
    }

    #[test]
    fn what_the_manifest_fixes_is_named_and_nothing_is_written_over() {
        let pointers = |env: Value, labels: &[(&str, &str)], annotations: &[(&str, &str)]| -> Vec<String> {
            let added = add(&mut manifest(), Some(&env), &[], &strings(labels), &strings(annotations));
            added.err().unwrap_or_default().into_iter().map(|it| it.pointer).collect()
        };
        assert_eq!(
            pointers(json!({"MODE": "slow"}), &[("team", "b")], &[("example.com/note", "c")]),
            ["/labels/team", "/annotations/example.com~1note", "/env/MODE"]
        );
        assert_eq!(pointers(json!([{"name": "A"}, {"name": "MODE"}]), &[], &[]), ["/env/1/name"]);
        assert_eq!(pointers(json!({"A": 1}), &[], &[]), ["/env/A"]);
        assert_eq!(pointers(json!([{"namee": "A"}]), &[], &[]), ["/env/0/namee"]);
        assert_eq!(pointers(json!("A=1"), &[], &[]), ["/env"]);
    }
}
