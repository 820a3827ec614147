//! `delete: on_success`: a message of SQS stays until its job succeeded, and comes back when that failed.

use serde_json::{Value, json};

use crate::{
    harness::{World, eventually, moto::Moto, scalar},
    sqs::{File, is_empty, jobs, jobs_come, runs, source, told},
};

fn held(queue: &str, job: Value) -> File {
    File::of(&[source("mails", queue, json!({"job": job, "delete": "on_success"}))])
}

async fn only_job(world: &World) -> String {
    jobs_come(world, 1).await;
    scalar(&mut world.conn().await, "select id::text from longshore.jobs").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_stays_unseen_while_its_job_runs_and_is_deleted_when_that_succeeded() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 1).await;
    let file = held(&queue, runs(12_000, 0));
    let replica = file.spawn(&world, &moto).await;
    moto.send(&queue, r#"{"name": "long"}"#).await;
    let id = only_job(&world).await;
    world.reaches(&replica.url, &id, "running").await;
    told(&world, &replica.url, "mails", |it| it["held"] == 1 && it["submitted"] == 1).await;
    let mut looks = 0;
    eventually("the job ends, and its message is there until then", async || {
        let there = moto.messages(&queue).await;
        let job = world.get(&replica.url, &format!("/jobs/{id}")).await;
        let over = !job["finished_at"].is_null();
        assert!(over || there == 1, "{there} messages while the job runs");
        looks += 1;
        over.then_some(())
    })
    .await;
    assert!(looks > 1);
    is_empty(&moto, &queue).await;
    told(&world, &replica.url, "mails", |it| it["held"] == 0).await;
    assert_eq!((jobs(&world).await, moto.messages(&dead).await), (1, 0), "it never came a second time");
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_message_whose_job_failed_comes_back_and_the_same_job_is_tried_again() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 5).await;
    let mut job = runs(50, 0);
    job["annotations"]["sim.longshore.dev/outcome"] = "exit=1,exit=1,succeed".into();
    let file = held(&queue, job);
    let replica = file.spawn(&world, &moto).await;
    moto.send(&queue, r#"{"name": "again"}"#).await;
    let id = only_job(&world).await;
    is_empty(&moto, &queue).await;
    let job = world.get(&replica.url, &format!("/jobs/{id}")).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(3)), "{job}");
    assert_eq!((jobs(&world).await, moto.messages(&dead).await), (1, 0));
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_job_always_fails_becomes_a_dead_letter_by_the_rule_of_its_queue() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 2).await;
    let file = held(&queue, runs(50, 1));
    let replica = file.spawn(&world, &moto).await;
    let sent = moto.send(&queue, r#"{"name": "never"}"#).await;
    eventually("it is a dead letter", async || (moto.messages(&dead).await == 1).then_some(())).await;
    assert_eq!(moto.receive(&dead).await[0]["MessageId"], json!(sent));
    let id = only_job(&world).await;
    let job = world.get(&replica.url, &format!("/jobs/{id}")).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("failed"), &json!(2)), "a run for each receipt: {job}");
    told(&world, &replica.url, "mails", |it| it["held"] == 0).await;
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_job_is_cancelled_is_deleted() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let file = held(&queue, runs(600_000, 0));
    let replica = file.spawn(&world, &moto).await;
    moto.send(&queue, r#"{"name": "unwanted"}"#).await;
    let id = only_job(&world).await;
    world.reaches(&replica.url, &id, "running").await;
    assert!(world.cancel(&replica.url, &id).await.is_success());
    world.reaches(&replica.url, &id, "cancelled").await;
    is_empty(&moto, &queue).await;
    assert_eq!(jobs(&world).await, 1);
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_held_by_a_replica_that_is_killed_is_kept_and_deleted_by_another() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 1).await;
    let file = held(&queue, runs(12_000, 0));
    let first = file.spawn(&world, &moto).await;
    moto.send(&queue, r#"{"name": "inherited"}"#).await;
    let id = only_job(&world).await;
    world.reaches(&first.url, &id, "running").await;
    let second = file.spawn(&world, &moto).await;
    first.kill().await;
    world.reaches(&second.url, &id, "succeeded").await;
    is_empty(&moto, &queue).await;
    assert_eq!((jobs(&world).await, moto.messages(&dead).await), (1, 0), "it never came a second time");
    second.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_again_while_its_job_runs_is_held_anew() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let file = held(&queue, runs(600_000, 0));
    let replica = file.spawn(&world, &moto).await;
    moto.send(&queue, r#"{"name": "long"}"#).await;
    let id = only_job(&world).await;
    world.reaches(&replica.url, &id, "running").await;
    let handle = "select handle from longshore.source_items";
    let mut conn = world.conn().await;
    let before: String = scalar(&mut conn, handle).await;
    eventually("it is held anew", async || {
        // As when SQS keeps it from others no longer, twelve hours after it was received.
        let over = json!({"QueueUrl": queue, "ReceiptHandle": before, "VisibilityTimeout": 0});
        moto.ask("ChangeMessageVisibility", over).await;
        (scalar::<String>(&mut conn, handle).await != before).then_some(())
    })
    .await;
    told(&world, &replica.url, "mails", |it| it["duplicates"].as_u64() >= Some(1) && it["submitted"] == 1).await;
    assert!(world.cancel(&replica.url, &id).await.is_success());
    world.reaches(&replica.url, &id, "cancelled").await;
    is_empty(&moto, &queue).await;
    assert_eq!(jobs(&world).await, 1);
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_messages_outlive_replicas_that_are_killed_at_random() {
    const MESSAGES: i64 = 120;
    let world = World::new(8).await;
    let moto = Moto::start().await;
    let (queue, dead) = moto.queue_with_dead_letters("mails", 100).await;
    let entry = json!({"delete": "on_success", "receivers": 2});
    let file = File::of(&[source("mails", &queue, entry)]);
    let body = |nth: i64| {
        let mut request = runs(100, 0);
        request["name"] = format!("held-{nth}").into();
        // On the simulator: a third of them fail for good at first, and come back.
        if nth % 3 == 0 {
            request["annotations"]["sim.longshore.dev/outcome"] = "exit=1,succeed".into();
        }
        request.to_string()
    };
    moto.send_all(&queue, &(0..MESSAGES).map(body).collect::<Vec<_>>()).await;
    let mut replicas = vec![file.spawn(&world, &moto).await, file.spawn(&world, &moto).await];
    let mut conn = world.conn().await;
    let succeeded = "select count(*) from longshore.jobs where state = 'succeeded'";
    let mut kills = 0;
    for goal in (15..MESSAGES).step_by(15) {
        eventually(&format!("{goal} jobs succeeded"), async || {
            (scalar::<i64>(&mut conn, succeeded).await >= goal).then_some(())
        })
        .await;
        let fresh = file.spawn(&world, &moto).await;
        replicas.push(fresh);
        replicas.remove(0).kill().await;
        kills += 1;
    }
    eventually(&format!("every job succeeded, after {kills} kills"), async || {
        (scalar::<i64>(&mut conn, succeeded).await == MESSAGES).then_some(())
    })
    .await;
    is_empty(&moto, &queue).await;
    assert_eq!(jobs(&world).await, MESSAGES);
    eventually("nothing is held", async || {
        (scalar::<i64>(&mut conn, "select count(*) from longshore.source_items").await == 0).then_some(())
    })
    .await;
    assert_eq!(moto.messages(&dead).await, 0);
    for replica in replicas {
        replica.terminate().await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_messages_are_held_than_the_file_says() {
    let world = World::new(0).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let entry = json!({"job": runs(50, 0), "delete": "on_success", "max_held": 4});
    let file = File::of(&[source("mails", &queue, entry)]);
    let bodies: Vec<String> = (0..10).map(|it| json!({"name": format!("job{it}")}).to_string()).collect();
    moto.send_all(&queue, &bodies).await;
    let mut world = world;
    let replica = file.spawn(&world, &moto).await;
    told(&world, &replica.url, "mails", |it| it["held"] == 4 && it["waiting"] == 6).await;
    assert_eq!(jobs(&world).await, 4);
    world.set_cap(4).await;
    jobs_come(&world, 10).await;
    world.all_end().await;
    is_empty(&moto, &queue).await;
    replica.terminate().await;
    world.finish().await;
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_stored_and_its_message_held_or_neither() {
    let world = World::new(2).await;
    let moto = Moto::start().await;
    let queue = moto.queue("mails", json!({})).await;
    let file = held(&queue, runs(50, 0));
    moto.send(&queue, r#"{"name": "once"}"#).await;
    let mut conn = world.conn().await;
    // The statement and the commit are an effect each.
    for (failpoint, made) in [("submit:before", 0), ("submit:after", 0), ("submit:before:1", 0), ("submit:after:1", 1)]
    {
        let mut planted = file.spawn_with(&world, &moto, &[("LONGSHORE_FAILPOINT", failpoint)]).await;
        planted.ended().await;
        assert!(planted.said("failpoint submit"), "{failpoint}");
        let items: i64 = scalar(&mut conn, "select count(*) from longshore.source_items").await;
        assert_eq!((jobs(&world).await, items), (made, made), "{failpoint}");
    }
    let survivor = file.spawn(&world, &moto).await;
    world.all_end().await;
    is_empty(&moto, &queue).await;
    assert_eq!(jobs(&world).await, 1);
    told(&world, &survivor.url, "mails", |it| it["held"] == 0).await;
    survivor.terminate().await;
    world.finish().await;
}
