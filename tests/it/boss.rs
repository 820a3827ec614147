//! pg-boss as a source: each item becomes one job, and ends as its job does, in all four versions, in Longshore's own
//! database and in another one, whoever dies meanwhile.

use serde_json::{Value, json};
use sqlx::Connection;

use crate::harness::{
    World,
    boss::{Boss, VERSIONS},
    cli, eventually,
    jobs::{container, job},
    scalar,
};

/// A pg-boss that feeds the world, and how the source is called.
struct Fed {
    boss: Boss,
    source: String,
    entry: Value,
}

/// All four versions in a database.
async fn all(url: &str, place: &str, secret: Option<&str>) -> Vec<Fed> {
    let mut all = Vec::new();
    for version in VERSIONS {
        let schema = format!("boss{version}");
        let boss = Boss::start(version, url, &schema).await;
        let source = format!("{place}{version}");
        let mut entry = json!({"name": source, "type": "pg-boss", "schema": schema, "queue": "mails", "poll": "100ms"});
        if let Some(secret) = secret {
            entry["database_url_file"] = secret.into();
        }
        all.push(Fed { boss, source, entry });
    }
    all
}

/// The versions in Longshore's own database and in another one, and the file that names them all.
async fn everywhere(world: &World, settings: Value) -> (Vec<Fed>, crate::harness::boss::SourcesFile) {
    let elsewhere = world.elsewhere().await;
    let file = world.sources(&[]);
    let secret = file.secret("url", &elsewhere);
    let mut fed = all(&world.url, "own", None).await;
    fed.extend(all(&elsewhere, "else", Some(&secret)).await);
    for it in &mut fed {
        for (field, value) in settings.as_object().unwrap() {
            it.entry[field] = value.clone();
        }
    }
    let entries: Vec<Value> = fed.iter().map(|it| it.entry.clone()).collect();
    file.write(&entries);
    (fed, file)
}

/// Ends when an item is in that state; answers it then.
async fn reaches(boss: &mut Boss, id: &str, state: &str) -> Value {
    let what = format!("pg-boss {}: item {id} is {state}", boss.version);
    eventually(&what, async || {
        let item = boss.item("mails", id).await;
        (item["state"] == state).then_some(item)
    })
    .await
}

/// A source as it is shown, once a replica said that it runs it.
async fn shown(world: &World, replica: &str, source: &str) -> Option<Value> {
    let all = world.get(replica, "/sources").await;
    all["items"].as_array().unwrap().iter().find(|it| it["name"] == source).cloned()
}

