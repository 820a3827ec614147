//! Queues: caps that hold, pauses that hold nobody else back, bounds on what waits; and jobs tried again by hand.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{World, eventually, jobs::job, scalar};

async fn send(world: &World, method: reqwest::Method, url: &str, body: Value) -> (u16, Value) {
    let answer = world.http.request(method, url).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queues_cap_holds_across_replicas_and_a_full_queue_holds_back_no_other() {
    let mut world = World::new(4).await;
    let urls = [world.start(&[]).await, world.start(&[]).await];
    world.set_queue(&urls[0], "narrow", json!({"cap": 1})).await;
    let mut ids = Vec::new();
    for index in 0..8 {
        let narrow = job(&format!("narrow{index}"), 300, 0).priority(9).with("queue", json!("narrow"));
        ids.push(world.submit(&urls[index % 2], &narrow).await);
    }
    let wide = world.submit(&urls[1], &job("wide", 100, 0)).await;
    let waits = world.waits_for(&urls[1], &ids[7], "queue_cap").await;
    assert_eq!(waits["why"]["limit"]["name"], "queue", "{waits}");
    assert!(waits["why"]["message"].as_str().unwrap().contains("1 of 1"), "{waits}");
    world.reaches(&urls[0], &wide, "succeeded").await;
    let last = world.get(&urls[0], &format!("/jobs/{}", ids[7])).await;
    assert!(last["finished_at"].is_null(), "the queue of better jobs is far from done when the other one's job is");
    world.all_end().await;
    let mut conn = world.conn().await;
    let passed = "select count(*) from longshore.jobs where state = 'succeeded'";
    assert_eq!(scalar::<i64>(&mut conn, passed).await, 9);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_starts_nothing_until_it_is_resumed_and_others_go_on() {
    let mut world = World::new(2).await;
    // So long a period that only a signal can be what wakes it.
    let url = world.start(&["--claim-period=100s"]).await;
    world.set_queue(&url, "night", json!({"paused": true})).await;
    let held_back = world.submit(&url, &job("held-back", 50, 0).priority(9).with("queue", json!("night"))).await;
    let other = world.submit(&url, &job("other", 50, 0)).await;
    world.reaches(&url, &other, "succeeded").await;
    let waits = world.waits_for(&url, &held_back, "queue_paused").await;
    assert_eq!(waits["state"], "pending");
    let queue = world.get(&url, "/queues/night").await;
    assert_eq!((&queue["paused"], &queue["pending"], &queue["held"]), (&json!(true), &json!("1"), &json!(0)));
    let (status, queue) =
        send(&world, reqwest::Method::PATCH, &format!("{url}/queues/night"), json!({"paused": false})).await;
    assert_eq!((status, &queue["paused_at"]), (200, &Value::Null), "{queue}");
    world.reaches(&url, &held_back, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_still_is_not_ahead_of_what_does_not() {
    let mut world = World::new(2).await;
    // Nothing of this is started.
    let url = world.start(&["--roles=api"]).await;
    world.set_queue(&url, "halt", json!({"paused": true})).await;
    world.set_queue(&url, "shut", json!({"cap": 0})).await;
    let submit = async |name: &str, queue: &str, priority: i32| {
        let body = json!({"name": name, "queue": queue, "priority": priority});
        let (status, answer) = send(&world, reqwest::Method::POST, &format!("{url}/jobs"), body).await;
        assert_eq!(status, 202, "{answer}");
        (answer["job_id"].as_str().unwrap().to_owned(), answer["queue_position"].as_str().unwrap().to_owned())
    };
    for (name, queue, position) in
        [("halted0", "halt", "0"), ("halted1", "halt", "1"), ("shut", "shut", "0"), ("open", "default", "0")]
    {
        assert_eq!(submit(name, queue, 5).await.1, position, "{name}");
    }
    let (free, position) = submit("free", "default", 0).await;
    assert_eq!(position, "1", "only one of those four would start before it");
    let told = async |id: &str| world.get(&url, &format!("/jobs/{id}")).await["queue_position"].clone();
    assert_eq!(told(&free).await, "1");
    let (last, position) = submit("halted2", "halt", 5).await;
    assert_eq!(
        (position.as_str(), told(&last).await),
        ("3", json!("3")),
        "two of its queue, and one that does not stand still"
    );
    let more = json!([{"name": "more0"}, {"name": "more1"}]);
    let (status, answer) = send(&world, reqwest::Method::POST, &format!("{url}/jobs/batch"), more).await;
    assert_eq!(status, 200, "{answer}");
    let positions: Vec<_> = answer.as_array().unwrap().iter().map(|it| it["queue_position"].clone()).collect();
    assert_eq!(positions, [json!("2"), json!("3")]);
    world.set_queue(&url, "halt", json!({"paused": false})).await;
    assert_eq!(told(&free).await, "4");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_take_from_their_queue_what_they_leave_out() {
    let mut world = World::new(2).await;
    let url = world.start(&[]).await;
    let queue = format!("{url}/queues/slow");
    let defaults =
        json!({"priority": 7, "timeout": "90s", "max_attempts": 3, "backoff": "1s", "retry": {"on": ["job_failed"]}});
    let (status, set) = send(&world, reqwest::Method::PUT, &queue, json!({"defaults": defaults})).await;
    assert_eq!((status, &set["defaults"]), (200, &defaults), "{set}");
    let plain = job("plain", 50, 0).with("queue", json!("slow")).with("idempotency_key", json!("plain"));
    let id = world.submit(&url, &plain).await;
    let took = world.reaches(&url, &id, "succeeded").await;
    assert_eq!((&took["priority"], &took["policy"]["timeout_secs"]), (&json!(7), &json!(90.0)), "{took}");
    assert_eq!((&took["policy"]["max_attempts"], &took["policy"]["retry"]["on"]), (&json!(3), &json!(["job_failed"])));
    let own = job("own", 50, 0).with("queue", json!("slow")).with("timeout", json!("5m")).priority(0);
    let own = world.submit(&url, &own).await;
    let own = world.get(&url, &format!("/jobs/{own}")).await;
    assert_eq!(
        (&own["priority"], &own["policy"]["timeout_secs"]),
        (&json!(0), &json!(300.0)),
        "what it says itself stands"
    );
    // What is asked again is the same, whatever the queue has by now.
    let fewer = json!({"defaults": {"timeout": "10m"}});
    assert_eq!(send(&world, reqwest::Method::PATCH, &queue, fewer).await.1["defaults"], json!({"timeout": "10m"}));
    let again = world.http.post(format!("{url}/jobs")).json(&plain.0).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK, "{}", again.text().await.unwrap());
    // In SQL as well.
    let mut conn = world.conn().await;
    let request = job("by-sql", 50, 0).with("queue", json!("slow")).0;
    let by_sql = sqlx::query_scalar("select longshore.submit($1)::text").bind(request).fetch_one(&mut conn);
    let by_sql: String = by_sql.await.unwrap();
    let by_sql = world.reaches(&url, &by_sql, "succeeded").await;
    assert_eq!(by_sql["policy"], json!({"timeout_secs": 600.0}), "{by_sql}");
    let rates = &world.get(&url, "/queues/slow").await["rates"];
    assert!(
        rates["submitted_per_minute"].as_f64() > Some(0.0) && rates["ended_per_minute"].as_f64() > Some(0.0),
        "{rates}"
    );
    for (wrong, pointer) in [
        (json!({"timeout": "soon"}), "/defaults/timeout"),
        (json!({"max_attempts": 0}), "/defaults/max_attempts"),
        (json!({"retry": {"on": ["nothing"]}}), "/defaults"),
        (json!({"name": "a"}), "/defaults"),
        (json!([]), "/defaults"),
    ] {
        let (status, answer) = send(&world, reqwest::Method::PATCH, &queue, json!({"defaults": wrong})).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer["errors"][0]["pointer"].as_str().unwrap().starts_with(pointer), "{answer}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_different_flags_do_not_send_the_cap_to_and_fro() {
    let mut world = World::new(2).await;
    let mut conn = world.conn().await;
    let cap = "select cap from longshore.limits where name = 'global'";
    let first = world.start(&["--max-concurrency=2"]).await;
    world.start(&["--max-concurrency=5"]).await;
    assert_eq!(scalar::<i32>(&mut conn, cap).await, 5, "it says something new");
    let set = send(&world, reqwest::Method::PUT, &format!("{first}/limits"), json!({"cap": 9})).await;
    assert_eq!(set.0, 200, "{}", set.1);
    for flag in ["--max-concurrency=2", "--max-concurrency=5"] {
        world.start(&[flag]).await;
        assert_eq!(scalar::<i32>(&mut conn, cap).await, 9, "{flag}: another replica has it already");
    }
    for replica in std::mem::take(&mut world.replicas) {
        replica.stop().await;
    }
    world.start(&["--max-concurrency=5"]).await;
    assert_eq!(scalar::<i32>(&mut conn, cap).await, 9, "it was written last, and was overruled");
    world.start(&["--max-concurrency=2"]).await;
    assert_eq!(scalar::<i32>(&mut conn, cap).await, 2, "nobody who is alive has it");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_cap_counts_at_once_and_a_lowered_one_stops_nothing_that_runs() {
    let mut world = World::new(5).await;
    let url = world.start(&["--claim-period=100s"]).await;
    world.set_queue(&url, "q", json!({"cap": 0})).await;
    let ids = [1, 2].map(|it| job(&format!("job{it}"), 60_000, 0).with("queue", json!("q")));
    let ids = [world.submit(&url, &ids[0]).await, world.submit(&url, &ids[1]).await];
    world.waits_for(&url, &ids[0], "queue_cap").await;
    world.set_queue(&url, "q", json!({"cap": 1})).await;
    world.reaches(&url, &ids[0], "running").await;
    let (_, queue) = send(&world, reqwest::Method::PATCH, &format!("{url}/queues/q"), json!({"cap": 0})).await;
    assert_eq!((&queue["cap"], &queue["held"]), (&json!(0), &json!(1)));
    let (status, limits) = send(&world, reqwest::Method::PUT, &format!("{url}/limits"), json!({"cap": 7})).await;
    assert_eq!((status, &limits["cap"], &limits["held"]), (200, &json!(7), &json!(1)));
    assert_eq!(world.get(&url, "/limits").await["cap"], 7);
    for id in ids {
        world.cancel(&url, &id).await;
    }
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_as_many_jobs_wait_as_may_whoever_asks_at_once() {
    let mut world = World::new(0).await;
    let urls = [world.start(&[]).await, world.start(&[]).await];
    world.set_queue(&urls[0], "small", json!({"max_pending": 30})).await;
    let asked = (0..60).map(|index| {
        let (client, url) = (world.http.clone(), format!("{}/jobs", urls[index % 2]));
        let request = json!({"name": "job", "queue": "small", "idempotency_key": index.to_string(),
                             "delay": if index % 3 == 0 { "1h" } else { "0s" }});
        async move {
            let answer = client.post(url).json(&request).send().await.unwrap();
            let retry_after = answer.headers().contains_key("retry-after");
            (index, answer.status().as_u16(), retry_after, answer.json::<Value>().await.unwrap())
        }
    });
    let answers = futures::future::join_all(asked).await;
    let accepted: Vec<_> = answers.iter().filter(|it| it.1 == 202).collect();
    let full = answers.iter().filter(|it| it.1 == 429 && it.2 && it.3["code"] == "queue_full").count();
    assert_eq!((accepted.len(), full), (30, 30), "{answers:?}");

    // What was accepted before is found, however full the queue is, and takes up no room of a batch.
    let known = json!({"name": "job", "queue": "small", "idempotency_key": accepted[0].0.to_string(),
                       "delay": if accepted[0].0 % 3 == 0 { "1h" } else { "0s" }});
    let (status, again) = send(&world, reqwest::Method::POST, &format!("{}/jobs", urls[1]), known.clone()).await;
    assert_eq!((status, &again["job_id"]), (200, &accepted[0].3["job_id"]));
    world.set_queue(&urls[0], "small", json!({"max_pending": 31})).await;
    let one_more = json!({"name": "one-more", "queue": "small"});
    let batch = json!([known, one_more, one_more, {"name": "elsewhere"}]);
    let (_, said) = send(&world, reqwest::Method::POST, &format!("{}/jobs/batch", urls[1]), batch).await;
    let statuses: Vec<i64> = said.as_array().unwrap().iter().map(|it| it["status"].as_i64().unwrap()).collect();
    assert_eq!(statuses, [200, 202, 429, 202], "{said}");
    let mut conn = world.conn().await;
    let waiting = "select count(*) from longshore.jobs_live where queue = 'small'";
    assert_eq!(scalar::<i64>(&mut conn, waiting).await, 31);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_queue_cannot_be_set_to_is_refused_with_the_field() {
    let mut world = World::new(1).await;
    let url = world.start(&[]).await;
    let put = async |path: &str, body: Value| send(&world, reqwest::Method::PUT, &format!("{url}{path}"), body).await;
    for (path, body, status, pointer) in [
        ("/queues/q", json!({"cap": -1}), 422, "/cap"),
        ("/queues/q", json!({"max_pending": -1, "cap": 1}), 422, "/max_pending"),
        ("/queues/q", json!({"cap": "1"}), 422, "/cap"),
        ("/queues/q", json!({"capp": 1}), 422, "/capp"),
        ("/queues/-", json!({}), 422, "/name"),
        ("/limits", json!({"cap": -1}), 422, "/cap"),
        ("/limits", json!({}), 422, "/cap"),
    ] {
        let (got, answer) = put(path, body).await;
        assert_eq!((got, answer["errors"][0]["pointer"].as_str()), (status, Some(pointer)), "{answer}");
    }
    let (status, answer) = send(&world, reqwest::Method::PATCH, &format!("{url}/queues/none"), json!({"cap": 1})).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("no_such_queue")));
    for name in ["b", "a"] {
        world.set_queue(&url, name, json!({"cap": 3, "max_pending": 5})).await;
    }
    let page = world.get(&url, "/queues?limit=2").await;
    let names: Vec<&str> = page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!((names, &page["next"]), (vec!["a", "b"], &json!("b")));
    assert_eq!(world.get(&url, "/queues?cursor=b").await["items"][0]["name"], "default");
    let (_, changed) = send(&world, reqwest::Method::PATCH, &format!("{url}/queues/a"), json!({"cap": null})).await;
    assert_eq!((&changed["cap"], &changed["max_pending"]), (&Value::Null, &json!(5)), "what is left out stays");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_or_was_cancelled_is_tried_again_by_hand_as_its_next_attempt() {
    let mut world = World::new(2).await;
    let url = world.start(&[]).await;
    let retry = async |id: &str| {
        let answer = world.http.post(format!("{url}/jobs/{id}/retry")).send().await.unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    let failed = world.submit(&url, &job("fails", 50, 3)).await;
    world.reaches(&url, &failed, "failed").await;
    let (status, again) = retry(&failed).await;
    assert_eq!((status, again["reason"].is_null(), again["finished_at"].is_null()), (StatusCode::ACCEPTED, true, true));
    let over = eventually("its second attempt fails as well", async || {
        let job = world.get(&url, &format!("/jobs/{failed}")).await;
        (job["state"] == "failed" && job["attempt"] == 2).then_some(job)
    })
    .await;
    let attempts = over["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[1]["exit_code"], &over["failed_attempts"]), (2, &json!(3), &json!(2)));
    assert_ne!(attempts[0]["kube_name"], attempts[1]["kube_name"]);
    assert!(world.history(&url, &failed).await.iter().any(|it| it["reason"] == "retried" && it["from"] == "failed"));

    let cancelled = world.submit(&url, &job("cancelled", 50, 0).with("delay", json!("1h"))).await;
    assert_eq!(world.cancel(&url, &cancelled).await, StatusCode::OK);
    assert_eq!(retry(&cancelled).await.0, StatusCode::ACCEPTED);
    let done = world.reaches(&url, &cancelled, "succeeded").await;
    assert!(done["cancel_requested_at"].is_null(), "the wish was for the attempt before: {done}");
    let (status, answer) = retry(&cancelled).await;
    assert_eq!((status, answer["code"].as_str()), (StatusCode::CONFLICT, Some("not_retryable")));
    let runs = world.submit(&url, &job("runs", 60_000, 0)).await;
    assert_eq!(retry(&runs).await.0, StatusCode::CONFLICT);
    assert_eq!(retry("01900000-0000-7000-8000-000000000000").await.0, StatusCode::NOT_FOUND);
    world.cancel(&url, &runs).await;
    world.all_end().await;
    world.finish().await;
}
