//! The pretend node (and scheduler): binds pods, starts them, ends them when their time has come.
//!
//! A pod takes one step at a time, and each step is a commit of its own, so that watchers see the same sequence of
//! states as from a real kubelet, however short the pod runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::book::backoff;
use super::pod_status::{self, Container, phase};
use super::tell::{KUBELET, SCHEDULER};
use super::{NODE_NAME, change_status, collect};
use crate::sim::behaviour::{Behaviour, Outcome};
use crate::sim::state::{Before, DeleteOptions, Due, Hand, Happened, Object, Resource, State};

/// What the node knows of a pod.
#[derive(Clone, Debug)]
pub struct Run {
    behaviour: Behaviour,
    next: Step,
    restarts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Bind,
    FailToPull,
    BackOffPulling,
    Start,
    Finish,
    Nothing,
}

/// From the first failure to pull an image to the first back-off; 10 s or more on a real node.
const PULL_BACKOFF: Duration = Duration::from_millis(100);
const UNSCHEDULABLE: &str = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

pub fn notice(state: &mut State, happened: Happened, uid: Uuid, pod: &Object, old: Option<&Before>, now: Instant) {
    match happened {
        Happened::Added => {
            let behaviour = Behaviour::read(&pod.value["metadata"]["annotations"], &state.config.behaviour());
            state.runs.insert(uid, Run { behaviour, next: Step::Bind, restarts: 0 });
            state.timers.set(Due::Pod(uid), now);
        }
        Happened::Modified => {
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
    if pod.is_leaving() || ["Succeeded", "Failed"].contains(&phase(&pod)) {
        return;
    }
    let behaviour = &run.behaviour;
    let next = match run.next {
        Step::Bind => bind(state, pod, behaviour),
        Step::FailToPull => Some(fail_to_pull(state, pod)),
        Step::BackOffPulling => back_off_pulling(state, pod),
        Step::Start => Some(start(state, uid, pod, behaviour, now)),
        Step::Finish => finish(state, uid, pod, &run),
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

fn bind(state: &mut State, pod: Arc<Object>, behaviour: &Behaviour) -> Option<Next> {
    if behaviour.outcome == Outcome::Unschedulable {
        SCHEDULER.warns().tell(state, Resource::Pods, &pod, "FailedScheduling", UNSCHEDULABLE);
        patch(state, pod, |value| pod_status::unschedulable(value, UNSCHEDULABLE));
        return None;
    }
    let message = format!("Successfully assigned {}/{} to {NODE_NAME}", pod.namespace(), pod.name());
    SCHEDULER.tell(state, Resource::Pods, &pod, "Scheduled", &message);
    if behaviour.outcome == Outcome::NeverStarts {
        let message = "MountVolume.SetUp failed for volume \"data\" : configmap \"absent\" not found";
        KUBELET.warns().tell(state, Resource::Pods, &pod, "FailedMount", message);
    }
    patch(state, pod, pod_status::bind);
    match behaviour.outcome {
        Outcome::NeverStarts => None,
        Outcome::ImagePullError => Some((Step::FailToPull, behaviour.start)),
        _ => Some((Step::Start, behaviour.start)),
    }
}

fn fail_to_pull(state: &mut State, pod: Arc<Object>) -> Next {
    let (name, image) = first_container(&pod);
    let part = format!("spec.containers{{{name}}}");
    let why = format!(
        "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
    );
    KUBELET.tell_part(state, Resource::Pods, &pod, &part, "Pulling", &format!("Pulling image \"{image}\""));
    let message = format!("Failed to pull image \"{image}\": {why}");
    KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, "Failed", &message);
    KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, "Failed", "Error: ErrImagePull");
    patch(state, pod, |value| {
        pod_status::containers(value, Container::Waiting { reason: "ErrImagePull", message: &why });
    });
    (Step::BackOffPulling, PULL_BACKOFF)
}

fn back_off_pulling(state: &mut State, pod: Arc<Object>) -> Option<Next> {
    let (name, image) = first_container(&pod);
    let part = format!("spec.containers{{{name}}}");
    let message = format!("Back-off pulling image \"{image}\"");
    KUBELET.tell_part(state, Resource::Pods, &pod, &part, "BackOff", &message);
    KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, "Failed", "Error: ImagePullBackOff");
    patch(state, pod, |value| {
        pod_status::containers(value, Container::Waiting { reason: "ImagePullBackOff", message: &message });
    });
    None
}

fn start(state: &mut State, uid: Uuid, pod: Arc<Object>, behaviour: &Behaviour, now: Instant) -> Next {
    let (name, image) = first_container(&pod);
    let part = format!("spec.containers{{{name}}}");
    let pulled = format!("Container image \"{image}\" already present on machine");
    for (reason, message) in [
        ("Pulled", pulled),
        ("Created", format!("Created container: {name}")),
        ("Started", format!("Started container {name}")),
    ] {
        KUBELET.tell_part(state, Resource::Pods, &pod, &part, reason, &message);
    }
    let revision = state.revision;
    patch(state, pod, |value| pod_status::running(value, revision));
    if behaviour.outcome == Outcome::Vanishes {
        state.timers.set(Due::Vanish(uid), now + behaviour.duration / 2);
    }
    (Step::Finish, behaviour.duration)
}

fn finish(state: &mut State, uid: Uuid, pod: Arc<Object>, run: &Run) -> Option<Next> {
    let (exit_code, reason) = match run.behaviour.outcome {
        Outcome::Exit(0) => (0, "Completed"),
        Outcome::Exit(code) => (code, "Error"),
        Outcome::OomKilled => (137, "OOMKilled"),
        Outcome::Evicted => {
            KUBELET.warns().tell(state, Resource::Pods, &pod, "Evicted", "The node was low on resource: memory.");
            patch(state, pod, pod_status::evicted);
            return None;
        }
        // These never run, or are gone before they end.
        Outcome::ImagePullError | Outcome::Unschedulable | Outcome::NeverStarts | Outcome::Vanishes => return None,
    };
    let policy = pod.value["spec"]["restartPolicy"].as_str().unwrap_or_default();
    if policy == "Always" || (policy == "OnFailure" && exit_code != 0) {
        let (name, _) = first_container(&pod);
        let message = format!("Back-off restarting failed container {name} in pod {}", pod.name());
        let part = format!("spec.containers{{{name}}}");
        KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, "BackOff", &message);
        patch(state, pod, |value| pod_status::backing_off(value, exit_code));
        let restarts = run.restarts + 1;
        if let Some(run) = state.runs.get_mut(&uid) {
            run.restarts = restarts;
        }
        return Some((Step::Start, backoff(restarts)));
    }
    let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
    patch(state, pod, |value| pod_status::ended(value, phase, exit_code, reason));
    None
}

