//! A stored object: its JSON value, and its text, made once for all who send it.
//!
//! An object never changes after its commit; a change is a new object. So every watcher, list and audit line of one
//! revision shares one serialisation, which is what lets the simulator keep up with thousands of Jobs per second.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::refusal::Refusal;

pub struct Object {
    pub value: Value,
    text: OnceLock<Bytes>,
}

/// Namespace (empty for cluster-scoped kinds) and name.
pub type Key = (String, String);

impl Object {
    pub fn new(value: Value) -> Object {
        Object { value, text: OnceLock::new() }
    }

    pub fn text(&self) -> &Bytes {
        self.text.get_or_init(|| Bytes::from(self.value.to_string()))
    }

    pub fn key(&self) -> Key {
        (self.namespace().to_owned(), self.name().to_owned())
    }

    pub fn name(&self) -> &str {
        meta(&self.value, "name")
    }

    pub fn namespace(&self) -> &str {
        meta(&self.value, "namespace")
    }

    pub fn uid(&self) -> &str {
        meta(&self.value, "uid")
    }

    pub fn version(&self) -> &str {
        meta(&self.value, "resourceVersion")
    }

    pub fn is_leaving(&self) -> bool {
        !meta(&self.value, "deletionTimestamp").is_empty()
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.value["metadata"]["annotations"][key].as_str()
    }

    pub fn finalizers(&self) -> Vec<&str> {
        texts(&self.value["metadata"]["finalizers"])
    }

    /// The uid of the controller that owns this object, if one does.
    pub fn controller(&self) -> Option<&str> {
        let owners = self.value["metadata"]["ownerReferences"].as_array()?;
        owners.iter().find(|owner| owner["controller"] == Value::Bool(true)).and_then(|owner| owner["uid"].as_str())
    }
}

/// A string in the metadata, empty where it is absent.
pub fn meta<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or_default()
}

pub fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// The map at `parent[field]`, made if it is absent or null. Anything else there is the client's mistake.
pub fn child<'a>(parent: &'a mut Value, field: &str) -> Result<&'a mut Map<String, Value>, Refusal> {
    let wrong = || Refusal::bad_request(format!("{field} must be an object"));
    let slot = parent.as_object_mut().ok_or_else(wrong)?.entry(field).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().ok_or_else(wrong)
}
