//! Replicas die while they take items of pg-boss, at any moment: each item still is one job, and ends as that does.

use std::collections::{BTreeMap, HashSet};

use longshore::store::{Db, boss::Boss as Tables};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::Row;

use crate::harness::{
    World,
    boss::{Boss, VERSIONS},
    cluster::is_real,
    eventually,
    jobs::job,
    process::Process,
    scalar,
};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

/// How many items of a queue are in each state.
async fn states(url: &str, schema: &str) -> BTreeMap<String, i64> {
    let db = Db::elsewhere(url, 1).unwrap();
    let mut conn = db.conn().await.unwrap();
    let tables = Tables::new(schema);
    let states = tables.enter(&mut conn).await.unwrap().states("mails").await.unwrap();
    db.close().await;
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_one_job_each_though_replicas_are_killed_at_random() {
    let seed = number("LONGSHORE_TEST_SEED", rand::rng().random());
    // A real cluster takes a second or two for each.
    let each = number("LONGSHORE_TEST_ITEMS", if is_real() { 5 } else { 40 });
    println!("seed: LONGSHORE_TEST_SEED={seed}, items: {each} in each of eight queues");
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(20).await;
    let elsewhere = world.elsewhere().await;
    let file = world.sources(&[]);
    let secret = file.secret("url", &elsewhere);
    let mut entries = Vec::new();
    let mut fed = Vec::new();
    for (place, url) in [("own", &world.url), ("else", &elsewhere)] {
        for version in VERSIONS {
            let (schema, source) = (format!("boss{version}"), format!("{place}{version}"));
            let mut boss = Boss::start(version, url, &schema).await;
            boss.queue("mails", json!({})).await;
            // Without a try left, so that whatever is lost on the way stays lost.
            let item = |index| json!({"data": job(&format!("{source}-{index}"), 20, 0).0, "retryLimit": 0});
            let items: Vec<Value> = (0..each).map(item).collect();
            boss.ask(json!({"do": "insert", "queue": "mails", "items": items})).await;
            let mut entry = json!({"name": source, "type": "pg-boss", "schema": schema, "queue": "mails", "poll": "100ms",
                                   "batch": 10});
            if place == "else" {
                entry["database_url_file"] = secret.clone().into();
            }
            entries.push(entry);
            fed.push((url.clone(), schema, source));
        }
    }
    file.write(&entries);
    let mut replicas: Vec<Process> = Vec::new();
    for _ in 0..2 {
        replicas.push(world.spawn(&[&file.flag], &[]).await);
    }
    let mut conn = world.conn().await;
    let all = each as i64 * fed.len() as i64;
    let (mut kills, mut kill_at) = (0, rng.random_range(1..all / 8));
    loop {
        let ended: i64 = scalar(&mut conn, "select count(*) from longshore.jobs where finished_at is not null").await;
        if ended >= all {
            break;
        }
        if ended >= kill_at {
            let fresh = world.spawn(&[&file.flag], &[]).await;
            std::mem::replace(&mut replicas[rng.random_range(0..2)], fresh).kill().await;
            kills += 1;
            kill_at = ended + rng.random_range(1..all / 6);
        }
        eventually("something more ends", async || {
            let now: i64 = scalar(&mut conn, "select count(*) from longshore.jobs where finished_at is not null").await;
            (now > ended).then_some(())
        })
        .await;
    }
    assert!(kills > 2, "only {kills} replicas were killed");
    for (url, schema, source) in &fed {
        let what = format!("every item of {source} is completed");
        let all = BTreeMap::from([("completed".to_owned(), each as i64)]);
        eventually(&what, async || (states(url, schema).await == all).then_some(())).await;
    }
    let rows = sqlx::query("select name, state, attempt from longshore.jobs").fetch_all(&mut conn).await.unwrap();
    let names: HashSet<String> = rows.iter().map(|it| it.get("name")).collect();
    assert!(rows.iter().all(|it| it.get::<String, _>("state") == "succeeded" && it.get::<i32, _>("attempt") == 1));
    assert_eq!((rows.len(), names.len()), (all as usize, all as usize), "no item is lost, and none is two jobs");
    eventually("nothing is held any more", async || {
        let held: i64 = scalar(&mut conn, "select count(*) from longshore.source_items").await;
        (held == 0).then_some(())
    })
    .await;
    println!("items {all}, jobs {}, duplicates 0, lost 0, kills {kills}", rows.len());
    for replica in replicas {
        replica.terminate().await;
    }
    world.finish().await;
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_at_any_commit_of_a_pass_leaves_an_item_that_is_finished_once() {
    let world = World::new(4).await;
    let elsewhere = world.elsewhere().await;
    let file = world.sources(&[]);
    let secret = file.secret("url", &elsewhere);
    let mut own = Boss::start(9, &world.url, "pgboss").await;
    let mut other = Boss::start(9, &elsewhere, "pgboss").await;
    let entry = |name: &str| json!({"name": name, "type": "pg-boss", "queue": "mails", "poll": "100ms"});
    // What a pass does is to insert, and to commit: here alone, or here and then there.
    for (place, commits) in [("own", 1), ("else", 2)] {
        let mut entry = entry(place);
        if place == "else" {
            entry["database_url_file"] = secret.clone().into();
        }
        file.write(&[entry]);
        let boss = if place == "own" { &mut own } else { &mut other };
        let after = (0..=commits).map(|it| ("after", it));
        for (moment, skip) in std::iter::once(("before", 0)).chain(after) {
            let name = format!("{place}-{moment}-{skip}");
            let id = boss.send("mails", job(&name, 20, 0).0, json!({"retryLimit": 0})).await;
            let failpoint = format!("submit:{moment}:{skip}");
            let mut dies = world.spawn(&[&file.flag], &[("LONGSHORE_FAILPOINT", &failpoint)]).await;
            dies.ended().await;
            let survivor = world.spawn(&[&file.flag], &[]).await;
            let what = format!("{name}: its item is completed");
            let item = eventually(&what, async || {
                let item = boss.item("mails", &id).await;
                (item["state"] == "completed").then_some(item)
            })
            .await;
            assert_eq!(item["retryCount"], 0, "{item}");
            survivor.terminate().await;
            let mut conn = world.conn().await;
            let jobs: Vec<i32> = sqlx::query_scalar("select attempt from longshore.jobs where name = $1")
                .bind(&name)
                .fetch_all(&mut conn)
                .await
                .unwrap();
            assert_eq!(jobs, [1], "{name}");
        }
    }
    world.finish().await;
}
