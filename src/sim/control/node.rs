//! The pretend node (and scheduler): binds pods, starts them, ends them when their time has come.
//!
//! A pod takes one step at a time, and each step is a commit of its own, so that watchers see the same sequence of
//! states as from a real kubelet, however short the pod runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::book::backoff;
use super::container::{Place, Shown};
use super::pod_status::{self, has_ended};
use super::tell::{KUBELET, SCHEDULER};
use super::{NODE_NAME, change_status, collect, trouble};
use crate::sim::behaviour::{Behaviour, Outcome, Trouble};
use crate::sim::state::{Before, DeleteOptions, Due, Hand, Happened, Object, Resource, State};

/// What the node knows of a pod.
#[derive(Clone, Debug)]
pub struct Run {
    pub behaviour: Behaviour,
    /// When its program began, and when that ended: the status tells whole seconds only.
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    next: Step,
    restarts: u64,
    /// How often its trouble showed itself.
    tries: u32,
    heals_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Bind,
    Start,
    Finish,
    Nothing,
}

/// How long a preempted pod is kept after it has ended: a real one has a finalizer until the Job controller counted it.
const COUNTING: Duration = Duration::from_secs(1);

impl Run {
    fn new(pod: &Object, state: &State, now: Instant) -> Run {
        let behaviour = Behaviour::read(&pod.value["metadata"], &state.config.behaviour());
        let heals_at = behaviour.heals_after.and_then(|after| now.checked_add(after));
        Run { behaviour, started: None, ended: None, next: Step::Bind, restarts: 0, tries: 0, heals_at }
    }

    /// What comes of it as things are now: trouble may have healed, and a pod that exists has got over having none.
    fn outcome(&self, now: Instant) -> Outcome {
        match self.behaviour.outcome {
            Outcome::Stuck(Trouble::NoPod) => self.behaviour.then,
            Outcome::Stuck(_) if self.heals_at.is_some_and(|at| at <= now) => self.behaviour.then,
            outcome => outcome,
        }
    }

    /// The step is tried again when the trouble shows itself again, or has healed.
    fn held(&self, step: Step, again: Option<Duration>, now: Instant) -> Option<Next> {
        let heals = self.heals_at.filter(|at| *at > now).map(|at| at - now);
        Some((step, again.into_iter().chain(heals).min()?))
    }
}

pub fn notice(state: &mut State, happened: Happened, uid: Uuid, pod: &Object, old: Option<&Before>, now: Instant) {
    match happened {
        Happened::Added => {
            let run = Run::new(pod, state, now);
            state.runs.insert(uid, run);
            state.timers.set(Due::Pod(uid), now);
        }
        Happened::Modified => {
            if has_ended(pod)
                && let Some(run) = state.runs.get_mut(&uid)
            {
                run.ended.get_or_insert_with(Timestamp::now);
            }
            let was_leaving = old.is_some_and(|old| old.leaving);
            let shorter = old.is_some_and(|old| pod.grace_secs() < old.grace_secs);
            if pod.is_leaving() && (!was_leaving || shorter) {
                let wish = state.runs.get(&uid).map_or(Duration::ZERO, |run| run.behaviour.stop);
                state.timers.cancel(Due::Pod(uid));
                state.timers.set(Due::Stop(uid), now + wish.min(grace(pod)));
            }
        }
        Happened::Deleted => {
            state.runs.remove(&uid);
            for due in [Due::Pod(uid), Due::Stop(uid), Due::Vanish(uid)] {
                state.timers.cancel(due);
            }
        }
    }
}

fn grace(pod: &Object) -> Duration {
    Duration::from_secs(pod.grace_secs())
}

/// Takes the pod's next step.
pub fn step(state: &mut State, uid: Uuid, now: Instant) {
    let (Some(pod), Some(run)) = (state.find(Resource::Pods, uid), state.runs.get(&uid).cloned()) else { return };
    // Somebody else may have ended it: a test that plays the kubelet, or an eviction.
    if pod.is_leaving() || has_ended(&pod) {
        return;
    }
    let outcome = run.outcome(now);
    let next = match run.next {
        Step::Bind => bind(state, pod, &run, outcome, now),
        Step::Start => start(state, uid, pod, &run, outcome, now),
        Step::Finish => finish(state, uid, pod, &run, outcome),
        Step::Nothing => None,
    };
    if let Some(run) = state.runs.get_mut(&uid) {
        run.next = next.map_or(Step::Nothing, |(step, _)| step);
        if let Some((_, wait)) = next {
            state.timers.set(Due::Pod(uid), now + wait);
        }
    }
}

