//! The database goes away and comes back: requests are refused at once and truthfully, and everything recovers by itself.

use std::{process::Stdio, time::Instant};

use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{
    BOUND, World,
    cli::longshore,
    eventually,
    jobs::job,
    proxy::{Mode, Proxy},
};

/// A world whose replica reaches the database through a proxy.
async fn behind_a_proxy(cap: i32) -> (World, Proxy, String) {
    let mut world = World::new(cap).await;
    let host = world.url.split(['@', '/']).nth(3).unwrap().to_owned();
    let proxy = Proxy::to(host.clone()).await;
    let through = world.url.replace(&host, &proxy.address.to_string());
    let replica = world.start_on(&through, &["--database-connections=1"]).await;
    (world, proxy, replica)
}

async fn submit_raw(world: &World, replica: &str, key: &str) -> (u16, Value) {
    let request = job("kept", 100, 0).with("idempotency_key", key.into());
    let answer = world.http.post(format!("{replica}/jobs")).json(&request.0).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_refuses_requests_are_503_at_once_and_all_recovers_without_a_restart() {
    let (world, proxy, replica) = behind_a_proxy(2).await;
    let before = world.submit(&replica, &job("before", 1500, 0)).await;
    world.reaches(&replica, &before, "running").await;
    proxy.set(Mode::Refuse);
    eventually("submissions are refused", async || (submit_raw(&world, &replica, "a").await.0 == 503).then_some(()))
        .await;
    let asked = Instant::now();
    let (status, problem) = submit_raw(&world, &replica, "b").await;
    // Far below any time-out of ours; the client is not kept waiting for a database that is known to be away.
    assert!(asked.elapsed().as_secs() < 3, "{:?}", asked.elapsed());
    assert_eq!((status, problem["code"].as_str().unwrap()), (503, "database_unavailable"));
    // Nor is a batch told as accepted of which nothing was; the client takes it as something that passes.
    let batch = world
        .http
        .post(format!("{replica}/jobs/batch"))
        .json(&json!([job("c", 1, 0).0, {"name": ""}, job("d", 1, 0).0]));
    let answer = batch.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &HeaderValue::from_static("1")));
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "database_unavailable");
    let file = tempfile::NamedTempFile::new().unwrap();
    let many: Vec<_> = ["many1", "many2"].into_iter().map(|it| job(it, 100, 0).0).collect();
    std::fs::write(file.path(), json!(many).to_string()).unwrap();
    let mut command = longshore(&replica, &["submit", "-o", "name", "-f", file.path().to_str().unwrap()]);
    let mut patient = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut noted = BufReader::new(patient.stderr.take().unwrap()).lines();
    let noted = tokio::time::timeout(BOUND, noted.next_line()).await.unwrap().unwrap().unwrap();
    assert!(noted.ends_with("503 database_unavailable"), "{noted}");
    let health = |path: &'static str| {
        let request = world.http.get(format!("{replica}{path}"));
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!((health("/livez").await, health("/readyz").await), (200, 503));
    proxy.set(Mode::Pass);
    eventually("it is ready again", async || (health("/readyz").await == 200).then_some(())).await;
    let patient = tokio::time::timeout(BOUND, patient.wait_with_output()).await.unwrap().unwrap();
    assert!(patient.status.success(), "{patient:?}");
    let many: Vec<String> =
        String::from_utf8(patient.stdout).unwrap().lines().map(|it| it.replace("job/", "")).collect();
    assert_eq!(many.len(), 2);
    for id in many {
        world.accepted.lock().unwrap().push(id.clone());
        world.reaches(&replica, &id, "succeeded").await;
    }
    let after = world.submit(&replica, &job("after", 100, 0)).await;
    world.reaches(&replica, &before, "succeeded").await;
    world.reaches(&replica, &after, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_whose_answer_is_lost_is_unknown_and_its_key_finds_it() {
    let (world, proxy, replica) = behind_a_proxy(0).await;
    let in_batch = async |key: &str| {
        let request = json!([job("kept", 100, 0).with("idempotency_key", key.into()).0, {"name": ""}]);
        let answer = world.http.post(format!("{replica}/jobs/batch")).json(&request).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    for is_batch in [true, false] {
        eventually("an insertion is not answered", async || {
            // So that the connection is there, and the insertion itself is what is not answered. It may be looked after
            // just then, and found broken: nothing was done, and that is what is said.
            proxy.set(Mode::Pass);
            if submit_raw(&world, &replica, "first").await.0 == 503 {
                return None;
            }
            proxy.set(Mode::LoseAnswers);
            let (status, problem) =
                if is_batch { in_batch("b").await } else { submit_raw(&world, &replica, "k").await };
            assert_eq!(status, 503, "{problem}");
            (problem["code"] == "outcome_unknown").then_some(())
        })
        .await;
    }
    proxy.set(Mode::Pass);
    let answer = eventually("the database is back", async || {
        let (status, answer) = submit_raw(&world, &replica, "k").await;
        (status != 503).then_some((status, answer))
    })
    .await;
    assert!([200, 202].contains(&answer.0), "{answer:?}");
    let (status, said) = in_batch("b").await;
    assert!(status == 200 && said[0]["job_id"].is_string() && said[1]["status"] == 422, "{said}");
    let names = world.names(&replica, "pending").await;
    assert_eq!(names.len(), 3, "each was asked for twice and is there once: {names:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_stops_the_creating_and_others_take_over() {
    let (mut world, proxy, cut_off) = behind_a_proxy(3).await;
    let other = world.start(&[]).await;
    proxy.set(Mode::Hang);
    for index in 0..12 {
        world.submit(&other, &job(&format!("job{index}"), 50, 0)).await;
    }
    world.all_end().await;
    proxy.set(Mode::Pass);
    let id = eventually("the one that was cut off works again", async || {
        let (status, answer) = submit_raw(&world, &cut_off, "again").await;
        (status < 300).then(|| answer["job_id"].as_str().unwrap().to_owned())
    })
    .await;
    world.reaches(&other, &id, "succeeded").await;
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_backends_again_and_again_loses_and_doubles_nothing() {
    let mut world = World::new(4).await;
    let replicas = [world.start(&[]).await, world.start(&[]).await];
    let count = if crate::harness::cluster::is_real() { 12 } else { 60 };
    let mut conn = world.conn().await;
    let mine: i32 = crate::harness::scalar(&mut conn, "select pg_backend_pid()").await;
    for index in 0..count {
        let key = format!("k{index}");
        let id = eventually("it is accepted", async || {
            let (status, answer) = submit_raw(&world, &replicas[index % 2], &key).await;
            (status < 300).then(|| answer["job_id"].as_str().unwrap().to_owned())
        })
        .await;
        world.accepted.lock().unwrap().push(id);
        if index % 4 == 0 {
            let kill = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> $1 and application_name = 'longshore'";
            sqlx::query(kill).bind(mine).execute(&mut conn).await.unwrap();
        }
    }
    world.all_end().await;
    let jobs: i64 = crate::harness::scalar(&mut conn, "select count(*) from longshore.jobs").await;
    assert_eq!(jobs, count as i64);
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_before_its_database_waits_for_it() {
    let world = World::new(1).await;
    let host = world.url.split(['@', '/']).nth(3).unwrap().to_owned();
    let proxy = Proxy::to(host.clone()).await;
    proxy.set(Mode::Refuse);
    let through = world.url.replace(&host, &proxy.address.to_string());
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.arg("serve").args(world.flags(&[])).args(["--database-url", &through]).arg("--kubeconfig");
    command.arg(world.target.kubeconfig()).env("LONGSHORE_LOG_FORMAT", "json");
    let starting = tokio::spawn(crate::harness::process::Process::start(command));
    proxy.set(Mode::Pass);
    let replica = starting.await.unwrap();
    let id = world.submit(&replica.url, &job("first", 50, 0)).await;
    world.reaches(&replica.url, &id, "succeeded").await;
    replica.terminate().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_made_while_the_database_was_read_only_do_not_outlive_that() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let mut conn = world.conn().await;
    let mine: i32 = crate::harness::scalar(&mut conn, "select pg_backend_pid()").await;
    let ready = async || {
        let answer = world.http.get(format!("{replica}/readyz")).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    };
    for sql in [
        "alter database longshore set default_transaction_read_only = on",
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> $1 and application_name = 'longshore'",
    ] {
        let query = sqlx::query(sql);
        if sql.contains("$1") { query.bind(mine) } else { query }.execute(&mut conn).await.unwrap();
    }
    eventually("it says that the database is read-only", async || {
        let (status, problem) = ready().await;
        (status == 503 && problem.contains("database_read_only")).then_some(())
    })
    .await;
    eventually("submissions are refused", async || (submit_raw(&world, &replica, "a").await.0 == 503).then_some(()))
        .await;
    sqlx::query("alter database longshore reset default_transaction_read_only").execute(&mut conn).await.unwrap();
    // Nobody ends those connections now.
    eventually("it is ready again", async || (ready().await.0 == 200).then_some(())).await;
    let id = world.submit(&replica, &job("after", 50, 0)).await;
    world.reaches(&replica, &id, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_its_standby_did_not_see_is_not_told_as_accepted() {
    let mut world = World::new(0).await;
    let mut conn = world.conn().await;
    let mut run = async |sql: &'static str| sqlx::query(sql).execute(&mut conn).await.unwrap();
    run("alter role longshore set synchronous_commit = on").await;
    let replica = world.start(&[]).await;
    world.submit(&replica, &job("before", 10, 0)).await;
    run("alter system set synchronous_standby_names = 'nobody'").await;
    run("select pg_reload_conf()").await;
    // The replica's own heartbeat is the first to wait for the standby.
    let mut looks = world.conn().await;
    eventually("commits wait for the standby", async || {
        let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
        let waiting: i64 = crate::harness::scalar(&mut looks, waiting).await;
        (waiting > 0).then_some(())
    })
    .await;
    let submitting = {
        let request = world.http.post(format!("{replica}/jobs")).json(&job("doubtful", 10, 0).0);
        tokio::spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() })
    };
    eventually("the wait for the standby is cut short", async || {
        run("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'").await;
        submitting.is_finished().then_some(())
    })
    .await;
    assert_eq!(submitting.await.unwrap()["code"], "outcome_unknown");
    run("alter system reset synchronous_standby_names").await;
    run("select pg_reload_conf()").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_commits_wait_for_a_standby_connections_that_are_given_up_do_not_add_up_and_reads_are_answered() {
    let mut world = World::new(0).await;
    let mut conn = world.conn().await;
    let mut run = async |sql: &'static str| sqlx::query(sql).execute(&mut conn).await.unwrap();
    run("alter role longshore set synchronous_commit = on").await;
    let replica = world.start(&["--database-connections=3"]).await;
    run("alter system set synchronous_standby_names = 'nobody'").await;
    run("select pg_reload_conf()").await;
    // Each is given up after twenty seconds, and the signs of life meanwhile every two or three.
    let mut submitting = tokio::task::JoinSet::new();
    for index in 0..4 {
        let request = world.http.post(format!("{replica}/jobs")).json(&job(&format!("doubtful{index}"), 10, 0).0);
        submitting.spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() });
    }
    let mut looks = world.conn().await;
    let (mut most, mut most_waiting, mut codes) = (0, 0, Vec::new());
    let mut waited: Vec<String> = Vec::new();
    eventually("all are given up", async || {
        let sql = "select array[count(*), count(*) filter (where wait_event = 'SyncRep')]
                     from pg_stat_activity where application_name = 'longshore'";
        let counts: Vec<i64> = crate::harness::scalar(&mut looks, sql).await;
        (most, most_waiting) = (most.max(counts[0]), most_waiting.max(counts[1]));
        if waited.is_empty() {
            let sql = "select coalesce(array_agg(format('%s %s', pid, backend_start)), '{}') from pg_stat_activity
                        where wait_event = 'SyncRep' and application_name = 'longshore'";
            waited = crate::harness::scalar(&mut looks, sql).await;
        }
        let read = world.http.get(format!("{replica}/jobs/pending")).send().await.unwrap();
        assert_eq!(read.status().as_u16(), 200, "a read is answered while commits wait");
        while let Some(answer) = submitting.try_join_next() {
            codes.push(answer.unwrap()["code"].as_str().unwrap().to_owned());
        }
        submitting.is_empty().then_some(())
    })
    .await;
    let pools =
        longshore::run::LOOP_CONNECTIONS + longshore::run::SOURCE_CONNECTIONS.0 + longshore::run::HEART_CONNECTIONS + 3;
    // It is not known of any that waited whether it is kept; of one that found no connection it is.
    assert!(codes.iter().all(|it| ["outcome_unknown", "database_unavailable"].contains(&it.as_str())), "{codes:?}");
    assert!(codes.iter().any(|it| it == "outcome_unknown"), "{codes:?}");
    println!("{most} connections, of which {most_waiting} waited");
    // Besides, a connection for each of four pools, by which it lets go of what it left.
    assert!(most_waiting > 0 && most <= i64::from(pools) + 4, "{most} connections, of which {most_waiting} waited");
    // The standby is away still: by itself a backend would wait for it for ever.
    eventually("the server has let go of those that waited first", async || {
        let there = "select exists (select from pg_stat_activity where format('%s %s', pid, backend_start) = any($1))";
        let there: bool = sqlx::query_scalar(there).bind(&waited).fetch_one(&mut looks).await.unwrap();
        (!there).then_some(())
    })
    .await;
    run("alter system reset synchronous_standby_names").await;
    run("select pg_reload_conf()").await;
    eventually("it is ready again", async || {
        let answer = world.http.get(format!("{replica}/readyz")).send().await.unwrap();
        (answer.status().as_u16() == 200).then_some(())
    })
    .await;
    world.finish().await;
}
