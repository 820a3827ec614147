//! Replicas are killed with -9 and started again at random while a thousand jobs run. The witness is the audit log.

use std::{collections::VecDeque, time::Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::harness::{World, audit, eventually, jobs::job, process::Process, scalar};

const CAP: i32 = 7;
const REPLICAS: usize = 4;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_jobs_survive_replicas_that_are_killed_at_random() {
    let seed = number("LONGSHORE_TEST_SEED", rand::rng().random());
    let count = number("LONGSHORE_TEST_JOBS", 1000);
    println!("seed: LONGSHORE_TEST_SEED={seed}, jobs: {count}");
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(CAP).await;
    let mut replicas: Vec<Process> = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(world.spawn(&[], &[]).await);
    }
    let mut conn = world.conn().await;
    let mut waiting: VecDeque<u64> = (0..count).collect();
    let (mut kills, mut kill_at) = (0, rng.random_range(5..40));
    let started = Instant::now();
    loop {
        // All replicas at once, and whoever is refused goes to another with the same key.
        let mut asked = tokio::task::JoinSet::new();
        for index in waiting.drain(..waiting.len().min(40)) {
            let request = job(&format!("job{index}"), rng.random_range(0..80), i32::from(rng.random_bool(0.05)))
                .priority(rng.random_range(0..10))
                .with("idempotency_key", format!("key{index}").into());
            let url = replicas[rng.random_range(0..REPLICAS)].url.clone();
            let post = world.http.post(format!("{url}/jobs")).json(&request.0);
            asked.spawn(async move { (index, submit(post).await) });
        }
        for (index, id) in asked.join_all().await {
            match id {
                Some(id) => world.accepted.lock().unwrap().push(id),
                None => waiting.push_back(index),
            }
        }
        let ended: i64 = scalar(&mut conn, "select count(*) from longshore.jobs where finished_at is not null").await;
        if ended as u64 == count {
            break;
        }
        if ended > kill_at {
            // No two replicas see the end of it at the same time: the dead one is replaced by a new one.
            let victim = rng.random_range(0..REPLICAS);
            let fresh = world.spawn(&[], &[]).await;
            std::mem::replace(&mut replicas[victim], fresh).kill().await;
            kills += 1;
            kill_at = ended + rng.random_range(5..60);
        }
        if waiting.is_empty() {
            eventually("something more ends", async || {
                let now: i64 =
                    scalar(&mut conn, "select count(*) from longshore.jobs where finished_at is not null").await;
                (now > ended.max(kill_at - 20) || now as u64 == count).then_some(())
            })
            .await;
        }
    }
    let took = started.elapsed();
    assert!(kills > 3, "only {kills} replicas were killed");
    world.cluster_is_empty().await;
    for replica in replicas {
        replica.terminate().await;
    }
    let log = world.target.audit_log().await;
    if let Some(log) = log {
        let instance: String = scalar(&mut conn, "select name from longshore.instance").await;
        let audit = audit::read(&log, &instance);
        assert_eq!(audit.creates.len() as u64, count, "every job has exactly one attempt, and that was created");
        println!("{count} jobs in {took:?}, {kills} kills; requests: {:?}", audit.requests);
    }
    world.finish().await;
}

/// The id, if it was accepted.
async fn submit(post: reqwest::RequestBuilder) -> Option<String> {
    let answer = post.send().await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let answer: Value = answer.json().await.ok()?;
    answer["job_id"].as_str().map(str::to_owned)
}
