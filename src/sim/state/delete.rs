//! Deleting: at once, after a grace period, or when finalizers allow it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::object::Object;
use super::refusal::Refusal;
use super::resource::Resource;
use super::{Call, State, seconds};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Foreground,
    Background,
    Orphan,
}

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub propagation: Option<Propagation>,
    pub uid: Option<String>,
    pub version: Option<String>,
    pub grace_secs: Option<i64>,
    pub dry_run: bool,
}

pub enum Deleted {
    Gone(Arc<Object>),
    /// It has a deletion timestamp, and stays until its pods, node or finalizers let go of it.
    Lingers(Arc<Object>),
}

impl Deleted {
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Deleted::Gone(object) | Deleted::Lingers(object) => object,
        }
    }
}

impl Propagation {
    pub fn parse(text: &str) -> Result<Propagation, Refusal> {
        match text {
            "Foreground" => Ok(Propagation::Foreground),
            "Background" => Ok(Propagation::Background),
            "Orphan" => Ok(Propagation::Orphan),
            other => Err(Refusal::new(
                422,
                "Invalid",
                format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\""
                ),
            )),
        }
    }
}

impl State {
    pub fn delete(&mut self, call: &Call, options: &DeleteOptions) -> Result<Deleted, Refusal> {
        let object = self.get(call.resource, &call.namespace, &call.name)?;
        self.delete_object(call.resource, &object, options)
    }

    pub fn delete_object(
        &mut self,
        kind: Resource,
        object: &Object,
        options: &DeleteOptions,
    ) -> Result<Deleted, Refusal> {
        check_preconditions(kind, object, options)?;
        if options.dry_run {
            return Ok(Deleted::Gone(Arc::new(Object::new(object.value.clone()))));
        }
        match kind {
            Resource::Pods => Ok(self.delete_pod(object, options)),
            Resource::Namespaces => self.delete_namespace(object),
            Resource::Jobs => {
                // For batch/v1 the real server still preserves the pods unless the request says otherwise.
                Ok(self.delete_with_finalizers(kind, object, options.propagation.unwrap_or(Propagation::Orphan)))
            }
            Resource::Nodes | Resource::Events | Resource::ConfigMaps | Resource::Quotas => {
                Ok(self.delete_with_finalizers(kind, object, Propagation::Background))
            }
        }
    }

    fn delete_with_finalizers(&mut self, kind: Resource, object: &Object, propagation: Propagation) -> Deleted {
        let mut finalizers: Vec<&str> =
            object.finalizers().into_iter().filter(|name| ![FOREGROUND, ORPHAN].contains(name)).collect();
        match propagation {
            Propagation::Foreground => finalizers.push(FOREGROUND),
            Propagation::Orphan => finalizers.push(ORPHAN),
            Propagation::Background => {}
        }
        if finalizers.is_empty() {
            return self.gone(kind, object);
        }
        let finalizers = json!(finalizers);
        if object.is_leaving() && object.value["metadata"]["finalizers"] == finalizers {
            return Deleted::Lingers(Arc::new(Object::new(object.value.clone())));
        }
        Deleted::Lingers(self.modify(kind, object, |value| {
            value["metadata"]["finalizers"] = finalizers;
            mark_leaving(value, 0);
        }))
    }

    fn delete_pod(&mut self, pod: &Object, options: &DeleteOptions) -> Deleted {
        let phase = pod.value["status"]["phase"].as_str().unwrap_or_default();
        let idle = pod.value["spec"]["nodeName"].is_null() || ["Succeeded", "Failed"].contains(&phase);
        let wished = options.grace_secs.or(pod.value["spec"]["terminationGracePeriodSeconds"].as_i64());
        let grace = if idle { 0 } else { wished.unwrap_or(30).max(0) };
        let set = pod.value["metadata"]["deletionGracePeriodSeconds"].as_i64();
        let held = !pod.finalizers().is_empty();
        if grace == 0 && !held {
            return self.gone(Resource::Pods, pod);
        }
        // A second delete may shorten the grace period, never lengthen it.
        if pod.is_leaving() && set.is_none_or(|set| set <= grace) {
            return Deleted::Lingers(Arc::new(Object::new(pod.value.clone())));
        }
        Deleted::Lingers(self.modify(Resource::Pods, pod, |value| mark_leaving(value, grace)))
    }

    fn delete_namespace(&mut self, namespace: &Object) -> Result<Deleted, Refusal> {
        if ["default", "kube-system"].contains(&namespace.name()) {
            let why = "this namespace may not be deleted";
            return Err(Refusal::forbidden(Resource::Namespaces, namespace.name(), why));
        }
        if namespace.is_leaving() {
            return Ok(Deleted::Lingers(Arc::new(Object::new(namespace.value.clone()))));
        }
        Ok(Deleted::Lingers(self.modify(Resource::Namespaces, namespace, |value| {
            mark_leaving(value, 0);
            value["status"]["phase"] = "Terminating".into();
        })))
    }

    fn gone(&mut self, kind: Resource, object: &Object) -> Deleted {
        let marked = Object::new(leaving_now(object));
        let last = self.remove(kind, &marked);
        Deleted::Gone(last.unwrap_or_else(|| Arc::new(marked)))
    }
}

fn leaving_now(object: &Object) -> Value {
    let mut value = object.value.clone();
    mark_leaving(&mut value, 0);
    value
}

fn mark_leaving(value: &mut Value, grace_secs: i64) {
    let at = Timestamp::now().checked_add(SignedDuration::from_secs(grace_secs)).unwrap_or(Timestamp::MAX);
    value["metadata"]["deletionTimestamp"] = seconds(at).into();
    value["metadata"]["deletionGracePeriodSeconds"] = grace_secs.into();
}

fn check_preconditions(kind: Resource, object: &Object, options: &DeleteOptions) -> Result<(), Refusal> {
    for (what, wanted, actual) in
        [("UID", &options.uid, object.uid()), ("ResourceVersion", &options.version, object.version())]
    {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != actual) {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}");
            return Err(Refusal::conflict(kind, object.name(), &why));
        }
    }
    Ok(())
}
