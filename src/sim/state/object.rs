//! A stored object: its JSON value, and the record that outlives it.
//!
//! An object never changes after its commit; a change is a new object. Its text is made once, and shared by every
//! watcher, list, answer and audit line of that revision, which is what lets the simulator keep up with thousands of
//! Jobs per second. The history keeps records only: a value takes five times the memory of its text.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::resource::Resource;
use super::selector::{field_of, selectable};

pub struct Object {
    pub value: Value,
    record: OnceLock<Arc<Record>>,
}

/// What is kept of an object after it has changed: its text, and what selectors ask about.
pub struct Record {
    pub key: Key,
    pub text: Bytes,
    labels: Vec<(String, String)>,
    /// Fields that a selector may name, where they are not empty.
    fields: Vec<(&'static str, String)>,
}

/// Namespace (empty for cluster-scoped kinds) and name.
pub type Key = (String, String);

impl Record {
    fn of(value: &Value) -> Record {
        let kind = value["kind"].as_str().unwrap_or_default();
        let fields = Resource::ALL.into_iter().find(|resource| resource.info().kind == kind).map(selectable);
        let fields = fields.into_iter().flatten().map(|field| (field, field_of(value, field)));
        Record {
            key: (meta(value, "namespace").to_owned(), meta(value, "name").to_owned()),
            text: value.to_string().into(),
            labels: labels(value),
            fields: fields.filter(|(_, text)| !text.is_empty()).collect(),
        }
    }

    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, text)| text.as_str()).unwrap_or_default()
    }

    /// The whole object again. The text was written here, so it can be read here.
    pub fn object(&self) -> Object {
        Object::new(serde_json::from_slice(&self.text).unwrap_or_default())
    }
}

impl Object {
    pub fn new(value: Value) -> Object {
        Object { value, record: OnceLock::new() }
    }

    pub fn record(&self) -> &Arc<Record> {
        self.record.get_or_init(|| Arc::new(Record::of(&self.value)))
    }

    pub fn text(&self) -> &Bytes {
        &self.record().text
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

    /// The grace period it was given when it was deleted.
    pub fn grace_secs(&self) -> u64 {
        self.value["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0)
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

pub fn labels(value: &Value) -> Vec<(String, String)> {
    let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
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
