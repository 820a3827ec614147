//! What keeps a pod from running, and what ends it from outside, in the words of scheduler, kubelet and controllers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::container::Place;
use super::tell::{KUBELET, NODE_CONTROLLER, SCHEDULER};
use super::{change_status, collect, node, pod_status};
use crate::sim::behaviour::Trouble;
use crate::sim::state::{DeleteOptions, Hand, Object, Refusal, Resource, State};

/// From the first failure to pull an image to the first back-off; 10 s or more on a real node.
const PULL_BACKOFF: Duration = Duration::from_millis(100);
/// Then the image is tried again, and later each time; a real node begins with 10 s and ends with 5 min.
const PULL_AGAIN_FIRST: Duration = Duration::from_secs(1);
const PULL_AGAIN_DOUBLINGS_MAX: u32 = 5;

const UNSCHEDULABLE: &str = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
const RUNC: &str = "failed to create containerd task: failed to create shim task";

pub fn unschedulable(state: &mut State, pod: Arc<Object>) {
    SCHEDULER.warns().tell(state, Resource::Pods, &pod, "FailedScheduling", UNSCHEDULABLE);
    change_status(state, Hand::Scheduler, "patch", Resource::Pods, pod, |value| {
        pod_status::unschedulable(value, UNSCHEDULABLE);
    });
}

/// A volume cannot be set up. Only an event tells: the pod's status says `ContainerCreating`.
pub fn failed_mount(state: &mut State, pod: &Object, trouble: Trouble) {
    let volumes = || pod.value["spec"]["volumes"].as_array().into_iter().flatten();
    let usual = if trouble == Trouble::Mount { "secret" } else { "configmap" };
    let sourced = |volume: &Value| {
        let secret = volume["secret"]["secretName"].as_str().map(|name| ("secret", name.to_owned()));
        let source = secret.or(volume["configMap"]["name"].as_str().map(|name| ("configmap", name.to_owned())));
        source.map(|(kind, name)| (volume["name"].as_str().unwrap_or_default().to_owned(), kind, name))
    };
    let (volume, kind, name) =
        volumes().find_map(sourced).unwrap_or_else(|| ("data".to_owned(), usual, "absent".to_owned()));
    let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {kind} \"{name}\" not found");
    KUBELET.warns().tell(state, Resource::Pods, pod, "FailedMount", &message);
}

/// Shows that a bound pod cannot run yet. Says how soon that shows itself anew, if it does.
pub fn show(state: &mut State, pod: Arc<Object>, place: Place, trouble: Trouble, tries: u32) -> Option<Duration> {
    let (image, part) = (image(&pod, place), place.part(&pod));
    if trouble == Trouble::ImagePull {
        return Some(show_pull(state, pod, place, tries));
    }
    let (reason, message) = words(trouble, &image)?;
    let mut warn = |reason: &str, message: &str| {
        KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, reason, message);
    };
    match trouble {
        Trouble::InvalidImageName | Trouble::ImageInspect => {
            warn("InspectFailed", &message);
            warn("Failed", &format!("Error: {reason}"));
        }
        Trouble::ImageNeverPull => {
            warn(reason, &message);
            warn("Failed", &format!("Error: {reason}"));
        }
        _ => {
            let pulled = format!("Container image \"{image}\" already present on machine");
            KUBELET.tell_part(state, Resource::Pods, &pod, &part, "Pulled", &pulled);
            KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, "Failed", &format!("Error: {message}"));
        }
    }
    node::patch(state, pod, |value| pod_status::waiting(value, place, reason, &message));
    None
}

/// The reason and the message with which the container waits, where the kubelet shows one.
fn words(trouble: Trouble, image: &str) -> Option<(&'static str, String)> {
    Some(match trouble {
        Trouble::InvalidImageName => (
            "InvalidImageName",
            format!(
                "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
            ),
        ),
        Trouble::ImageNeverPull => {
            ("ErrImageNeverPull", format!("Container image \"{image}\" is not present with pull policy of Never"))
        }
        Trouble::ImageInspect => (
            "ImageInspectError",
            format!("Failed to inspect image \"{image}\": rpc error: code = Unknown desc = no such content store"),
        ),
        Trouble::Config => ("CreateContainerConfigError", "secret \"absent\" not found".to_owned()),
        Trouble::Create => (
            "CreateContainerError",
            "failed to generate container spec: failed to generate spec: no command specified".to_owned(),
        ),
        Trouble::Run => ("RunContainerError", format!("{RUNC}: context deadline exceeded: unknown")),
        Trouble::NoPod | Trouble::Unschedulable | Trouble::NeverStarts | Trouble::Mount | Trouble::ImagePull => {
            return None;
        }
    })
}

