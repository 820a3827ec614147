//! The garbage collector and the namespace controller: what goes when its owner goes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::sim::state::{
    Call, DeleteOptions, Due, FOREGROUND, Hand, ORPHAN, Object, Propagation, Resource, State, owner, texts,
};

/// How often a namespace that is going is looked at again.
const NAMESPACE_RETRY: Duration = Duration::from_millis(20);

/// One of the cluster's hands deletes an object. Says whether there was something to do.
pub fn delete(state: &mut State, hand: Hand, kind: Resource, object: &Object, options: &DeleteOptions) -> bool {
    let call = Call::by(hand, "delete", kind, object.namespace(), object.name());
    let Ok(deleted) = state.delete(&call, options) else { return false };
    state.record(&call, 200, Some(&json!({"kind": "DeleteOptions", "apiVersion": "v1"})), deleted.object().text());
    true
}

/// Looks after the pods of a Job that is gone or going.
pub fn dependents(state: &mut State, owner: Uuid) {
    let pods = state.owned_pods(owner);
    let Some(job) = state.find(Resource::Jobs, owner) else {
        for pod in pods.iter().filter(|pod| !pod.is_leaving()) {
            delete(state, Hand::GarbageCollector, Resource::Pods, pod, &DeleteOptions::default());
        }
        return;
    };
    if !job.is_leaving() {
        return;
    }
    if job.finalizers().contains(&ORPHAN) {
        for pod in &pods {
            orphan(state, pod, job.uid());
        }
        release(state, &job, ORPHAN);
    } else if job.finalizers().contains(&FOREGROUND) {
        for pod in pods.iter().filter(|pod| !pod.is_leaving()) {
            delete(state, Hand::GarbageCollector, Resource::Pods, pod, &DeleteOptions::default());
        }
        if state.owned_pods(owner).is_empty() {
            release(state, &job, FOREGROUND);
        }
    }
}

fn orphan(state: &mut State, pod: &Object, owner: &str) {
    patch(state, Resource::Pods, pod, |value| {
        if let Some(owners) = value["metadata"]["ownerReferences"].as_array_mut() {
            owners.retain(|reference| reference["uid"] != owner);
        }
    });
}

/// Removes a finalizer, and the object with its last one.
fn release(state: &mut State, job: &Object, finalizer: &str) {
    let call = Call::by(Hand::GarbageCollector, "patch", Resource::Jobs, job.namespace(), job.name());
    let released = state.modify(Resource::Jobs, job, |value| {
        let kept: Vec<&str> = job.finalizers().into_iter().filter(|name| *name != finalizer).collect();
        value["metadata"]["finalizers"] = json!(kept);
    });
    if released.finalizers().is_empty() {
        state.remove(Resource::Jobs, &released);
    }
    state.record(&call, 200, Some(&json!({"metadata": {"uid": job.uid()}})), released.text());
}

fn patch(state: &mut State, kind: Resource, object: &Object, change: impl FnOnce(&mut Value)) {
    let call = Call::by(Hand::GarbageCollector, "patch", kind, object.namespace(), object.name());
    let changed = state.modify(kind, object, change);
    state.record(&call, 200, Some(&json!({"metadata": {"uid": object.uid()}})), changed.text());
}

/// Empties a namespace that is being deleted, and removes it once it is empty.
pub fn namespace(state: &mut State, uid: Uuid, now: Instant) {
    let Some(namespace) = state.find(Resource::Namespaces, uid) else { return };
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    let mut left = 0;
    for kind in Resource::ALL.into_iter().filter(|kind| kind.info().namespaced) {
        let objects: Vec<_> = state.shelf(kind).in_namespace(namespace.name()).cloned().collect();
        for object in objects.iter().filter(|object| !object.is_leaving()) {
            delete(state, Hand::NamespaceController, kind, object, &background);
        }
        left += state.shelf(kind).in_namespace(namespace.name()).count();
    }
    if left > 0 {
        state.timers.set(Due::Namespace(uid), now + NAMESPACE_RETRY);
        return;
    }
    let held = texts(&namespace.value["metadata"]["finalizers"]);
    if held.is_empty() {
        state.remove(Resource::Namespaces, &namespace);
    }
}

/// A Job and its pods disappear, as if somebody had deleted them by force.
pub fn vanish(state: &mut State, pod: Uuid) {
    let at_once = DeleteOptions { grace_secs: Some(0), ..DeleteOptions::default() };
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    let Some(pod) = state.find(Resource::Pods, pod) else { return };
    let owner = owner(&pod);
    let mut pods = vec![pod];
    if let Some(job) = owner.and_then(|owner| state.find(Resource::Jobs, owner)) {
        delete(state, Hand::Someone, Resource::Jobs, &job, &background);
        pods = owner.map(|owner| state.owned_pods(owner)).unwrap_or_default();
    }
    for pod in &pods {
        delete(state, Hand::Someone, Resource::Pods, pod, &at_once);
    }
}
