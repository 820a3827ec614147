//! What cannot start: each line of the table of troubles ends its job with its reason, after its grace or at once, and
//! frees the slot when the pod is gone.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::{Api, ResourceExt, api::PostParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{
    World,
    cluster::is_real,
    eventually,
    jobs::{Request, by_manifest, container, job},
};

/// An image that no registry has.
const NOWHERE: &str = "nowhere.invalid/x:1";
const BUSYBOX: &str = "busybox:latest";
/// A reference by its shape, which kubelets refuse all the same, because it looks like the id of an image.
const NO_REFERENCE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// For all the troubles that may heal: half a second.
const SHORT: &str = "--start-grace=ErrImagePull=500ms,ImagePullBackOff=500ms,ImageInspectError=500ms,\
    CreateContainerConfigError=500ms,CreateContainerError=500ms,RunContainerError=500ms,\
    FailedCreatePodSandBox=500ms,FailedMount=500ms,FailedAttachVolume=500ms,FailedCreate=500ms";
const SHORT_MILLIS: i64 = 500;

/// A job that cannot start, what it waits for meanwhile, as what it ends, and a part of the message it ends with.
struct Case {
    job: Request,
    code: &'static str,
    reason: &'static str,
    says: &'static str,
}

fn case(job: Request, code: &'static str, reason: &'static str, says: &'static str) -> Case {
    Case { job, code, reason, says }
}

