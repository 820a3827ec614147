//! What the database itself refuses, whoever asks; and how the schema comes to be.

use longshore::{
    lifecycle::{EDGES, StateName},
    store::{Db, migrate},
};
use sqlx::{Connection, PgConnection};

use crate::harness::{BOUND, World, eventually, scalar};

#[tokio::test]
async fn the_database_knows_exactly_the_edges_that_the_types_know() {
    let world = World::new(1).await;
    let mut conn = world.conn().await;
    for from in StateName::ALL {
        for to in StateName::ALL {
            let legal: bool = sqlx::query_scalar("select longshore.job_state_may_follow($1, $2)")
                .bind(from.name())
                .bind(to.name())
                .fetch_one(&mut conn)
                .await
                .unwrap();
            assert_eq!(legal, EDGES.contains(&(from, to)), "{} to {}", from.name(), to.name());
        }
    }
    world.finish().await;
}

/// Runs a statement that must be refused, and answers by which constraint.
async fn refused(conn: &mut PgConnection, sql: &'static str) -> String {
    let err = sqlx::query(sql).execute(conn).await.expect_err(sql);
    let err = err.into_database_error().unwrap();
    err.constraint().unwrap_or(err.message()).to_owned()
}

#[tokio::test]
async fn impossible_rows_and_moves_are_refused_by_name() {
    let world = World::new(1).await;
    let mut conn = world.conn().await;
    sqlx::query(
        "insert into longshore.jobs
             (id, priority, queue, state, name, namespace, reason, message, pending_at, finished_at, part)
         values (gen_random_uuid(), 0, 'default', 'pending', 'waits', 'default', null, null, now(), null, 'infinity'),
                (gen_random_uuid(), 0, 'default', 'pending', 'holds', 'default', null, null, now(), null, 'infinity'),
                (gen_random_uuid(), 0, 'default', 'succeeded', 'done', 'default', 'completed', '', null, now(), now())",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    sqlx::query(
        "update longshore.jobs set state = 'starting', nonce = gen_random_uuid(), attempt = 1, claimed_at = now(), kube_uid = 'u'
          where name = 'holds'",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let attempts = [
        ("update longshore.jobs set attempt = 2 where name = 'holds'", "attempt_stays"),
        ("update longshore.jobs set nonce = gen_random_uuid() where name = 'holds'", "attempt_stays"),
        (
            "update longshore.jobs set state = 'pending', reason = null, message = null, finished_at = null
           where name = 'done'",
            "move_is_an_edge",
        ),
        ("update longshore.jobs set state = 'running' where name = 'waits'", "move_is_an_edge"),
        ("update longshore.jobs set state = 'sleeping' where name = 'waits'", "move_is_an_edge"),
        (
            "update longshore.jobs set state = 'starting', attempt = 1, claimed_at = now() where name = 'waits'",
            "holder_has_nonce",
        ),
        (
            "update longshore.jobs set state = 'starting', nonce = gen_random_uuid(), attempt = 1, claimed_at = now()
           where name = 'waits'",
            "starting_has_replica_or_uid",
        ),
        ("update longshore.jobs set nonce = gen_random_uuid() where name = 'waits'", "holder_has_nonce"),
        ("update longshore.jobs set state = 'cancelled' where name = 'waits'", "ending_has_reason"),
        ("update longshore.jobs set reason = null, message = null where name = 'done'", "ending_has_reason"),
        (
            "insert into longshore.jobs (id, priority, queue, state, name, namespace)
          values (gen_random_uuid(), 0, 'default', 'scheduled', 'a', 'default')",
            "scheduled_has_due_time",
        ),
        ("update longshore.jobs set part = now() where name = 'waits'", "part_is_the_end"),
        ("update longshore.jobs set wait_code = 'quota' where name = 'waits'", "wait_is_whole"),
        ("update longshore.jobs set failed_attempts = 1 where name = 'waits'", "attempts_add_up"),
        ("update longshore.limits set cap = -1", "cap_is_not_negative"),
        ("insert into longshore.queues values ('not a label')", "queue_name_is_a_label"),
        ("insert into longshore.instance values (false)", "instance_is_one_row"),
    ];
    for (sql, constraint) in attempts {
        assert_eq!(refused(&mut conn, sql).await, constraint, "{sql}");
    }
    sqlx::query(
        "insert into longshore.job_events (job_id, attempt, to_state, reason) values (gen_random_uuid(), 0, 'pending', 'x')",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    for sql in [
        "update longshore.job_events set reason = 'x'",
        "delete from longshore.job_events",
        "truncate longshore.job_events",
    ] {
        assert_eq!(refused(&mut conn, sql).await, "longshore.job_events is append-only");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_that_migrate_at_once_all_succeed_and_migrate_once() {
    let world = World::new(1).await;
    let mut conn = world.conn().await;
    sqlx::query("create database fresh").execute(&mut conn).await.unwrap();
    let url = world.url.replace("/longshore", "/fresh").replacen("/fresh:", "/longshore:", 1);
    let migrators = (0..8).map(|_| async { migrate::run(&Db::new(&url, 1).unwrap()).await });
    for done in futures::future::join_all(migrators).await {
        done.unwrap();
    }
    let mut fresh = PgConnection::connect(&url).await.unwrap();
    let instances: i64 = scalar(&mut fresh, "select count(*) from longshore.instance").await;
    let version: i64 = scalar(&mut fresh, "select max(version) from longshore.schema_migrations where success").await;
    assert_eq!((instances, version), (1, migrate::target()));
    let public: i64 = scalar(&mut fresh, "select count(*) from pg_tables where schemaname = 'public'").await;
    assert_eq!(public, 0, "everything is in the schema longshore");

    // Where nothing is to be done, nobody has to be allowed to do it.
    for sql in [
        "create role clerk login password 'clerk'",
        "grant usage on schema longshore to clerk",
        "grant select on longshore.schema_migrations to clerk",
    ] {
        sqlx::query(sql).execute(&mut fresh).await.unwrap();
    }
    let as_clerk = format!("postgres://clerk:clerk@{}", url.split_once('@').unwrap().1);
    migrate::run(&Db::new(&as_clerk, 1).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_behind_an_open_transaction_lets_readers_pass_and_gets_through_in_the_end() {
    let world = World::new(1).await;
    let mut conn = world.conn().await;
    // As the version before the last migration had it.
    for sql in [
        "alter table longshore.job_specs drop column traceparent",
        "delete from longshore.schema_migrations where version = 13",
    ] {
        sqlx::query(sql).execute(&mut conn).await.unwrap();
    }
    let mut forgotten = world.conn().await;
    let mut open = forgotten.begin().await.unwrap();
    let rows = "select count(*) from longshore.job_specs";
    scalar::<i64>(&mut open, rows).await;
    let db = Db::new(&world.url, 1).unwrap();
    let mut migrating = std::pin::pin!(migrate::run(&db));
    let readers_pass = async {
        // The second time is after it stood back once.
        for time in ["first", "second"] {
            let waiting = "select exists (select from pg_locks where mode = 'AccessExclusiveLock' and not granted)";
            eventually(&format!("the migration waits for the {time} time"), async || {
                scalar::<bool>(&mut conn, waiting).await.then_some(())
            })
            .await;
            let read = tokio::time::timeout(BOUND, scalar::<i64>(&mut conn, rows)).await;
            assert_eq!(read.expect("a reader passes"), 0);
        }
    };
    tokio::select! {
        done = &mut migrating => panic!("the transaction is still open: {done:?}"),
        () = readers_pass => {}
    }
    open.commit().await.unwrap();
    migrating.await.unwrap();
    let version: i64 = scalar(&mut conn, "select max(version) from longshore.schema_migrations where success").await;
    assert_eq!(version, migrate::target());
    world.finish().await;
}

#[test]
fn a_database_of_another_kind_is_refused_at_once() {
    for url in ["mysql://x/y", "jdbc:postgresql://x/y", "x"] {
        assert!(matches!(Db::new(url, 1), Err(longshore::store::Error::Url(_))), "{url}");
    }
}

#[tokio::test]
async fn how_full_the_cap_was_is_told_for_a_day_of_jobs_by_the_minute() {
    let world = World::new(40).await;
    let mut conn = world.conn().await;
    let fill =
        "insert into longshore.attempts (job_id, attempt, nonce, claimed_by, pending_at, claimed_at, finished_at)
                select gen_random_uuid(), 1, gen_random_uuid(), gen_random_uuid(), at, at, at + interval '30 s'
                  from generate_series(timestamptz '2026-01-01 00:00:00Z', '2026-01-01 23:59:59Z', interval '1 s') at";
    sqlx::query(fill).execute(&mut conn).await.unwrap();
    sqlx::query("set statement_timeout = '15 s'").execute(&mut conn).await.unwrap();
    let sql = "select format('%s %s %s %s', count(*), max(held_most), min(held_avg), max(held_avg))
                 from longshore.slot_use('2026-01-01 00:01:00Z', '2026-01-02 00:00:00Z', '1 minute')";
    assert_eq!(scalar::<String>(&mut conn, sql).await, "1439 30 30 30");
    // A minute before the first, and the half minute in which they come: one more each second.
    let sql = "select string_agg(format('%s %s', held_most, held_avg), ', ' order by at)
                 from longshore.slot_use('2025-12-31 23:59:00Z', '2026-01-01 00:01:00Z', '30 s')";
    assert_eq!(scalar::<String>(&mut conn, sql).await, "0 0, 0 0, 30 15.5, 30 30");
    world.finish().await;
}