/// The pod was told to end, and now has: first its status says so, then the node lets it be removed.
pub fn stop(state: &mut State, uid: Uuid) {
    let Some(mut pod) = state.find(Resource::Pods, uid) else { return };
    if !["Succeeded", "Failed"].contains(&phase(&pod)) {
        let killed = state.runs.get(&uid).is_some_and(|run| run.behaviour.stop > grace(&pod));
        let exit_code = if killed { 137 } else { 143 };
        let (name, _) = first_container(&pod);
        let part = format!("spec.containers{{{name}}}");
        KUBELET.tell_part(state, Resource::Pods, &pod, &part, "Killing", &format!("Stopping container {name}"));
        patch(state, pod, |value| pod_status::ended(value, "Failed", exit_code, "Error"));
        match state.find(Resource::Pods, uid) {
            Some(ended) => pod = ended,
            None => return,
        }
    }
    let at_once = DeleteOptions { grace_secs: Some(0), uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
    collect::delete(state, Hand::Node, Resource::Pods, &pod, &at_once);
}

fn patch(state: &mut State, pod: Arc<Object>, change: impl FnOnce(&mut Value)) {
    change_status(state, Hand::Node, "patch", Resource::Pods, pod, change);
}

fn first_container(pod: &Object) -> (String, String) {
    let container = &pod.value["spec"]["containers"][0];
    let text = |field: &str| container[field].as_str().unwrap_or_default().to_owned();
    (text("name"), text("image"))
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