/// The pod of a job that names a Secret that is not there, in its environment.
fn wants_secret(secret: &str) -> Value {
    let mut wants = container("main", BUSYBOX);
    wants["env"] = json!([{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": secret, "key": "word"}}}]);
    json!({"containers": [wants]})
}

/// The pod of a job with a volume from a source that is not there.
fn wants_volume(source: &Value) -> Value {
    let mut volume = source.clone();
    volume["name"] = json!("data");
    let mut wants = container("main", BUSYBOX);
    wants["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    json!({"containers": [wants], "volumes": [volume]})
}

/// Submits all of them at once, and holds each to what is said of it.
async fn each_ends_after_its_grace(cases: Vec<Case>) {
    let mut world = World::new(cases.len() as i32).await;
    let replica = world.start(&[SHORT, "--allow-service-account=absent"]).await;
    let mut ids = Vec::new();
    for case in &cases {
        ids.push(world.submit(&replica, &case.job).await);
    }
    for (case, id) in cases.iter().zip(&ids) {
        let ended = world.reaches(&replica, id, "failed").await;
        assert_eq!(world.living_pods(id).await, Vec::<String>::new(), "the slot was freed under a living pod");
        let message = ended["message"].as_str().unwrap();
        assert_eq!(ended["reason"], case.reason, "{ended}");
        assert!(message.contains(case.says), "{message}");
        assert!(message.contains("for longer than the 500ms it is given"), "{message}");
        assert_eq!(ended["attempts"].as_array().unwrap().len(), 1);
        assert_eq!(ended["attempts"][0]["started_at"], Value::Null, "nothing of it ran: {ended}");
        let history = world.history(&replica, id).await;
        let told = history.iter().find(|it| it["reason"] == case.code && it["to"] == "starting");
        let told = told.unwrap_or_else(|| panic!("that it waits was not told: {history:?}"));
        let stopped = history.iter().find(|it| it["to"] == "stopping").unwrap();
        let at = |event: &Value| event["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
        let borne = at(stopped).duration_since(at(told));
        // The row's clock is read a little before the event's.
        assert!(borne.as_millis() >= i128::from(SHORT_MILLIS - 50), "it was given {borne:?} only: {history:?}");
    }
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn troubles_that_may_heal_end_their_jobs_when_their_grace_is_over() {
    let pull = job("pull", 100, 0).with("image", json!(NOWHERE)).sim("outcome", "image-pull-error");
    let in_init = json!({"initContainers": [container("first", NOWHERE)], "containers": [container("main", BUSYBOX)]});
    let in_init = by_manifest("in-init", in_init).sim("outcome", "image-pull-error").sim("in", "init");
    let config = by_manifest("config", wants_secret("absent")).sim("outcome", "config-error");
    let mut config_in_init = wants_secret("absent");
    config_in_init["initContainers"] = config_in_init["containers"].take();
    config_in_init["containers"] = json!([container("second", BUSYBOX)]);
    let config_in_init = by_manifest("config-in-init", config_in_init).sim("outcome", "config-error").sim("in", "init");
    let mount = wants_volume(&json!({"secret": {"secretName": "absent"}}));
    let mount = by_manifest("mount", mount).sim("outcome", "mount-error");
    let mut create = container("main", BUSYBOX);
    create["securityContext"] = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "absent.json"}});
    let create = by_manifest("create", json!({"containers": [create]})).sim("outcome", "create-error");
    let no_pod = job("no-pod", 100, 0).with("service_account", json!("absent")).sim("outcome", "no-pod");
    each_ends_after_its_grace(vec![
        case(pull, "image_pull", "image_pull", NOWHERE),
        case(in_init, "image_pull", "image_pull", "first: "),
        case(config, "config_error", "config_error", "CreateContainerConfigError: secret \"absent\" not found"),
        case(config_in_init, "config_error", "config_error", "main: CreateContainerConfigError"),
        case(mount, "volume_mount", "config_error", "secret \"absent\" not found"),
        case(create, "config_error", "config_error", "main: CreateContainerError: "),
        case(no_pod, "no_pod", "config_error", "serviceaccount \"absent\" not found"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn troubles_of_the_container_runtime_end_their_jobs_when_their_grace_is_over_sim_only() {
    let of = |outcome: &str| job(outcome, 100, 0).sim("outcome", outcome);
    each_ends_after_its_grace(vec![
        case(of("image-inspect-error"), "image_pull", "image_pull", "ImageInspectError: "),
        case(of("run-error"), "config_error", "config_error", "RunContainerError: "),
    ])
    .await;
}

/// The init container has run by then: that must not count as the start of the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_start_after_an_init_container_ran_ends_its_job() {
    let pod = json!({"initContainers": [container("first", BUSYBOX)], "containers": [container("main", NOWHERE)]});
    let pull = by_manifest("pull", pod).sim("outcome", "image-pull-error");
    let mut pod = wants_secret("absent");
    pod["initContainers"] = json!([container("first", BUSYBOX)]);
    let config = by_manifest("config", pod).sim("outcome", "config-error");
    each_ends_after_its_grace(vec![
        case(pull, "image_pull", "image_pull", "ImagePull"),
        case(config, "config_error", "config_error", "main: CreateContainerConfigError"),
    ])
    .await;
}

/// The other one runs for as long as it likes: the slot would never be free.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_containers_that_cannot_start_ends_its_job() {
    let mut runs = container("runs", BUSYBOX);
    runs["command"] = json!(["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"]);
    let pod = json!({"containers": [runs, container("main", NOWHERE)]});
    let pull = by_manifest("pull", pod).sim("outcome", "image-pull-error");
    each_ends_after_its_grace(vec![case(pull, "image_pull", "image_pull", "ImagePull")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_default_table_only_what_cannot_heal_ends_its_job_at_once() {
    let mut world = World::new(4).await;
    let replica = world.start(&[]).await;
    let pull = job("pull", 100, 0).with("image", json!(NOWHERE)).sim("outcome", "image-pull-error");
    let pull = world.submit(&replica, &pull).await;
    world.waits_for(&replica, &pull, "image_pull").await;
    let invalid = job("invalid", 100, 0).with("image", json!(NO_REFERENCE)).sim("outcome", "invalid-image-name");
    let mut never = container("main", NOWHERE);
    never["imagePullPolicy"] = json!("Never");
    let never = by_manifest("never", json!({"containers": [never]})).sim("outcome", "image-never-pull");
    let mut in_init = container("first", NO_REFERENCE);
    in_init["imagePullPolicy"] = json!("Never");
    let in_init = json!({"initContainers": [in_init], "containers": [container("main", BUSYBOX)]});
    let in_init = by_manifest("in-init", in_init).sim("outcome", "invalid-image-name").sim("in", "init");
    let mut at_once = Vec::new();
    for (job, says) in
        [(invalid, "InvalidImageName: "), (never, "ErrImageNeverPull: "), (in_init, "first: InvalidImageName: ")]
    {
        at_once.push((world.submit(&replica, &job).await, says));
    }
    for (id, _) in &at_once {
        eventually("it is being stopped, or over", async || {
            let job = world.get(&replica, &format!("/jobs/{id}")).await;
            (job["state"] == "stopping" || job["state"] == "failed").then_some(())
        })
        .await;
    }
    // The pull may still heal, and is borne.
    let pulls = world.get(&replica, &format!("/jobs/{pull}")).await;
    assert_eq!((&pulls["state"], &pulls["why"]["code"]), (&json!("starting"), &json!("image_pull")));
    assert_eq!(world.cancel(&replica, &pull).await, StatusCode::ACCEPTED);
    for (id, says) in at_once {
        let ended = world.reaches(&replica, &id, "failed").await;
        assert_eq!((&ended["reason"], &ended["why"]["code"]), (&json!("image_pull"), &json!("image_pull")));
        assert!(ended["message"].as_str().unwrap().contains(says), "{ended}");
        let history = world.history(&replica, &id).await;
        assert!(history.iter().all(|it| it["reason"] != "image_pull" || it["to"] != "starting"), "{history:?}");
    }
    world.reaches(&replica, &pull, "cancelled").await;
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trouble_that_heals_within_its_grace_is_told_and_then_forgotten() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--start-grace=CreateContainerConfigError=1h"]).await;
    let waits = by_manifest("waits", wants_secret("late")).sim("outcome", "config-error").sim("heals-after", "5s");
    let waits = world.submit(&replica, &waits).await;
    let told = world.waits_for(&replica, &waits, "config_error").await;
    assert_eq!(told["state"], "starting");
    assert!(told["why"]["message"].as_str().unwrap().contains("CreateContainerConfigError: "), "{told}");
    if is_real() {
        let secrets: Api<Secret> = Api::namespaced(world.target.stranger().await, world.target.namespace());
        let secret = json!({"metadata": {"name": "late"}, "stringData": {"word": "hello"}});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    }
    let ended = world.reaches(&replica, &waits, "succeeded").await;
    assert_eq!((&ended["reason"], &ended["failed_attempts"]), (&json!("completed"), &json!(0)));
    assert!(ended["attempts"][0]["started_at"].is_string());
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_start_holds_its_slot_until_its_pod_is_gone_and_then_the_next_one_runs() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--start-grace=ErrImagePull=3s,ImagePullBackOff=3s"]).await;
    let stuck = job("stuck", 100, 0).with("image", json!(NOWHERE)).sim("outcome", "image-pull-error").priority(1);
    let stuck = world.submit(&replica, &stuck).await;
    let next = world.submit(&replica, &job("next", 100, 0)).await;
    let ended = world.reaches(&replica, &stuck, "failed").await;
    assert_eq!(world.living_pods(&stuck).await, Vec::<String>::new(), "the slot was freed under a living pod");
    let next = world.reaches(&replica, &next, "succeeded").await;
    let at = |job: &Value, key: &str| job[key].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(at(&next, "claimed_at") >= at(&ended, "finished_at"), "{ended} {next}");
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_takes_waits_until_its_start_timeout_and_says_so() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let huge = |name: &str| {
        let cpus = json!({"requests": {"cpu": "1000"}});
        job(name, 100, 0).with("resources", cpus).sim("outcome", "unschedulable")
    };
    let patient = world.submit(&replica, &huge("patient")).await;
    let waits = world.waits_for(&replica, &patient, "unschedulable").await;
    assert!(waits["why"]["message"].as_str().unwrap().contains("Insufficient cpu"), "{waits}");
    let brief = world.submit(&replica, &huge("brief").with("start_timeout", json!("1s"))).await;
    let ended = world.reaches(&replica, &brief, "failed").await;
    assert_eq!(ended["reason"], "unschedulable");
    let message = ended["message"].as_str().unwrap();
    assert!(message.contains("within its start timeout of 1 s") && message.contains("Insufficient cpu"), "{message}");
    assert_eq!(world.get(&replica, &format!("/jobs/{patient}")).await["state"], "starting");
    assert_eq!(world.cancel(&replica, &patient).await, StatusCode::ACCEPTED);
    world.reaches(&replica, &patient, "cancelled").await;
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_start_in_time_ends_as_start_timeout_with_what_is_known() {
    let mut world = World::new(2).await;
    let replica = world.start(&["--start-grace=FailedMount=never"]).await;
    let late = |name: &str, timeout: &str| {
        let pod = wants_volume(&json!({"configMap": {"name": "absent"}}));
        by_manifest(name, pod).sim("outcome", "never-starts").with("start_timeout", json!(timeout))
    };
    // The one is over before its events are read, the other after.
    let soon = world.submit(&replica, &late("soon", "1s")).await;
    let later = world.submit(&replica, &late("later", "30s")).await;
    let soon = world.reaches(&replica, &soon, "failed").await;
    assert_eq!(soon["reason"], "start_timeout");
    assert!(soon["message"].as_str().unwrap().contains("within its start timeout of 1 s"), "{soon}");
    let later = world.reaches(&replica, &later, "failed").await;
    assert_eq!(later["reason"], "start_timeout");
    assert!(later["message"].as_str().unwrap().contains("configmap \"absent\" not found"), "{later}");
    world.cluster_is_empty().await;
    world.finish().await;
}

/// A pod that its node has, and that says nothing of why it does not start.
async fn silent_pod(world: &World) -> k8s_openapi::api::core::v1::Pod {
    eventually("its pod is on its node", async || {
        world.target.pods().await.into_iter().find(|it| it.spec.as_ref().is_some_and(|it| it.node_name.is_some()))
    })
    .await
}

/// Tells an event about it, as a component of the cluster would, so many seconds ago.
async fn tell(world: &World, pod: &k8s_openapi::api::core::v1::Pod, kind: &str, reason: &str, secs_ago: i64) {
    let at = Timestamp::from_second(Timestamp::now().as_second() - secs_ago).unwrap().to_string();
    let event = json!({
        "metadata": {"generateName": "told-", "namespace": world.target.namespace()},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid().unwrap(),
                           "namespace": world.target.namespace()},
        "type": kind, "reason": reason, "message": "as it was told", "count": 1,
        "firstTimestamp": at, "lastTimestamp": at,
        "source": {"component": "kubelet"},
    });
    let events: Api<Event> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    events.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_events_tell_ends_its_job_too_sim_only() {
    for (reason, code) in [("FailedCreatePodSandBox", "config_error"), ("FailedAttachVolume", "volume_mount")] {
        let mut world = World::new(1).await;
        let replica = world.start(&[SHORT, "--allow-service-account=absent"]).await;
        let id = world.submit(&replica, &job("silent", 100, 0).sim("start", "1h")).await;
        tell(&world, &silent_pod(&world).await, "Warning", reason, 0).await;
        let ended = world.reaches(&replica, &id, "failed").await;
        assert_eq!(ended["reason"], "config_error");
        assert!(ended["message"].as_str().unwrap().contains(&format!("{reason}: as it was told")), "{ended}");
        let history = world.history(&replica, &id).await;
        assert!(history.iter().any(|it| it["reason"] == code && it["to"] == "starting"), "{history:?}");
        world.finish().await;
    }
}

/// A large image is being pulled since, which may well take longer than the grace of what was overcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_warning_that_is_out_of_date_ends_no_job_sim_only() {
    let mut world = World::new(1).await;
    let replica = world.start(&[SHORT, "--allow-service-account=absent"]).await;
    let slow = job("slow", 100, 0).sim("start", "1h").with("start_timeout", json!("12s"));
    let id = world.submit(&replica, &slow).await;
    let pod = silent_pod(&world).await;
    tell(&world, &pod, "Warning", "FailedMount", 60).await;
    tell(&world, &pod, "Normal", "Pulling", 30).await;
    let ended = world.reaches(&replica, &id, "failed").await;
    assert_eq!(ended["reason"], "start_timeout");
    assert!(!ended["message"].as_str().unwrap().contains("FailedMount"), "{ended}");
    let history = world.history(&replica, &id).await;
    assert!(history.iter().all(|it| it["reason"] != "volume_mount"), "{history:?}");
    world.finish().await;
}
