//! Messages of SQS become jobs, once each, and are deleted after that; the queue is moto's.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::harness::{
    World, eventually,
    jobs::job,
    moto::Moto,
    process::Process,
    proxy::{Mode, Proxy},
    scalar,
};

/// The shortest there is, so that what comes again does so soon.
pub const VISIBILITY: &str = "5s";

/// What every job of a source has: it runs for so long, and ends with this code.
pub fn runs(millis: u64, exit_code: i32) -> Value {
    let mut job = job("", millis, exit_code).0;
    job.as_object_mut().unwrap().remove("name");
    job
}

/// An entry for one queue: `more` on top of what suits tests.
pub fn source(name: &str, queue: &str, more: Value) -> Value {
    let mut entry =
        json!({"name": name, "type": "sqs", "queue_url": queue, "wait": "1s", "visibility_timeout": VISIBILITY});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

/// A file of sources, for as long as it lives.
pub struct File(NamedTempFile);

impl File {
    pub fn of(entries: &[Value]) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json!({"sources": entries}).to_string()).unwrap();
        Self(file)
    }

    pub async fn spawn(&self, world: &World, moto: &Moto) -> Process {
        self.spawn_with(world, moto, &[]).await
    }

    pub async fn spawn_with(&self, world: &World, moto: &Moto, env: &[(&str, &str)]) -> Process {
        let env: Vec<_> = moto.env().into_iter().chain(env.iter().copied()).collect();
        world.spawn(&[&self.flag()], &env).await
    }

    pub fn flag(&self) -> String {
        format!("--sources={}", self.0.path().display())
    }
}

/// How many jobs there are, and how many by a condition on them.
pub async fn jobs(world: &World) -> i64 {
    scalar(&mut world.conn().await, "select count(*) from longshore.jobs").await
}

/// Ends when so many jobs are there.
pub async fn jobs_come(world: &World, count: i64) {
    eventually(&format!("there are {count} jobs"), async || (jobs(world).await >= count).then_some(())).await;
    assert_eq!(jobs(world).await, count);
}

/// Ends when nothing is in a queue any more, seen or unseen.
pub async fn is_empty(moto: &Moto, queue: &str) {
    let mut looks = 0;
    eventually("the queue is empty, at several looks", async || {
        looks = if moto.messages(queue).await == 0 { looks + 1 } else { 0 };
        (looks == 3).then_some(())
    })
    .await;
}

/// Ends when `/sources/{name}` is as it should be; answers it then.
pub async fn told(world: &World, replica: &str, name: &str, what: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = eventually("the source tells", async || {
        let answer = world.http.get(format!("{replica}/sources/{name}")).send().await.unwrap();
        last = answer.json().await.unwrap();
        what(&last).then(|| last.clone())
    });
    found.await
}

