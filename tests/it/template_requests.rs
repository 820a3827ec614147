//! Requests that name a template: what is refused of them, and when two of them are the same.

use serde_json::{Value, json};

use crate::harness::{
    World,
    jobs::Request,
    scalar,
    templates::{IMPORT, SEED, post, refused, send},
};

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_does_not_fit_a_template_is_refused_with_its_field() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    for (name, source) in [("import", IMPORT), ("launcher", SEED)] {
        assert_eq!(send(&world, "PUT", format!("{replica}/templates/{name}"), source).await.0, 201);
    }
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"template": "import"}), &["/params/file"]),
        (
            json!({"template": "import", "params": {"file": 7, "mode": "so", "lines": "1", "x/y": 1}}),
            &["/params/file", "/params/lines", "/params/mode", "/params/x~1y"],
        ),
        (json!({"template": "import", "params": {"file": "a"}, "args": ["b"]}), &["/args"]),
        (json!({"template": "import", "params": {"file": "a\u{0}"}}), &["/params/file"]),
        (json!({"template": "launcher", "params": {"file": "a"}}), &["/params/file"]),
        (json!({"template": "launcher", "env": {"MODE": "slow"}}), &["/env/MODE"]),
        (json!({"template": "launcher", "env": [{"name": "A"}, {"name": "MODE"}]}), &["/env/1/name"]),
        (json!({"template": "launcher", "env": {"A": 1}}), &["/env/A"]),
        (json!({"template": "launcher", "labels": {"app": "mine"}}), &["/labels/app"]),
        (
            json!({"template": "launcher", "annotations": {"sim.longshore.dev/duration": "1h"}}),
            &["/annotations/sim.longshore.dev~1duration"],
        ),
        (json!({"template": "launcher", "image": "busybox"}), &["/image"]),
        (
            json!({"template": "launcher", "command": "true", "resources": {}, "service_account": "a", "parallelism": 1}),
            &["/command", "/resources", "/parallelism", "/service_account"],
        ),
        (json!({"template": "launcher", "manifest": {}}), &["/manifest"]),
        (json!({"template": "nothing"}), &["/template"]),
        (json!({"template": "a\u{0}b"}), &["/template"]),
        (json!({"template": 7}), &["/template"]),
        (json!({"template": "launcher", "params": [1]}), &["/params"]),
        (json!({"params": {"file": "a"}}), &["/params"]),
        (
            json!({"template": "import", "params": {"file": "x".repeat(900_000), "lines": 1}, "queue": "no spaces"}),
            &["/queue"],
        ),
    ];
    for (mut body, pointers) in cases {
        body["name"] = json!("a");
        assert_eq!(
            refused(&world, &replica, &body).await,
            pointers,
            "{}",
            &body.to_string()[..100.min(body.to_string().len())]
        );
    }

    let refused_templates = [
        ("{", 400, "invalid_json", ""),
        ("a: [", 422, "invalid_fields", ""),
        ("a: \u{0}", 422, "invalid_fields", ""),
        (&SEED.replace("kind: Job", "kind: Pod"), 422, "invalid_fields", "/kind"),
        (
            &SEED.replace("spec:\n  template", "spec:\n  backofLimit: 1\n  template"),
            422,
            "invalid_fields",
            "/spec/backofLimit",
        ),
        (
            &IMPORT.replace("{{ file }}", "{{ fiel }}"),
            422,
            "invalid_fields",
            "/manifest/spec/template/spec/containers/0/args/2",
        ),
    ];
    for (source, status, code, pointer) in refused_templates {
        let (got, problem) = send(&world, "PUT", format!("{replica}/templates/new"), source.to_owned()).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{source}: {problem}");
        if code == "invalid_fields" {
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
    }
    assert_eq!(send(&world, "PUT", format!("{replica}/templates/no%20spaces"), SEED).await.0, 422);
    assert_eq!(send(&world, "PUT", format!("{replica}/templates/large"), "#".repeat(1024 * 1024 + 1)).await.0, 413);
    assert_eq!(send(&world, "GET", format!("{replica}/templates?limit=0"), "").await.0, 422);
    let mut conn = world.conn().await;
    let stored: (i64, i64) = (
        scalar(&mut conn, "select count(*) from longshore.templates").await,
        scalar(&mut conn, "select count(*) from longshore.jobs").await,
    );
    assert_eq!(stored, (2, 0));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_asked_again_after_an_edit_is_still_the_same_request() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let url = format!("{replica}/templates/import");
    send(&world, "PUT", url.clone(), IMPORT).await;
    let request = json!({"name": "a", "template": "import", "params": {"file": "a"}, "idempotency_key": "k"});
    let id = world.submit(&replica, &Request(request.clone())).await;
    let edited = IMPORT.replace("\"priority\": 7", "\"priority\": 8").replace("--file", "--from");
    assert_eq!(send(&world, "PUT", url.clone(), edited).await.0, 200);
    let (status, again) = post(&world, &replica, &request).await;
    assert_eq!((status, again["job_id"].as_str()), (200, Some(&*id)));
    let job = world.get(&replica, &format!("/jobs/{id}")).await;
    assert_eq!(job["spec"]["manifest"]["spec"]["template"]["spec"]["containers"][0]["args"][1], "--file", "{job}");

    let mut other = request.clone();
    other["params"]["file"] = json!("b");
    assert_eq!(post(&world, &replica, &other).await.1["code"], "idempotency_key_reused");
    other = request.clone();
    other["env"] = json!({"A": "1"});
    assert_eq!(post(&world, &replica, &other).await.1["code"], "idempotency_key_reused");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_fills_each_item_for_itself() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    send(&world, "PUT", format!("{replica}/templates/import"), IMPORT).await;
    let items: Vec<Value> = (0..1_200)
        .map(|it| match it % 3 {
            0 => json!({"name": format!("job{it}"), "template": "import", "params": {"file": format!("f{it}")}}),
            1 => json!({"name": format!("job{it}"), "template": "nothing"}),
            _ => json!({"name": format!("job{it}"), "template": "import"}),
        })
        .collect();
    let (status, said) = send(&world, "POST", format!("{replica}/jobs/batch"), Value::from(items).to_string()).await;
    assert_eq!(status, 200);
    let said = said.as_array().unwrap();
    assert_eq!(said.len(), 1_200);
    for (index, it) in said.iter().enumerate() {
        match index % 3 {
            0 => assert_eq!(it["status"], 202, "{it}"),
            1 => assert_eq!(it["error"]["errors"][0]["pointer"], "/template"),
            _ => assert_eq!(it["error"]["errors"][0]["pointer"], "/params/file"),
        }
    }
    let mut conn = world.conn().await;
    let filled = "select count(*) from longshore.jobs j join longshore.job_specs s on s.job_id = j.id
                   where s.spec #>> '{manifest,spec,template,spec,containers,0,args,2}' = 'f' || substr(j.name, 4)";
    assert_eq!(scalar::<i64>(&mut conn, filled).await, 400);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_makes_no_job_is_refused_by_the_parameter_it_came_in() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let source = IMPORT
        .replace(r#"{"name": "lines", "type": "integer", "default": 100}"#, r#"{"name": "lines", "type": "number"}"#);
    assert_eq!(send(&world, "PUT", format!("{replica}/templates/import"), source).await.0, 201);
    let half = json!({"name": "a", "template": "import", "params": {"file": "a", "lines": 1.5}});
    assert_eq!(refused(&world, &replica, &half).await, ["/params/lines"]);
    let (_, problem) = post(&world, &replica, &half).await;
    assert!(problem["detail"].as_str().unwrap().contains("/spec/completions"), "{problem}");
    world.finish().await;
}
