//! Where templates are kept: in a ConfigMap, in files, in the database; and what edits, broken ones too, do to them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use longshore::sim::{Effect, Rule};
use serde_json::{Value, json};

use crate::harness::{
    World, eventually,
    jobs::{Request, job},
    templates::{IMPORT, SEED, post, refused, send},
};

fn config_map(text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "job-template-cm"}, "data": {"job-template.yaml": text}})
}

async fn config_maps(world: &World) -> Api<ConfigMap> {
    Api::namespaced(world.target.stranger().await, world.target.namespace())
}

/// Ends when the ConfigMap's template shows this many errors and answers to the condition.
async fn shows(world: &World, replica: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let (_, shown) = send(world, "GET", format!("{replica}/templates/job-template"), "").await;
        condition(&shown).then_some(shown)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_launchers_config_map_works_as_it_is_and_an_edit_is_the_next_jobs() {
    let mut world = World::new(2).await;
    let maps = config_maps(&world).await;
    let flags = ["--template-config-map=job-template-cm", "--default-template=job-template"];
    let replica = world.start(&flags).await;
    // It is not there yet: that is said, and nothing falls over.
    eventually("it is known that there is none", async || {
        let (status, problem) = post(&world, &replica, &json!({"name": "early"})).await;
        (status != 503).then(|| assert_eq!(problem["errors"][0]["pointer"], "/template", "{problem}"))
    })
    .await;
    let made = serde_json::from_value(config_map(SEED)).unwrap();
    maps.create(&PostParams::default(), &made).await.unwrap();
    shows(&world, &replica, "the ConfigMap is read", |it| it["usable"] == true).await;
    let other = world.start(&flags).await;

    let first = json!({"name": "job1", "priority": 2, "env": {"TASK": "one"}, "labels": {"who": "me"}});
    let id = world.submit(&replica, &Request(first)).await;
    let done = world.reaches(&replica, &id, "succeeded").await;
    assert_eq!(done["spec"]["template"], "job-template");
    let manifest = &done["spec"]["manifest"];
    let worker = &manifest["spec"]["template"]["spec"]["containers"][0];
    let env = json!([{"name": "MODE", "value": "fast"}, {"name": "TASK", "value": "one"}]);
    assert_eq!((&worker["name"], &worker["env"]), (&json!("worker"), &env));
    assert_eq!(manifest["metadata"]["labels"]["app"], "launcher");

    let edited = config_map(&SEED.replace("value: fast", "value: slow"));
    maps.patch("job-template-cm", &PatchParams::default(), &Patch::Merge(&edited)).await.unwrap();
    for url in [&replica, &other] {
        shows(&world, url, "the edit is read", |it| it["source"].as_str().is_some_and(|it| it.contains("slow"))).await;
    }
    let id = world.submit(&other, &Request(json!({"name": "job2", "template": "job-template"}))).await;
    let done = world.reaches(&replica, &id, "succeeded").await;
    assert_eq!(done["spec"]["manifest"]["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "slow");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_edit_of_the_config_map_leaves_the_last_good_one_and_says_so_until_it_is_mended_or_gone() {
    let mut world = World::new(0).await;
    let maps = config_maps(&world).await;
    maps.create(&PostParams::default(), &serde_json::from_value(config_map(SEED)).unwrap()).await.unwrap();
    let replica = world.start(&["--template-config-map=job-template-cm"]).await;
    let request = json!({"name": "a", "template": "job-template"});
    shows(&world, &replica, "the ConfigMap is read", |it| it["usable"] == true).await;
    world.submit(&replica, &Request(request.clone())).await;

    let edit = async |text: &str| {
        maps.patch("job-template-cm", &PatchParams::default(), &Patch::Merge(&config_map(text))).await.unwrap();
    };
    edit(&SEED.replace("restartPolicy:", "restartPolicyy:")).await;
    let shown = shows(&world, &replica, "the error is shown", |it| it["errors"].is_array()).await;
    assert_eq!(shown["errors"][0]["pointer"], "/spec/template/spec/restartPolicyy", "{shown}");
    assert_eq!(shown["usable"], true);
    world.submit(&replica, &Request(request.clone())).await;
    edit("apiVersion: batch/v1\n  kind: [").await;
    shows(&world, &replica, "the other error is shown", |it| it["errors"][0]["pointer"] == "").await;
    world.submit(&replica, &Request(request.clone())).await;
    edit(&SEED.replace("fast", "mended")).await;
    shows(&world, &replica, "it is mended", |it| it["errors"].is_null()).await;

    // A key that never could be used is there, and cannot be used.
    let second = json!({"data": {"second.yaml": "kind: Pod"}});
    maps.patch("job-template-cm", &PatchParams::default(), &Patch::Merge(&second)).await.unwrap();
    let problem = eventually("the second key is known", async || {
        let (_, problem) = post(&world, &replica, &json!({"name": "a", "template": "second"})).await;
        problem["detail"].as_str().unwrap().contains("cannot be used").then_some(problem)
    });
    assert_eq!(problem.await["errors"][0]["pointer"], "/template");
    let put = send(&world, "PUT", format!("{replica}/templates/second"), SEED).await;
    assert_eq!((put.0, put.1["code"].as_str()), (409, Some("template_is_fixed")));

    maps.delete("job-template-cm", &DeleteParams::default()).await.unwrap();
    shows(&world, &replica, "it is gone", |it| it["code"] == "no_such_template").await;
    assert_eq!(refused(&world, &replica, &request).await, ["/template"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_template_is_put_filled_listed_and_deleted() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let other = world.start(&[]).await;
    let url = |name: &str| format!("{replica}/templates/{name}");
    let (status, put) = send(&world, "PUT", url("import"), IMPORT).await;
    assert_eq!((status, put["home"].as_str(), put["form"].as_str()), (201, Some("stored"), Some("json")), "{put}");
    assert_eq!(send(&world, "PUT", url("import"), IMPORT).await.0, 200);
    assert_eq!(send(&world, "PUT", url("launcher"), SEED).await.1["form"], "yaml");
    let listed = world.get(&other, "/templates").await;
    let names: Vec<&str> = listed["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["import", "launcher"]);
    assert_eq!(listed["items"][0]["parameters"][2]["enum"], json!(["fast", "slow"]));
    let page = world.get(&other, "/templates?limit=1").await;
    assert_eq!((page["items"].as_array().unwrap().len(), page["next"].as_str()), (1, Some("import")));
    assert_eq!(world.get(&other, "/templates?limit=1&cursor=import").await["items"][0]["name"], "launcher");
    assert_eq!(world.get(&other, "/templates/import").await["source"], IMPORT);

    // What a request gives is data: to YAML, to the template, and to Kubernetes.
    let file = "a\"\nb: {{ lines }} $(MODE) $$";
    let request = json!({"name": "an import", "template": "import", "params": {"file": file, "lines": 2}, "env": [{"name": "MORE", "value": "1"}]});
    let id = world.submit(&other, &Request(request)).await;
    let done = world.reaches(&replica, &id, "succeeded").await;
    assert_eq!((done["priority"].as_i64(), done["queue"].as_str()), (Some(7), Some("imports")));
    assert_eq!(done["policy"]["timeout_secs"], 3600.0);
    assert_eq!(done["spec"]["params"], json!({"file": file, "lines": 2}));
    let manifest = &done["spec"]["manifest"];
    let main = &manifest["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(main["args"], json!(["--lines=2", "--file", "a\"\nb: {{ lines }} $$(MODE) $$$$"]));
    assert_eq!(main["env"], json!([{"name": "MODE", "value": "fast"}, {"name": "MORE", "value": "1"}]));
    assert_eq!(manifest["spec"]["completions"], 2);
    assert_eq!(manifest["metadata"]["annotations"]["example.com/of"], "an import");

    assert_eq!(send(&world, "DELETE", url("import"), "").await.0, 204);
    for (method, path) in [("GET", "import"), ("DELETE", "import"), ("GET", "no such"), ("DELETE", "-")] {
        let (status, problem) = send(&world, method, url(path), "").await;
        assert_eq!((status, problem["code"].as_str()), (404, Some("no_such_template")), "{method} {path}");
    }
    let (_, problem) =
        post(&world, &replica, &json!({"name": "a", "template": "import", "params": {"file": "a"}})).await;
    assert!(problem["detail"].as_str().unwrap().contains("there are launcher"), "{problem}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_in_files_go_first_are_read_again_and_keep_their_last_good_text() {
    let mut world = World::new(0).await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("launcher.yaml", SEED);
    write("import.json", IMPORT);
    write("README.md", "not a template");
    let flags = format!("--templates={}", dir.path().display());
    let plain = world.start(&[]).await;
    assert_eq!(send(&world, "PUT", format!("{plain}/templates/launcher"), SEED.replace("fast", "stored")).await.0, 201);
    let replica = world.start(&[&flags, "--default-template=launcher"]).await;
    let listed = world.get(&replica, "/templates").await;
    let items: BTreeMap<(String, String), Value> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| ((it["name"].to_string(), it["home"].to_string()), it["hidden_by"].clone()))
        .collect();
    let key = |name: &str, home: &str| (format!("\"{name}\""), format!("\"{home}\""));
    assert_eq!(
        items,
        BTreeMap::from([
            (key("import", "file"), Value::Null),
            (key("launcher", "file"), Value::Null),
            (key("launcher", "stored"), json!("file")),
        ])
    );
    assert_eq!(send(&world, "PUT", format!("{replica}/templates/launcher"), SEED).await.0, 409);
    assert_eq!(send(&world, "DELETE", format!("{replica}/templates/import"), "").await.0, 409);

    let mode = async |request: Value| {
        let id = world.submit(&replica, &Request(request)).await;
        let job = world.get(&replica, &format!("/jobs/{id}")).await;
        job["spec"]["manifest"]["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].clone()
    };
    assert_eq!(mode(json!({"name": "by default", "priority": 2})).await, "fast", "a file goes before what is stored");
    let inline = world.submit(&replica, &job("inline", 10, 0)).await;
    assert!(world.get(&replica, &format!("/jobs/{inline}")).await["spec"]["template"].is_null());

    let shown = async |name: &str, what: &str, condition: &dyn Fn(&Value) -> bool| {
        eventually(what, async || {
            let (_, shown) = send(&world, "GET", format!("{replica}/templates/{name}"), "").await;
            condition(&shown).then_some(shown)
        })
        .await
    };
    write("launcher.yaml", &SEED.replace("fast", "edited"));
    shown("launcher", "the edit is read", &|it| it["source"].as_str().is_some_and(|it| it.contains("edited"))).await;
    write("launcher.yaml", "kind: [");
    shown("launcher", "the broken edit is told", &|it| it["errors"].is_array()).await;
    assert_eq!(mode(json!({"name": "after a broken edit"})).await, "edited");
    std::fs::remove_file(dir.path().join("launcher.yaml")).unwrap();
    shown("launcher", "the file is gone", &|it| it["home"] == "stored").await;
    assert_eq!(mode(json!({"name": "after the file"})).await, "stored");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_config_map_that_may_not_be_read_is_told_and_tried_again() {
    let mut world = World::new(0).await;
    let maps = config_maps(&world).await;
    maps.create(&PostParams::default(), &serde_json::from_value(config_map(SEED)).unwrap()).await.unwrap();
    world.target.sim().faults().add(Rule::new("list", "configmaps", Effect::NotAllowed).from_agent("longshore"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file.yaml"), SEED).unwrap();
    let files = format!("--templates={}", dir.path().display());
    let replica = world.start(&["--template-config-map=job-template-cm", &files]).await;
    let request = json!({"name": "a", "template": "job-template"});
    let (status, problem) = post(&world, &replica, &request).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("templates_unavailable")), "it may be there");
    world.submit(&replica, &Request(json!({"name": "a", "template": "file"}))).await;
    world.submit(&replica, &job("without", 10, 0)).await;
    world.target.sim().faults().clear();
    shows(&world, &replica, "the ConfigMap is read", |it| it["usable"] == true).await;
    world.submit(&replica, &Request(request)).await;

    // The watch is ended from outside; what was read stands, and the next edit is seen all the same.
    world.target.sim().faults().add(Rule::new("watch", "configmaps", Effect::ExpireWatches).times(1));
    let edited = config_map(&SEED.replace("fast", "edited"));
    maps.patch("job-template-cm", &PatchParams::default(), &Patch::Merge(&edited)).await.unwrap();
    shows(&world, &replica, "the edit is read", |it| it["source"].as_str().is_some_and(|it| it.contains("edited")))
        .await;
    world.finish().await;
}
