//! Parts of a replica in processes of their own (`--roles`), and how a process starts and leaves.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    World, eventually,
    jobs::job,
    process::Process,
    proxy::{Mode, Proxy},
    scalar,
};

/// What a path answers: its status and, where it is JSON, its body.
async fn ask(world: &World, replica: &str, path: &str) -> (u16, Value) {
    let answer = world.http.get(format!("{replica}{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_run_apart_do_together_what_a_replica_does() {
    let mut world = World::new(2).await;
    let api = world.start(&["--roles=api"]).await;
    let id = world.submit(&api, &job("first", 100, 0)).await;
    let waits = world.waits_for(&api, &id, "no_replica").await;
    assert!(waits["why"]["message"].as_str().unwrap().contains("has the role scheduler"), "{waits}");

    let others = [world.start(&["--roles=scheduler"]).await, world.start(&["--roles", "watcher,sources"]).await];
    world.reaches(&api, &id, "succeeded").await;
    for other in &others {
        for path in ["/livez", "/readyz", "/health", "/metrics"] {
            assert_eq!(ask(&world, other, path).await.0, 200, "{path}");
        }
        let (status, problem) = ask(&world, other, "/jobs").await;
        assert_eq!((status, &problem["code"]), (404, &json!("no_such_path")));
        assert!(problem["detail"].as_str().unwrap().contains("role `api`"), "{problem}");
    }
    let mut conn = world.conn().await;
    let mut roles: Vec<Vec<String>> =
        sqlx::query_scalar("select roles from longshore.replicas").fetch_all(&mut conn).await.unwrap();
    roles.sort();
    assert_eq!(roles, [vec!["api"], vec!["scheduler"], vec!["watcher", "sources"]]);

    // What needs two parts that have to hear of each other.
    let failing = job("failing", 50, 3).with("max_attempts", json!(2)).with("backoff", json!({"initial": "0s"}));
    let failing = world.submit(&api, &failing).await;
    let failed = world.reaches(&api, &failing, "failed").await;
    assert_eq!((&failed["attempt"], &failed["attempts"][1]["exit_code"]), (&json!(2), &json!(3)));
    let long = world.submit(&api, &job("long", 600_000, 0)).await;
    world.reaches(&api, &long, "running").await;
    assert_eq!(world.cancel(&api, &long).await, 202);
    world.reaches(&api, &long, "cancelled").await;
    let id: uuid::Uuid = sqlx::query_scalar("select longshore.submit($1)")
        .bind(job("in SQL", 50, 0).0)
        .fetch_one(&mut conn)
        .await
        .unwrap();
    world.accepted.lock().unwrap().push(id.to_string());
    world.reaches(&api, &id.to_string(), "succeeded").await;
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_answers_that_it_lives_before_there_is_a_database() {
    let world = World::new(1).await;
    let host = world.url.split(['@', '/']).nth(3).unwrap().to_owned();
    let proxy = Proxy::to(host.clone()).await;
    proxy.set(Mode::Refuse);
    let through = world.url.replace(&host, &proxy.address.to_string());
    let replica = Process::start_until(world.command(&through, &[]), "answering").await;
    for (path, expected) in [("/livez", 200), ("/health", 200), ("/readyz", 503), ("/jobs", 503), ("/metrics", 503)] {
        let (status, problem) = ask(&world, &replica.url, path).await;
        assert_eq!(status, expected, "{path}");
        assert!(status == 200 || problem["code"] == "starting", "{path}: {problem}");
    }
    proxy.set(Mode::Pass);
    eventually("it is ready", async || (ask(&world, &replica.url, "/readyz").await.0 == 200).then_some(())).await;
    let id = world.submit(&replica.url, &job("first", 50, 0)).await;
    world.reaches(&replica.url, &id, "succeeded").await;
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_leaves_works_on_until_everyone_has_heard_of_it() {
    let world = World::new(1).await;
    let mut replica = world.spawn(&["--drain-delay=1h"], &[]).await;
    replica.signal(Signal::SIGTERM);
    eventually("it says that it leaves", async || {
        let (status, problem) = ask(&world, &replica.url, "/readyz").await;
        (status == 503 && problem["code"] == "stopping").then_some(())
    })
    .await;
    assert_eq!(ask(&world, &replica.url, "/livez").await.0, 200);
    let id = world.submit(&replica.url, &job("late", 50, 0)).await;
    world.reaches(&replica.url, &id, "succeeded").await;
    // Whoever cannot wait says so twice.
    replica.signal(Signal::SIGTERM);
    assert_eq!(replica.ended().await.code(), Some(130));
    let mut conn = world.conn().await;
    let left: i64 = scalar(&mut conn, "select count(*) from longshore.replicas").await;
    assert_eq!(left, 1, "it ended without a goodbye");

    let replica = world.spawn(&["--drain-delay=1s"], &[]).await;
    replica.terminate().await;
    world.finish().await;
}
