//! The tables of pg-boss as the real packages of all four versions make them, read and refused.

use std::time::Duration;

use longshore::store::{
    Db,
    boss::{Boss as Tables, Error, Hand, Shape},
};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::harness::{
    World,
    boss::{Boss, VERSIONS},
};

#[tokio::test]
async fn what_is_due_is_counted_as_each_version_of_pg_boss_would() {
    let world = World::new(1).await;
    let db = Db::new(&world.url, 2).unwrap();
    for version in VERSIONS {
        let schema = format!("boss{version}");
        let mut boss = Boss::start(version, &world.url, &schema).await;
        boss.queue("mails", json!({})).await;
        boss.queue("others", json!({})).await;
        for _ in 0..5 {
            boss.send("mails", json!({"to": "a"}), json!({"priority": 3})).await;
        }
        boss.send("mails", json!({}), json!({"startAfter": 3600})).await;
        boss.send("others", json!({}), json!({})).await;
        boss.ask(json!({"do": "fetch", "queue": "mails"})).await;

        let tables = Tables::new(&schema);
        let mut conn = db.conn().await.unwrap();
        let mut tables = tables.enter(&mut conn).await.unwrap();
        let expected = match version {
            9 => Shape::Nine,
            10 => Shape::Ten,
            11 => Shape::Eleven,
            _ => tables.shape(),
        };
        assert_eq!(tables.shape(), expected);
        assert!(version < 12 || matches!(expected, Shape::Twelve(it) if it.blocked));
        let due = tables.waiting("mails", 1000).await.unwrap();
        assert_eq!(due.items, 4, "one is active, one is for later, and one is another queue's (pg-boss {version})");
        assert!(due.oldest_secs.is_some_and(|it| (0.0..60.0).contains(&it)), "{due:?}");
        assert_eq!(tables.waiting("mails", 2).await.unwrap().items, 2, "it counts no further than it is asked");
        assert_eq!(tables.waiting("nothing", 10).await.unwrap().oldest_secs, None);
        let states = tables.states("mails").await.unwrap();
        assert_eq!(states.iter().map(|it| (it.0.as_str(), *it.1)).collect::<Vec<_>>(), [("active", 1), ("created", 5)]);
        assert!(tables.has_queue("mails").await.unwrap());
        assert_eq!(tables.has_queue("nothing").await.unwrap(), version == 9);
        tables.rollback().await.unwrap();
    }
    world.finish().await;
}

#[tokio::test]
async fn tables_that_are_not_pg_bosss_are_refused_with_what_was_found() {
    let world = World::new(1).await;
    let db = Db::new(&world.url, 2).unwrap();
    drop(Boss::start(10, &world.url, "boss").await);
    let mut own = world.conn().await;
    let mut conn = db.conn().await.unwrap();
    let tables = Tables::new("boss");
    let refusal = async |conn: &mut _, schema: &str| match Tables::new(schema).enter(conn).await {
        Err(err @ Error::Shape { .. }) => err.to_string(),
        Err(err) => panic!("{err:?}"),
        Ok(it) => panic!("{:?}", it.shape()),
    };
    drop(tables.enter(&mut conn).await.unwrap());
    let run = async |own: &mut _, sql: &'static str| sqlx::raw_sql(sql).execute(own).await.unwrap();

    assert_eq!(
        refusal(&mut conn, "Nowhere\"; drop schema boss").await,
        r#"schema "Nowhere\"; drop schema boss" holds no queues of pg-boss: it has none of its tables that pg-boss has there; pg-boss makes them when it is started for the first time, so look at the schema's name and at the database"#
    );
    run(&mut own, "alter table boss.job rename column retry_count to tries").await;
    assert_eq!(
        refusal(&mut conn, "boss").await,
        r#"schema "boss" (schema version 24) has a table job without retry_count, as no version of pg-boss has that is known here; supported are the tables of pg-boss 9, 10, 11 and 12 (schema versions 19 to 46)"#
    );
    run(&mut own, "update boss.version set version = 17").await;
    let refused =
        tables.enter(&mut conn).await.err().expect("what was known is looked at again when the version changes");
    assert_eq!(
        refused.to_string(),
        r#"schema "boss" is of pg-boss's schema version 17; supported are the tables of pg-boss 9, 10, 11 and 12 (schema versions 19 to 46)"#
    );
    run(
        &mut own,
        "create schema other; create table other.version (version int); create table other.queue (name text)",
    )
    .await;
    assert!(refusal(&mut conn, "other").await.contains("it has only queue, version that pg-boss has there"));
    world.finish().await;
}