type Next = (Step, Duration);

fn bind(state: &mut State, pod: Arc<Object>, run: &Run, outcome: Outcome, now: Instant) -> Option<Next> {
    if outcome == Outcome::Stuck(Trouble::Unschedulable) {
        trouble::unschedulable(state, pod);
        return run.held(Step::Bind, None, now);
    }
    let message = format!("Successfully assigned {}/{} to {NODE_NAME}", pod.namespace(), pod.name());
    SCHEDULER.tell(state, Resource::Pods, &pod, "Scheduled", &message);
    if let Outcome::Stuck(trouble @ (Trouble::Mount | Trouble::NeverStarts)) = outcome {
        trouble::failed_mount(state, &pod, trouble);
    }
    patch(state, pod, pod_status::bind);
    Some((Step::Start, run.behaviour.start))
}

/// Where it happens: an init container may be in trouble, or fail, before the others begin.
fn place(pod: &Object, run: &Run, outcome: Outcome) -> Place {
    let strikes = match outcome {
        Outcome::Exit(code) => code != 0,
        Outcome::OomKilled | Outcome::StartError | Outcome::Stuck(_) => true,
        Outcome::Evicted | Outcome::Preempted | Outcome::NodeLost | Outcome::PodDeleted | Outcome::Vanishes => false,
    };
    let init = run.behaviour.in_init && strikes && Place::Init.exists_in(&pod.value);
    if init { Place::Init } else { Place::Main }
}

fn start(state: &mut State, uid: Uuid, pod: Arc<Object>, run: &Run, outcome: Outcome, now: Instant) -> Option<Next> {
    let place = place(&pod, run, outcome);
    if let Outcome::Stuck(trouble) = outcome {
        let again = trouble::show(state, pod, place, trouble, run.tries);
        if let Some(run) = state.runs.get_mut(&uid) {
            run.tries = run.tries.saturating_add(1);
        }
        return run.held(Step::Start, again, now);
    }
    tell_start(state, &pod, place, outcome);
    if outcome == Outcome::StartError {
        let message = trouble::start_error(state, &pod, place);
        let how = Shown::Terminated { exit_code: 128, reason: "StartError", message: &message };
        patch(state, pod, |value| pod_status::ended(value, place, how));
        return None;
    }
    if let Some(run) = state.runs.get_mut(&uid) {
        run.started = Some(Timestamp::now());
    }
    let revision = state.revision;
    patch(state, pod, |value| match place {
        Place::Init => pod_status::initializing(value, revision),
        Place::Main => pod_status::running(value, revision),
    });
    if outcome == Outcome::Vanishes {
        state.timers.set(Due::Vanish(uid), now + run.behaviour.duration / 2);
    }
    Some((Step::Finish, run.behaviour.duration))
}

fn tell_start(state: &mut State, pod: &Object, place: Place, outcome: Outcome) {
    let container = place.first(pod);
    let text = |field: &str| container[field].as_str().unwrap_or_default();
    let (name, part) = (text("name"), place.part(pod));
    let pulled = format!("Container image \"{}\" already present on machine", text("image"));
    KUBELET.tell_part(state, Resource::Pods, pod, &part, "Pulled", &pulled);
    KUBELET.tell_part(state, Resource::Pods, pod, &part, "Created", &format!("Created container: {name}"));
    if outcome != Outcome::StartError {
        KUBELET.tell_part(state, Resource::Pods, pod, &part, "Started", &format!("Started container {name}"));
    }
}

