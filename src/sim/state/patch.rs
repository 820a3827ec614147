//! The patches Kubernetes takes: JSON patch, merge patch, strategic merge patch, and apply.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::resource::Resource;
use super::strategic;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    /// Server-side apply; without managed fields it is a strategic merge that may create.
    Apply,
}

/// RFC 6902 allows any number of operations; the real server allows this many.
const OPERATIONS_MAX: usize = 10_000;

impl PatchKind {
    pub fn of(content_type: &str) -> Option<PatchKind> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(PatchKind::Json),
            "application/merge-patch+json" => Some(PatchKind::Merge),
            "application/strategic-merge-patch+json" => Some(PatchKind::Strategic),
            "application/apply-patch+yaml" => Some(PatchKind::Apply),
            _ => None,
        }
    }
}

pub fn patched(resource: Resource, name: &str, kind: PatchKind, old: &Value, patch: &Value) -> Result<Value, Refusal> {
    let mut value = old.clone();
    match kind {
        PatchKind::Json => {
            let invalid = |why: String| {
                Refusal::new(
                    422,
                    "Invalid",
                    format!("the server rejected our request due to an error in our request: {why}"),
                )
                .about(resource, name)
            };
            json_patch(&mut value, patch).map_err(invalid)?;
        }
        PatchKind::Merge => merge(&mut value, patch),
        PatchKind::Strategic | PatchKind::Apply => {
            if !patch.is_object() {
                return Err(Refusal::bad_request("a patch must be an object"));
            }
            strategic::merge(&mut value, patch, "");
        }
    }
    Ok(value)
}

/// RFC 7396.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902.
fn json_patch(target: &mut Value, patch: &Value) -> Result<(), String> {
    let operations = patch.as_array().ok_or("a JSON patch is a list")?;
    if operations.len() > OPERATIONS_MAX {
        return Err(format!("at most {OPERATIONS_MAX} operations"));
    }
    for operation in operations {
        let path = operation["path"].as_str().ok_or("an operation needs a path")?;
        let from = operation["from"].as_str().ok_or("an operation needs a from");
        match operation["op"].as_str().unwrap_or_default() {
            "add" => add(target, path, operation["value"].clone())?,
            "replace" => {
                let spot = target.pointer_mut(path).ok_or_else(|| missing(path))?;
                *spot = operation["value"].clone();
            }
            "remove" => {
                remove(target, path)?;
            }
            "move" => {
                let value = remove(target, from?)?;
                add(target, path, value)?;
            }
            "copy" => {
                let from = from?;
                let value = target.pointer(from).cloned().ok_or_else(|| missing(from))?;
                add(target, path, value)?;
            }
            "test" => {
                if target.pointer(path).unwrap_or(&Value::Null) != &operation["value"] {
                    return Err(format!("testing value {path} failed"));
                }
            }
            other => return Err(format!("unknown operation {other:?}")),
        }
    }
    Ok(())
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let Some((parent, key)) = split(path) else {
        *target = value;
        return Ok(());
    };
    match target.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(key, value);
        }
        Some(Value::Array(items)) => {
            let at = if key == "-" { items.len() } else { key.parse().map_err(|_| missing(path))? };
            if at > items.len() {
                return Err(missing(path));
            }
            items.insert(at, value);
        }
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, key) = split(path).ok_or_else(|| missing(path))?;
    let removed = match target.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&key),
        Some(Value::Array(items)) => key.parse().ok().filter(|at| *at < items.len()).map(|at: usize| items.remove(at)),
        _ => None,
    };
    removed.ok_or_else(|| missing(path))
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, key) = path.rsplit_once('/')?;
    Some((parent, key.replace("~1", "/").replace("~0", "~")))
}

fn missing(path: &str) -> String {
    format!("unable to find path {path:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_json_patch_does_each_operation() {
        let mut value = json!({"a": {"b/c": 1}, "list": [1, 3]});
        let patch = json!([
            {"op": "test", "path": "/a/b~1c", "value": 1},
            {"op": "add", "path": "/list/1", "value": 2},
            {"op": "add", "path": "/list/-", "value": 4},
            {"op": "move", "from": "/a/b~1c", "path": "/a/d"},
            {"op": "copy", "from": "/a/d", "path": "/e"},
            {"op": "replace", "path": "/a/d", "value": 5},
            {"op": "remove", "path": "/list/0"},
        ]);
        assert_eq!(json_patch(&mut value, &patch), Ok(()));
        assert_eq!(value, json!({"a": {"d": 5}, "e": 1, "list": [2, 3, 4]}));
        assert!(json_patch(&mut value, &json!([{"op": "remove", "path": "/none"}])).is_err());
        assert!(json_patch(&mut value, &json!([{"op": "add", "path": "/list/9", "value": 0}])).is_err());
    }
}
