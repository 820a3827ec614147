//! Creating and changing objects, with the checks a real API server makes.

use std::sync::Arc;

use rand::RngExt;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::object::{Object, child, meta};
use super::refusal::Refusal;
use super::resource::Resource;
use super::{Call, State, admit, defaults};

/// Without vowels and digits that look like them, as Kubernetes draws its suffixes.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LEN: usize = 5;
/// As the real server: a generated name must fit 63 characters.
const GENERATED_BASE_MAX_LEN: usize = 58;

impl State {
    /// Creates an object from a client's (already typed) value.
    pub fn create(&mut self, call: &Call, mut value: Value, dry_run: bool) -> Result<Arc<Object>, Refusal> {
        let resource = call.resource;
        resource.stamp(&mut value);
        name_it(call, &mut value)?;
        reset_server_fields(resource, &mut value)?;
        let name = meta(&value, "name").to_owned();
        self.check_namespace(resource, &call.namespace, &name)?;
        value["metadata"]["uid"] = Uuid::new_v4().to_string().into();
        defaults::fill(resource, &mut value);
        if resource == Resource::Jobs {
            defaults::own_pods(&mut value);
        }
        admit::check(resource, &value)?;
        if self.shelf(resource).get(&(call.namespace.clone(), name.clone())).is_some() {
            return Err(Refusal::exists(resource, &name));
        }
        self.check_quota(resource, &call.namespace, &name, &value)?;
        if dry_run {
            value["metadata"]["creationTimestamp"] = super::seconds(jiff::Timestamp::now()).into();
            return Ok(Arc::new(Object::new(value)));
        }
        Ok(self.insert_new(resource, value))
    }

    fn check_namespace(&self, resource: Resource, namespace: &str, name: &str) -> Result<(), Refusal> {
        if !resource.info().namespaced {
            return Ok(());
        }
        let found = self.get(Resource::Namespaces, "", namespace)?;
        if found.is_leaving() {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let mut refusal = Refusal::forbidden(resource, name, &why);
            refusal.details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
            return Err(refusal);
        }
        Ok(())
    }

    /// Replaces an object, or only its status when the call is about the subresource.
    pub fn update(&mut self, call: &Call, mut value: Value, dry_run: bool) -> Result<Arc<Object>, Refusal> {
        let resource = call.resource;
        let old = self.get(resource, &call.namespace, &call.name)?;
        resource.stamp(&mut value);
        check_identity(call, &old, &value)?;
        keep_server_fields(&old, &mut value);
        if call.subresource == "status" {
            keep(&old.value, &mut value, "spec");
        } else {
            if resource.info().has_status {
                keep(&old.value, &mut value, "status");
            }
            if !matches!(resource, Resource::Namespaces) {
                defaults::fill(resource, &mut value);
            }
            admit::check_update(resource, &old.value, &value)?;
        }
        if resource == Resource::Jobs && old.value["spec"] != value["spec"] {
            let generation = old.value["metadata"]["generation"].as_i64().unwrap_or(1);
            value["metadata"]["generation"] = (generation + 1).into();
        }
        if value == old.value {
            return Ok(old);
        }
        if dry_run {
            return Ok(Arc::new(Object::new(value)));
        }
        let held = !old.finalizers().is_empty();
        let changed = self.put(resource, value);
        if changed.is_leaving() && held && changed.finalizers().is_empty() && !is_stopping(resource, &changed) {
            return Ok(self.remove(resource, &changed).unwrap_or(changed));
        }
        Ok(changed)
    }
}

/// A pod whose node has not yet said that it ended.
pub fn is_stopping(resource: Resource, object: &Object) -> bool {
    resource == Resource::Pods && object.grace_secs() > 0
}

pub fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..SUFFIX_LEN).map(|_| char::from(SUFFIX_LETTERS[rng.random_range(0..SUFFIX_LETTERS.len())])).collect()
}

fn name_it(call: &Call, value: &mut Value) -> Result<(), Refusal> {
    let metadata = child(value, "metadata")?;
    let text = |field: &str, metadata: &Map<String, Value>| {
        metadata.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (name, base, namespace) = (text("name", metadata), text("generateName", metadata), text("namespace", metadata));
    if name.is_empty() && !base.is_empty() {
        let base: String = base.chars().take(GENERATED_BASE_MAX_LEN).collect();
        metadata.insert("name".to_owned(), format!("{base}{}", random_suffix()).into());
    }
    if !call.resource.info().namespaced {
        metadata.remove("namespace");
        return Ok(());
    }
    if !namespace.is_empty() && namespace != call.namespace {
        return Err(Refusal::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata.insert("namespace".to_owned(), call.namespace.as_str().into());
    Ok(())
}

/// What a client cannot say about a new object.
fn reset_server_fields(resource: Resource, value: &mut Value) -> Result<(), Refusal> {
    let metadata = child(value, "metadata")?;
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|version| !version.is_empty()) {
        return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
    }
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
        "generation",
    ] {
        metadata.remove(field);
    }
    match resource {
        Resource::Jobs => {
            metadata.insert("generation".to_owned(), 1.into());
            value["status"] = json!({});
        }
        Resource::Pods => value["status"] = json!({"phase": "Pending", "qosClass": qos_class(&value["spec"])}),
        Resource::Namespaces | Resource::Nodes | Resource::Events | Resource::ConfigMaps | Resource::Quotas => {}
    }
    Ok(())
}

fn qos_class(spec: &Value) -> &'static str {
    let containers = || spec["containers"].as_array().into_iter().flatten();
    let is_empty = |part: &Value| part.as_object().is_none_or(Map::is_empty);
    if containers().all(|c| is_empty(&c["resources"]["limits"]) && is_empty(&c["resources"]["requests"])) {
        return "BestEffort";
    }
    let guaranteed = containers().all(|c| {
        let (limits, requests) = (&c["resources"]["limits"], &c["resources"]["requests"]);
        limits.is_object() && (is_empty(requests) || limits == requests)
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

fn check_identity(call: &Call, old: &Object, value: &Value) -> Result<(), Refusal> {
    let name = meta(value, "name");
    if !name.is_empty() && name != call.name {
        let (said, url) = (name, &call.name);
        return Err(Refusal::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({url})"
        )));
    }
    let uid = meta(value, "uid");
    if !uid.is_empty() && uid != old.uid() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid());
        return Err(Refusal::conflict(call.resource, &call.name, &why));
    }
    let version = meta(value, "resourceVersion");
    if !version.is_empty() && version != old.version() {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Refusal::conflict(call.resource, &call.name, why));
    }
    Ok(())
}

fn keep_server_fields(old: &Object, value: &mut Value) {
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    for field in [
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        let (before, after) = (&old.value["metadata"], &mut value["metadata"]);
        keep(before, after, field);
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

fn keep(old: &Value, new: &mut Value, field: &str) {
    match old.get(field) {
        Some(kept) => new[field] = kept.clone(),
        None => {
            new.as_object_mut().and_then(|map| map.remove(field));
        }
    }
}
