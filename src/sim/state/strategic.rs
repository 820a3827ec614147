//! Strategic merge patch: a merge patch that merges some lists by a key of their items.
//!
//! The real server reads the keys from its types; this is the part of that table that Jobs and pods need.

use serde_json::{Map, Value};

/// Lists of objects, by field name, and the key that tells their items apart.
const MERGE_KEYS: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("containerStatuses", &[]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("imagePullSecrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("ports", &["containerPort"]),
    ("ownerReferences", &["uid"]),
    ("conditions", &["type"]),
    ("podIPs", &["ip"]),
    ("topologySpreadConstraints", &["topologyKey"]),
];

/// Lists of plain values that are merged as sets.
const SETS: &[&str] = &["finalizers"];

pub fn merge(target: &mut Value, patch: &Value, field: &str) {
    match patch {
        Value::Object(map) if map.get("$patch").and_then(Value::as_str) == Some("replace") => {
            *target = without_directives(map);
        }
        Value::Object(map) => merge_object(target, map),
        Value::Array(items) => merge_list(target, items, field),
        _ => *target = patch.clone(),
    }
}

fn merge_object(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    if patch.get("$patch").and_then(Value::as_str) == Some("delete") {
        map.clear();
        return;
    }
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| kept.iter().any(|kept| kept.as_str() == Some(key)));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(items) = map.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        } else if !key.starts_with('$') {
            if value.is_null() {
                map.remove(key);
            } else {
                merge(map.entry(key.as_str()).or_insert(Value::Null), value, key);
            }
        }
    }
}

fn merge_list(target: &mut Value, patch: &[Value], field: &str) {
    let keys = MERGE_KEYS.iter().find(|(list, _)| *list == field).map(|(_, keys)| *keys).unwrap_or_default();
    let is_set = SETS.contains(&field);
    if !target.is_array() || (keys.is_empty() && !is_set) {
        *target = Value::Array(patch.iter().filter(|item| directive(item).is_none()).map(plain).collect());
        return;
    }
    let Value::Array(items) = target else { return };
    if patch.iter().any(|item| directive(item) == Some("replace")) {
        *items = patch.iter().filter(|item| directive(item).is_none()).map(plain).collect();
        return;
    }
    for item in patch {
        let same =
            |other: &Value| if is_set { other == item } else { keys.iter().all(|key| other[*key] == item[*key]) };
        let at = items.iter().position(same);
        match (at, directive(item)) {
            (Some(at), Some("delete")) => {
                items.remove(at);
            }
            (None, Some("delete")) => {}
            (Some(at), _) if !is_set => merge(&mut items[at], item, ""),
            (Some(_), _) => {}
            (None, _) => items.push(plain(item)),
        }
    }
}

fn directive(item: &Value) -> Option<&str> {
    item.get("$patch").and_then(Value::as_str)
}

fn plain(item: &Value) -> Value {
    match item {
        Value::Object(map) => without_directives(map),
        other => other.clone(),
    }
}

/// New content may carry directives at any depth; merging it into nothing drops them.
fn without_directives(map: &Map<String, Value>) -> Value {
    let mut copy = map.clone();
    copy.remove("$patch");
    let mut value = Value::Object(Map::new());
    merge_object(&mut value, &copy);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_of_objects_merge_by_their_key() {
        let mut value = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]},
            "metadata": {"finalizers": ["x"]}});
        let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c"}]},
            "metadata": {"finalizers": ["y"], "labels": {"k": "v", "gone": null}}});
        merge(&mut value, &patch, "");
        assert_eq!(
            value,
            json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]},
                "metadata": {"finalizers": ["x", "y"], "labels": {"k": "v"}}})
        );
    }
}