/// Lets the time pass in which a message would have come again that nobody keeps.
async fn visibility_passes() {
    let since = Instant::now();
    eventually("time passes", async || (since.elapsed() > Duration::from_secs(7)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_a_job_as_the_file_and_it_say_and_is_deleted() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let mut fixed = runs(50, 0);
    fixed["queue"] = "letters".into();
    let by_body = source("by-body", &queue, json!({"job": fixed}));
    let other = moto.queue("others", json!({})).await;
    let filter = "{name: .body.call, priority: 7, labels: {sender: .attributes.from}}";
    let by_filter = source("by-filter", &other, json!({"job": runs(50, 0), "filter": filter}));
    let file = File::of(&[by_body, by_filter]);
    let replica = world.spawn(&[&file.flag(), "--retention=1h"], &moto.env()).await;
    moto.send(&queue, r#"{"name": "hello", "priority": 3}"#).await;
    let from = json!({"MessageAttributes": {"from": {"DataType": "String", "StringValue": "alice"}}});
    moto.send_with(&other, r#"{"call": "world"}"#, from).await;
    jobs_come(&world, 2).await;
    world.all_end().await;
    is_empty(&moto, &queue).await;
    is_empty(&moto, &other).await;
    let list = world.get(&replica.url, "/jobs").await;
    let find = |name: &str| list["items"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone();
    let (hello, world_job) = (find("hello"), find("world"));
    assert_eq!(
        (&hello["priority"], &hello["queue"], &hello["state"]),
        (&json!(3), &json!("letters"), &json!("succeeded"))
    );
    assert_eq!(hello["labels"]["longshore.dev/source"], "by-body");
    assert_eq!((&world_job["priority"], &world_job["labels"]["sender"]), (&json!(7), &json!("alice")));
    let shown = told(&world, &replica.url, "by-body", |it| it["submitted"] == 1 && it["waiting"] == 0).await;
    assert_eq!(
        (&shown["type"], &shown["reads"], &shown["failing"]),
        (&json!("sqs"), &json!(queue), &json!(false)),
        "{shown}"
    );
    assert_eq!((&shown["received"], &shown["refused"]), (&json!(1), &json!(0)));
    assert!(shown["lag_seconds"].as_f64().unwrap() < 60.0, "{shown}");
    for warning in ["the queue has no redrive policy", "the queue keeps messages longer than --retention"] {
        assert!(replica.said(warning), "an operator is told: {warning}");
    }
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_can_never_be_jobs_become_dead_letters_and_hold_up_no_others() {
    let world = World::new(4).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 1).await;
    let mut fixed = runs(50, 0);
    fixed["priority"] = 5.into();
    let file = File::of(&[source("mails", &queue, json!({"job": fixed}))]);
    let bad = [
        "not JSON".to_owned(),
        "[1, 2]".to_owned(),
        r#"{"name": "a", "priority": 9}"#.to_owned(),
        r#"{"priority": "high"}"#.to_owned(),
        r#"{"name": "a", "colour": "red"}"#.to_owned(),
        r#"{"name": "nul", "args": ["\u0000"]}"#.to_owned(),
        r#"{"name": "elsewhere", "namespace": "kube-system"}"#.to_owned(),
        r#"{"name": "fork", "template": "nowhere"}"#.to_owned(),
    ];
    let mut sent = Vec::new();
    for (at, body) in bad.iter().enumerate() {
        sent.push(moto.send(&queue, body).await);
        moto.send(&queue, &json!({"name": format!("good{at}")}).to_string()).await;
    }
    let replica = file.spawn(&world, &moto).await;
    jobs_come(&world, bad.len() as i64).await;
    world.all_end().await;
    eventually("the bad ones are dead letters", async || (moto.messages(&dead).await >= bad.len()).then_some(())).await;
    is_empty(&moto, &queue).await;
    let mut dead_ids: Vec<String> = Vec::new();
    while dead_ids.len() < bad.len() {
        let some = moto.receive(&dead).await;
        dead_ids.extend(some.iter().map(|it| it["MessageId"].as_str().unwrap().to_owned()));
    }
    dead_ids.sort();
    sent.sort();
    assert_eq!(dead_ids, sent, "the bad ones, and no other");
    let shown = told(&world, &replica.url, "mails", |it| it["refused"].as_u64() >= Some(bad.len() as u64)).await;
    assert!(shown["last_refusal"].is_object(), "{shown}");
    assert_eq!(shown["failing"], false, "a bad message is not the source's trouble: {shown}");
    for id in &sent {
        assert!(replica.said(id), "{id} is in the log, with why");
    }
    assert_eq!(jobs(&world).await, bad.len() as i64);
    replica.terminate().await;
    world.finish().await;
}

/// A source whose jobs go into whichever queue the message names, so that nothing can be known of room beforehand.
fn any_queue(queue: &str) -> Value {
    source("any", queue, json!({"job": runs(50, 0)}))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_received_while_the_queue_here_is_full_and_everything_comes_when_there_is_room() {
    let world = World::new(4).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 1).await;
    let mut fixed = runs(50, 0);
    fixed["queue"] = "letters".into();
    let file = File::of(&[source("mails", &queue, json!({"job": fixed}))]);
    let api = world.spawn(&[], &[]).await;
    world.set_queue(&api.url, "letters", json!({"max_pending": 3, "paused": true})).await;
    let bodies: Vec<String> = (0..12).map(|it| json!({"name": format!("job{it}")}).to_string()).collect();
    moto.send_all(&queue, &bodies).await;
    let replica = file.spawn(&world, &moto).await;
    jobs_come(&world, 3).await;
    visibility_passes().await;
    assert_eq!((moto.messages(&queue).await, moto.invisible(&queue).await), (9, 0), "they wait where they are");
    let shown = told(&world, &replica.url, "mails", |it| it["waiting"] == 9 && it["received"] == 3).await;
    assert_eq!(shown["failing"], false, "{shown}");
    world.set_queue(&api.url, "letters", json!({"max_pending": 3, "paused": false})).await;
    jobs_come(&world, 12).await;
    world.all_end().await;
    is_empty(&moto, &queue).await;
    assert_eq!(moto.messages(&dead).await, 0);
    for it in [api, replica] {
        it.terminate().await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_meet_a_full_queue_are_kept_and_use_up_none_of_their_tries() {
    let world = World::new(4).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 1).await;
    let file = File::of(&[any_queue(&queue)]);
    let api = world.spawn(&[], &[]).await;
    world.set_queue(&api.url, "letters", json!({"max_pending": 1, "paused": true})).await;
    let body = |it: usize| json!({"name": format!("job{it}"), "queue": "letters"}).to_string();
    moto.send_all(&queue, &(0..15).map(body).collect::<Vec<_>>()).await;
    let replica = file.spawn(&world, &moto).await;
    eventually("a batch meets a full queue", async || (moto.invisible(&queue).await >= 9).then_some(())).await;
    visibility_passes().await;
    assert!(moto.invisible(&queue).await >= 9, "they are kept from others, for longer than SQS does by itself");
    assert_eq!((moto.messages(&queue).await, moto.messages(&dead).await), (14, 0), "and no more are received");
    world.set_queue(&api.url, "letters", json!({"max_pending": 4, "paused": false})).await;
    jobs_come(&world, 15).await;
    world.all_end().await;
    is_empty(&moto, &queue).await;
    assert_eq!(moto.messages(&dead).await, 0, "none of them had a second try");
    for it in [api, replica] {
        it.terminate().await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_messages_are_kept_and_use_up_none_of_their_tries() {
    let world = World::new(4).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 1).await;
    let file = File::of(&[any_queue(&queue)]);
    let host = world.url.split(['@', '/']).nth(3).unwrap().to_owned();
    let proxy = Proxy::to(host.clone()).await;
    let through = world.url.replace(&host, &proxy.address.to_string());
    let replica = world.spawn_on(&through, &[&file.flag()], &moto.env()).await;
    moto.send(&queue, r#"{"name": "before"}"#).await;
    jobs_come(&world, 1).await;
    proxy.set(Mode::Refuse);
    moto.send(&queue, r#"{"name": "meanwhile"}"#).await;
    eventually("it is received", async || (moto.invisible(&queue).await == 1).then_some(())).await;
    visibility_passes().await;
    assert_eq!((moto.invisible(&queue).await, moto.messages(&dead).await), (1, 0), "it is kept");
    assert!(replica.said("messages are kept until they can be stored"));
    proxy.set(Mode::Pass);
    jobs_come(&world, 2).await;
    world.all_end().await;
    is_empty(&moto, &queue).await;
    assert_eq!(moto.messages(&dead).await, 0);
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_told_to_stop_gives_back_what_it_could_not_store() {
    let world = World::new(4).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let patient = json!({"job": runs(50, 0), "visibility_timeout": "12h"});
    let file = File::of(&[source("mails", &queue, patient)]);
    let api = world.spawn(&[], &[]).await;
    world.set_queue(&api.url, "letters", json!({"max_pending": 0})).await;
    let replica = file.spawn(&world, &moto).await;
    moto.send(&queue, r#"{"name": "a", "queue": "letters"}"#).await;
    eventually("it is received", async || (moto.invisible(&queue).await == 1).then_some(())).await;
    replica.terminate().await;
    assert_eq!((moto.messages(&queue).await, moto.invisible(&queue).await), (1, 0), "another may have it at once");
    api.terminate().await;
    world.finish().await;
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_replica_dies_after_the_commit_comes_again_and_finds_its_job() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let file = File::of(&[source("mails", &queue, json!({"job": runs(50, 0)}))]);
    for (moment, made) in [("before", 0), ("after", 1)] {
        let failpoint = format!("submit:{moment}");
        let mut planted = file.spawn_with(&world, &moto, &[("LONGSHORE_FAILPOINT", &failpoint)]).await;
        if moment == "before" {
            moto.send(&queue, r#"{"name": "once"}"#).await;
        }
        planted.ended().await;
        assert!(planted.said("failpoint submit"));
        assert_eq!((jobs(&world).await, moto.messages(&queue).await), (made, 1), "{failpoint}");
    }
    let lost = file.spawn_with(&world, &moto, &[("LONGSHORE_FAILPOINT", "submit:lose")]).await;
    is_empty(&moto, &queue).await;
    moto.send(&queue, r#"{"name": "other"}"#).await;
    is_empty(&moto, &queue).await;
    world.all_end().await;
    assert_eq!(jobs(&world).await, 2, "one of each message");
    let shown = told(&world, &lost.url, "mails", |it| it["duplicates"].as_u64() >= Some(1)).await;
    assert_eq!(shown["refused"], 0, "{shown}");
    lost.terminate().await;
    world.finish().await;
}