/// Whatever differs between two items that were treated alike: which they are, and when.
fn comparable(item: &Value) -> Value {
    let mut item = item.clone();
    for (field, value) in item.as_object_mut().unwrap() {
        let name = field.replace('_', "");
        if ["id", "name", "deadletter", "sourceid", "sourcename", "sourcerootid"].contains(&name.as_str()) {
            *value = json!("whichever");
        } else if (name.ends_with("on") || name.ends_with("after") || name == "keepuntil") && value.is_string() {
            *value = json!("a time");
        } else if name == "data" && value.get("request").is_some() {
            // What tells of a completion, in pg-boss 9.
            for path in ["/request/id", "/request/name", "/createdOn", "/startedOn", "/completedOn"] {
                *value.pointer_mut(path).unwrap() = json!("whichever");
            }
        }
    }
    item
}

/// All items of queues that are called so, in order.
async fn rows(conn: &mut PgConnection, schema: &str, like: &str) -> Vec<Value> {
    let sql = format!("select to_jsonb(j) from {schema}.job j where name like '%{like}' order by created_on, name");
    let sql = if schema == "boss9" { sql.replace("created_on", "createdon") } else { sql };
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.unwrap()
}

/// For how many seconds an item waits, from its last start.
fn pause(item: &Value) -> f64 {
    let time =
        |a: &str, b: &str| item.get(a).or(item.get(b)).unwrap().as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    (time("start_after", "startafter") - time("started_on", "startedon")).total(jiff::Unit::Second).unwrap()
}

