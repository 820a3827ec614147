//! The jq front: requests become Jobs by a filter, with the answers of the dispatcher it comes from.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::harness::{World, eventually, jobs::job, scalar};

/// What the dispatcher does where it is given no filter, written anew from its described behaviour: a Job of the body's
/// arguments, named by `id` or by the hash of the body, the rest from variables `JOB_…`.
const DEFAULT: &str = r#"
# A body such as {"args": ["Hello", "world!"]}, and an optional id.
def setting($name; $default): $ENV["JOB_" + $name] // $default;
def count($name; $default): $ENV["JOB_" + $name] as $text | try ($text | tonumber) catch $default;
setting("NAME_PREFIX"; "demo-job-") as $prefix |
{
  metadata: {name: ($prefix + (.id // @sha1))[:63], annotations: {"sim.longshore.dev/duration": "100ms"}},
  spec: {
    parallelism: 1,
    backoffLimit: count("RETRIES"; 2),
    activeDeadlineSeconds: count("TTL"; 300),
    ttlSecondsAfterFinished: count("KEEP_FOR"; 180),
    template: {spec: {
      restartPolicy: "Never",
      imagePullSecrets: [$ENV.JOB_IMAGE_PULL_SECRET | strings | {name: .}],
      containers: [{
        name: ($prefix | rtrimstr("-")),
        image: setting("IMAGE"; "busybox:latest"),
        imagePullPolicy: "IfNotPresent",
        command: [setting("COMMAND"; "echo")],
        args: .args,
        env: [$ENV | to_entries[] | select(.key | startswith("JOB_ENV_")) | {name: (.key | ltrimstr("JOB_ENV_")), value}]
      }]
    }}
  }
}"#;

/// A filter that makes a Job which sleeps, with whatever metadata and spec the body has on top.
const PLAIN: &str = r#"{metadata: {annotations: {"sim.longshore.dev/duration": "100ms"}}, spec: {template: {spec: {
    restartPolicy: "Never",
    containers: [{name: "a", image: "busybox:latest", imagePullPolicy: "IfNotPresent", command: ["true"]}]}}}} * ."#;

