//! The stream of all events: whoever listens, and comes back anywhere, is told of every event once.

use std::collections::{BTreeMap, HashSet};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::harness::{BOUND, World, jobs::job, scalar};

/// One that listens, and remembers where it was.
struct Listener {
    http: reqwest::Client,
    query: String,
    open: Option<reqwest::Response>,
    buffer: Vec<u8>,
    last_id: Option<String>,
    heard: Vec<(String, Value)>,
}

impl Listener {
    fn new(query: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, query: query.into(), open: None, buffer: Vec::new(), last_id: None, heard: Vec::new() }
    }

    /// Connects, and hears where it is: from there on nothing may be lost.
    async fn connect(&mut self, replica: &str) {
        self.cut();
        let request = self.http.get(format!("{replica}/events{}", self.query));
        let request = match &self.last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        self.open = Some(answer);
        assert!(self.message().await, "it says at once where it is");
    }

    fn cut(&mut self) {
        self.open = None;
        self.buffer.clear();
    }

    /// Takes in one message; false at the end of the stream.
    async fn message(&mut self) -> bool {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|it| it == b"\n\n") {
                let text: Vec<u8> = self.buffer.drain(..end + 2).collect();
                self.take(std::str::from_utf8(&text).unwrap());
                return true;
            }
            let open = self.open.as_mut().unwrap();
            let chunk = tokio::time::timeout(BOUND, open.chunk()).await.expect("nothing comes, not even a heartbeat");
            match chunk {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                _ => return false,
            }
        }
    }

    fn take(&mut self, text: &str) {
        let field = |name: &str| text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(": "));
        if let Some(id) = field("id") {
            self.last_id = Some(id.into());
        }
        if let Some(data) = field("data") {
            self.heard.push((field("event").unwrap().into(), serde_json::from_str(data).unwrap()));
        }
    }

    /// Listens until it has heard so many events; comes back when it is cut off.
    async fn hear(&mut self, count: usize, replica: &str) {
        while self.heard.len() < count {
            if self.open.is_none() || !self.message().await {
                self.connect(replica).await;
            }
        }
    }

    fn ids(&self) -> Vec<i64> {
        self.heard.iter().map(|it| it.1["id"].as_i64().unwrap()).collect()
    }
}

async fn all_ids(conn: &mut PgConnection) -> Vec<i64> {
    scalar(conn, "select array_agg(id order by id) from longshore.job_events").await
}