/// A failed pull and the wait for the next one take turns.
fn show_pull(state: &mut State, pod: Arc<Object>, place: Place, tries: u32) -> Duration {
    let (image, part) = (image(&pod, place), place.part(&pod));
    let why = format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
    );
    if tries.is_multiple_of(2) {
        KUBELET.tell_part(state, Resource::Pods, &pod, &part, "Pulling", &format!("Pulling image \"{image}\""));
        let message = format!("Failed to pull image \"{image}\": {why}");
        KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, "Failed", &message);
        KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, "Failed", "Error: ErrImagePull");
        node::patch(state, pod, |value| pod_status::waiting(value, place, "ErrImagePull", &why));
        return PULL_BACKOFF;
    }
    let message = format!("Back-off pulling image \"{image}\"");
    KUBELET.tell_part(state, Resource::Pods, &pod, &part, "BackOff", &message);
    KUBELET.warns().tell_part(state, Resource::Pods, &pod, &part, "Failed", "Error: ImagePullBackOff");
    let message = format!("{message}: ErrImagePull: {why}");
    node::patch(state, pod, |value| pod_status::waiting(value, place, "ImagePullBackOff", &message));
    PULL_AGAIN_FIRST * 2u32.pow((tries / 2).min(PULL_AGAIN_DOUBLINGS_MAX))
}

/// What a container runtime says when it cannot start the program; tells the event, and gives the message.
pub fn start_error(state: &mut State, pod: &Object, place: Place) -> String {
    let program = place.first(pod)["command"][0].as_str().unwrap_or("nope");
    let message = format!(
        "{RUNC}: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: \"{program}\": executable file not found in $PATH: unknown"
    );
    let part = place.part(pod);
    KUBELET.warns().tell_part(state, Resource::Pods, pod, &part, "Failed", &format!("Error: {message}"));
    message
}

/// The kubelet's node ran out of memory.
pub fn evict(state: &mut State, pod: Arc<Object>) {
    KUBELET.warns().tell(state, Resource::Pods, &pod, "Evicted", "The node was low on resource: memory.");
    node::patch(state, pod, pod_status::evicted);
}

/// The scheduler deletes it to make room, after it said why.
pub fn preempt(state: &mut State, pod: Arc<Object>) {
    let who = uuid::Uuid::new_v4();
    let message = format!("Preempted by pod {who} on node {}", super::NODE_NAME);
    SCHEDULER.tell(state, Resource::Pods, &pod, "Preempted", &message);
    let (namespace, name) = pod.key();
    change_status(state, Hand::Scheduler, "patch", Resource::Pods, pod, |value| {
        let message = "default-scheduler: preempting to accommodate a higher priority pod";
        pod_status::disrupted(value, "PreemptionByScheduler", message);
    });
    delete(state, Hand::Scheduler, &namespace, &name);
}

pub fn lose_node(state: &mut State, pod: Arc<Object>) {
    NODE_CONTROLLER.warns().tell(state, Resource::Pods, &pod, "NodeNotReady", "Node is not ready");
    change_status(state, Hand::NodeController, "patch", Resource::Pods, pod, pod_status::node_lost);
}

/// As `kubectl delete pod` or a drain does.
pub fn delete_by_hand(state: &mut State, pod: &Object) {
    delete(state, Hand::Someone, pod.namespace(), pod.name());
}

fn delete(state: &mut State, hand: Hand, namespace: &str, name: &str) {
    if let Ok(pod) = state.get(Resource::Pods, namespace, name) {
        collect::delete(state, hand, Resource::Pods, &pod, &DeleteOptions::default());
    }
}

/// What the Job controller is told when a pod's service account is not there.
pub fn no_pod(namespace: &str, base: &str, spec: &Value) -> Refusal {
    let account = spec["serviceAccountName"].as_str().unwrap_or("absent");
    let why = format!("error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found");
    Refusal::forbidden(Resource::Pods, base, &why)
}

fn image(pod: &Object, place: Place) -> String {
    place.first(pod)["image"].as_str().unwrap_or_default().to_owned()
}
