//! Why a job is not running, and what holds the slots: one answer, in HTTP and in SQL; and what auditors ask.

use serde_json::{Value, json};
use sqlx::Row;

use crate::harness::{World, jobs::job, scalar};

/// The answer over HTTP, which must be the database's own.
async fn why(world: &World, replica: &str, id: &str) -> (String, String) {
    let job = world.get(replica, &format!("/jobs/{id}")).await;
    let mut conn = world.conn().await;
    let row =
        sqlx::query("select code, message from longshore.why($1::uuid)").bind(id).fetch_one(&mut conn).await.unwrap();
    let text = |key: &str| job["why"][key].as_str().unwrap().to_owned();
    assert_eq!((text("code"), text("message")), (row.get("code"), row.get("message")), "HTTP and SQL differ");
    (text("code"), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_waiting_job_says_what_it_waits_for() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let first = world.submit(&replica, &job("first", 60_000, 0).priority(9)).await;
    let (code, message) = why(&world, &replica, &first).await;
    assert!(code == "global_cap" && message.contains("cap is 0"), "{code}: {message}");
    world.set_cap(1).await;
    world.reaches(&replica, &first, "running").await;
    let second = world.submit(&replica, &job("second", 50, 0).priority(5)).await;
    let third = world.submit(&replica, &job("third", 50, 0)).await;
    let (code, message) = why(&world, &replica, &second).await;
    assert!(code == "global_cap" && message.contains("1 of 1") && message.contains("it is next"), "{message}");
    let (_, message) = why(&world, &replica, &third).await;
    assert!(message.contains("1 job is ahead of it"), "{message}");
    let waiting = world.get(&replica, &format!("/jobs/{third}")).await;
    assert_eq!(waiting["why"]["limit"], json!({"name": "global", "cap": 1, "held": 1}));
    assert_eq!((&waiting["why"]["position"], &waiting["queue_position"]), (&json!("1"), &json!("1")));
    let later = world.submit(&replica, &job("later", 50, 0).with("delay", json!("1h"))).await;
    assert_eq!(why(&world, &replica, &later).await.0, "not_yet_due");
    assert_eq!(why(&world, &replica, &first).await.0, "running");

    let slots = world.get(&replica, "/jobs/running").await;
    let mut conn = world.conn().await;
    let rows = sqlx::query("select job_id::text as id, state from longshore.slots").fetch_all(&mut conn).await.unwrap();
    let in_sql: Vec<(String, String)> = rows.iter().map(|it| (it.get("id"), it.get("state"))).collect();
    let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    let in_http: Vec<(String, String)> =
        slots.as_array().unwrap().iter().map(|it| (text(it, "job_id"), text(it, "state"))).collect();
    assert_eq!(in_http, [(first.clone(), "running".to_owned())]);
    assert_eq!(in_sql, in_http);

    world.cancel(&replica, &first).await;
    for id in [&second, &third] {
        world.reaches(&replica, id, "succeeded").await;
        assert_eq!(why(&world, &replica, id).await.0, "completed");
    }
    world.cancel(&replica, &later).await;
    assert_eq!(why(&world, &replica, &later).await.0, "cancelled");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_can_start_says_that() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("later", 50, 0).with("delay", json!("1h"))).await;
    for replica in std::mem::take(&mut world.replicas) {
        replica.stop().await;
    }
    let mut conn = world.conn().await;
    sqlx::query("update longshore.jobs set state = 'pending', due_at = null, pending_at = now()")
        .execute(&mut conn)
        .await
        .unwrap();
    let row = sqlx::query("select code from longshore.why($1::uuid)").bind(&id).fetch_one(&mut conn).await.unwrap();
    assert_eq!(row.get::<String, _>("code"), "no_replica");
    let none = sqlx::query("select from longshore.why(gen_random_uuid())").fetch_optional(&mut conn).await.unwrap();
    assert!(none.is_none(), "there is no such job");
    world.target.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_answer_what_auditors_ask() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let failing = job("failing", 100, 3).with("max_attempts", json!(2)).with("backoff", json!("0s"));
    let failing = world.submit(&replica, &failing).await;
    for index in 0..4 {
        world.submit(&replica, &job(&format!("good{index}"), 200, 0)).await;
    }
    world.all_end().await;
    world.set_cap(3).await;
    let mut conn = world.conn().await;
    let runs =
        "select string_agg(name || ' ' || attempt || ' ' || state, ',' order by name, attempt) from longshore.runs";
    assert_eq!(
        scalar::<String>(&mut conn, runs).await,
        "failing 1 failed,failing 2 failed,good0 1 succeeded,good1 1 succeeded,good2 1 succeeded,good3 1 succeeded"
    );
    let waited = "select bool_and(waited_secs >= 0 and claimed_at >= pending_at) and count(*) = 6 from longshore.waits";
    assert!(scalar::<bool>(&mut conn, waited).await);
    let failures =
        "select string_agg(attempt || ' ' || reason || ' ' || exit_code || ' ' || final, ',' order by attempt)
                    from longshore.failures";
    assert_eq!(scalar::<String>(&mut conn, failures).await, "1 job_failed 3 false,2 job_failed 3 true");
    let retries = "select job_id::text || ' ' || attempts || ' ' || failed_attempts || ' ' || max_attempts from longshore.retries";
    assert_eq!(scalar::<String>(&mut conn, retries).await, format!("{failing} 2 2 2"));
    let caps = "select string_agg(cap::text, ',' order by at) from longshore.limit_changes";
    assert!(scalar::<String>(&mut conn, caps).await.ends_with("2,3"), "every cap there was");
    // How full the cap was adds up to what the attempts held, whatever the steps are.
    let held = "select sum(extract(epoch from finished_at - claimed_at))::float8 from longshore.attempts";
    let held: f64 = scalar(&mut conn, held).await;
    let use_of = "select sum(held_avg * 0.3)::float8 from longshore.slot_use(
                      (select min(claimed_at) from longshore.attempts),
                      (select min(claimed_at) + ceil(extract(epoch from max(finished_at) - min(claimed_at)) / 0.3) * interval '0.3 s'
                         from longshore.attempts), interval '0.3 s')";
    let told: f64 = scalar(&mut conn, use_of).await;
    assert!((held - told).abs() < 1e-3, "held {held}, told {told}");
    let most = "select max(held_most) from longshore.slot_use(now() - interval '10 min', now(), interval '1 min')";
    assert!((1..=2).contains(&scalar::<i64>(&mut conn, most).await));
    let told = "select count(*) from longshore.job_events where reason is null or reason = ''";
    assert_eq!(scalar::<i64>(&mut conn, told).await, 0, "every transition has a reason");
    world.finish().await;
}