/// Writes events that are of no job, and are not over before their transaction is.
async fn write(conn: &mut PgConnection, count: i32, message: &str) {
    sqlx::query(
        "insert into longshore.job_events (job_id, attempt, to_state, reason, message)
         select gen_random_uuid(), 0, 'failed', 'made_up', $2 from generate_series(1, $1)",
    )
    .bind(count)
    .bind(message)
    .execute(conn)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_goes_from_replica_to_replica_hears_every_event_once_and_each_job_in_order() {
    let mut world = World::new(5).await;
    let replicas = [world.start(&[]).await, world.start(&[]).await];
    let mut listener = Listener::new("");
    listener.connect(&replicas[0]).await;
    for index in 0..20 {
        world.submit(&replicas[index % 2], &job(&format!("job{index}"), 50, (index % 3 == 0).into())).await;
    }
    // Submitted, claimed, created, started and ended; some are over before anyone saw them start.
    for (turn, count) in [3, 4, 20, 45, 70].into_iter().enumerate() {
        listener.hear(count, &replicas[turn % 2]).await;
        // In the middle of what was told at once, as likely as not.
        listener.connect(&replicas[(turn + 1) % 2]).await;
    }
    world.all_end().await;
    let mut conn = world.conn().await;
    let expected = all_ids(&mut conn).await;
    listener.hear(expected.len(), &replicas[0]).await;
    let mut heard = listener.ids();
    heard.sort_unstable();
    assert_eq!(heard, expected);
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    for (kind, event) in &listener.heard {
        let before = last.insert(event["job_id"].as_str().unwrap().into(), event["to"].clone());
        assert_eq!(before.unwrap_or_default(), event["from"], "each job's events come in order: {event}");
        if event["from"].is_null() {
            assert_eq!(kind, "dev.longshore.job.submitted.v1");
            assert_eq!(
                (&event["queue"], &event["priority"], &event["to"]),
                (&json!("default"), &json!(0), &json!("pending"))
            );
        }
    }
    let kinds: HashSet<&str> = listener.heard.iter().map(|it| it.0.as_str()).collect();
    for kind in ["starting", "created", "succeeded", "failed"] {
        assert!(kinds.contains(format!("dev.longshore.job.{kind}.v1").as_str()), "{kinds:?}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_number_was_drawn_first_and_committed_last_is_not_lost() {
    let mut world = World::new(1).await;
    let replicas = [world.start(&[]).await, world.start(&[]).await];
    let (mut slow, mut slower, mut quick) = (world.conn().await, world.conn().await, world.conn().await);
    for conn in [&mut slow, &mut slower] {
        sqlx::query("begin").execute(&mut *conn).await.unwrap();
        write(conn, 1, "late").await;
    }
    let (mut stays, mut moves) = (Listener::new(""), Listener::new(""));
    stays.connect(&replicas[0]).await;
    moves.connect(&replicas[1]).await;
    write(&mut quick, 3, "quick").await;
    stays.hear(3, &replicas[0]).await;
    moves.hear(2, &replicas[1]).await;
    moves.cut();
    sqlx::query("commit").execute(&mut slow).await.unwrap();
    stays.hear(4, &replicas[0]).await;
    moves.hear(4, &replicas[0]).await;
    write(&mut quick, 1, "quick").await;
    sqlx::query("commit").execute(&mut slower).await.unwrap();
    let expected = all_ids(&mut quick).await;
    for listener in [&mut stays, &mut moves] {
        listener.hear(6, &replicas[1]).await;
        let mut heard = listener.ids();
        heard.sort_unstable();
        assert_eq!(heard, expected);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_read_holds_up_nobody_and_hears_everything_in_the_end() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let (mut idle, mut eager) = (Listener::new(""), Listener::new("?state=failed"));
    idle.connect(&replica).await;
    eager.connect(&replica).await;
    let mut conn = world.conn().await;
    // More than sockets hold, and more than is told at once.
    for _ in 0..15 {
        write(&mut conn, 1_000, &"x".repeat(1_000)).await;
    }
    write(&mut conn, 6_000, &"x".repeat(1_000)).await;
    eager.hear(21_000, &replica).await;
    idle.hear(21_000, &replica).await;
    let expected = all_ids(&mut conn).await;
    assert!(
        idle.ids() == expected && eager.ids() == expected,
        "each once, and in the order in which they were written"
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_only_what_it_asked_for() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let first =
        world.submit(&replica, &job("first", 50, 0).with("queue", json!("left")).with("delay", json!("1s"))).await;
    let mut of_job = Listener::new(&format!("?job={first}"));
    let mut of_queue = Listener::new("?queue=right&state=succeeded,failed");
    of_job.connect(&replica).await;
    of_queue.connect(&replica).await;
    for exit_code in [0, 3] {
        world.submit(&replica, &job("second", 50, exit_code).with("queue", json!("right"))).await;
    }
    world.all_end().await;
    of_queue.hear(2, &replica).await;
    let mut states: Vec<&str> = of_queue.heard.iter().map(|it| it.1["to"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["failed", "succeeded"]);
    while of_job.heard.last().is_none_or(|it| it.1["to"] != "succeeded") {
        assert!(of_job.message().await);
    }
    assert!(of_job.heard.iter().all(|it| it.1["job_id"] == first.as_str() && it.1["name"] == "first"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_nothing_can_be_told_from_is_refused_in_words() {
    let mut world = World::new(1).await;
    let replica = world.start(&["--retention=20s"]).await;
    let mut listener = Listener::new("");
    listener.connect(&replica).await;
    let id = listener.last_id.clone().unwrap();
    let parts: Vec<&str> = id.split('.').collect();
    let [version, epoch, millis, after, seen] = parts.as_slice() else { panic!("{id}") };
    let old = millis.parse::<i64>().unwrap() - 60_000;
    let cases = [
        ("7".to_owned(), 422, "invalid_fields"),
        (format!("{version}.{epoch}.{millis}.{after}.9:3:"), 422, "invalid_fields"),
        (format!("{version}.{epoch}.{old}.{after}.{seen}"), 410, "events_gone"),
        (format!("{version}.abcdef.{millis}.{after}.{seen}"), 410, "events_gone"),
        (format!("{version}.{epoch}.{millis}.{after}.4000000000:4000000000:"), 410, "events_gone"),
    ];
    for (id, status, code) in cases {
        let answer = world.http.get(format!("{replica}/events?last_event_id={id}")).send().await.unwrap();
        let found =
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned());
        assert_eq!(found, (status, code.to_owned()), "{id}");
    }
    for query in ["?state=sleeping", "?job=7", "?colour=red"] {
        let answer = world.http.get(format!("{replica}/events{query}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
    // A replica that stops ends its streams, or it would not stop.
    world.finish().await;
    assert!(!listener.message().await, "the stream is over");
}