#[tokio::test]
async fn items_end_in_every_column_as_pg_boss_itself_ends_them() {
    let world = World::new(1).await;
    let db = Db::new(&world.url, 2).unwrap();
    let mut own = world.conn().await;
    let mut conn = db.conn().await.unwrap();
    for version in VERSIONS {
        let schema = format!("boss{version}");
        let mut boss = Boss::start(version, &world.url, &schema).await;
        let tables = Tables::new(&schema);
        for (case, fails, options) in [
            ("completed", 0, json!({"onComplete": true, "priority": 4, "singletonKey": "k"})),
            ("retried", 1, json!({"retryLimit": 2, "retryDelay": 100, "retryBackoff": false})),
            ("grown", 2, json!({"retryLimit": 4, "retryDelay": 100, "retryBackoff": true})),
            (
                "failed",
                2,
                json!({"retryLimit": 1, "retryDelay": 0, "onComplete": true, "priority": 9, "singletonKey": "k"}),
            ),
        ] {
            for whose in ["theirs", "ours"] {
                let (queue, dead) = (format!("{case}_{whose}"), format!("dead_{case}_{whose}"));
                boss.queue(&dead, json!({"retryLimit": 7, "retryDelay": 5, "expireInSeconds": 77})).await;
                boss.queue(&queue, json!({"deadLetter": dead})).await;
                let id = boss.send(&queue, json!({"a": {"b": [1, 2.5, null]}}), options.clone()).await;
                let output = json!({"message": "m"});
                for turn in 0..fails.max(1) {
                    // Both wait no longer than the test.
                    let sql = format!("update {schema}.job set start_after = now() where name = '{queue}'");
                    let sql = if version == 9 { sql.replace("start_after", "startafter") } else { sql };
                    if turn > 0 {
                        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut own).await.unwrap();
                    }
                    if whose == "theirs" {
                        let taken = boss.ask(json!({"do": "fetch", "queue": queue})).await;
                        assert_eq!(taken[0]["id"], json!(id), "{taken}");
                        let how = if fails == 0 { "complete" } else { "fail" };
                        boss.ask(json!({"do": how, "queue": queue, "id": id, "data": output})).await;
                    } else {
                        let mut tables = tables.enter(&mut conn).await.unwrap();
                        let taken = tables.take(&queue, 5).await.unwrap();
                        assert_eq!(
                            taken.iter().map(|it| (it.id.to_string(), it.tries)).collect::<Vec<_>>(),
                            [(id.clone(), turn)]
                        );
                        let stale = Hand { id: taken[0].id, tries: turn + 1 };
                        assert!(tables.fail(&queue, &[(stale, output.clone())]).await.unwrap().is_empty(), "not ours");
                        assert!(tables.complete(&queue, &[(stale, output.clone())]).await.unwrap().is_empty());
                        assert!(tables.cancel(&queue, &[stale]).await.unwrap().is_empty());
                        assert!(tables.keep(&queue, &[stale]).await.unwrap().is_empty());
                        let hand = Hand::from(&taken[0]);
                        let ended = match fails {
                            0 => tables.complete(&queue, &[(hand, output.clone())]).await.unwrap(),
                            _ => tables.fail(&queue, &[(hand, output.clone())]).await.unwrap(),
                        };
                        assert_eq!(ended, [taken[0].id]);
                        assert!(tables.keep(&queue, &[hand]).await.unwrap().is_empty(), "it is over");
                        tables.commit(&[]).await.unwrap();
                    }
                }
            }
            let (theirs, ours) = (
                rows(&mut own, &schema, &format!("{case}_theirs")).await,
                rows(&mut own, &schema, &format!("{case}_ours")).await,
            );
            let alike = |items: &[Value]| items.iter().map(comparable).collect::<Vec<_>>();
            assert_eq!(alike(&ours), alike(&theirs), "pg-boss {version}, {case}");
            let more = match (case, version) {
                ("completed", 9) | ("failed", _) => 2,
                _ => 1,
            };
            assert_eq!(ours.len(), more, "a dead letter, or who asked is told (pg-boss {version}, {case})");
            if ["retried", "grown"].contains(&case) {
                let (theirs, ours) = (pause(&theirs[0]), pause(&ours[0]));
                // With backoff each is drawn from [p, 2p), but for the seconds of the test.
                let ratio = if case == "retried" { 1.05 } else { 2.1 };
                assert!(
                    ours / theirs < ratio && theirs / ours < ratio,
                    "pg-boss {version}, {case}: {ours} and {theirs}"
                );
            }
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn the_policies_of_queues_are_kept_by_whoever_takes_items() {
    let world = World::new(1).await;
    let db = Db::new(&world.url, 2).unwrap();
    let mut conn = db.conn().await.unwrap();
    for version in [10, 11, 12] {
        let schema = format!("boss{version}");
        let mut boss = Boss::start(version, &world.url, &schema).await;
        let tables = Tables::new(&schema);
        let mut policies = vec!["standard", "short", "singleton", "stately"];
        policies.extend((version > 10).then_some("exclusive"));
        policies.extend((version > 11).then_some("key_strict_fifo"));
        for policy in policies {
            boss.queue(policy, json!({"policy": policy})).await;
            let mut sent = Vec::new();
            for key in ["a", "a", "b"] {
                let item = json!({"do": "send", "queue": policy, "data": {}, "options": {"singletonKey": key, "retryLimit": 0}});
                sent.push(boss.ask(item).await);
            }
            // What pg-boss lets be active of them at once, and after the first has failed.
            let (at_once, then) = match policy {
                "standard" => (3, 0),
                "short" | "stately" | "exclusive" => (2, 0),
                "singleton" => (2, 1),
                _ => (2, 0),
            };
            let mut tables = tables.enter(&mut conn).await.unwrap();
            let taken = tables.take(policy, 10).await.unwrap();
            assert_eq!(taken.len(), at_once, "pg-boss {version}, {policy}: {sent:?}");
            assert_eq!(tables.take(policy, 10).await.unwrap().len(), 0, "pg-boss {version}, {policy}");
            let first = taken.iter().find(|it| sent[0] == json!(it.id.to_string())).unwrap();
            tables.fail(policy, &[(Hand::from(first), json!({}))]).await.unwrap();
            assert_eq!(tables.take(policy, 10).await.unwrap().len(), then, "pg-boss {version}, {policy}");
            tables.commit(&[]).await.unwrap();
        }
        if version == 12 {
            boss.queue("flow", json!({})).await;
            let [one, two] =
                [boss.send("flow", json!({}), json!({})).await, boss.send("flow", json!({}), json!({})).await];
            let sql = "update boss12.job set blocked = true, pending_dependencies = 1 where id = $1::text::uuid";
            sqlx::query(sql).bind(&two).execute(&mut world.conn().await).await.unwrap();
            let mut tables = tables.enter(&mut conn).await.unwrap();
            let taken = tables.take("flow", 10).await.unwrap();
            assert_eq!(taken.iter().map(|it| it.id.to_string()).collect::<Vec<_>>(), [one], "the other one is blocked");
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn an_item_that_nobody_can_have_meant_does_not_keep_others_from_being_taken() {
    let world = World::new(1).await;
    let db = Db::new(&world.url, 2).unwrap();
    let mut own = world.conn().await;
    let mut conn = db.conn().await.unwrap();
    for version in VERSIONS {
        let schema = format!("boss{version}");
        let mut boss = Boss::start(version, &world.url, &schema).await;
        boss.queue("mails", json!({})).await;
        let mut ids = Vec::new();
        for data in [json!({}), Value::Null, json!("x".repeat(1024 * 1024)), json!({"a": "\u{202e}"})] {
            let item = boss.ask(json!({"do": "send", "queue": "mails", "data": if data.is_string() { json!({"x": data}) } else { data }}));
            ids.push(item.await.as_str().unwrap().to_owned());
        }
        let ever = match version {
            9 => "startafter = '-infinity', expirein = interval '1000 years'",
            10 => "start_after = '-infinity', expire_in = interval '1000 years'",
            _ => "start_after = '-infinity', expire_seconds = 2147483647",
        };
        let sql = format!("update {schema}.job set {ever} where id = '{}'", ids[0]);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut own).await.unwrap();
        let tables = Tables::new(&schema);
        let mut tables = tables.enter(&mut conn).await.unwrap();
        assert_eq!(tables.waiting("mails", 10).await.unwrap().items, 4);
        let taken = tables.take("mails", 10).await.unwrap();
        let of = |id: &str| taken.iter().find(|it| it.id.to_string() == id).unwrap();
        assert_eq!(of(&ids[0]).kept(), Duration::from_secs(86_400), "longer than anybody needs to know");
        assert_eq!(of(&ids[1]).data(), Ok("null"));
        assert!(of(&ids[2]).data().unwrap_err().contains("and 1048576 are the most"));
        assert!(of(&ids[3]).data().is_ok());
        let all: Vec<(Hand, Value)> = taken.iter().map(|it| (Hand::from(it), json!({"message": "\0"}))).collect();
        assert_eq!(tables.fail("mails", &all).await.unwrap().len(), 4, "pg-boss {version}");
        tables.commit(&[]).await.unwrap();
    }
    world.finish().await;
}

#[tokio::test]
async fn an_item_of_pg_boss_9_that_fails_while_another_one_waits_in_its_place_fails_for_good() {
    let world = World::new(1).await;
    let db = Db::new(&world.url, 2).unwrap();
    let mut conn = db.conn().await.unwrap();
    let mut boss = Boss::start(9, &world.url, "pgboss").await;
    let options = json!({"singletonKey": "k", "useSingletonQueue": true, "retryLimit": 3});
    let first = boss.send("mails", json!({}), options.clone()).await;
    let tables = Tables::new("pgboss");
    let mut inside = tables.enter(&mut conn).await.unwrap();
    let taken = inside.take("mails", 10).await.unwrap();
    inside.commit(&[]).await.unwrap();
    let second = boss.send("mails", json!({}), options).await;
    let mut inside = tables.enter(&mut conn).await.unwrap();
    let failed = inside.fail("mails", &[(Hand::from(&taken[0]), json!({"message": "m"}))]).await.unwrap();
    assert_eq!(failed, [taken[0].id]);
    inside.commit(&[]).await.unwrap();
    assert_eq!(boss.item("mails", &first).await["state"], "failed");
    assert_eq!(boss.item("mails", &second).await["state"], "created");
    world.finish().await;
}