async fn jobs_of(world: &World, replica: &str, source: &str) -> Vec<Value> {
    let list = world.get(replica, &format!("/jobs?label=longshore.dev/source%3D{source}&limit=1000")).await;
    list["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_every_version_become_one_job_each_and_end_as_their_jobs_do() {
    let mut world = World::new(8).await;
    let (mut fed, file) = everywhere(&world, json!({"priority": "from_item"})).await;
    let mut sent = Vec::new();
    for it in &mut fed {
        let boss = &mut it.boss;
        boss.queue("dead", json!({})).await;
        boss.queue("mails", json!({"deadLetter": "dead"})).await;
        let good = boss.send("mails", job("good", 100, 0).0, json!({"priority": 7, "retryLimit": 0})).await;
        let fails = boss.send("mails", job("fails", 100, 3).0, json!({"retryLimit": 1, "retryDelay": 0})).await;
        let bad = boss.send("mails", json!({"imagge": "x"}), json!({"retryLimit": 0})).await;
        let deep = json!({"do": "deep", "queue": "mails", "levels": 300, "options": {"retryLimit": 0}});
        let deep = boss.ask(deep).await.as_str().unwrap().to_owned();
        let later = boss.send("mails", job("later", 100, 0).0, json!({"startAfter": 3600})).await;
        sent.push([good, fails, bad, deep, later]);
    }
    let replica = world.start(&[&file.flag]).await;
    for (it, [good, fails, bad, deep, later]) in fed.iter_mut().zip(&sent) {
        let (boss, name) = (&mut it.boss, &it.source);
        let item = reaches(boss, good, "completed").await;
        let of_good = item["output"]["job_id"].as_str().unwrap().to_owned();
        assert!(item["completedOn"].is_string(), "{item}");
        let its_job = world.get(&replica, &format!("/jobs/{of_good}")).await;
        assert_eq!((&its_job["state"], &its_job["priority"]), (&json!("succeeded"), &json!(7)), "{its_job}");
        let item = reaches(boss, fails, "failed").await;
        assert_eq!(item["retryCount"], 1, "pg-boss's own retries are used up: {item}");
        assert_eq!(item["output"]["message"], "its job failed: job_failed", "{item}");
        let of_fails = item["output"]["job_id"].as_str().unwrap().to_owned();
        let its_job = world.get(&replica, &format!("/jobs/{of_fails}")).await;
        assert_eq!(its_job["attempts"].as_array().unwrap().len(), 2, "the same job ran again: {its_job}");
        let item = reaches(boss, bad, "failed").await;
        assert!(item["output"]["message"].as_str().unwrap().contains("imagge"), "{item}");
        reaches(boss, deep, "failed").await;
        assert_eq!(boss.item("mails", later).await["state"], "created", "it is not due");
        let jobs = jobs_of(&world, &replica, name).await;
        assert_eq!(jobs.len(), 2, "one job an item, and none of those that can never be one: {jobs:?}");
        if boss.version > 9 {
            let dead = boss.ask(json!({"do": "fetch", "queue": "dead", "count": 10})).await;
            assert_eq!(dead.as_array().unwrap().len(), 3, "those that failed for good are dead letters: {dead}");
        }
        eventually("the source tells what it did", async || {
            let shown = shown(&world, &replica, name).await?;
            (shown["refused"] == 2 && shown["submitted"] == 2 && shown["waiting"] == 0).then_some(())
        })
        .await;
    }
    let shown = world.get(&replica, "/sources").await.to_string();
    assert!(!shown.contains("longshore@"), "no URL is shown: {shown}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_goes_on_for_longer_than_it_may_is_kept_and_a_cancelled_job_cancels_it() {
    let mut world = World::new(8).await;
    let (mut fed, file) = everywhere(&world, json!({})).await;
    let replica = world.start(&[&file.flag]).await;
    let mut ids = Vec::new();
    for it in &mut fed {
        it.boss.queue("mails", json!({})).await;
        let options = json!({"expireInSeconds": 30, "retryLimit": 5});
        ids.push(it.boss.send("mails", job("long", 3_600_000, 0).0, options).await);
    }
    for (it, id) in fed.iter_mut().zip(&ids) {
        reaches(&mut it.boss, id, "active").await;
    }
    for (it, id) in fed.iter_mut().zip(&ids) {
        let boss = &mut it.boss;
        let mut conn = world.conn().await;
        let what = format!("pg-boss {} would have let it expire twice, and did not", boss.version);
        eventually(&what, async || {
            boss.ask(json!({"do": "expire", "queue": "mails"})).await;
            let item = boss.item("mails", id).await;
            assert_eq!((&item["state"], &item["retryCount"]), (&json!("active"), &json!(0)), "{item}");
            let created: String = item["createdOn"].as_str().unwrap().to_owned();
            let old: bool = sqlx::query_scalar("select now() - $1::text::timestamptz > interval '62 seconds'")
                .bind(created)
                .fetch_one(&mut conn)
                .await
                .unwrap();
            old.then_some(())
        })
        .await;
        let jobs = jobs_of(&world, &replica, &it.source).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        world.cancel(&replica, jobs[0]["job_id"].as_str().unwrap()).await;
    }
    for (it, id) in fed.iter_mut().zip(&ids) {
        let item = reaches(&mut it.boss, id, "cancelled").await;
        assert_eq!(item["retryCount"], 0, "it is not tried again: {item}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_queue_is_full_items_wait_where_they_are_and_lose_no_try() {
    let mut world = World::new(1).await;
    let (mut fed, file) = everywhere(&world, json!({"complete": "on_commit", "job": {"queue": "narrow"}})).await;
    let gate = world.start(&[]).await;
    world.set_queue(&gate, "narrow", json!({"max_pending": 3, "paused": true})).await;
    let mut sent = Vec::new();
    for it in &mut fed {
        it.boss.queue("mails", json!({})).await;
        for _ in 0..4 {
            sent.push((it.source.clone(), it.boss.send("mails", job("a", 50, 1).0, json!({"retryLimit": 0})).await));
        }
    }
    world.start(&[&file.flag]).await;
    let mut conn = world.conn().await;
    let waiting = "select count(*) from longshore.jobs where state = 'pending'";
    eventually("the queue is full", async || (scalar::<i64>(&mut conn, waiting).await == 3).then_some(())).await;
    eventually("every source has looked at what waits", async || {
        let mut all = 0;
        for it in &fed {
            all += shown(&world, &gate, &it.source).await?["waiting"].as_i64()?;
        }
        (all == sent.len() as i64 - 3).then_some(())
    })
    .await;
    world.set_queue(&gate, "narrow", json!({"max_pending": 3, "paused": false})).await;
    for it in &mut fed {
        for (_, id) in sent.iter().filter(|sent| sent.0 == it.source) {
            let item = reaches(&mut it.boss, id, "completed").await;
            assert_eq!(item["retryCount"], 0, "{item}");
            let its_job = world.get(&gate, &format!("/jobs/{}", item["output"]["job_id"].as_str().unwrap())).await;
            assert_eq!(its_job["labels"]["longshore.dev/source"], json!(it.source), "{its_job}");
        }
        assert_eq!(jobs_of(&world, &gate, &it.source).await.len(), 4);
    }
    world.all_end().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_an_error_that_is_shown_and_mended_by_making_it() {
    let mut world = World::new(1).await;
    let mut boss = Boss::start(12, &world.url, "pgboss").await;
    let file = world.sources(&[json!({"name": "mails", "type": "pg-boss", "queue": "mails", "poll": "50ms"})]);
    let replica = world.start(&[&file.flag]).await;
    eventually("the error is shown", async || {
        shown(&world, &replica, "mails").await?["last_error"]["message"]
            .as_str()?
            .contains(r#"there is no queue "mails"; boss.createQueue() makes it"#)
            .then_some(())
    })
    .await;
    boss.queue("mails", json!({})).await;
    let id = boss.send("mails", job("a", 50, 0).0, json!({})).await;
    reaches(&mut boss, &id, "completed").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_installation_lacks_holds_a_source_up_and_fails_no_item() {
    let mut world = World::new(1).await;
    let mut boss = Boss::start(12, &world.url, "pgboss").await;
    boss.queue("mails", json!({})).await;
    let id = boss.send("mails", json!({}), json!({"retryLimit": 0})).await;
    let mut entry = json!({
        "name": "mails", "type": "pg-boss", "queue": "mails", "poll": "50ms", "paused": true,
        "filter_file": "mails.jq", "job": {"template": "mail", "namespace": "nowhere"},
    });
    let file = world.sources(&[entry.clone()]);
    file.secret("mails.jq", "{params: .body}");
    let kubeconfig = world.target.kubeconfig().display().to_string();
    let namespace = format!("--namespace={}", world.target.namespace());
    let serve =
        ["serve", "--port=0", "--database-url", &world.url, "--kubeconfig", &kubeconfig, &namespace, &file.flag];
    let said = cli::say("http://127.0.0.1:1", &serve).await;
    let told = "sources.json: source mails: job.namespace: \"nowhere\" is none of the namespaces";
    assert!(said.code != 0 && said.err.contains(told) && said.err.contains("`--namespace nowhere`"), "{}", said.err);

    entry["job"] = json!({"template": "mail"});
    file.write(&[entry]);
    let replica = world.start(&[&file.flag]).await;
    let is = async |what: &str, told: &dyn Fn(&Value) -> bool| {
        eventually(what, async || shown(&world, &replica, "mails").await.filter(told).map(drop)).await;
    };
    is("it begins paused, and sees what waits", &|it| it["paused_at"].is_string() && it["waiting"] == 1).await;
    assert_eq!(boss.item("mails", &id).await["state"], "created");
    let resume = world.http.patch(format!("{replica}/sources/mails")).json(&json!({"paused": false}));
    assert!(resume.send().await.unwrap().status().is_success());
    let no_template = "there is no template \"mail\"";
    is("the template is missed", &|it| it["last_error"]["message"].as_str().is_some_and(|it| it.contains(no_template)))
        .await;
    let item = boss.item("mails", &id).await;
    assert_eq!((&item["state"], &item["retryCount"]), (&json!("created"), &json!(0)), "it lost no try: {item}");
    let pod = json!({"restartPolicy": "Never", "containers": [container("a", "busybox:latest")]});
    let template = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}).to_string();
    let put = world.http.put(format!("{replica}/templates/mail")).body(template).send().await.unwrap();
    assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
    reaches(&mut boss, &id, "completed").await;
    is("nothing was refused", &|it| it["refused"] == 0 && it["submitted"] == 1).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_pg_boss_took_back_while_nobody_was_there_is_the_same_job_when_it_comes_again() {
    // None of the jobs can end before their replica dies.
    let mut world = World::new(0).await;
    let (mut fed, file) = everywhere(&world, json!({})).await;
    let elsewhere = world.elsewhere().await;
    let mut ids = Vec::new();
    for it in &mut fed {
        it.boss.queue("mails", json!({})).await;
        ids.push(it.boss.send("mails", job("a", 100, 0).0, json!({"retryLimit": 2, "retryDelay": 0})).await);
    }
    let dies = world.spawn(&[&file.flag], &[]).await;
    for (it, id) in fed.iter_mut().zip(&ids) {
        reaches(&mut it.boss, id, "active").await;
    }
    dies.kill().await;
    for (it, id) in fed.iter_mut().zip(&ids) {
        // As if it had been taken long ago.
        let url = if it.source.starts_with("own") { &world.url } else { &elsewhere };
        let column = if it.boss.version == 9 { "startedon" } else { "started_on" };
        let sql = format!("update boss{}.job set {column} = now() - interval '1 day'", it.boss.version);
        let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
        let what = format!("{}: pg-boss lets it expire", it.source);
        eventually(&what, async || {
            it.boss.ask(json!({"do": "expire", "queue": "mails"})).await;
            (it.boss.item("mails", id).await["state"] == "retry").then_some(())
        })
        .await;
    }
    let replica = world.start(&[&file.flag]).await;
    world.set_cap(8).await;
    for (it, id) in fed.iter_mut().zip(&ids) {
        let item = reaches(&mut it.boss, id, "completed").await;
        assert_eq!(item["retryCount"], 1, "{item}");
        let jobs = jobs_of(&world, &replica, &it.source).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert_eq!(jobs[0]["attempt"], 1, "it did not fail, and did not run again: {jobs:?}");
    }
    world.finish().await;
}