async fn post(world: &World, url: &str, body: &Value) -> (u16, Value) {
    let answer = world.http.post(url).body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Ends when the Job says that it is complete; answers its status then.
async fn completes(world: &World, url: &str, name: &str) -> Value {
    eventually("the Job completes", async || {
        let status = world.get(url, &format!("/job/{name}")).await["status"].take();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|it| it["type"] == "Complete" && it["status"] == "True").then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_filter_of_the_dispatcher_gets_the_answers_of_the_dispatcher() {
    let mut world = World::new(2).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("default.jq");
    std::fs::write(&file, DEFAULT).unwrap();
    let env = [("JOB_ENV_GREETING", "hi"), ("JOB_RETRIES", "0"), ("SECRET", "s"), ("JOB_KEEP_FOR", "3600")];
    // As a process, which runs itself again for its filter.
    let replica = world.spawn(&["-f", file.to_str().unwrap()], &env).await;
    let url = replica.url.clone();
    world.processes.push(replica);

    let name = "demo-job-a59c882c2fcdd8f26a5fd326110d667620368145";
    let front = format!("{url}/job");
    let body = json!({"args": ["Hello", "world!"]});
    assert_eq!(post(&world, &front, &body).await, (201, json!({"id": name})));
    assert_eq!(post(&world, &front, &body).await, (200, json!({"id": name})), "its name is there already");
    let spaced = world.http.post(format!("{front}/any/path")).body("{ \"args\" : [\"Hello\",\n\"world!\"] }");
    assert_eq!(spaced.send().await.unwrap().status(), 200, "the same body in other words is the same Job");
    let answer = world.get(&url, &format!("/job/{name}")).await;
    assert_eq!(answer["id"], name);
    assert!(answer["status"].is_object() && answer.as_object().unwrap().len() == 2, "{answer}");

    // By its row, or by the Kubernetes Job while it is there: the same to who asks.
    let status = completes(&world, &url, name).await;
    assert_eq!(status["succeeded"], 1, "{status}");
    assert!(status["startTime"].is_string() && status["completionTime"].is_string(), "{status}");
    world.cluster_is_empty().await;
    let status = completes(&world, &url, name).await;
    assert_eq!((&status["succeeded"], &status["active"]), (&json!(1), &Value::Null), "{status}");
    assert_eq!(post(&world, &front, &body).await, (200, json!({"id": name})));

    let named = json!({"args": ["again"], "id": "second"});
    assert_eq!(post(&world, &front, &named).await, (201, json!({"id": "demo-job-second"})));
    let listed = world.get(&url, "/jobs?name=demo-job-second").await;
    let id = listed["items"][0]["job_id"].as_str().unwrap();
    let stored = world.reaches(&url, id, "succeeded").await;
    let spec = &stored["spec"]["manifest"]["spec"];
    assert_eq!(spec["backoffLimit"], 0);
    assert_eq!(spec["template"]["spec"]["containers"][0]["env"], json!([{"name": "GREETING", "value": "hi"}]));
    assert_eq!(world.get(&url, "/job/demo-job-second/").await["id"], "demo-job-second", "as the dispatcher takes it");
    let unknown = world.http.get(format!("{url}/job/nothing")).send().await.unwrap();
    assert_eq!(
        (unknown.status().as_u16(), unknown.json::<Value>().await.unwrap()["code"].as_str()),
        (404, Some("no_such_job"))
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_filter_makes_is_queued_by_priority_under_the_cap() {
    let mut world = World::new(0).await;
    let url = world.start(&["--filter", PLAIN]).await;
    let front = format!("{url}/job");
    let body = |name: &str, priority: &str, queue: &str| {
        let annotations = json!({"longshore.dev/priority": priority, "longshore.dev/queue": queue, "team": "a"});
        json!({"metadata": {"name": name, "annotations": annotations}})
    };
    for (name, priority, queue) in [("low", "-1", "default"), ("mid", "1", "other"), ("high", "7", "default")] {
        assert_eq!(post(&world, &front, &body(name, priority, queue)).await, (201, json!({"id": name})));
    }
    assert_eq!(world.get(&url, "/job/low").await, json!({"id": "low", "status": {}}), "it waits");
    world.submit(&url, &job("plain", 50, 0).priority(3)).await;
    assert_eq!(world.names(&url, "pending").await, ["high", "plain", "mid", "low"]);
    let pending = world.get(&url, "/jobs/pending").await;
    assert_eq!(pending[2]["queue"], "other");
    world.set_cap(1).await;
    world.all_end().await;
    let mut conn = world.conn().await;
    let order: String = scalar(&mut conn, "select string_agg(name, ' ' order by claimed_at) from longshore.jobs").await;
    assert_eq!(order, "high plain mid low");
    let ended: bool = scalar(&mut conn, "select bool_and(state = 'succeeded') from longshore.jobs").await;
    assert!(ended);
    let listed = world.get(&url, "/jobs?name=high").await;
    let id = listed["items"][0]["job_id"].as_str().unwrap();
    let annotations = &world.get(&url, &format!("/jobs/{id}")).await["spec"]["manifest"]["metadata"]["annotations"];
    assert_eq!(annotations["team"], "a");
    assert!(annotations.get("longshore.dev/priority").is_none(), "it was meant for Longshore");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_at_all_replicas_at_once_makes_one_job_and_is_free_when_kubernetes_would_have_freed_it() {
    let mut world = World::new(1).await;
    let urls = [world.start(&["--filter", PLAIN]).await, world.start(&["--filter", PLAIN]).await];
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (http, url) = (world.http.clone(), format!("{}/job", urls[number % 2]));
        // Another Job each time: the name alone counts.
        let body = json!({"metadata": {"name": "once"}, "spec": {"activeDeadlineSeconds": 100 + number}});
        asking.spawn(async move { http.post(url).body(body.to_string()).send().await.unwrap().status().as_u16() });
    }
    let statuses = asking.join_all().await;
    assert_eq!(statuses.iter().filter(|it| **it == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), 19, "{statuses:?}");

    let front = format!("{}/job", urls[0]);
    let short = json!({"metadata": {"name": "short"}, "spec": {"ttlSecondsAfterFinished": 0}});
    assert_eq!(post(&world, &front, &short).await, (201, json!({"id": "short"})));
    world.all_end().await;
    let again = post(&world, &front, &json!({"metadata": {"name": "once"}})).await;
    assert_eq!(again, (200, json!({"id": "once"})), "nothing would have removed it");
    assert_eq!(post(&world, &front, &short).await, (201, json!({"id": "short"})), "its time was over at once");
    assert_eq!(world.get(&urls[1], "/job/short").await["id"], "short");
    world.all_end().await;
    let mut conn = world.conn().await;
    let jobs: String = scalar(&mut conn, "select string_agg(name, ' ' order by seq) from longshore.jobs").await;
    assert_eq!(jobs, "once short short");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_filter_cannot_make_a_job_of_is_refused_with_the_reason() {
    let mut world = World::new(0).await;
    let filter = format!(
        r#"if .error then error(.error) elif .empty then empty elif has("is") then .is
           elif .path then {{metadata: {{name: ($PATH | gsub("/"; "-") | .[1:])}}}} * {{spec: ({PLAIN} | .spec)}}
           elif .endless then def f: f; f else {PLAIN} end"#
    );
    let url = world.start(&["--filter", &filter, "--filter-timeout=500ms"]).await;
    let front = format!("{url}/job");
    let meta = |meta: Value| json!({"metadata": meta});
    let own = |key: &str, value: &str| meta(json!({"name": "a", "annotations": {key: value}}));
    let annotation = |key: &str| format!("/manifest/metadata/annotations/longshore.dev~1{key}");
    let cases = [
        (json!({"error": "no such report"}), "filter_failed", "no such report".to_owned()),
        (json!({"empty": true}), "filter_failed", "no output".to_owned()),
        (json!({"is": "x".repeat(1_000_000)}), "invalid_fields", "/manifest".to_owned()),
        (json!({"is": null}), "invalid_fields", "/manifest".to_owned()),
        (json!({"is": {"kind": "Pod", "metadata": {"name": "a"}}}), "invalid_fields", "/manifest/kind".to_owned()),
        (json!({"is": {"metadata": {"name": "a"}}}), "invalid_fields", "/manifest/spec".to_owned()),
        (meta(json!({})), "invalid_fields", "/manifest/metadata/name".to_owned()),
        (meta(json!({"name": "A b"})), "invalid_fields", "/manifest/metadata/name".to_owned()),
        (
            meta(json!({"name": "a", "namespace": "elsewhere"})),
            "invalid_fields",
            "/manifest/metadata/namespace".to_owned(),
        ),
        (
            json!({"metadata": {"name": "a"}, "spec": {"backoffLimitt": 1}}),
            "invalid_fields",
            "/manifest/spec/backoffLimitt".to_owned(),
        ),
        (own("longshore.dev/priority", "high"), "invalid_fields", annotation("priority")),
        (own("longshore.dev/queue", "a b"), "invalid_fields", annotation("queue")),
        (own("longshore.dev/job-id", "x"), "invalid_fields", annotation("job-id")),
    ];
    for (body, code, said) in cases {
        let (status, problem) = post(&world, &front, &body).await;
        assert_eq!((status, problem["code"].as_str().unwrap()), (422, code), "{problem}");
        assert!(problem.to_string().contains(&said), "{said}: {problem}");
        assert!(problem.to_string().len() < 10_000, "a refusal does not repeat the whole request");
    }
    let (status, problem) = post(&world, &front, &json!({"endless": true})).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), (504, "filter_timeout"), "{problem}");
    let raw = async |body: String| {
        let answer = world.http.post(&front).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(raw("{".into()).await, (400, "invalid_json".into()));
    assert_eq!(raw(String::new()).await, (400, "invalid_json".into()));
    assert_eq!(raw("[".repeat(100_000)).await, (400, "invalid_json".into()));
    assert_eq!(raw(" ".repeat(longshore::api::BODY_BYTES + 1)).await, (413, "too_large".into()));
    let key = json!({"name": "a", "idempotency_key": "longshore.dev/job/default/a"});
    let (status, problem) = post(&world, &format!("{url}/jobs"), &key).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/idempotency_key")), "{problem}");
    let mut conn = world.conn().await;
    assert_eq!(scalar::<i64>(&mut conn, "select count(*) from longshore.jobs").await, 0);

    assert_eq!(post(&world, &format!("{front}/a%20b//c/"), &json!({"path": true})).await.0, 422, "a name has no space");
    assert_eq!(post(&world, &format!("{front}/b//c/"), &json!({"path": true})).await, (201, json!({"id": "job-b-c"})));
    let (status, made) = post(&world, &front, &meta(json!({"generateName": "made-"}))).await;
    assert!(status == 201 && made["id"].as_str().unwrap().len() == 15, "{made}");

    let without = world.start(&[]).await;
    let (status, problem) = post(&world, &format!("{without}/job"), &json!({})).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), (404, "no_filter"));
    assert!(problem["detail"].as_str().unwrap().contains("--from-file"), "{problem}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_are_refused_while_others_are_served() {
    let mut world = World::new(0).await;
    let filter = format!(
        r#"if .do == "endless" then def f: f; f elif .do == "deep" then def g: [g]; g
           elif .do == "big" then reduce range(60) as $i ("x"; . + .) else {PLAIN} end"#
    );
    let url = world.start(&["--filter", &filter, "--filter-timeout=5s"]).await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..12 {
        let (http, url) = (world.http.clone(), url.clone());
        let body = match number % 4 {
            1 => json!({"do": "deep"}),
            2 => json!({"do": "big"}),
            _ => json!({"metadata": {"name": format!("good-{number}")}}),
        };
        asking.spawn(async move {
            let answer = http.post(format!("{url}/job")).body(body.to_string()).send().await.unwrap();
            (body.get("do").is_some(), answer.status().as_u16(), answer.text().await.unwrap())
        });
    }
    let endless = world.http.post(format!("{url}/job")).body(r#"{"do": "endless"}"#).send();
    let (answers, endless) = tokio::join!(asking.join_all(), endless);
    for (hostile, status, said) in answers {
        assert!(if hostile { [422, 504].contains(&status) } else { status == 201 }, "{status}: {said}");
    }
    assert_eq!(endless.unwrap().status(), 504);
    assert_eq!(world.names(&url, "pending").await.len(), 6, "each that meant no harm is queued");
    assert!(world.target.jobs().await.iter().all(|it| !it.name_any().starts_with("good")));
    world.finish().await;
}
