//! `longshore.submit(...)`: jobs submitted in SQL, in a transaction of the application's own, by the rules of `POST /jobs`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::harness::{World, eventually, jobs::job, scalar};

async fn submit(conn: &mut PgConnection, request: &Value, key: Option<&str>) -> Result<Uuid, String> {
    let submitted = sqlx::query_scalar::<_, Uuid>("select longshore.submit($1, $2)").bind(request).bind(key);
    submitted.fetch_one(conn).await.map_err(|err| match err {
        sqlx::Error::Database(err) => err.message().to_owned(),
        err => panic!("{err}"),
    })
}

/// Waits until the replicas have taken everything in.
async fn taken_in(world: &World) {
    let mut conn = world.conn().await;
    eventually("everything is taken in", async || {
        let left: i64 = scalar(&mut conn, "select count(*) from longshore.inbox").await;
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_comes_with_the_commit_of_the_application_and_goes_with_its_rollback() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let mut conn = world.conn().await;
    sqlx::query("create table orders (id integer primary key, job uuid)").execute(&mut conn).await.unwrap();

    let mut rolled_back = conn.begin().await.unwrap();
    let never = submit(&mut rolled_back, &job("never", 100, 0).0, None).await.unwrap();
    rolled_back.rollback().await.unwrap();
    let mut order = conn.begin().await.unwrap();
    let id = submit(&mut order, &job("order-1", 100, 0).priority(7).0, None).await.unwrap();
    sqlx::query("insert into orders values (1, $1)").bind(id).execute(&mut *order).await.unwrap();
    order.commit().await.unwrap();
    world.accepted.lock().unwrap().push(id.to_string());

    let done = world.reaches(&replica, &id.to_string(), "succeeded").await;
    assert_eq!((&done["name"], &done["priority"], &done["attempt"]), (&json!("order-1"), &json!(7), &json!(1)));
    taken_in(&world).await;
    let answer = world.http.get(format!("{replica}/jobs/{never}")).send().await.unwrap();
    assert_eq!(answer.status(), 404, "nothing is left of what was rolled back");
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sql_takes_and_post_jobs_would_not_is_a_job_that_failed_and_says_why() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let mut conn = world.conn().await;
    let refused = [
        json!({"name": "a", "command": "echo 'open"}),
        json!({"name": "b", "image": "busybox", "template": "none"}),
        json!({"name": "c", "manifest": {"spec": {"template": {"spec": {"hostNetwork": true,
            "containers": [{"name": "x", "image": "y"}]}}}}}),
        json!({"name": "d", "timeout": "soon"}),
        json!({"name": "e", "namespace": "elsewhere"}),
        json!({"name": "f", "resources": {"limits": {"cpu": "much"}}, "queue": "jobs", "priority": -3}),
    ];
    for request in refused {
        let answer = world.http.post(format!("{replica}/jobs")).json(&request).send().await.unwrap();
        assert!(answer.status().is_client_error());
        let problem: Value = answer.json().await.unwrap();
        let id = submit(&mut conn, &request, None).await.unwrap().to_string();
        world.accepted.lock().unwrap().push(id.clone());
        let job = eventually("it is there", async || {
            let answer = world.http.get(format!("{replica}/jobs/{id}")).send().await.unwrap();
            if answer.status().is_success() { Some(answer.json::<Value>().await.unwrap()) } else { None }
        })
        .await;
        assert_eq!(
            (&job["state"], &job["reason"], &job["name"]),
            (&json!("failed"), &json!("refused"), &request["name"])
        );
        assert_eq!(job["message"], problem["detail"], "as over HTTP");
        let again = world.http.post(format!("{replica}/jobs/{id}/retry")).send().await.unwrap();
        assert_eq!(again.status(), 409, "there is nothing to run");
    }
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sql_refuses_at_once_post_jobs_refuses_as_well() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let mut conn = world.conn().await;
    for request in [
        json!(["name"]),
        json!({}),
        json!({"name": null}),
        json!({"name": " \t "}),
        json!({"name": "bell\u{7}"}),
        json!({"name": "next\u{85}line"}),
        json!({"name": "x".repeat(201)}),
        json!({"name": "a", "colour": "red"}),
        json!({"name": "a", "priority": 2_147_483_648_i64}),
        json!({"name": "a", "priority": 1.5}),
        json!({"name": "a", "priority": "5"}),
        json!({"name": "a", "queue": ""}),
        json!({"name": "a", "queue": "-a"}),
        json!({"name": "a", "queue": "x".repeat(64)}),
        json!({"name": "a", "queue": ["a"]}),
        json!({"name": "a", "idempotency_key": ""}),
        json!({"name": "a", "idempotency_key": "x".repeat(256)}),
        json!({"name": "a", "idempotency_key": "longshore.dev/source/x"}),
    ] {
        let told = submit(&mut conn, &request, None).await.expect_err(&request.to_string());
        let answer = world.http.post(format!("{replica}/jobs")).json(&request).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{request}: SQL says {told}");
    }
    // What is at the edge is taken by both.
    for request in [
        json!({"name": "x".repeat(200), "queue": "x".repeat(63), "priority": i32::MIN}),
        json!({"name": " \u{a0}ü ", "queue": "A.b-c_D", "priority": null, "image": null, "command": ["true"]}),
    ] {
        submit(&mut conn, &request, None).await.unwrap();
        let answer = world.http.post(format!("{replica}/jobs")).json(&request).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{request}");
    }
    taken_in(&world).await;
    let refused: i64 = scalar(&mut conn, "select count(*) from longshore.jobs where reason = 'refused'").await;
    assert_eq!(refused, 0);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_knows_the_fields_that_post_jobs_knows() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let mut conn = world.conn().await;
    let document: Value = world.http.get(format!("{replica}/openapi.json")).send().await.unwrap().json().await.unwrap();
    let schema = document["components"]["schemas"]["SubmitRequest"]["properties"].as_object().unwrap();
    let asked: BTreeSet<&String> = schema.keys().collect();
    assert!(asked.len() > 20);
    let mut unknown = BTreeMap::new();
    for field in asked.into_iter().filter(|it| *it != "name") {
        // Null is as if it were not there, so that only the field's name can be wrong.
        if let Err(told) = submit(&mut conn, &json!({"name": "a", field.as_str(): null}), None).await {
            unknown.insert(field, told);
        }
    }
    assert_eq!(unknown, BTreeMap::new());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_one_job_however_often_and_by_whichever_way_it_comes() {
    let mut world = World::new(2).await;
    let mut conn = world.conn().await;
    let request = job("once", 100, 0).0;
    let first = submit(&mut conn, &request, Some("k1")).await.unwrap();
    assert_eq!(submit(&mut conn, &request, Some("k1")).await, Ok(first), "before it was taken in");
    let other = submit(&mut conn, &job("other", 100, 0).0, Some("k1")).await.unwrap_err();
    assert!(other.contains(&first.to_string()) && other.contains("another request"), "{other}");
    world.accepted.lock().unwrap().push(first.to_string());

    let replica = world.start(&[]).await;
    world.reaches(&replica, &first.to_string(), "succeeded").await;
    assert_eq!(submit(&mut conn, &request, Some("k1")).await, Ok(first), "after it has ended");
    assert!(submit(&mut conn, &job("other", 100, 0).0, Some("k1")).await.is_err());
    let post = |request: Value| {
        world.http.post(format!("{replica}/jobs")).header("idempotency-key", "k1").json(&request).send()
    };
    let same = post(request.clone()).await.unwrap();
    assert_eq!(same.status(), 200);
    assert_eq!(same.json::<Value>().await.unwrap()["job_id"], json!(first));
    assert_eq!(post(job("other", 100, 0).0).await.unwrap().status(), 409);

    let over_http = world.http.post(format!("{replica}/jobs")).header("idempotency-key", "k2").json(&request);
    let id: Value = over_http.send().await.unwrap().json().await.unwrap();
    let id = id["job_id"].as_str().unwrap().to_owned();
    assert_eq!(submit(&mut conn, &request, Some("k2")).await.unwrap().to_string(), id);
    world.accepted.lock().unwrap().push(id.clone());
    world.reaches(&replica, &id, "succeeded").await;
    taken_in(&world).await;
    let jobs: i64 = scalar(&mut conn, "select count(*) from longshore.jobs").await;
    assert_eq!(jobs, 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_its_queue_full_waits_in_the_inbox_and_holds_up_nobody() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    world.set_queue(&replica, "narrow", json!({"max_pending": 1, "paused": true})).await;
    let mut conn = world.conn().await;
    let mut ids = Vec::new();
    for name in ["n1", "n2"] {
        let request = job(name, 100, 0).with("queue", json!("narrow")).0;
        ids.push(submit(&mut conn, &request, None).await.unwrap().to_string());
    }
    let wide = submit(&mut conn, &job("wide", 100, 0).0, None).await.unwrap().to_string();
    world.reaches(&replica, &wide, "succeeded").await;
    let left: i64 = scalar(&mut conn, "select count(*) from longshore.inbox").await;
    assert_eq!(left, 1, "there is room for one");
    world.set_queue(&replica, "narrow", json!({})).await;
    world.accepted.lock().unwrap().extend(ids.iter().cloned().chain([wide]));
    taken_in(&world).await;
    for id in ids {
        world.reaches(&replica, &id, "succeeded").await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_whoever_may_do_nothing_else_may_submit_once_it_is_granted() {
    let world = World::new(2).await;
    let mut conn = world.conn().await;
    let role = format!("shop_{}", Uuid::new_v4().simple());
    let run = async |conn: &mut PgConnection, text: String| {
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(conn).await.map(drop).map_err(|err| err.to_string())
    };
    run(&mut conn, format!("create role {role}")).await.unwrap();
    run(&mut conn, format!("set role {role}")).await.unwrap();
    let call = "select longshore.submit('{\"name\": \"a\"}')".to_owned();
    assert!(run(&mut conn, call.clone()).await.unwrap_err().contains("permission denied"));
    run(&mut conn, "reset role".into()).await.unwrap();
    run(&mut conn, format!("grant usage on schema longshore to {role}")).await.unwrap();
    run(&mut conn, format!("set role {role}")).await.unwrap();
    assert!(run(&mut conn, call.clone()).await.unwrap_err().contains("permission denied for function submit"));
    run(&mut conn, "reset role".into()).await.unwrap();
    run(&mut conn, format!("grant execute on function longshore.submit(jsonb, text) to {role}")).await.unwrap();
    run(&mut conn, format!("set role {role}")).await.unwrap();
    run(&mut conn, call).await.unwrap();
    for forbidden in
        ["select * from longshore.inbox", "insert into longshore.inbox (id, request) values (gen_random_uuid(), '{}')"]
    {
        assert!(run(&mut conn, forbidden.into()).await.unwrap_err().contains("permission denied"), "{forbidden}");
    }
    run(&mut conn, "reset role".into()).await.unwrap();
    world.finish().await;
}
