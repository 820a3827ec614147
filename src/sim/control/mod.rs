//! The hands of the simulated cluster: the Job controller, the garbage collector, the namespace controller, the node.
//!
//! None of them is a task. A commit sets timers (`notice`), the clock takes what is due and calls `run`, and each hand
//! looks at the state as it is by then. Their writes go to the audit log as those of the real controllers do.

mod book;
mod collect;
mod container;
mod job;
mod job_status;
mod node;
mod pod_status;
mod tell;
mod trouble;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

pub use book::Book;
pub use node::{Run, node_object};

use super::audit::Answer;
use super::fault::Effect;
use super::state::{Before, Call, Due, Hand, Happened, Object, Resource, State, owner};

pub const NODE_NAME: &str = "sim-node";

/// How soon something that is held up by a fault is tried again.
const HELD_RETRY: Duration = Duration::from_millis(20);

/// Does what is due.
pub fn run(state: &mut State, due: Due, now: Instant) {
    let held = match due {
        Due::Job(_) | Due::Dependents(_) | Due::Namespace(_) => state.faults.pauses(&Effect::PauseControllers),
        Due::Pod(_) | Due::Stop(_) => state.faults.pauses(&Effect::PauseNode),
        Due::Vanish(_) => false,
    };
    if held {
        state.timers.set(due, now + HELD_RETRY);
        return;
    }
    match due {
        Due::Job(uid) => job::sync(state, uid, now),
        Due::Dependents(uid) => collect::dependents(state, uid),
        Due::Namespace(uid) => collect::namespace(state, uid, now),
        Due::Pod(uid) => node::step(state, uid, now),
        Due::Stop(uid) => node::stop(state, uid),
        Due::Vanish(uid) => collect::vanish(state, uid),
    }
}

/// A change was made: sets the timers of those who must look.
pub fn notice(state: &mut State, kind: Resource, happened: Happened, uid: Uuid, object: &Object, old: Option<&Before>) {
    let now = Instant::now();
    let soon = now + state.config.controller_delay;
    match (kind, happened) {
        (Resource::Jobs, Happened::Deleted) => {
            state.books.remove(&uid);
            state.timers.cancel(Due::Job(uid));
            state.timers.by(Due::Dependents(uid), soon);
        }
        (Resource::Jobs, Happened::Added | Happened::Modified) => {
            state.books.entry(uid).or_default();
            if object.is_leaving() {
                state.timers.by(Due::Dependents(uid), soon);
            }
            state.timers.by(Due::Job(uid), soon);
        }
        (Resource::Pods, _) => {
            node::notice(state, happened, uid, object, old, now);
            notice_owner(state, happened, uid, object, now, soon);
        }
        (Resource::Namespaces, Happened::Added | Happened::Modified) if object.is_leaving() => {
            state.timers.by(Due::Namespace(uid), soon);
        }
        _ => {}
    }
}

fn notice_owner(state: &mut State, happened: Happened, uid: Uuid, pod: &Object, now: Instant, soon: Instant) {
    let Some(owner) = owner(pod) else { return };
    if let Some(book) = state.books.get_mut(&owner) {
        book.count(uid, pod, happened, now);
        state.timers.by(Due::Job(owner), soon);
    }
    if happened == Happened::Deleted && state.find(Resource::Jobs, owner).is_none_or(|job| job.is_leaving()) {
        state.timers.by(Due::Dependents(owner), now);
    }
}

/// One of the cluster's hands changes the status of an object.
fn change_status(
    state: &mut State,
    hand: Hand,
    verb: &'static str,
    kind: Resource,
    object: Arc<Object>,
    change: impl FnOnce(&mut Value),
) {
    let call = state.audit.is_on().then(|| Call::by(hand, verb, kind, object.namespace(), object.name()).on_status());
    let changed = state.modify_owned(kind, object, change);
    if let Some(call) = call {
        if verb == "update" {
            let text = Some(changed.text().as_ref());
            state.audit.write(&call, Answer { code: 200, refusal: None, request: text, response: text });
        } else {
            let request = json!({"metadata": {"uid": changed.uid()}, "status": changed.value["status"]});
            state.record(&call, 200, Some(&request), changed.text());
        }
    }
}
