//! An HTTP API that starts containers is no way to own the cluster: what the pod policy forbids is refused when it is
//! submitted, and when it is to be created under a policy that has become stricter.

use serde_json::{Value, json};

use crate::harness::{
    World,
    jobs::{Request, by_manifest, container, job},
};

async fn refused(world: &World, replica: &str, request: &Request) -> Value {
    let answer = world.http.post(format!("{replica}/jobs")).json(&request.0).send().await.unwrap();
    let status = answer.status().as_u16();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((status, &problem["code"]), (422, &json!("pod_policy")), "{problem}");
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_escape_its_pod_is_refused_with_rule_and_field_and_nothing_is_stored() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let plain = || container("main", "busybox:latest");
    let at = "/manifest/spec/template/spec";
    let mut privileged = plain();
    privileged["securityContext"] = json!({"privileged": true});
    let with_init = json!({"initContainers": [privileged.clone()], "containers": [container("b", "busybox:latest")]});
    for (request, rule, pointer) in [
        (
            by_manifest("a", json!({"containers": [privileged]})),
            "privileged",
            format!("{at}/containers/0/securityContext/privileged"),
        ),
        (by_manifest("a", with_init), "privileged", format!("{at}/initContainers/0/securityContext/privileged")),
        (
            by_manifest("a", json!({"containers": [plain()], "hostNetwork": true})),
            "host_namespaces",
            format!("{at}/hostNetwork"),
        ),
        (
            job("a", 10, 0).with("volumes", json!([{"name": "root", "hostPath": {"path": "/"}}])),
            "host_path",
            "/volumes/0/hostPath".into(),
        ),
        (job("a", 10, 0).with("service_account", json!("admin")), "service_accounts", "/service_account".into()),
        (
            job("a", 10, 0).with("security_context", json!({"capabilities": {"add": ["SYS_ADMIN"]}})),
            "capabilities",
            "/security_context/capabilities/add/0".into(),
        ),
    ] {
        let problem = refused(&world, &replica, &request).await;
        let error = &problem["errors"][0];
        assert_eq!((&error["rule"], &error["pointer"]), (&json!(rule), &json!(pointer)), "{problem}");
        let batch = world.http.post(format!("{replica}/jobs/batch")).body(request.0.to_string()).send().await.unwrap();
        assert!(batch.text().await.unwrap().contains("\"code\":\"pod_policy\""));
    }
    let jobs = world.get(&replica, "/jobs").await;
    assert_eq!(jobs["items"], json!([]));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_flag_say_what_is_allowed() {
    let mut world = World::new(0).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    std::fs::write(&file, "images: ['registry.example.com/team/*']\nmax: {resources: {memory: 1Gi}}\n").unwrap();
    let flag = format!("--pod-policy={}", file.display());
    let replica = world.start(&[&flag, "--allow-service-account=robot"]).await;
    let problem = refused(&world, &replica, &Request(json!({"name": "a"}))).await;
    let rules: Vec<&Value> = problem["errors"].as_array().unwrap().iter().map(|it| &it["rule"]).collect();
    assert_eq!(rules, [&json!("images"), &json!("max.resources")], "{problem}");
    let allowed = json!({"name": "a", "image": "registry.example.com/team/tool:1", "service_account": "robot",
        "resources": {"limits": {"memory": "1Gi"}}});
    world.submit(&replica, &Request(allowed)).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_stricter_policy_forbids_ends_before_it_is_created_and_the_next_one_runs() {
    let mut world = World::new(0).await;
    let lax = world.start(&["--allow-service-account=robot"]).await;
    let forbidden = job("forbidden", 100, 0).with("service_account", json!("robot")).priority(1);
    let forbidden = world.submit(&lax, &forbidden.with("max_attempts", json!(3))).await;
    let next = world.submit(&lax, &job("next", 100, 0)).await;
    world.replicas.remove(0).stop().await;
    let strict = world.start(&[]).await;
    world.set_cap(1).await;
    let ended = world.reaches(&strict, &forbidden, "failed").await;
    assert_eq!((&ended["reason"], &ended["attempt"]), (&json!("manifest_rejected"), &json!(1)), "{ended}");
    let message = ended["message"].as_str().unwrap();
    assert!(message.contains("/service_account") && message.contains("`service_accounts`"), "{message}");
    world.reaches(&strict, &next, "succeeded").await;
    let made: Vec<String> = world.target.jobs().await.into_iter().filter_map(|it| it.metadata.name).collect();
    assert!(made.iter().all(|it| !it.starts_with("forbidden")), "{made:?}");
    world.finish().await;
}
