//! Queues of SQS as they may be: paused here, not there yet, without credentials for them, FIFO.

use serde_json::json;

use crate::{
    harness::{World, jobs::job, moto::Moto},
    sqs::{File, is_empty, jobs, jobs_come, runs, source, told},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_source_takes_nothing_until_it_is_resumed() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let file = File::of(&[source("mails", &queue, json!({"job": runs(50, 0)}))]);
    let pause = async |replica: &str, paused: bool| {
        let request = world.http.patch(format!("{replica}/sources/mails")).json(&json!({"paused": paused}));
        assert!(request.send().await.unwrap().status().is_success());
    };
    let first = file.spawn(&world, &moto).await;
    told(&world, &first.url, "mails", |it| it["running"] == true).await;
    pause(&first.url, true).await;
    first.terminate().await;
    let second = file.spawn(&world, &moto).await;
    moto.send(&queue, r#"{"name": "late"}"#).await;
    // It is seen to wait, by a replica that could have taken it by then.
    told(&world, &second.url, "mails", |it| it["waiting"] == 1).await;
    assert_eq!((jobs(&world).await, moto.invisible(&queue).await), (0, 0));
    pause(&second.url, false).await;
    jobs_come(&world, 1).await;
    world.all_end().await;
    is_empty(&moto, &queue).await;
    second.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_told_of_and_read_once_it_is() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let queue = format!("{}/123456789012/later", moto.endpoint);
    let file = File::of(&[source("mails", &queue, json!({"job": runs(50, 0)}))]);
    let replica = file.spawn(&world, &moto).await;
    let shown = told(&world, &replica.url, "mails", |it| it["failing"] == true).await;
    let error = shown["last_error"].to_string();
    assert!(error.contains("NonExistentQueue") || error.contains("does not exist"), "{error}");
    let ready = world.http.get(format!("{}/readyz", replica.url)).send().await.unwrap();
    assert_eq!(ready.status(), 200, "the rest of it does not mind");
    assert_eq!(moto.queue("later", json!({})).await, queue);
    moto.send(&queue, r#"{"name": "found"}"#).await;
    jobs_come(&world, 1).await;
    told(&world, &replica.url, "mails", |it| it["failing"] == false).await;
    world.all_end().await;
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_the_source_says_so_and_the_replica_serves_all_the_same() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let file = File::of(&[source("mails", &queue, json!({"job": runs(50, 0)}))]);
    let env = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("HOME", "/nonexistent")];
    let replica = file.spawn_with(&world, &moto, &env).await;
    let shown = told(&world, &replica.url, "mails", |it| it["failing"] == true).await;
    let error = shown["last_error"].to_string();
    assert!(error.contains("credentials"), "{error}");
    let id = world.submit(&replica.url, &job("beside", 50, 0)).await;
    world.reaches(&replica.url, &id, "succeeded").await;
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_group_of_a_fifo_queue_are_stored_in_its_order_by_several_replicas() {
    let world = World::new(0).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails.fifo", 1).await;
    let file = File::of(&[source("mails", &queue, json!({"job": runs(50, 0), "receivers": 2}))]);
    for nth in 0..30 {
        let group = ["a", "b"][nth % 2];
        let request = |args: &str| json!({"name": format!("{group}-{nth:02}"), "args": [args]}).to_string();
        let body = match nth {
            14 => "not JSON".to_owned(),
            // As large as SQS takes them.
            20 => request(&"x".repeat(1024 * 1024 - request("").len())),
            _ => request(""),
        };
        let more = json!({"MessageGroupId": group, "MessageDeduplicationId": nth.to_string()});
        moto.send_with(&queue, &body, more).await;
    }
    let replicas = [file.spawn(&world, &moto).await, file.spawn(&world, &moto).await];
    jobs_come(&world, 29).await;
    is_empty(&moto, &queue).await;
    assert_eq!(moto.messages(&dead).await, 1, "the one that can never be a job held up its group, and then did not");
    let pending = world.names(&replicas[0].url, "pending").await;
    for group in ["a", "b"] {
        let of_group: Vec<_> = pending.iter().filter(|it| it.starts_with(group)).collect();
        assert!(of_group.is_sorted(), "{of_group:?}");
    }
    for it in replicas {
        it.terminate().await;
    }
    world.finish().await;
}
