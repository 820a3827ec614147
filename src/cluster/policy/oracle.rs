//! The policy against an oracle that knows no types: whatever is put together is refused exactly if the built Job has
//! something hostile anywhere in it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    PodPolicy,
    tests::{CONTAINERS, built, complete, container_cases, pod_cases, set, with},
};

/// Fragments, wherever they may stand, by where they are put.
fn fragments() -> Vec<(String, Value)> {
    let of_containers = container_cases();
    let in_containers = CONTAINERS
        .iter()
        .flat_map(|at| of_containers.iter().map(move |(path, value, _)| (format!("{at}{path}"), value.clone())));
    let mut all: Vec<(String, Value)> = in_containers.collect();
    all.extend(pod_cases().into_iter().map(|(path, value, _)| (path.to_owned(), value)));
    let harmless = [
        ("/spec/volumes/0", json!({"name": "v", "emptyDir": {}})),
        ("/spec/volumes/1", json!({"name": "w", "hostPath": {"path": "/"}})),
        ("/spec/containers/0/env/0", json!({"name": "privileged", "value": "true"})),
        ("/spec/hostNetwork", json!(false)),
        ("/spec/containers/0/securityContext/privileged", json!(false)),
        ("/spec/nodeSelector", json!({"hostPath": "x"})),
    ];
    all.extend(harmless.map(|(path, value)| (path.to_owned(), value)));
    all
}

/// Whether JSON of a Job has in it, anywhere, what the default policy is there to keep out: keys and values, no types.
fn is_hostile(value: &Value, key: &str) -> bool {
    let text = value.as_str().unwrap_or_default();
    let here = match key {
        "privileged" | "hostNetwork" | "hostPID" | "hostIPC" | "hostProcess" | "allowPrivilegeEscalation" => {
            value == &json!(true)
        }
        "hostPath" | "host" | "nodeName" | "runtimeClassName" | "user" | "role" => !value.is_null(),
        "hostPort" => value != &json!(0),
        "add" => value.as_array().is_some_and(|it| !it.is_empty()),
        "procMount" => text != "Default",
        "serviceAccountName" | "serviceAccount" => text != "default",
        "mountPropagation" => text == "Bidirectional",
        "type" => matches!(text, "Unconfined" | "spc_t"),
        "priorityClassName" => text.starts_with("system-"),
        "terminationGracePeriodSeconds" => value.as_i64() > Some(3600),
        // What people name themselves is no field.
        "env" | "nodeSelector" => return false,
        _ => text == "unconfined",
    };
    here || match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| is_hostile(value, key)),
        Value::Array(items) => items.iter().any(|it| is_hostile(it, "")),
        _ => false,
    }
}

proptest! {
    #[test]
    fn whatever_is_put_together_is_refused_exactly_if_the_built_job_has_something_hostile_in_it(
        chosen in proptest::sample::subsequence(fragments(), 0..8),
        annotations in proptest::collection::btree_map(
            proptest::sample::select(vec!["a", "seccomp.security.alpha.kubernetes.io/pod"]),
            proptest::sample::select(vec!["runtime/default", "unconfined"]), 0..2),
    ) {
        let mut spec = with("/spec/restartPolicy", json!("Never"));
        let template = spec.manifest.as_mut().unwrap().pointer_mut("/spec/template").unwrap();
        for (path, value) in &chosen {
            set(template, path, value.clone());
            complete(template, path);
        }
        spec.annotations = annotations.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        // An annotation without meaning is harmless whatever it says.
        spec.annotations.remove("a");
        let Ok(job) = built(&spec) else { return Ok(()) };
        let hostile = is_hostile(&serde_json::to_value(&job).unwrap(), "");
        let refused = PodPolicy::default().check(job, &spec);
        prop_assert_eq!(refused.is_err(), hostile, "{:?}", refused);
    }
}
