//! What a submission may say of its Kubernetes Job, and who finds out that it is wrong: this process, or the API server, which
//! is asked before the job is accepted.

use longshore::sim::{Effect, Rule};
use serde_json::{Value, json};

use crate::harness::{
    World,
    cluster::is_real,
    jobs::{Request, by_manifest, container, job},
};

/// What a replica says to a submission that it does not accept, or that it does.
async fn told(world: &World, replica: &str, request: &Request) -> (u16, Value) {
    let answer = world.http.post(format!("{replica}/jobs")).json(&request.0).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    if status == 202 {
        world.accepted.lock().unwrap().push(body["job_id"].as_str().unwrap().to_owned());
    }
    (status, body)
}

/// A rule about the questions to the API server, and not about creates.
fn about_questions(effect: Effect) -> Rule {
    Rule { name: Some("longshore-dry-run-".into()), ..Rule::new("create", "jobs", effect) }
}

fn refusal(code: u16, message: &str) -> Effect {
    Effect::Status { code, reason: None, message: Some(message.into()), retry_after: None }
}

/// Two jobs of one manifest with a variable of its own each: two questions.
fn with_variable(name: &str, value: &str) -> Request {
    let mut wants = container("main", "busybox:latest");
    wants["env"] = json!([{"name": "A", "value": value}]);
    by_manifest(name, json!({"containers": [wants]}))
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_fields_make_the_pod_that_they_describe_and_it_runs() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--keep-finished=1h"]).await;
    let request = Request(json!({
        "name": "inline", "command": ["sh", "-c", "test \"$(pwd)\" = /scratch && touch here"],
        "working_dir": "/scratch", "image_pull_policy": "IfNotPresent", "termination_grace_period": "1500ms",
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}],
        "volume_mounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "security_context": {"runAsUser": 1000}, "pod_security_context": {"fsGroup": 1000},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "host_aliases": [{"ip": "127.0.0.1", "hostnames": ["elsewhere"]}],
        "ports": [{"containerPort": 8080}],
        "resources": {"limits": {"memory": "64Mi"}},
        "annotations": {"sim.longshore.dev/duration": "100ms"},
    }));
    let id = world.submit(&replica, &request).await;
    world.reaches(&replica, &id, "succeeded").await;
    let jobs = world.target.jobs().await;
    let pod = serde_json::to_value(&jobs[0]).unwrap()["spec"]["template"]["spec"].take();
    let container = &pod["containers"][0];
    assert_eq!(container["workingDir"], "/scratch");
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/scratch");
    assert_eq!(container["securityContext"]["runAsUser"], 1000);
    assert_eq!(container["ports"][0]["containerPort"], 8080);
    assert_eq!(pod["volumes"][0]["emptyDir"]["sizeLimit"], "1Mi");
    assert_eq!(pod["securityContext"]["fsGroup"], 1000);
    assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    assert_eq!(pod["hostAliases"][0]["hostnames"][0], "elsewhere");
    assert_eq!(pod["terminationGracePeriodSeconds"], 2, "a part of a second is a whole one");
    assert_eq!(pod["automountServiceAccountToken"], false, "nobody asked for a token");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_with_its_field_wherever_it_stands() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let pod = |pod: Value| by_manifest("a", pod);
    let plain = || container("main", "busybox:latest");
    let mut misspelt = plain();
    misspelt["imagee"] = json!("x");
    let mut unmounted = plain();
    unmounted["volumeMounts"] = json!([{"name": "nowhere", "mountPath": "/x"}]);
    let at = "/manifest/spec/template/spec";
    for (request, pointer) in [
        (pod(json!({"containers": [misspelt]})), format!("{at}/containers/0/imagee")),
        (pod(json!({"containers": [unmounted]})), format!("{at}/containers/0/volumeMounts/0/name")),
        (pod(json!({"containers": [plain(), plain()]})), format!("{at}/containers/1/name")),
        (pod(json!({"containers": [plain()], "restartPolicy": "Always"})), format!("{at}/restartPolicy")),
        (job("a", 10, 0).with("volumes", json!([{"name": "a", "emptyDirr": {}}])), "/volumes/0/emptyDirr".into()),
        (job("a", 10, 0).with("affinity", json!({"node": {}})), "/affinity/node".into()),
        (job("a", 10, 0).with("tolerations", json!({})), "/tolerations".into()),
        (job("a", 10, 0).with("resources", json!({"limits": {"memory": "64MB"}})), "/resources/limits/memory".into()),
        (job("a", 10, 0).with("image", json!("Busy Box")), "/image".into()),
        (pod(json!({"containers": [plain()]})).with("volumes", json!([])), "/volumes".into()),
    ] {
        let (status, problem) = told(&world, &replica, &request).await;
        let found = (status, &problem["code"], &problem["errors"][0]["pointer"]);
        assert_eq!(found, (422, &json!("invalid_fields"), &json!(pointer)), "{problem}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_api_server_knows_to_be_wrong_is_refused_before_it_waits() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let variable = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.hostname"}}}]);
    let mut wants = container("main", "busybox:latest");
    wants["env"] = variable.clone();
    let field = "valueFrom/fieldRef/fieldPath";
    for (request, pointer) in [
        (
            by_manifest("a", json!({"containers": [wants]})),
            format!("/manifest/spec/template/spec/containers/0/env/0/{field}"),
        ),
        (job("a", 10, 0).with("env", variable), format!("/env/0/{field}")),
    ] {
        let (status, problem) = told(&world, &replica, &request).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_fields")), "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("field label not supported"), "{problem}");
    }
    // The rest of a batch is not kept by it.
    let lines = [wants_field("spec.hostname"), wants_field("metadata.name")].map(|it| it.0.to_string());
    let answer = world.http.post(format!("{replica}/jobs/batch")).body(lines.join("\n")).send().await.unwrap();
    let answer = answer.text().await.unwrap();
    let said: Vec<Value> = answer.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!((&said[0]["status"], &said[1]["status"]), (&json!(422), &json!(202)), "{answer}");
    world.accepted.lock().unwrap().push(said[1]["job_id"].as_str().unwrap().to_owned());
    world.finish().await;
}

