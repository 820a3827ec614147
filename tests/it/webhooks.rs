//! Webhooks: the end of a job is told at least once, whoever dies; signed; to nobody inside; and one receiver's trouble is
//! its own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
};
use longshore::store::Db;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{World, eventually, jobs::job, scalar};

/// One message as it came.
#[derive(Clone)]
struct Message {
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

type Seen = Arc<Mutex<Vec<Message>>>;

/// Someone who is told things, and answers as the path says: `/fails-once`, `/hangs`, `/gone`, `/redirects`, else well.
struct Receiver {
    url: String,
    seen: Seen,
}

impl Receiver {
    async fn start() -> Self {
        let seen = Seen::default();
        let app = Router::new().fallback(Self::answer).route("/{*path}", axum::routing::any(Self::answer_at));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, app.with_state(seen.clone())).into_future());
        Self { url, seen }
    }

    async fn answer(seen: State<Seen>, headers: HeaderMap, body: Bytes) -> (StatusCode, HeaderMap, String) {
        Self::answer_at(seen, Path(String::new()), headers, body).await
    }

    async fn answer_at(
        State(seen): State<Seen>,
        Path(path): Path<String>,
        headers: HeaderMap,
        body: Bytes,
    ) -> (StatusCode, HeaderMap, String) {
        let body = String::from_utf8(body.to_vec()).unwrap();
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push(Message { path: path.clone(), headers, body });
            seen.iter().filter(|it| it.path == path).count() - 1
        };
        let mut more = HeaderMap::new();
        let status = match path.as_str() {
            "fails-once" if before == 0 => StatusCode::INTERNAL_SERVER_ERROR,
            "hangs-once" if before > 0 => StatusCode::OK,
            "hangs" | "hangs-once" => std::future::pending().await,
            "gone" => StatusCode::GONE,
            "redirects" => {
                more.insert("location", "/elsewhere".parse().unwrap());
                StatusCode::TEMPORARY_REDIRECT
            }
            _ => StatusCode::OK,
        };
        (status, more, "x".repeat(100_000))
    }

    fn at(&self, path: &str) -> Vec<Message> {
        self.seen.lock().unwrap().iter().filter(|it| it.path == path).cloned().collect()
    }

    /// Ends when so many messages came to a path; answers them.
    async fn came(&self, path: &str, count: usize) -> Vec<Message> {
        eventually(&format!("{count} messages come to {path}"), async || {
            let found = self.at(path);
            (found.len() >= count).then_some(found)
        })
        .await
    }
}

