//! `POST /bulk`: all that pass the filter, nothing else, and in parts.

use serde_json::{Value, json};

use crate::harness::{World, jobs::job, scalar};

async fn bulk(world: &World, replica: &str, body: &Value) -> (u16, Value) {
    let answer = world.http.post(format!("{replica}/bulk")).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn counts(answer: &Value) -> [i64; 3] {
    ["matched", "done", "skipped"].map(|it| answer[it].as_i64().unwrap_or(-1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_request_that_could_mean_everything_or_nothing_is_refused() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    world.submit(&replica, &job("mine", 50, 0)).await;
    let of = |filter: Value| json!({"action": "cancel", "filter": filter});
    let cases = [
        (of(json!({})), "/filter"),
        (of(json!({"queue": null, "labels": {}})), "/filter"),
        (of(json!({"colour": "red"})), "/filter/colour"),
        (of(json!({"state": "succeeded"})), "/filter/state"),
        (of(json!({"state": ["pending", "gone"]})), "/filter/state"),
        (of(json!({"state": []})), "/filter/state"),
        (of(json!({"created_before": "yesterday"})), "/filter/created_before"),
        (json!({"action": "cancel"}), "/filter"),
        (json!({"action": "delete", "filter": {"name": "*"}}), "/action"),
        (json!({"action": "cancel", "priority": 1, "filter": {"name": "*"}}), "/priority"),
        (json!({"action": "reprioritize", "filter": {"name": "*"}}), "/priority"),
        (json!({"action": "reprioritize", "priority": 1, "filter": {"state": "running"}}), "/filter/state"),
        (json!({"action": "cancel", "filter": {"name": "*"}, "cursor": "x"}), "/cursor"),
        (json!({"action": "cancel", "filter": {"name": "*"}, "dryrun": true}), "/dryrun"),
    ];
    for (body, pointer) in cases {
        let (status, problem) = bulk(&world, &replica, &body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{body}: {problem}");
    }
    assert_eq!(world.names(&replica, "pending").await, ["mine"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_cancelled_at_once_and_what_runs_is_stopped_and_others_are_left_alone() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let mut ids = Vec::new();
    for (name, queue) in [("runs-1", "mine"), ("runs-2", "theirs")] {
        let id = world.submit(&replica, &job(name, 60_000, 0).with("queue", json!(queue))).await;
        world.reaches(&replica, &id, "running").await;
        ids.push(id);
    }
    for (name, queue) in [("waits-1", "mine"), ("waits-2", "theirs")] {
        ids.push(world.submit(&replica, &job(name, 50, 0).with("queue", json!(queue))).await);
    }
    ids.push(
        world.submit(&replica, &job("later", 50, 0).with("queue", json!("mine")).with("delay", json!("1h"))).await,
    );
    let mut body = json!({"action": "cancel", "filter": {"queue": "mine"}, "dry_run": true});
    let (status, answer) = bulk(&world, &replica, &body).await;
    assert_eq!((status, counts(&answer), &answer["next"]), (200, [3, 0, 0], &Value::Null), "{answer}");
    assert_eq!(world.names(&replica, "pending").await, ["waits-1", "waits-2"]);
    body["dry_run"] = json!(false);
    assert_eq!(counts(&bulk(&world, &replica, &body).await.1), [3, 3, 0]);
    for id in [&ids[0], &ids[2], &ids[4]] {
        world.reaches(&replica, id, "cancelled").await;
    }
    assert_eq!(counts(&bulk(&world, &replica, &body).await.1), [0, 0, 0], "nothing is left to cancel");
    let states = world.get(&replica, "/jobs?queue=theirs").await;
    assert!(states["items"].as_array().unwrap().iter().all(|it| it["cancel_requested_at"].is_null()), "{states}");
    let all = json!({"action": "cancel", "filter": {"state": ["scheduled", "pending", "starting", "running"]}});
    bulk(&world, &replica, &all).await;
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_jobs_that_pass_the_filter_are_given_another_priority() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    // Every combination of queue, team, name and state, twice; and what a filter says of each.
    let mut jobs = Vec::new();
    for index in 0..48 {
        let queue = ["a", "b"][index % 2];
        let team = [None, Some("blue"), Some("red")][index / 2 % 3];
        let name = format!("{}-{index}", ["night", "day"][index / 6 % 2]);
        let scheduled = index / 12 % 2 == 1;
        let mut request = job(&name, 50, 0).with("queue", json!(queue));
        if let Some(team) = team {
            request = request.with("labels", json!({"team": team}));
        }
        if scheduled {
            request = request.with("delay", json!("1h"));
        }
        world.submit(&replica, &request).await;
        jobs.push((queue, team, name, scheduled));
    }
    type Job = (&'static str, Option<&'static str>, String, bool);
    type Passes = fn(&Job) -> bool;
    let filters: &[(Value, Passes)] = &[
        (json!({"queue": "a"}), |it| it.0 == "a"),
        (json!({"labels": {"team": "blue"}}), |it| it.1 == Some("blue")),
        (json!({"labels": {"team": null}}), |it| it.1.is_some()),
        (json!({"name": "night-*"}), |it| it.2.starts_with("night-")),
        (json!({"name": "night-1"}), |it| it.2 == "night-1"),
        (json!({"state": "scheduled"}), |it| it.3),
        (json!({"state": ["pending"], "queue": "b", "labels": {"team": "red"}}), |it| {
            !it.3 && it.0 == "b" && it.1 == Some("red")
        }),
        (json!({"name": "*-4*", "created_after": "1h"}), |it| it.2.contains("-4")),
        (json!({"created_before": "1h"}), |_| false),
    ];
    let mut conn = world.conn().await;
    for (round, (filter, passes)) in filters.iter().enumerate() {
        let priority = 100 + round as i64;
        let body = json!({"action": "reprioritize", "filter": filter, "priority": priority});
        let mut expected: Vec<&str> = jobs.iter().filter(|it| passes(it)).map(|it| it.2.as_str()).collect();
        expected.sort_unstable();
        let named = "select coalesce(string_agg(name, ' ' order by name collate \"C\"), '') from longshore.jobs where priority = $1";
        let names = || sqlx::query_scalar::<_, String>(named).bind(priority as i32);
        let dry = bulk(
            &world,
            &replica,
            &json!({"action": "reprioritize", "filter": filter, "priority": priority, "dry_run": true}),
        )
        .await;
        assert_eq!(counts(&dry.1), [expected.len() as i64, 0, 0], "{filter}");
        assert_eq!(names().fetch_one(&mut conn).await.unwrap(), "", "a dry run changes nothing");
        let count = expected.len() as i64;
        assert_eq!(counts(&bulk(&world, &replica, &body).await.1), [count, count, 0], "{filter}");
        assert_eq!(counts(&bulk(&world, &replica, &body).await.1), [count, 0, count], "{filter}: twice is once");
        assert_eq!(names().fetch_one(&mut conn).await.unwrap(), expected.join(" "), "{filter}");
    }
    let told =
        "select count(*) from longshore.job_events where reason = 'reprioritized' and message like 'priority: %'";
    assert!(scalar::<i64>(&mut conn, told).await > 48);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_goes_on_where_one_stopped_and_what_came_meanwhile_is_left_alone() {
    let mut world = World::new(0).await;
    let (first, second) = (world.start(&[]).await, world.start(&[]).await);
    let lines = |name: &str, jobs: i64| -> String {
        (0..jobs).map(|it| json!({"name": format!("{name}{it}"), "queue": "many"}).to_string() + "\n").collect()
    };
    let batch = |url: &str, body: String| world.http.post(format!("{url}/jobs/batch")).body(body).send();
    assert_eq!(batch(&first, lines("old", 12_345)).await.unwrap().status(), 200);
    let mut body = json!({"action": "cancel", "filter": {"queue": "many", "name": "*"}});
    let (_, part) = bulk(&world, &first, &body).await;
    let some = part["done"].as_i64().unwrap();
    assert!((1..=10_000).contains(&some) && part["next"].is_string(), "a request is bounded: {part}");
    assert_eq!(batch(&second, lines("new", 50)).await.unwrap().status(), 200);
    // Whether its replica dies or is stopped: nothing is kept there.
    world.replicas.remove(0).stop().await;
    let other = json!({"action": "cancel", "filter": {"queue": "many"}, "cursor": part["next"]});
    assert_eq!(bulk(&world, &second, &other).await.0, 422, "a cursor goes with its own filter");
    let mut done = some;
    body["cursor"] = part["next"].clone();
    loop {
        let (status, part) = bulk(&world, &second, &body).await;
        assert_eq!(status, 200, "{part}");
        done += part["done"].as_i64().unwrap();
        if part["next"].is_null() {
            break;
        }
        body["cursor"] = part["next"].clone();
    }
    assert_eq!(done, 12_345);
    let mut conn = world.conn().await;
    let left = "select count(*) filter (where name like 'old%') * 1000 + count(*) from longshore.jobs_live";
    assert_eq!(scalar::<i64>(&mut conn, left).await, 50, "what was submitted later is there, and nothing else");
    let events = "select count(*) from longshore.job_events where reason = 'cancelled'";
    assert_eq!(scalar::<i64>(&mut conn, events).await, 12_345, "each was told once");
    world.finish().await;
}