fn wants_field(path: &str) -> Request {
    job("a", 10, 0).with("env", json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}]))
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_denial_refuses_and_what_may_pass_does_not() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let faults = world.target.sim().faults().clone();
    let webhook = "admission webhook \"teams.example.com\" denied the request: no label team";
    faults.add(about_questions(refusal(403, webhook)));
    let (status, problem) = told(&world, &replica, &with_variable("a", "denied")).await;
    assert_eq!((status, &problem["code"], &problem["detail"]), (422, &json!("manifest_rejected"), &json!(webhook)));
    for (index, effect) in [
        Effect::ExceededQuota,
        Effect::NotAllowed,
        refusal(400, "admission webhook \"a.example.com\" does not support dry run"),
        refusal(409, "jobs.batch \"longshore-dry-run-x\" already exists"),
        // The last two keep it from asking again for a while.
        refusal(503, "away"),
        Effect::DropRequest,
    ]
    .into_iter()
    .enumerate()
    {
        faults.clear();
        faults.add(about_questions(effect));
        let (status, answer) = told(&world, &replica, &with_variable("a", &index.to_string())).await;
        assert_eq!(status, 202, "{index}: {answer}");
    }
    faults.clear();
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_an_api_server_that_hangs_keeps_no_submission() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let faults = world.target.sim().faults().clone();
    // Longer than the test: were it waited for, the test would not end.
    faults.add(about_questions(Effect::Delay { before_ms: 3_600_000, after_ms: 0 }));
    for index in 0..5 {
        let (status, answer) = told(&world, &replica, &with_variable("a", &index.to_string())).await;
        assert_eq!(status, 202, "{answer}");
    }
    faults.clear();
    world.finish().await;
}

/// The audit log has each question, and no witness takes one for a creation: [`World::finish`] asks them.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_asked_once_for_each_different_job_and_never_for_a_plain_one() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let mut ids = Vec::new();
    for index in 0..4 {
        ids.push(world.submit(&replica, &job(&format!("plain{index}"), 10, 0)).await);
    }
    for index in 0..6 {
        let value = if index % 2 == 0 { "even" } else { "odd" };
        ids.push(world.submit(&replica, &with_variable(&format!("job{index}"), value)).await);
    }
    for id in &ids {
        world.reaches(&replica, id, "succeeded").await;
    }
    // Before the log is asked for, which on a real cluster is told by a Job of its own to be written out.
    world.cluster_is_empty().await;
    if let Some(log) = world.target.audit_log().await {
        let namespace = world.target.namespace();
        let path = format!("/namespaces/{namespace}/jobs?dryRun=All");
        let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
        let asked = text.lines().filter(|it| it.contains(&path) && it.contains("\"ResponseComplete\"")).count();
        assert_eq!(asked, 2, "one question for each different Job");
        assert!(!is_real() || text.contains(&path));
    }
    world.finish().await;
}
