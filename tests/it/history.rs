//! History that ages out by partition, and leaves alone what is not over.

use std::time::Duration;

use longshore::store::history;
use serde_json::json;

use crate::harness::{World, eventually, jobs::job, scalar};

/// Sweeps until there is nothing to do, as a replica would, and answers what was done.
async fn sweep(world: &World, retention: Duration) -> Vec<String> {
    let mut conn = world.conn().await;
    let mut done = Vec::new();
    while let Some(swept) = history::sweep(&mut conn, retention).await.unwrap() {
        done.push(format!("{} {}", swept.did, swept.what));
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_ages_out_whole_and_what_is_not_stays() {
    let mut world = World::new(2).await;
    let replica = world.start(&["--retention=10s"]).await;
    let far = world.submit(&replica, &job("far", 50, 0).with("delay", json!("1h"))).await;
    let mut conn = world.conn().await;
    // What was submitted in one span goes when all of it may go: the others are of a later one in every table.
    let apart = "select count(*) = 5 from longshore.partitions p, longshore.jobs j where p.of_table <> 'jobs'
                   and j.id >= longshore.first_id(p.from_at) and j.id < longshore.first_id(p.to_at) and p.to_at < now()";
    eventually("its spans are over", async || scalar::<bool>(&mut conn, apart).await.then_some(())).await;
    for index in 0..4 {
        let request = job(&format!("job{index}"), 50, index % 2).with("idempotency_key", json!(format!("key{index}")));
        world.submit(&replica, &request).await;
    }
    let count = "select count(*) from longshore.jobs where finished_at is not null";
    eventually("they end", async || (scalar::<i64>(&mut conn, count).await == 4).then_some(())).await;
    eventually("they age out", async || (scalar::<i64>(&mut conn, count).await == 0).then_some(())).await;
    for table in ["attempts", "attempt_logs", "idempotency_keys"] {
        let sql = match table {
            "attempts" => "select count(*) from longshore.attempts",
            "attempt_logs" => "select count(*) from longshore.attempt_logs",
            _ => "select count(*) from longshore.idempotency_keys",
        };
        eventually(&format!("{table} follows"), async || (scalar::<i64>(&mut conn, sql).await == 0).then_some(()))
            .await;
    }
    let kept = world.get(&replica, &format!("/jobs/{far}")).await;
    assert_eq!(kept["state"], "scheduled", "what is not over stays, however old it is");
    assert_eq!(kept["spec"]["image"], "busybox:latest", "and so does all that belongs to it");
    let events = world.get(&replica, &format!("/jobs/{far}/events")).await;
    assert_eq!(events["items"][0]["reason"], "submitted");
    let dropped = "select count(*) from longshore.partitions where to_at < now() - interval '30 seconds'
                   and of_table = 'jobs'";
    eventually("partitions are dropped", async || (scalar::<i64>(&mut conn, dropped).await == 0).then_some(())).await;
    // The world's own check looks for every accepted job, and these are gone as they should be.
    world.accepted.lock().unwrap().retain(|it| *it == far);
    world.finish().await;
}

#[tokio::test]
async fn nothing_is_refused_when_no_partition_was_made_and_it_ages_out_all_the_same() {
    let world = World::new(1).await;
    let mut conn = world.conn().await;
    sqlx::query(
        "insert into longshore.jobs (id, priority, queue, state, name, namespace, reason, message, finished_at, part)
         select gen_random_uuid(), 0, 'default', 'succeeded', 'old', 'default', 'completed', '', at, at
           from (select now() - interval '1 hour' * i as at from generate_series(1, 1500) i) o",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let other = "select count(*) from longshore.jobs_other";
    assert_eq!(scalar::<i64>(&mut conn, other).await, 1500, "they lie in the default partition");
    let done = sweep(&world, Duration::from_secs(100 * 3600)).await;
    assert!(
        done.iter().any(|it| it.starts_with("made jobs_")) && done.contains(&"deleted jobs_other".to_owned()),
        "{done:?}"
    );
    assert_eq!(scalar::<i64>(&mut conn, other).await, 99, "what is younger than the retention stays");
    let for_ever = sweep(&world, Duration::ZERO).await;
    assert!(for_ever.iter().all(|it| it.starts_with("made ")), "0 keeps everything: {for_ever:?}");
}

#[tokio::test]
async fn a_sweep_that_finds_a_table_in_use_gives_up_at_once_and_comes_again() {
    let world = World::new(1).await;
    let mut reader = world.conn().await;
    sqlx::query("begin").execute(&mut reader).await.unwrap();
    sqlx::query("select count(*) from longshore.jobs").execute(&mut reader).await.unwrap();
    // A long reader does not keep partitions from being made, nor anyone from writing.
    sweep(&world, Duration::from_secs(3600)).await;
    let mut conn = world.conn().await;
    sqlx::query("insert into longshore.queues (name) values ('q')").execute(&mut conn).await.unwrap();
    sqlx::query("rollback").execute(&mut reader).await.unwrap();
    sweep(&world, Duration::from_secs(3600)).await;
    let ahead = "select count(distinct of_table) from longshore.partitions where to_at > now() + interval '10 minutes'";
    assert_eq!(scalar::<i64>(&mut conn, ahead).await, 6, "all are made ahead");
}
