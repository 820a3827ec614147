//! Ten thousand messages, and replicas that are killed with -9 at random meanwhile; with failpoints, others die by themselves
//! just after a commit, when none of its messages is deleted yet.

use std::time::Instant;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    harness::{World, eventually, moto::Moto, process::Process, scalar},
    sqs::{File, is_empty, runs, source},
};

const REPLICAS: usize = 3;
const QUEUES: u64 = 4;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_are_ten_thousand_jobs_though_replicas_are_killed_at_random() {
    let seed = number("LONGSHORE_TEST_SEED", rand::rng().random());
    let count = number("LONGSHORE_TEST_JOBS", 10_000) / QUEUES * QUEUES;
    println!("seed: LONGSHORE_TEST_SEED={seed}, messages: {count}");
    let mut rng = StdRng::seed_from_u64(seed);
    // Nothing starts: it is about what comes in.
    let world = World::new(0).await;
    let moto = Moto::start().await;
    let mut queues = Vec::new();
    for nth in 0..QUEUES {
        // One with a good message too many among its dead letters would tell.
        queues.push(moto.queue_with_dead_letters(&format!("queue{nth}"), 100).await);
    }
    let entry = |(nth, queue): (usize, &(String, String))| {
        source(&format!("from-{nth}"), &queue.0, json!({"job": runs(50, 0), "receivers": 2}))
    };
    let file = File::of(&queues.iter().enumerate().map(entry).collect::<Vec<Value>>());
    let (mut sent, mut kills, mut deaths, mut kill_at) = (0, 0, 0, rng.random_range(50..300));
    // So that there is always something to take.
    while sent < count / 3 {
        sent = send(&moto, &queues, sent, count).await;
    }
    let started = Instant::now();
    let mut replicas: Vec<Process> = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(file.spawn(&world, &moto).await);
    }
    let mut conn = world.conn().await;
    let stored = "select count(*) from longshore.jobs";
    loop {
        if sent < count {
            sent = send(&moto, &queues, sent, count).await;
        }
        for replica in replicas.iter_mut().filter_map(|it| it.has_ended().then_some(it)) {
            *replica = file.spawn(&world, &moto).await;
            deaths += 1;
        }
        let jobs: i64 = scalar(&mut conn, stored).await;
        if jobs as u64 >= count {
            break;
        }
        if jobs > kill_at {
            let victim = rng.random_range(0..REPLICAS);
            let failpoint = format!("submit:after:{}", rng.random_range(1..20));
            let planted = [("LONGSHORE_FAILPOINT", failpoint.as_str())];
            let fresh = file.spawn_with(&world, &moto, &planted[..rng.random_range(0..=1)]).await;
            std::mem::replace(&mut replicas[victim], fresh).kill().await;
            kills += 1;
            kill_at = jobs + rng.random_range(100..1_000);
        }
        if sent == count {
            eventually("more messages are jobs, or a replica dies", async || {
                let more = scalar::<i64>(&mut conn, stored).await > jobs;
                (more || replicas.iter_mut().any(Process::has_ended)).then_some(())
            })
            .await;
        }
    }
    let took = started.elapsed();
    for (queue, dead) in &queues {
        is_empty(&moto, queue).await;
        assert_eq!(moto.messages(dead).await, 0, "no message was received a hundred times");
    }
    let jobs: i64 = scalar(&mut conn, stored).await;
    let messages: i64 = scalar(&mut conn, "select count(distinct name) from longshore.jobs").await;
    assert_eq!((jobs as u64, messages as u64), (count, count), "no message is lost, and none is two jobs");
    assert!(kills > 3 || count < 10_000, "only {kills} replicas were killed");
    // What a replica did in its last second before it was killed is not in these.
    let (received, duplicates): (i64, i64) =
        sqlx::query_as("select sum(received)::bigint, sum(duplicates)::bigint from longshore.sources")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    println!(
        "{count} messages, {jobs} jobs, none lost, none twice, in {took:?}; {kills} kills, {deaths} deaths after a commit"
    );
    println!("{received} received, {duplicates} of which found their job");
    for replica in replicas {
        replica.terminate().await;
    }
    world.finish().await;
}

/// Sends a hundred more; answers how many are sent then.
async fn send(moto: &Moto, queues: &[(String, String)], sent: u64, count: u64) -> u64 {
    let until = count.min(sent + 100);
    let bodies: Vec<String> = (sent..until).map(|it| json!({"name": format!("message-{it}")}).to_string()).collect();
    moto.send_all(&queues[(sent / 100 % QUEUES) as usize].0, &bodies).await;
    until
}