fn finish(state: &mut State, uid: Uuid, pod: Arc<Object>, run: &Run, outcome: Outcome) -> Option<Next> {
    let (exit_code, reason) = match outcome {
        Outcome::Exit(0) => (0, "Completed"),
        Outcome::Exit(code) => (code, "Error"),
        Outcome::OomKilled => (137, "OOMKilled"),
        Outcome::Evicted => {
            trouble::evict(state, pod);
            return None;
        }
        Outcome::Preempted => {
            trouble::preempt(state, pod);
            return None;
        }
        Outcome::NodeLost => {
            trouble::lose_node(state, pod);
            return None;
        }
        Outcome::PodDeleted => {
            trouble::delete_by_hand(state, &pod);
            return None;
        }
        // These never run, or are gone before they end.
        Outcome::Stuck(_) | Outcome::StartError | Outcome::Vanishes => return None,
    };
    let place = place(&pod, run, outcome);
    let message = run.behaviour.termination_message.as_deref().unwrap_or_default();
    let how = Shown::Terminated { exit_code, reason, message };
    let policy = pod.value["spec"]["restartPolicy"].as_str().unwrap_or_default();
    if policy == "Always" || (policy == "OnFailure" && exit_code != 0) {
        let name = place.first(&pod)["name"].as_str().unwrap_or_default();
        let message = format!("Back-off restarting failed container {name} in pod {}", pod.name());
        KUBELET.warns().tell_part(state, Resource::Pods, &pod, &place.part(&pod), "BackOff", &message);
        patch(state, pod, |value| pod_status::backing_off(value, place, how));
        let restarts = run.restarts + 1;
        if let Some(run) = state.runs.get_mut(&uid) {
            run.restarts = restarts;
        }
        return Some((Step::Start, backoff(restarts)));
    }
    patch(state, pod, |value| pod_status::ended(value, place, how));
    None
}

/// The pod was told to end, and now has: first its status says so, then the node lets it be removed.
pub fn stop(state: &mut State, uid: Uuid) {
    let Some(mut pod) = state.find(Resource::Pods, uid) else { return };
    if !has_ended(&pod) {
        let run = state.runs.get(&uid).cloned();
        tell_end(state, pod, run.as_ref());
        if run.is_some_and(|run| run.behaviour.outcome == Outcome::Preempted && run.started.is_some()) {
            state.timers.set(Due::Stop(uid), Instant::now() + COUNTING);
            return;
        }
        match state.find(Resource::Pods, uid) {
            Some(ended) => pod = ended,
            None => return,
        }
    }
    let at_once = DeleteOptions { grace_secs: Some(0), uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
    collect::delete(state, Hand::Node, Resource::Pods, &pod, &at_once);
}

fn tell_end(state: &mut State, pod: Arc<Object>, run: Option<&Run>) {
    if run.is_none_or(|run| run.started.is_none()) {
        patch(state, pod, pod_status::ended_unstarted);
        return;
    }
    let killed = run.is_some_and(|run| run.behaviour.stop > grace(&pod));
    let exit_code = if killed { 137 } else { 143 };
    let name = Place::Main.first(&pod)["name"].as_str().unwrap_or_default();
    let (part, message) = (Place::Main.part(&pod), format!("Stopping container {name}"));
    KUBELET.tell_part(state, Resource::Pods, &pod, &part, "Killing", &message);
    let place = if pod_status::phase(&pod) == "Pending" { Place::Init } else { Place::Main };
    let how = Shown::Terminated { exit_code, reason: "Error", message: "" };
    patch(state, pod, |value| pod_status::ended(value, place, how));
}

pub fn patch(state: &mut State, pod: Arc<Object>, change: impl FnOnce(&mut Value)) {
    change_status(state, Hand::Node, "patch", Resource::Pods, pod, change);
}

pub fn node_object() -> Value {
    json!({
        "metadata": {"name": NODE_NAME, "labels": {"kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {
            "capacity": {"cpu": "1000", "memory": "1000Gi", "pods": "100000"},
            "allocatable": {"cpu": "1000", "memory": "1000Gi", "pods": "100000"},
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "the simulated node is always ready",
            }],
            "addresses": [{"type": "Hostname", "address": NODE_NAME}],
            "nodeInfo": {
                "kubeletVersion": "v1.33.0", "osImage": "longshore-sim", "kernelVersion": "", "architecture": "amd64",
                "operatingSystem": "linux", "containerRuntimeVersion": "sim://1", "kubeProxyVersion": "v1.33.0",
                "machineID": "", "systemUUID": "", "bootID": "",
            },
        },
    })
}
