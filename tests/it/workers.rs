//! pg-boss, a worker while there is work: queues of the real packages, jobs files as job-chief takes them. The worker is
//! played: its pods only run, and the test completes the items.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, api::PostParams};
use longshore::{
    api::Served,
    cluster::{manifest::Defaults, policy::PodPolicy},
    sources,
};
use serde_json::{Value, json};

use crate::harness::{
    World,
    boss::{Boss, VERSIONS},
    cluster::is_real,
    eventually,
    process::Process,
    workers::{Files, PASSWORD, job, no_two_at_once, nth, source, with, work_off, workers_of},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_has_one_worker_job_at_a_time_whoever_is_killed() {
    const ITEMS: usize = 14;
    let world = World::new(5).await;
    let mut boss = Boss::start(12, &world.url, "pgboss").await;
    boss.queue("thumbs", json!({})).await;
    let items: Vec<Value> = (0..ITEMS).map(|it| json!({"data": {"n": it}})).collect();
    boss.ask(json!({"do": "insert", "queue": "thumbs", "items": items})).await;
    let files = Files::new(&world).await;
    let flag = files.sources(&[files.entry(json!([job("thumbs", 400, 0)]), json!({}))]);
    let mut replicas: Vec<Process> = Vec::new();
    for _ in 0..3 {
        replicas.push(world.spawn(&[&flag], &[]).await);
    }
    let mut conn = world.conn().await;
    for run in 1..=ITEMS / 2 {
        nth(&mut conn, "thumbs", run).await;
        // Whoever submitted it is among those that are killed by and by.
        let fresh = world.spawn(&[&flag], &[]).await;
        std::mem::replace(&mut replicas[run % 3], fresh).kill().await;
        work_off(&mut boss, "thumbs", 2).await;
    }
    world.all_end().await;
    no_two_at_once(&mut conn).await;
    let url = replicas[0].url.clone();
    let shown = eventually("the queue is seen to be empty", async || {
        let it = source(&world, &url, "thumbs").await;
        (it["waiting"] == 0 && it["states"]["completed"] == json!(ITEMS)).then_some(it)
    })
    .await;
    assert_eq!((&shown["type"], &shown["failing"]), (&json!("pg-boss-workers"), &json!(false)), "{shown}");
    let jobs = workers_of(&mut conn, "thumbs").await.len();
    println!("{ITEMS} items, {jobs} worker jobs, {} kills", ITEMS / 2);
    for replica in replicas {
        replica.terminate().await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_while_it_submits_a_worker_leaves_none_twice_and_none_out() {
    let world = World::new(5).await;
    let mut boss = Boss::start(11, &world.url, "pgboss").await;
    boss.queue("thumbs", json!({})).await;
    let files = Files::new(&world).await;
    let flag = files.sources(&[files.entry(json!([job("thumbs", 100, 0)]), json!({}))]);
    let mut conn = world.conn().await;
    // The first is the insert, and the second the commit of the queue's turn.
    let moments = ["before", "after", "before:1", "after:1", "lose:1"];
    for (index, moment) in moments.into_iter().enumerate() {
        boss.send("thumbs", json!({}), json!({})).await;
        let planted = format!("submit:{moment}");
        let mut dying = world.spawn(&[&flag], &[("LONGSHORE_FAILPOINT", &planted)]).await;
        if !moment.starts_with("lose") {
            dying.ended().await;
        }
        let healthy = world.spawn(&[&flag], &[]).await;
        nth(&mut conn, "thumbs", index + 1).await;
        work_off(&mut boss, "thumbs", 1).await;
        world.all_end().await;
        healthy.terminate().await;
        if moment.starts_with("lose") {
            dying.terminate().await;
        }
        no_two_at_once(&mut conn).await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_each_ending_a_queue_waits_as_its_file_says() {
    let mut world = World::new(20).await;
    let mut boss = Boss::start(10, &world.url, "pgboss").await;
    let unheard_of = |outcome: &str, policy: &str| {
        json!({"image": "registry.invalid/nothing:1", "pullPolicy": policy,
               "annotations": {"sim.longshore.dev/outcome": outcome}})
    };
    let mut late = with(job("late", 0, 0), unheard_of("image-pull-error", "IfNotPresent"));
    late["jobStartTimeout"] = "2s".into();
    // Each with the wait and the reason that belong to its ending.
    let cases = [
        (job("good", 100, 0), "completed", 1.0),
        (job("bad", 100, 3), "job_failed", 2.0),
        (job("cancelled", 600_000, 0), "cancelled", 2.0),
        (late, "start_timeout", 3.0),
        (with(job("wrong", 0, 0), unheard_of("image-never-pull", "Never")), "image_pull", 4.0),
    ];
    let mut jobs = Vec::new();
    for (job, ..) in &cases {
        let mut job = job.clone();
        for (field, wait) in [("SuccessfulRun", "1s"), ("FailedRun", "2s"), ("Timeout", "3s"), ("Error", "4s")] {
            job[format!("waitTimeAfter{field}")] = wait.into();
        }
        boss.queue(job["queueName"].as_str().unwrap(), json!({})).await;
        boss.send(job["queueName"].as_str().unwrap(), json!({}), json!({})).await;
        jobs.push(job);
    }
    let files = Files::new(&world).await;
    let flag = files.sources(&[files.entry(jobs.into(), json!({}))]);
    let replica = world.start(&[&flag]).await;
    let mut conn = world.conn().await;
    let first = nth(&mut conn, "cancelled", 1).await;
    world.reaches(&replica, &first, "running").await;
    world.cancel(&replica, &first).await;
    for (job, ..) in &cases {
        let queue = job["queueName"].as_str().unwrap();
        nth(&mut conn, queue, 2).await;
        // There is nothing more to do, and so no third one; but for those that are there already.
        work_off(&mut boss, queue, 1).await;
    }
    let long = workers_of(&mut conn, "cancelled").await.pop().unwrap();
    world.cancel(&replica, &long.0).await;
    world.all_end().await;
    no_two_at_once(&mut conn).await;
    for (job, reason, wait) in &cases {
        let queue = job["queueName"].as_str().unwrap();
        let (was, gap): (String, f64) = sqlx::query_as(
            "select a.reason, extract(epoch from b.created_at - a.finished_at)::float8
               from (select * from longshore.jobs where name = $1 order by seq limit 1) a,
                    (select * from longshore.jobs where name = $1 order by seq offset 1 limit 1) b",
        )
        .bind(queue)
        .fetch_one(&mut conn)
        .await
        .unwrap();
        assert_eq!(was, *reason, "{queue}");
        assert!(gap >= *wait, "{queue}: the next came after {gap} s, and not after {wait} s");
    }
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_have_the_settings_of_the_database_and_nobody_sees_the_password() {
    let mut world = World::new(5).await;
    let mut boss = Boss::start(9, &world.url, "pgboss").await;
    let items: Vec<Value> = (0..25).map(|it| json!({"data": {"n": it}})).collect();
    boss.ask(json!({"do": "insert", "queue": "thumbs", "items": items})).await;
    if is_real() {
        let (client, namespace) = (world.target.stranger().await, world.target.namespace());
        let secret =
            json!({"metadata": {"name": "chief-db"}, "stringData": {"DB_USERNAME": "chief", "password": PASSWORD}});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &secret).await.unwrap();
        let settings = json!({"metadata": {"name": "chief-settings"}, "data": {
            "DB_HOST": "db.example.com", "DB_PORT": "5432", "DB_NAME": "queues", "DB_SCHEMA": "pgboss"}});
        let settings: ConfigMap = serde_json::from_value(settings).unwrap();
        Api::namespaced(client, namespace).create(&PostParams::default(), &settings).await.unwrap();
    }
    // It ends well only if it was given everything.
    let test = format!(
        "test \"$DB_PASSWORD\" = {PASSWORD} -a \"$DB_USERNAME\" = chief -a \"$DB_HOST\" = db.example.com -a \"$QUEUE_NAME\" = thumbs"
    );
    let test = test.replace(PASSWORD, &format!("{}${{NOTHING}}{}", &PASSWORD[..4], &PASSWORD[4..]));
    let job = with(job("thumbs", 500, 0), json!({"injectPgConfig": true, "command": ["sh", "-c", test]}));
    let files = Files::new(&world).await;
    let more = json!({
        "inject_pg_config": {"secret": "chief-db", "config_map": "chief-settings", "keys": {"DB_PASSWORD": "password"}},
        "items_per_pod": 10, "max_parallelism": 4, "job": {"queue": "workers", "priority": 3},
    });
    let flag = files.sources(&[files.entry(json!([job]), more)]);
    let replica = world.spawn(&[&flag, "--keep-finished=10m"], &[]).await;
    let mut conn = world.conn().await;
    let id = nth(&mut conn, "thumbs", 1).await;
    work_off(&mut boss, "thumbs", 25).await;
    let made = eventually("its Job is there", async || world.target.jobs().await.pop()).await;
    assert_eq!(made.spec.as_ref().unwrap().parallelism, Some(3), "a pod for each ten items");
    let ended = world.reaches(&replica.url, &id, "succeeded").await;
    assert_eq!((&ended["queue"], &ended["priority"]), (&json!("workers"), &json!(3)));
    assert_eq!(ended["labels"]["longshore.dev/source"], "thumbs");
    let shown = world.get(&replica.url, "/sources").await.to_string();
    let whole = world.get(&replica.url, &format!("/jobs/{id}")).await.to_string();
    let jobs = serde_json::to_string(&world.target.jobs().await).unwrap();
    let pods = serde_json::to_string(&world.target.pods().await).unwrap();
    assert!(jobs.contains("secretKeyRef") && pods.contains("secretKeyRef"), "{jobs}");
    for (what, text) in [("/sources", shown), ("/jobs", whole), ("the Job", jobs), ("a pod", pods)] {
        assert!(!text.contains(PASSWORD), "{what} has the password: {text}");
    }
    assert!(!replica.said(PASSWORD), "the log has the password");
    world.all_end().await;
    world.processes.push(replica);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_drain_queues_of_every_version_of_pg_boss_and_then_there_are_none() {
    let mut world = World::new(10).await;
    let files = Files::new(&world).await;
    let (mut bosses, mut entries) = (Vec::new(), Vec::new());
    for version in VERSIONS {
        let (schema, queue) = (format!("boss{version}"), format!("mails-{version}"));
        let mut boss = Boss::start(version, &world.url, &schema).await;
        boss.queue(&queue, json!({})).await;
        // What is not due yet is no work.
        boss.send(&queue, json!({}), json!({"startAfter": 3600})).await;
        let more = json!({"name": schema, "schema": schema});
        entries.push(files.entry(json!([job(&queue, 300, 0)]), more));
        bosses.push((boss, queue));
    }
    let flag = files.sources(&entries);
    let replica = world.start(&[&flag]).await;
    let mut conn = world.conn().await;
    for (_, queue) in &bosses {
        eventually("what is for later is seen, and is no work", async || {
            let it = source(&world, &replica, queue).await;
            (it["states"]["created"] == 1 && it["waiting"] == 0).then_some(())
        })
        .await;
        assert_eq!(workers_of(&mut conn, queue).await, []);
    }
    for (boss, queue) in &mut bosses {
        for _ in 0..3 {
            boss.send(queue, json!({}), json!({})).await;
        }
        let id = nth(&mut conn, queue, 1).await;
        world.accepted.lock().unwrap().push(id.clone());
        work_off(boss, queue, 3).await;
    }
    world.all_end().await;
    for (boss, queue) in &mut bosses {
        let before = workers_of(&mut conn, queue).await.len();
        boss.send(queue, json!({}), json!({})).await;
        nth(&mut conn, queue, before + 1).await;
        work_off(boss, queue, 1).await;
    }
    world.all_end().await;
    no_two_at_once(&mut conn).await;
    world.finish().await;
}

#[tokio::test]
async fn a_pg_boss_that_is_away_or_has_no_such_queue_is_told_and_heals() {
    let mut world = World::new(5).await;
    let files = Files::new(&world).await;
    let mut hasty = job("mails", 100, 0);
    hasty["waitTimeAfterError"] = "100ms".into();
    let flag = files.sources(&[files.entry(json!([hasty]), json!({}))]);
    let replica = world.start(&[&flag]).await;
    let told = async |text: &str| {
        eventually(text, async || {
            let it = source(&world, &replica, "mails").await;
            let told = it["last_error"]["message"].as_str().is_some_and(|it| it.contains(text));
            (told && it["failing"] == true).then_some(())
        })
        .await;
    };
    told("holds no queues of pg-boss").await;
    let mut boss = Boss::start(12, &world.url, "pgboss").await;
    told("pg-boss has no queue \"mails\" there").await;
    boss.queue("mails", json!({})).await;
    boss.send("mails", json!({}), json!({})).await;
    let mut conn = world.conn().await;
    nth(&mut conn, "mails", 1).await;
    work_off(&mut boss, "mails", 1).await;
    world.all_end().await;
    eventually("all is well", async || (source(&world, &replica, "mails").await["failing"] == false).then_some(()))
        .await;
    no_two_at_once(&mut conn).await;
    world.finish().await;
}

#[tokio::test]
async fn a_wrong_jobs_file_is_told_with_entry_queue_field_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sources.yaml");
    let told = |jobs: Value, more: Value| {
        std::fs::write(dir.path().join("url"), "postgres://chief:secret@db/queues").unwrap();
        let mut entry = json!({"name": "chief", "type": "pg-boss-workers", "jobs": jobs, "database_url_file": dir.path().join("url")});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::write(&file, json!({"sources": [entry]}).to_string()).unwrap();
        let told = sources::configured(&file).err().map(|it| it.to_string()).unwrap_or_default();
        told.replace(&file.display().to_string(), "sources.yaml")
    };
    let good = job("mails", 1, 0);
    assert_eq!(told(json!([good]), json!({})), "");
    let memory = told(json!([with(good.clone(), json!({"resources": {"limits": {"memory": "128mi"}}}))]), json!({}));
    assert!(
        memory.starts_with(
            "sources.yaml: source chief: jobs: the list, job 1 (\"mails\"): podConfig.resources.limits.memory"
        ),
        "{memory}"
    );
    let second = with(job("avi", 1, 0), json!({"image": "no image"}));
    std::fs::write(dir.path().join("r2.json"), json!([good, second]).to_string()).unwrap();
    let beside = told(Value::Null, json!({"jobs_file": "r2.json"}));
    let place = dir.path().join("r2.json").display().to_string();
    let wanted = format!("sources.yaml: source chief: jobs_file: {place}, job 2 (\"avi\"): podConfig.image: ");
    assert!(beside.starts_with(&wanted), "{beside}");
    let absent = told(Value::Null, json!({"jobs_file": "r3.json"}));
    assert!(absent.contains(&format!("jobs_file: cannot read {}", dir.path().join("r3.json").display())), "{absent}");
    let field = told(json!([with(good.clone(), json!({"imagee": "a"}))]), json!({}));
    assert!(
        field.contains("source chief: jobs: the list, job 1 (\"mails\"): podConfig.imagee: unknown field"),
        "{field}"
    );
    let key = told(json!([with(good.clone(), json!({"annotations": {"a b": "c"}}))]), json!({}));
    assert!(key.contains("source chief: jobs: the list, job 1 (\"mails\"): podConfig.annotations.a b: "), "{key}");
    let queue = told(json!([good]), json!({"job": {"queue": "no spaces"}}));
    assert!(queue.contains("source chief: job.queue: "), "{queue}");
    let body = told(json!([good]), json!({"body": "env"}));
    assert!(body.contains("source chief: body: is for messages"), "{body}");
    let unnamed = told(json!([good]), json!({"prefix": "-"}));
    assert!(unnamed.contains("source chief: prefix: must make a name"), "{unnamed}");
    let pod = told(json!([good]), json!({"pod": {"serviceAccount_name": "a"}}));
    assert!(pod.contains("serviceAccount_name"), "{pod}");
    // What another installation would take.
    let policy = PodPolicy::parse("max: {parallelism: 2}\nimages: ['registry.example/*']", "policy").unwrap();
    let defaults = Defaults { image: "a".into(), image_pull_policy: "Always".into(), start_timeout_secs: None };
    let namespaces = ["jobs".to_owned()];
    let served = Served { namespaces: &namespaces, policy: &policy, defaults: &defaults, default_template: false };
    for (pod, more, wanted) in [
        (json!({"image": "registry.example/a:1"}), json!({"namespace": "jobs"}), "right"),
        (json!({}), json!({"namespace": "prod"}), "chief: job.namespace: \"prod\" is none of the namespaces"),
        (json!({}), json!({}), "chief: jobs: the list, job 1 (\"mails\"): podConfig.image: "),
        (
            json!({"image": "registry.example/a:1", "parallelism": 3}),
            json!({}),
            "chief: jobs: the list, job 1 (\"mails\"): podConfig.parallelism: ",
        ),
    ] {
        assert_eq!(told(json!([with(good.clone(), pod)]), json!({"job": more})), "");
        let checked = sources::configured(&file).unwrap()[0].check(&served);
        let checked = checked.map_or_else(|err| err.to_string(), |()| "right".to_owned());
        assert!(checked.contains(wanted), "{checked}");
    }
}
