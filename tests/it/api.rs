//! What the API says to good and bad requests.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{World, jobs::job, scalar};

/// Posts a raw body, and answers status, content type and body.
async fn post(world: &World, replica: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
    let answer = world.http.post(format!("{replica}/jobs")).body(body).send().await.unwrap();
    let status = answer.status();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, if status.is_success() { "application/json" } else { "application/problem+json" });
    (status, answer.json().await.unwrap())
}

/// A world whose only replica starts nothing.
async fn still() -> (World, String) {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    (world, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_the_field_named_and_nothing_is_stored() {
    let (mut world, replica) = still().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "a"});
        body[field] = value;
        body.to_string()
    };
    let cases = [
        ("{".to_owned(), 400, "invalid_json", ""),
        (r#"{"name":"a"} {}"#.to_owned(), 400, "invalid_json", ""),
        (r#"{"name":"a","priority":1e400}"#.to_owned(), 400, "invalid_json", ""),
        (r#"{"name":"\ud800"}"#.to_owned(), 400, "invalid_json", ""),
        ("[]".to_owned(), 422, "invalid_fields", ""),
        ("{}".to_owned(), 422, "invalid_fields", "/name"),
        (r#"["a", 1]"#.to_owned(), 422, "invalid_fields", ""),
        (with("retry", json!([["job_failed"]])), 422, "invalid_fields", "/retry"),
        (with("backoff", json!(["fixed", "1s"])), 422, "invalid_fields", "/backoff"),
        (json!({"name": ""}).to_string(), 422, "invalid_fields", "/name"),
        (json!({"name": "a\u{0}b"}).to_string(), 422, "invalid_fields", "/name"),
        (json!({"name": "x".repeat(201)}).to_string(), 422, "invalid_fields", "/name"),
        (with("prioritty", json!(1)), 422, "invalid_fields", "/prioritty"),
        (with("priority", json!("high")), 422, "invalid_fields", "/priority"),
        (with("priority", json!(2_147_483_648_u64)), 422, "invalid_fields", "/priority"),
        (with("queue", json!("no spaces")), 422, "invalid_fields", "/queue"),
        (with("namespace", json!("elsewhere")), 422, "invalid_fields", "/namespace"),
        (with("command", json!(7)), 422, "invalid_fields", "/command"),
        (with("command", json!("echo 'open")), 422, "invalid_fields", "/command"),
        (with("env", json!({"A": 1})), 422, "invalid_fields", "/env/A"),
        (with("env", json!({"A": "\u{0}"})), 422, "invalid_fields", "/env/A"),
        (with("timeout", json!("soon")), 422, "invalid_fields", "/timeout"),
        (with("timeout", json!("-5s")), 422, "invalid_fields", "/timeout"),
        (with("run_at", json!("2999-01-01T00:00:00Z")), 422, "invalid_fields", "/run_at"),
        (
            with("labels", json!({"app.kubernetes.io/name": 5})),
            422,
            "invalid_fields",
            "/labels/app.kubernetes.io~1name",
        ),
        (with("labels", json!({"longshore.dev/job-id": "x"})), 422, "invalid_fields", "/labels/longshore.dev~1job-id"),
        (with("manifest", json!({"kind": "Pod"})), 422, "invalid_fields", "/manifest/apiVersion"),
    ];
    for (body, status, code, pointer) in cases {
        let (got, problem) = post(&world, &replica, body.clone()).await;
        assert_eq!((got.as_u16(), problem["code"].as_str().unwrap()), (status, code), "{body}: {problem}");
        assert_eq!(problem["status"], status);
        if !pointer.is_empty() {
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
        }
    }
    let big = json!({"name": "a", "image": "x".repeat(longshore::api::BODY_BYTES)}).to_string();
    let (status, problem) = post(&world, &replica, big).await;
    assert_eq!((status.as_u16(), problem["code"].as_str().unwrap()), (413, "too_large"));
    let mut conn = world.conn().await;
    let stored: i64 = scalar(&mut conn, "select count(*) from longshore.jobs").await;
    assert_eq!(stored, 0);
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_methods_and_parameters_are_problems_too() {
    let (world, replica) = still().await;
    let none = uuid::Uuid::now_v7();
    let cases = [
        ("GET", "/nothing".to_owned(), 404, "no_such_path"),
        ("GET", "/jobs/%FF".to_owned(), 404, "no_such_path"),
        ("PUT", "/jobs".to_owned(), 405, "wrong_method"),
        ("GET", "/jobs/not-an-id".to_owned(), 404, "no_such_job"),
        ("GET", format!("/jobs/{none}"), 404, "no_such_job"),
        ("GET", format!("/jobs/{none}/events"), 404, "no_such_job"),
        ("GET", format!("/jobs/{none}/wait?timeout=1s"), 404, "no_such_job"),
        ("DELETE", format!("/jobs/{none}"), 404, "no_such_job"),
        ("GET", "/jobs?state=sleeping".to_owned(), 422, "invalid_fields"),
        ("GET", "/jobs?limit=0".to_owned(), 422, "invalid_fields"),
        ("GET", "/jobs?cursor=x".to_owned(), 422, "invalid_fields"),
        ("GET", "/jobs?statte=pending".to_owned(), 422, "invalid_fields"),
        ("GET", "/jobs?name=%00".to_owned(), 422, "invalid_fields"),
        ("GET", "/jobs/pending?cursor=x".to_owned(), 422, "invalid_fields"),
    ];
    for (method, path, status, code) in cases {
        let method: reqwest::Method = method.parse().unwrap();
        let answer = world.http.request(method, format!("{replica}{path}")).send().await.unwrap();
        let got = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((got, problem["code"].as_str().unwrap()), (status, code), "{path}: {problem}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_cannot_submit_or_cancel() {
    let (world, replica) = still().await;
    let id = world.submit(&replica, &job("mine", 100, 0)).await;
    for (method, path) in [("POST", "/jobs".to_owned()), ("DELETE", format!("/jobs/{id}"))] {
        for (header, value) in [("sec-fetch-site", "cross-site"), ("origin", "http://evil.example")] {
            let request = world.http.request(method.parse().unwrap(), format!("{replica}{path}"));
            let request = request.header(header, value).body(r#"{"name":"theirs"}"#);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN);
        }
    }
    assert_eq!(world.names(&replica, "pending").await, ["mine"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_name_was_made_to_lead_to_this_machine_cannot_submit_or_show_the_console() {
    let (mut world, replica) = still().await;
    let http = world.http.clone();
    let ask = async |at: &str, method: &str, path: &str, host: &str| {
        let request = http.request(method.parse().unwrap(), format!("{at}{path}")).header("host", host);
        let request = request.header("origin", format!("http://{host}")).header("sec-fetch-site", "same-origin");
        request.body(if method == "POST" { r#"{"name":"theirs"}"# } else { "" }).send().await.unwrap()
    };
    for (method, path) in [("POST", "/jobs"), ("POST", "/ui/limits"), ("GET", "/"), ("GET", "/ui/jobs")] {
        let answer = ask(&replica, method, path, "evil.example").await;
        let status = answer.status();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((status, problem["code"].as_str().unwrap()), (StatusCode::FORBIDDEN, "unknown_host"), "{path}");
    }
    assert!(world.names(&replica, "pending").await.is_empty());
    for host in ["localhost:8000", "longshore.localhost", "127.0.0.1", "[::1]:8000"] {
        assert_eq!(ask(&replica, "POST", "/jobs", host).await.status(), StatusCode::ACCEPTED, "{host}");
    }
    assert_eq!(ask(&replica, "GET", "/", "localhost").await.status(), StatusCode::OK);
    // Of the names that lead to any other address nothing is known.
    let reached_by_others = world.start(&["--host=0.0.0.0"]).await;
    let answer = ask(&reached_by_others, "POST", "/jobs", "longshore.example").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_twice_under_one_key_makes_one_job() {
    let (mut world, replica) = still().await;
    let second = world.start(&[]).await;
    let body = json!({"name": "once", "priority": 1, "idempotency_key": "k1"});
    let mut asked = tokio::task::JoinSet::new();
    for index in 0..10 {
        let url = format!("{}/jobs", if index % 2 == 0 { &replica } else { &second });
        let request = world.http.post(url).json(&body);
        asked.spawn(async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["job_id"].as_str().unwrap().to_owned())
        });
    }
    let answers = asked.join_all().await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 202).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, id)| *id == answers[0].1 && [200, 202].contains(status)), "{answers:?}");
    let by_header = world.http.post(format!("{replica}/jobs")).header("Idempotency-Key", "k1");
    let same = by_header.json(&json!({"name": "once", "priority": 1})).send().await.unwrap();
    assert_eq!(same.status(), StatusCode::OK, "the key in the header is the key in the field");
    let other = json!({"name": "once", "priority": 2, "idempotency_key": "k1"}).to_string();
    let (status, problem) = post(&world, &replica, other).await;
    assert_eq!((status.as_u16(), problem["code"].as_str().unwrap()), (409, "idempotency_key_reused"));
    assert_eq!(world.names(&replica, "pending").await, ["once"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_at_all_replicas_at_once_makes_one_job_of_the_request_that_came_first() {
    let mut world = World::new(0).await;
    let urls = [world.start(&[]).await, world.start(&[]).await, world.start(&[]).await];
    let asked = (0..60_usize).map(|index| {
        let (client, url) = (world.http.clone(), format!("{}/jobs", urls[index % 3]));
        let request = json!({"name": "once", "priority": index % 2, "idempotency_key": "k"});
        async move {
            let answer = client.post(url).json(&request).send().await.unwrap();
            (index % 2, answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    });
    let answers = futures::future::join_all(asked).await;
    let accepted: Vec<_> = answers.iter().filter(|it| it.1 == 202).collect();
    assert_eq!(accepted.len(), 1, "{answers:?}");
    for (request, status, answer) in &answers {
        let (same, id) = (*request == accepted[0].0, &accepted[0].2["job_id"]);
        assert!(if same { *status <= 202 && answer["job_id"] == *id } else { *status == 409 }, "{status} {answer}");
    }
    let mut conn = world.conn().await;
    assert_eq!(scalar::<i64>(&mut conn, "select count(*) from longshore.jobs").await, 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_job_of_a_queue_is_kept_with_its_key() {
    let (world, replica) = still().await;
    let request = job("first", 10, 0).with("queue", json!("brand-new")).with("idempotency_key", json!("k1"));
    let id = world.submit(&replica, &request).await;
    assert_eq!(world.get(&replica, &format!("/jobs/{id}")).await["queue"], "brand-new");
    let again = world.http.post(format!("{replica}/jobs")).json(&request.0).send().await.unwrap();
    assert_eq!(
        (again.status().as_u16(), again.json::<Value>().await.unwrap()["job_id"].as_str().unwrap()),
        (200, &*id)
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_their_order_and_page_by_page_without_a_gap() {
    let (world, replica) = still().await;
    let mut expected = Vec::new();
    for index in 0..23 {
        let priority = index % 4;
        let queue = if index % 3 == 0 { "other" } else { "default" };
        let name = format!("job{index:02}");
        world.submit(&replica, &job(&name, 10, 0).priority(priority).with("queue", json!(queue))).await;
        expected.push((-priority, name));
    }
    let by_submission: Vec<String> = expected.iter().rev().map(|it| it.1.clone()).collect();
    expected.sort();
    let in_order: Vec<String> = expected.into_iter().map(|it| it.1).collect();
    assert_eq!(world.names(&replica, "pending").await, in_order);

    let mut paged = Vec::new();
    let mut path = Some("/jobs/pending?limit=5".to_owned());
    while let Some(at) = path {
        let answer = world.http.get(format!("{replica}{at}")).send().await.unwrap();
        let link = answer.headers().get("link").map(|it| it.to_str().unwrap().to_owned());
        path = link.map(|it| it.split(['<', '>']).nth(1).unwrap().to_owned());
        let page: Vec<Value> = answer.json().await.unwrap();
        paged.extend(page.iter().map(|it| it["name"].as_str().unwrap().to_owned()));
    }
    assert_eq!(paged, in_order);

    let mut newest_first = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.get(&replica, &format!("/jobs?limit=7{cursor}")).await;
        newest_first.extend(page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(newest_first, by_submission);
    let of_queue = world.get(&replica, "/jobs?queue=other&state=pending&name=job03").await;
    assert_eq!(of_queue["items"].as_array().unwrap().len(), 1);
    // The position is the number of those before it, in whichever queue.
    for (position, name) in in_order.iter().enumerate() {
        let id = &world.get(&replica, &format!("/jobs?name={name}")).await["items"][0]["job_id"];
        let one = world.get(&replica, &format!("/jobs/{}", id.as_str().unwrap())).await;
        assert_eq!(one["queue_position"], position.to_string(), "{name}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_history_tells_every_move() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("told", 500, 0)).await;
    let waited = world.get(&replica, &format!("/jobs/{id}/wait?timeout=50s")).await;
    assert_eq!(waited["state"], "succeeded");
    let events = world.get(&replica, &format!("/jobs/{id}/events")).await;
    let moves: Vec<String> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it["to"].as_str().unwrap(), it["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(
        moves,
        ["pending submitted", "starting claimed", "starting created", "running started", "succeeded completed"]
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_anything_in_them_are_kept_as_they_are() {
    let mut world = World::new(5).await;
    let replica = world.start(&[]).await;
    let names = ["<script>alert(1)</script>", "näme with ✓", "a".repeat(200).as_str(), "'; drop table jobs; --"]
        .map(str::to_owned);
    for name in &names {
        let id = world.submit(&replica, &job(name, 10, 0)).await;
        let done = world.reaches(&replica, &id, "succeeded").await;
        assert_eq!(done["name"], name.as_str());
    }
    world.finish().await;
}
