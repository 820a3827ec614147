//! `POST /jobs/batch`: each item for itself, in order, in either form; and submissions that share a statement.

use serde_json::{Value, json};

use crate::harness::{World, jobs::job, scalar};

async fn post(world: &World, url: &str, body: String) -> (u16, String) {
    let answer = world.http.post(format!("{url}/jobs/batch")).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_of_a_batch_is_accepted_or_refused_for_itself() {
    let mut world = World::new(0).await;
    let url = world.start(&[]).await;
    let body = [
        r#"{"name": "one", "priority": 1, "idempotency_key": "k"}"#,
        r#"{"name": "two", "colour": "red"}"#,
        r#"{"name": "three", "queue": "new", "priority": 5}"#,
        r#"{"name": "#,
        r#"{"name": "one", "priority": 1, "idempotency_key": "k"}"#,
        r#"{"name": "other", "idempotency_key": "k"}"#,
        r#"{"name": "four", "priority": 1}"#,
        r#"{"name": "five", "delay": "1h"}"#,
    ];
    let (status, text) = post(&world, &url, body.join("\n")).await;
    assert_eq!(status, 200, "{text}");
    let said = lines(&text);
    let statuses: Vec<i64> = said.iter().map(|it| it["status"].as_i64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 202, 400, 200, 409, 202, 202], "{text}");
    assert!(said.iter().enumerate().all(|(index, it)| it["index"] == index), "{text}");
    assert_eq!(said[1]["error"]["errors"][0]["pointer"], "/colour");
    assert_eq!(said[4]["job_id"], said[0]["job_id"], "the same request is the same job");
    assert_eq!(said[5]["error"]["code"], "idempotency_key_reused");
    let positions: Vec<&str> = [0, 2, 6, 7].map(|it| said[it]["queue_position"].as_str().unwrap()).to_vec();
    // The third came into a queue that was made after the others had been accepted, and goes before all of them.
    assert_eq!(positions, ["0", "0", "1", "0"], "{text}");

    // The whole of it again, as a client does that did not hear the answer, and in the other form.
    let array: Vec<Value> = body.iter().filter_map(|it| serde_json::from_str(it).ok()).collect();
    let (status, text) = post(&world, &url, serde_json::to_string_pretty(&array[..1]).unwrap()).await;
    let again: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((status, again[0]["status"].as_i64()), (200, Some(200)), "{text}");
    assert_eq!(again[0]["job_id"], said[0]["job_id"]);
    let mut conn = world.conn().await;
    let names = "select string_agg(name, ' ' order by priority desc, seq) from longshore.jobs";
    assert_eq!(scalar::<String>(&mut conn, names).await, "three one four five");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_many_keeps_its_order_and_tells_of_what_it_did_not_read() {
    let mut world = World::new(0).await;
    let url = world.start(&[]).await;
    let many: Vec<Value> = (0..2_500).map(|it| json!({"name": format!("job{it}")})).collect();
    let (status, text) = post(&world, &url, serde_json::to_string(&many).unwrap()).await;
    let said: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((status, said.len()), (200, many.len()));
    assert_eq!(said[999]["queue_position"], "999");
    assert_eq!(said[2_499]["queue_position"], "1000+");
    let mut conn = world.conn().await;
    let ordered = "select bool_and(name = 'job' || n) from (
                       select name, row_number() over (order by seq) - 1 as n from longshore.jobs) j";
    assert!(scalar::<bool>(&mut conn, ordered).await, "first come, first served within a batch");

    let (_, text) = post(&world, &url, r#"[{"name": "read"}, {"name": "cut off"#.into()).await;
    let said: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((said[0]["status"].as_i64(), said[1]["status"].as_i64()), (Some(202), Some(400)), "{text}");
    let key = world.http.post(format!("{url}/jobs/batch")).header("idempotency-key", "k").body("[]").send();
    assert_eq!(key.await.unwrap().status(), 422, "a key of the whole would be a key of none");
    for no_json in ["nonsense", " name: a\n{\"name\": \"never\"}\n", "name=never&priority=1"] {
        for query in ["", "?atomic=true"] {
            let batch = world.http.post(format!("{url}/jobs/batch{query}")).body(no_json);
            let answer = batch.send().await.unwrap();
            assert_eq!(answer.status(), 400, "{no_json}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "invalid_json");
        }
    }
    let (status, text) = post(&world, &url, "5\n{nonsense\n".into()).await;
    assert_eq!(
        (status, lines(&text).iter().map(|it| it["status"].clone()).collect::<Value>()),
        (200, json!([422, 400])),
        "{text}"
    );
    assert!(!world.names(&url, "pending").await.contains(&"never".to_owned()));
    assert_eq!(post(&world, &url, String::new()).await, (200, String::new()));
    assert_eq!(post(&world, &url, " [ ] ".into()).await, (200, "[]".into()));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_at_all_replicas_at_once_makes_one_job_whoever_shares_its_statement() {
    let mut world = World::new(0).await;
    let urls = [world.start(&[]).await, world.start(&[]).await, world.start(&[]).await];
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..120 {
        let (http, url) = (world.http.clone(), urls[number % 3].clone());
        // Every key ten times, and others between them, some of which bring a queue into being.
        let queue = if number % 7 == 0 { "late" } else { "default" };
        let keyed = job("keyed", 50, 0).with("idempotency_key", json!(format!("key{}", number / 3 % 4)));
        let alone = job(&format!("alone{number}"), 50, 0).with("queue", json!(queue));
        let body = if number % 3 == 0 || number % 2 == 0 { keyed } else { alone }.0.to_string();
        asking.spawn(async move {
            let answer = http.post(format!("{url}/jobs")).body(body).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        });
    }
    let answers = asking.join_all().await;
    assert!(answers.iter().all(|it| [200, 202].contains(&it.0)), "{answers:?}");
    let mut conn = world.conn().await;
    let jobs: i64 = scalar(&mut conn, "select count(*) from longshore.jobs").await;
    let accepted = answers.iter().filter(|it| it.0 == 202).count();
    assert_eq!(jobs, accepted as i64, "each 202 is a job, and nothing else is");
    let keyed: i64 = scalar(&mut conn, "select count(*) from longshore.jobs where name = 'keyed'").await;
    assert_eq!(keyed, 4, "one a key");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_is_accepted_as_a_whole_or_not_at_all() {
    let mut world = World::new(0).await;
    let url = world.start(&[]).await;
    let mut conn = world.conn().await;
    let post = async |body: Value| {
        let answer = world.http.post(format!("{url}/jobs/batch?atomic=true")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let many = |count: usize| -> Vec<Value> { (0..count).map(|it| json!({"name": format!("job{it}")})).collect() };
    let with = |mut jobs: Vec<Value>, more: Value| -> Value {
        jobs.push(more);
        json!(jobs)
    };
    let (status, refused) = post(with(many(1_500), json!({"name": "", "colour": 1}))).await;
    assert_eq!((status, refused["code"].as_str()), (422, Some("batch_refused")), "{refused}");
    assert_eq!(refused["errors"][0]["pointer"], "/1500/colour");
    assert_eq!(post(json!([{"name": "kept", "idempotency_key": "k"}])).await.0, 200);
    let (status, refused) = post(with(many(1_500), json!({"name": "other", "idempotency_key": "k"}))).await;
    assert_eq!((status, refused["errors"][0]["pointer"].as_str()), (409, Some("/1500")), "{refused}");
    let (status, refused) = post(json!(many(10_001))).await;
    assert_eq!((status, refused["code"].as_str()), (413, Some("too_many_jobs")));
    let answer =
        world.http.post(format!("{url}/jobs/batch?atomic=true")).body("[{\"name\": \"a\"}").send().await.unwrap();
    assert_eq!(answer.status(), 400, "an array that is not closed may be half of what was meant");
    let jobs = "select count(*) from longshore.jobs";
    assert_eq!(scalar::<i64>(&mut conn, jobs).await, 1, "of what was refused, nothing was accepted");
    let (status, said) = post(with(many(1_500), json!({"name": "kept", "idempotency_key": "k"}))).await;
    let said = said.as_array().unwrap();
    assert_eq!(
        (status, said.len(), &said[1_499]["status"], &said[1_500]["status"]),
        (200, 1_501, &json!(202), &json!(200))
    );
    assert_eq!(said[1_499]["queue_position"], "1000+");
    assert_eq!(scalar::<i64>(&mut conn, jobs).await, 1_501);
    world.finish().await;
}