async fn create(world: &World, replica: &str, webhook: Value) -> Value {
    let answer = world.http.post(format!("{replica}/webhooks")).json(&webhook).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

async fn post(world: &World, url: String) -> Value {
    let answer = world.http.post(url).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

/// HMAC-SHA256 by its definition (RFC 2104), and base64 by the shell's own program: neither is what the product uses.
fn signature(secret: &str, message: &Message) -> String {
    let shell = |script: &str| {
        let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let mut key = shell(&format!("printf %s '{}' | base64 -d", secret.strip_prefix("whsec_").unwrap()));
    key.resize(64, 0);
    let pad = |with: u8| key.iter().map(|it| it ^ with).collect::<Vec<u8>>();
    let signed = format!("{}.{}.{}", message.header("webhook-id"), message.header("webhook-timestamp"), message.body);
    let inner = Sha256::digest([pad(0x36), signed.into_bytes()].concat());
    let outer = Sha256::digest([pad(0x5c), inner.to_vec()].concat());
    let hex: String = outer.iter().map(|it| format!("\\{it:03o}")).collect();
    format!("v1,{}", String::from_utf8(shell(&format!("printf '{hex}' | base64 -w0"))).unwrap())
}

const ALLOW: &str = "--webhook-allow=127.0.0.1";

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_job_is_told_signed_and_told_again_until_it_is_heard() {
    let mut world = World::new(3).await;
    let replica = world.start(&[ALLOW]).await;
    let receiver = Receiver::start().await;
    let failures = json!({"url": format!("{}/fails-once", receiver.url), "queue": "left", "states": ["failed"]});
    let made = create(&world, &replica, failures).await;
    let everything = create(&world, &replica, json!({"url": format!("{}/all", receiver.url)})).await;
    assert_eq!(everything["states"], json!(["cancelled", "failed", "succeeded"]));
    let failing = job("failing", 50, 4).with("queue", json!("left")).with("labels", json!({"team": "a"}));
    let id = world.submit(&replica, &failing).await;
    world.submit(&replica, &job("fine", 50, 0).with("queue", json!("left"))).await;
    world.submit(&replica, &job("failing too", 50, 1)).await;
    let waits = world.submit(&replica, &job("waits", 50, 1).with("delay", json!("1h"))).await;
    assert_eq!(world.cancel(&replica, &waits).await, StatusCode::OK);
    world.all_end().await;

    let told = eventually("all four are told", async || {
        // On a busy machine one may come twice.
        let by_id =
            receiver.at("all").into_iter().map(|it| (it.header("webhook-id").to_owned(), it.json()["type"].clone()));
        Some(by_id.collect::<std::collections::HashMap<_, _>>()).filter(|it| it.len() == 4)
    })
    .await;
    let mut told: Vec<String> = told.values().map(|it| it.as_str().unwrap().to_owned()).collect();
    told.sort_unstable();
    let kind = |it: &str| format!("dev.longshore.job.{it}.v1");
    assert_eq!(told, [kind("cancelled"), kind("failed"), kind("failed"), kind("succeeded")]);

    let tries = receiver.came("fails-once", 2).await;
    let secret = made["secret"].as_str().unwrap();
    for message in &tries {
        assert_eq!(message.header("webhook-signature"), signature(secret, message));
    }
    assert_eq!(tries[0].header("webhook-id"), tries[1].header("webhook-id"), "who heard it the first time can tell");
    assert_eq!(tries[0].body, tries[1].body);
    let event = tries[1].json();
    let mut shown = world.get(&replica, &format!("/jobs/{id}")).await;
    let (shown, data) = (shown.as_object_mut().unwrap(), event["data"].as_object().unwrap());
    for (field, value) in data {
        match field.ends_with("_at") && !value.is_null() {
            true => {
                let (a, b) = (value.as_str().unwrap(), shown[field].as_str().unwrap());
                assert_eq!(a.parse::<jiff::Timestamp>().unwrap(), b.parse().unwrap(), "{field}");
            }
            false => assert_eq!(*value, shown[field], "{field}"),
        }
    }
    assert_eq!(
        (&data["name"], &data["reason"], &data["labels"]["team"]),
        (&json!("failing"), &json!("job_failed"), &json!("a"))
    );
    assert_eq!((&event["subject"], &event["id"]), (&json!(id), &json!(tries[0].header("webhook-id"))));

    let hook = format!("/webhooks/{}", made["id"].as_str().unwrap());
    let delivered = eventually("it is on record", async || {
        let page = world.get(&replica, &format!("{hook}/deliveries")).await;
        (page["items"][0]["state"] == "delivered").then_some(page)
    })
    .await;
    assert_eq!(delivered["items"].as_array().unwrap().len(), 1, "only what it asked for");
    assert!(delivered["items"][0]["tries"].as_i64().unwrap() >= 2, "{delivered}");
    assert_eq!(delivered["items"][0]["last_status"], 200);
    let delivery = delivered["items"][0]["id"].as_str().unwrap();
    let before = receiver.at("fails-once").len();
    post(&world, format!("{replica}{hook}/deliveries/{delivery}/redeliver")).await;
    let again = receiver.came("fails-once", before + 1).await;
    assert_eq!(again[before].header("webhook-id"), delivery);

    let first =
        world.get(&replica, &format!("/webhooks/{}/deliveries?limit=3", everything["id"].as_str().unwrap())).await;
    let next = format!(
        "/webhooks/{}/deliveries?limit=3&cursor={}",
        everything["id"].as_str().unwrap(),
        first["next"].as_str().unwrap()
    );
    let rest = world.get(&replica, &next).await;
    assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (3, 1));
    for path in ["/webhooks".to_owned(), hook] {
        let text = world.get(&replica, &path).await.to_string();
        assert!(!text.contains("whsec_") && text.contains(&receiver.url), "a secret is shown once: {text}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_before_its_message_is_heard_leaves_it_to_the_others() {
    let mut world = World::new(3).await;
    let receiver = Receiver::start().await;
    let planted = world.spawn(&[ALLOW], &[]).await;
    create(&world, &planted.url, json!({"url": format!("{}/hangs-once", receiver.url)})).await;
    let id = world.submit(&planted.url, &job("told", 50, 0)).await;
    receiver.came("hangs-once", 1).await;
    planted.kill().await;
    let replica = world.start(&[ALLOW]).await;
    // What it had taken is due again after half a minute. As if that were over:
    let mut conn = world.conn().await;
    sqlx::query("update longshore.webhook_deliveries set due_at = now()").execute(&mut conn).await.unwrap();
    let told = receiver.came("hangs-once", 2).await;
    assert_eq!(told[1].json()["subject"], json!(id));
    assert_eq!(told[0].header("webhook-id"), told[1].header("webhook-id"));
    world.reaches(&replica, &id, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_is_gone_or_leads_elsewhere_holds_up_nobody_else() {
    let mut world = World::new(10).await;
    let replica = world.start(&[ALLOW]).await;
    let receiver = Receiver::start().await;
    let mut made = Vec::new();
    for path in ["hangs", "gone", "redirects", "fine"] {
        made.push(create(&world, &replica, json!({"url": format!("{}/{path}", receiver.url)})).await);
    }
    for index in 0..12 {
        world.submit(&replica, &job(&format!("job{index}"), 50, 0)).await;
    }
    let fine = receiver.came("fine", 12).await;
    let subjects: std::collections::HashSet<String> = fine.iter().map(|it| it.json()["subject"].to_string()).collect();
    assert_eq!(subjects.len(), 12);
    let gone = format!("/webhooks/{}", made[1]["id"].as_str().unwrap());
    let disabled = eventually("who is gone is disabled", async || {
        Some(world.get(&replica, &gone).await).filter(|it| !it["disabled_at"].is_null())
    })
    .await;
    assert_eq!(disabled["disabled_why"], "it answered 410 Gone");
    receiver.came("redirects", 1).await;
    let path = format!("/webhooks/{}/deliveries", made[2]["id"].as_str().unwrap());
    eventually("a redirect is a failure", async || {
        let page = world.get(&replica, &path).await;
        page["items"].as_array().unwrap().iter().any(|it| it["last_status"] == 307).then_some(())
    })
    .await;
    assert!(receiver.at("elsewhere").is_empty(), "nobody is followed elsewhere");
    for hook in &made {
        let url = format!("{replica}/webhooks/{}", hook["id"].as_str().unwrap());
        assert_eq!(world.http.delete(&url).send().await.unwrap().status(), StatusCode::NO_CONTENT);
        assert_eq!(world.http.delete(&url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_both_secrets_sign() {
    let mut world = World::new(1).await;
    let replica = world.start(&[ALLOW]).await;
    let receiver = Receiver::start().await;
    let old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let made = create(&world, &replica, json!({"url": format!("{}/all", receiver.url), "secret": old})).await;
    assert_eq!(made["secret"], old);
    let new = post(&world, format!("{replica}/webhooks/{}/rotate", made["id"].as_str().unwrap())).await;
    let new = new["secret"].as_str().unwrap();
    world.submit(&replica, &job("told", 50, 0)).await;
    let message = &receiver.came("all", 1).await[0];
    let both = format!("{} {}", signature(new, message), signature(old, message));
    assert_eq!(message.header("webhook-signature"), both);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_inside_unless_that_is_allowed() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let receiver = Receiver::start().await;
    let port = receiver.url.rsplit_once(':').unwrap().1.to_owned();
    let refused = [
        (json!({"url": receiver.url}), "/url"),
        (json!({"url": format!("https://127.0.0.1:{port}/")}), "/url"),
        (json!({"url": "https://example.com/", "states": ["running"]}), "/states/0"),
        (json!({"url": "https://example.com/", "states": []}), "/states"),
        (json!({"url": "https://example.com/", "queue": "a b"}), "/queue"),
        (json!({"url": "https://example.com/", "secret": "secret"}), "/secret"),
        (json!({"url": "https://example.com/", "colour": "red"}), "/colour"),
        (json!({"url": 7}), "/url"),
    ];
    for (request, pointer) in refused {
        let answer = world.http.post(format!("{replica}/webhooks")).json(&request).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{request}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    // One that was allowed when it was made: what counts is the moment at which something is sent.
    create(&world, &replica, json!({"url": "https://example.com/"})).await;
    let mut conn = world.conn().await;
    sqlx::query("update longshore.webhooks set url = $1").bind(&receiver.url).execute(&mut conn).await.unwrap();
    world.submit(&replica, &job("told", 50, 0)).await;
    let sql = "select coalesce(min(last_error), '') from longshore.webhook_deliveries";
    let error = eventually("it is on record", async || {
        Some(scalar::<String>(&mut conn, sql).await).filter(|it| !it.is_empty())
    })
    .await;
    assert!(error.starts_with("its URL must begin with https://"), "{error}");
    assert!(receiver.seen.lock().unwrap().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_ages_out_and_what_was_not_for_a_day_is_given_up() {
    let mut world = World::new(1).await;
    let replica = world.start(&[ALLOW]).await;
    let receiver = Receiver::start().await;
    create(&world, &replica, json!({"url": format!("{}/fails-once", receiver.url)})).await;
    let mut conn = world.conn().await;
    sqlx::query("alter table longshore.webhook_deliveries alter tries_since set default now() - interval '1 day'")
        .execute(&mut conn)
        .await
        .unwrap();
    world.submit(&replica, &job("told", 50, 0)).await;
    let dead = "select count(*) from longshore.webhook_deliveries where state = 'dead' and last_status = 500";
    eventually("it is given up", async || (scalar::<i64>(&mut conn, dead).await == 1).then_some(())).await;
    let db = Db::new(&world.url, 1).unwrap();
    let left = "select count(*) from longshore.webhook_deliveries";
    longshore::sweep::sweep(&db, Duration::from_secs(3600)).await.unwrap();
    assert_eq!(scalar::<i64>(&mut conn, left).await, 1);
    sqlx::query("update longshore.webhook_deliveries set created_at = now() - interval '2 hours'")
        .execute(&mut conn)
        .await
        .unwrap();
    longshore::sweep::sweep(&db, Duration::from_secs(3600)).await.unwrap();
    assert_eq!(scalar::<i64>(&mut conn, left).await, 0);
    world.finish().await;
}
