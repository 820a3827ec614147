//! The claim: exact under any number of claimers, in order, and cheap however long the backlog.

use std::sync::Arc;

use longshore::{
    id::{JobId, ReplicaId},
    lifecycle::{AttemptEnd, Ending, Facts, Reason, Scheduled, Succeeded, Wait, WaitCode},
    roles::Roles,
    spec::{Spec, Start, Submission},
    store::{
        Conn, Db,
        claims::{self, Claim, HandBack},
        intents,
        jobs::{self, Holder},
        moves::{Moved, Moves},
        replicas,
        submit::{Intake, Ready},
    },
};
use sqlx::Connection;

use crate::harness::{BOUND, World, scalar};

async fn register(conn: &mut Conn) -> ReplicaId {
    let replica = ReplicaId::new();
    replicas::beat(conn, replica, "test", Roles::ALL, 60.0).await.unwrap();
    replica
}

fn moves(db: &Arc<Db>, replica: ReplicaId) -> Moves {
    Moves::new(db.clone(), replica)
}

fn database(url: &str) -> Arc<Db> {
    // One for each of ten claimers: none is to wait for a connection that waits for another one.
    Arc::new(Db::new(url, 12).unwrap())
}

async fn submit_many(conn: &mut Conn, count: usize, priority: impl Fn(usize) -> i32) {
    for index in 0..count {
        let submission = Submission {
            name: format!("job{index}"),
            priority: priority(index),
            queue: if index % 3 == 0 { "other".into() } else { "default".into() },
            namespace: "default".into(),
            start: Start::Now,
            idempotency_key: None,
            policy: Default::default(),
            spec: Spec::default(),
        };
        Intake::new(ReplicaId::new()).submit(conn, &[Ready::new(submission)]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_claimers_at_once_never_pass_the_cap_and_claim_each_job_once() {
    let mut world = World::new(7).await;
    let mut conn = world.conn().await;
    submit_many(&mut conn, 300, |index| (index % 5) as i32).await;
    let mut claimers = tokio::task::JoinSet::new();
    let db = database(&world.url);
    // Connected beforehand: ten claimers without a pause leave a new connection little of the processor.
    let connected = futures::future::join_all((0..10).map(|_| db.conn())).await;
    assert!(connected.iter().all(Result::is_ok));
    drop(connected);
    let told = tokio::sync::watch::Sender::new(());
    for _ in 0..10 {
        let (url, db, told) = (world.url.clone(), db.clone(), told.clone());
        let mut ended = told.subscribe();
        claimers.spawn(async move {
            let mut conn = Conn::connect(&url).await.unwrap();
            let replica = register(&mut conn).await;
            let moves = moves(&db, replica);
            let mut claimed = 0;
            loop {
                ended.mark_unchanged();
                let Claim::Claimed { jobs: jobs @ 1.., .. } =
                    claims::claim(&mut conn, replica, 3, 0.0, true).await.unwrap()
                else {
                    let left = "select count(*) from longshore.jobs_live where state in ('pending', 'starting')";
                    if scalar::<i64>(&mut conn, left).await == 0 {
                        return claimed;
                    }
                    // As a scheduler does: it waits for what another one ends. Ten that never rest leave the moves no processor.
                    let changed = ended.changed();
                    tokio::time::timeout(BOUND, changed).await.expect("somebody ends a job").unwrap();
                    continue;
                };
                claimed += jobs;
                // What was claimed ends at once, by the shortest legal way, and frees its slot.
                for work in claims::mine(&mut conn, replica, &[], 100).await.unwrap() {
                    let uid = longshore::id::KubeUid("u".into());
                    let created = longshore::lifecycle::Created { nonce: work.job.state().nonce, uid };
                    let Moved::Done(job) = moves.advance(work.job, created, &Facts::default()).await.unwrap() else {
                        panic!("a job was claimed twice")
                    };
                    let ending = longshore::lifecycle::Ending::new(longshore::lifecycle::Reason::Completed, "");
                    let _ = moves.advance(job, Succeeded { ending }, &Facts::default()).await.unwrap();
                    told.send_replace(());
                }
            }
        });
    }
    let claimed: usize = claimers.join_all().await.into_iter().sum();
    assert_eq!(claimed, 300);
    world.check().await;
}

#[tokio::test]
async fn a_replica_whose_lease_ran_out_claims_nothing() {
    let world = World::new(7).await;
    let mut conn = world.conn().await;
    submit_many(&mut conn, 3, |_| 0).await;
    let replica = ReplicaId::new();
    assert_eq!(claims::claim(&mut conn, replica, 3, 0.0, true).await.unwrap(), Claim::Expired);
    replicas::beat(&mut conn, replica, "test", Roles::ALL, 0.0).await.unwrap();
    assert_eq!(claims::claim(&mut conn, replica, 3, 0.0, true).await.unwrap(), Claim::Expired);
    replicas::beat(&mut conn, replica, "test", Roles::ALL, 60.0).await.unwrap();
    assert_eq!(
        claims::claim(&mut conn, replica, 3, 0.0, true).await.unwrap(),
        Claim::Claimed { jobs: 3, gathering: false }
    );
    world.finish().await;
}

#[tokio::test]
async fn an_idle_queues_burst_is_gathered_and_a_backlog_is_not_held_up_by_it() {
    let world = World::new(7).await;
    let mut conn = world.conn().await;
    let replica = register(&mut conn).await;
    submit_many(&mut conn, 2, |_| 0).await;
    assert_eq!(
        claims::claim(&mut conn, replica, 1, 3600.0, true).await.unwrap(),
        Claim::Claimed { jobs: 0, gathering: true }
    );
    sqlx::query("update longshore.jobs set pending_at = pending_at - interval '2 hours' where name = 'job1'")
        .execute(&mut conn)
        .await
        .unwrap();
    submit_many(&mut conn, 2, |_| 9).await;
    let claimed = claims::claim(&mut conn, replica, 3, 3600.0, true).await.unwrap();
    // The queue of job1 is not idle, so that its newcomer need not wait; the other queue's burst does.
    assert_eq!(claimed, Claim::Claimed { jobs: 2, gathering: true });
    world.finish().await;
}

#[tokio::test]
async fn a_row_that_someone_has_locked_holds_up_nobody() {
    let world = World::new(7).await;
    let mut conn = world.conn().await;
    let replica = register(&mut conn).await;
    submit_many(&mut conn, 3, |_| 0).await;
    let mut someone = world.conn().await;
    let mut tx = someone.begin().await.unwrap();
    sqlx::query("select from longshore.jobs where name = 'job0' for update").execute(&mut *tx).await.unwrap();
    assert_eq!(
        claims::claim(&mut conn, replica, 3, 0.0, true).await.unwrap(),
        Claim::Claimed { jobs: 2, gathering: true }
    );
    tx.rollback().await.unwrap();
    assert_eq!(
        claims::claim(&mut conn, replica, 3, 0.0, true).await.unwrap(),
        Claim::Claimed { jobs: 1, gathering: false }
    );
    world.finish().await;
}

#[tokio::test]
async fn a_claim_that_is_handed_back_leaves_no_trace_but_its_history() {
    let world = World::new(7).await;
    let mut conn = world.conn().await;
    let (replica, other) = (register(&mut conn).await, register(&mut conn).await);
    submit_many(&mut conn, 1, |_| 0).await;
    claims::claim(&mut conn, replica, 1, 0.0, true).await.unwrap();
    let work = claims::mine(&mut conn, replica, &[], 1).await.unwrap().remove(0);
    let proof = work.never_made().expect("this replica claimed it itself");
    assert_eq!(claims::hand_back(&mut conn, replica, &work.job, "why", proof).await.unwrap(), HandBack::Done);
    let again = work.never_made().unwrap();
    assert_eq!(claims::hand_back(&mut conn, replica, &work.job, "why", again).await.unwrap(), HandBack::Lost);
    claims::claim(&mut conn, other, 1, 0.0, true).await.unwrap();
    let work = claims::mine(&mut conn, other, &[], 1).await.unwrap().remove(0);
    assert_eq!(work.job.head().attempt, 1, "an attempt under which nothing was sent does not count");
    world.finish().await;
}

#[tokio::test]
async fn what_a_dead_replica_claimed_is_taken_over_with_its_nonce_and_the_dead_one_moves_nothing_more() {
    let world = World::new(7).await;
    let mut conn = world.conn().await;
    let (dead, survivor) = (register(&mut conn).await, register(&mut conn).await);
    submit_many(&mut conn, 1, |_| 0).await;
    claims::claim(&mut conn, dead, 1, 0.0, true).await.unwrap();
    let stale = claims::mine(&mut conn, dead, &[], 1).await.unwrap().remove(0);
    assert_eq!(claims::take_over(&mut conn, survivor, 10).await.unwrap(), 0, "the living are left alone");
    replicas::beat(&mut conn, dead, "test", Roles::ALL, 0.0).await.unwrap();
    assert_eq!(claims::take_over(&mut conn, survivor, 10).await.unwrap(), 1);
    let taken = claims::mine(&mut conn, survivor, &[], 1).await.unwrap().remove(0);
    assert_eq!(taken.job.state().nonce, stale.job.state().nonce);
    assert!(taken.never_made().is_none(), "nobody can vouch for what the dead one sent");
    let to = longshore::lifecycle::Created { nonce: stale.job.state().nonce, uid: longshore::id::KubeUid("u".into()) };
    let late = moves(&database(&world.url), dead).advance(stale.job, to, &Facts::default()).await.unwrap();
    assert!(matches!(late, Moved::Lost));
    assert!(matches!(jobs::holding(&mut conn).await.unwrap()[0], Holder::Claimed(_)));
    world.finish().await;
}

#[tokio::test]
async fn room_that_is_made_for_others_does_not_prolong_a_queue_timeout() {
    let world = World::new(7).await;
    let mut conn = world.conn().await;
    let replica = register(&mut conn).await;
    submit_many(&mut conn, 1, |_| 0).await;
    let set =
        "update longshore.jobs_live set policy = '{\"queue_timeout_secs\": 600}', expires_at = now() + interval '9 s'";
    sqlx::query(set).execute(&mut conn).await.unwrap();
    for (code, left) in [(WaitCode::Quota, "under 10 s"), (WaitCode::Backoff, "all of it")] {
        assert!(matches!(
            claims::claim(&mut conn, replica, 1, 0.0, true).await.unwrap(),
            Claim::Claimed { jobs: 1, .. }
        ));
        let work = claims::mine(&mut conn, replica, &[], 1).await.unwrap().remove(0);
        let ending = Ending::new(Reason::JobFailed, "m");
        let end = AttemptEnd { ending, counts: None, log: None };
        let to = Scheduled { in_secs: 0.0, wait: Wait::new(code, "m") };
        let moved = moves(&database(&world.url), replica).end(work.job, to, &Facts::default(), &end).await.unwrap();
        assert!(matches!(moved, Moved::Done(_)));
        let sql = "select case when expires_at < now() + interval '10 s' then 'under 10 s' else 'all of it' end
                     from longshore.jobs_live";
        assert_eq!(scalar::<String>(&mut conn, sql).await, left, "{code:?}");
        assert_eq!(claims::promote(&mut conn, replica).await.unwrap(), 1);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_while_it_falls_due_cuts_no_pass_short() {
    let world = World::new(0).await;
    let mut conn = world.conn().await;
    let replica = register(&mut conn).await;
    // The row has to go between the statement's look and its grasp, so it is tried often.
    for _ in 0..30 {
        let fill = "with job as (
                        insert into longshore.jobs_live (id, priority, queue, name, namespace, state, due_at)
                        select gen_random_uuid(), 0, 'default', 'job', 'default', 'scheduled', now() + n * interval '1 us'
                          from generate_series(1, 1000) n returning id, state
                    ), told as (
                        insert into longshore.job_events (job_id, attempt, to_state, reason)
                        select id, 0, state, 'submitted' from job
                    )
                    select id from job";
        let ids: Vec<uuid::Uuid> = sqlx::query_scalar(fill).fetch_all(&mut conn).await.unwrap();
        let mut cancelling = tokio::task::JoinSet::new();
        for some in ids.chunks(250) {
            let (url, some) = (world.url.clone(), some.to_vec());
            cancelling.spawn(async move {
                let mut conn = Conn::connect(&url).await.unwrap();
                for id in some.into_iter().rev() {
                    let _ = intents::cancel(&mut conn, replica, JobId(id)).await.unwrap();
                }
            });
        }
        tokio::task::yield_now().await;
        while cancelling.try_join_next().is_none() {
            let moved = claims::promote(&mut conn, replica).await;
            moved.expect("a row that moved away is no trouble");
        }
        cancelling.join_all().await;
    }
    world.finish().await;
}

#[tokio::test]
async fn the_number_of_held_slots_follows_whoever_moves_rows() {
    let world = World::new(7).await;
    let mut conn = world.conn().await;
    let insert = "insert into longshore.jobs (id, priority, queue, state, name, namespace, nonce, kube_uid, attempt, claimed_at)
                  select gen_random_uuid(), n, 'default', 'starting', 'job', 'default', gen_random_uuid(), 'u' || n, 1, now()
                    from generate_series(1, 5) n";
    let end =
        "update longshore.jobs set state = 'failed', reason = 'lost', message = '', nonce = null, kube_uid = null,
                      finished_at = now(), part = now() where priority = 5";
    let steps: [(&'static str, i64); 9] = [
        (insert, 5),
        (end, 4),
        ("update longshore.jobs_live set priority = priority + 10", 4),
        ("delete from longshore.jobs where priority = 11", 3),
        ("delete from longshore.jobs_live where priority = 12", 2),
        ("begin; delete from longshore.jobs; rollback", 2),
        ("truncate longshore.jobs", 0),
        ("update longshore.held set jobs = 3", 3),
        ("select longshore.check_held()", 0),
    ];
    for (step, held) in steps {
        sqlx::raw_sql(step).execute(&mut conn).await.unwrap();
        let kept: i64 = scalar(&mut conn, "select jobs from longshore.held").await;
        assert_eq!(kept, held, "after {step}");
    }
}

/// What a look for chores, and the chores themselves, read where there is nothing to do.
#[tokio::test]
async fn to_find_nothing_due_costs_the_same_however_much_is_due_later() {
    let world = World::new(0).await;
    let mut conn = world.conn().await;
    let replica = register(&mut conn).await;
    let mut costs: Vec<i64> = Vec::new();
    for (from, to) in [(1, 1_000), (1_001, 20_000)] {
        let fill = format!(
            "insert into longshore.jobs
                    (id, priority, queue, state, name, namespace, run_at, due_at, pending_at, expires_at)
             select gen_random_uuid(), 0, 'default', state, 'job', 'default', later, case state when 'scheduled' then later end,
                    now(), later
               from generate_series({from}, {to}) i, lateral (select now() + interval '1 day' as later) at,
                    lateral (values ('scheduled'), ('pending')) of_state (state)"
        );
        sqlx::query(sqlx::AssertSqlSafe(fill)).execute(&mut conn).await.unwrap();
        sqlx::query("analyze longshore.jobs").execute(&mut conn).await.unwrap();
        // A connection of its own, with a replica's settings, and plans that are made for what there is now.
        let db = Db::new(&world.url, 1).unwrap();
        let mut own = db.conn().await.unwrap();
        let mut tx = own.begin().await.unwrap();
        let read = "select coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0)::bigint from pg_class c
                      join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'longshore' and c.relkind in ('r', 'i')";
        let before: i64 = scalar(&mut tx, read).await;
        assert_eq!(claims::claim(&mut tx, replica, 10, 0.0, false).await.unwrap(), Claim::Full);
        assert_eq!(claims::promote(&mut tx, replica).await.unwrap(), 0);
        assert_eq!(claims::expire(&mut tx, replica).await.unwrap(), []);
        costs.push(scalar::<i64>(&mut tx, read).await - before);
        tx.rollback().await.unwrap();
    }
    assert!(costs[1] <= costs[0] + 100, "entries of indexes and rows that are read: {costs:?}");
}

/// The plan of the claim, whatever the size of the backlog.
#[tokio::test]
async fn the_claim_walks_the_head_of_its_index_with_a_thousand_and_with_a_million_pending_rows() {
    let world = World::new(7).await;
    let mut conn = world.conn().await;
    let replica = register(&mut conn).await;
    let function = include_str!("../../migrations/0005_queues.sql");
    let (_, claim) = function.split_once("    with foremost as (").unwrap();
    let (claim, _) = claim.split_once(" into jobs from claimed;").unwrap();
    let claim = format!("with foremost as ({claim} from claimed")
        .replace("claimant", "$1")
        .replace("limit most", "limit $2")
        .replace("least(most,", "least($2,")
        .replace("gather_secs)", "$3)");
    let db = Db::new(&world.url, 1).unwrap();
    let mut rows_read = Vec::new();
    for (from, to) in [(1, 1_000), (1_001, 1_000_000)] {
        let fill = format!(
            "insert into longshore.jobs (id, priority, queue, state, name, namespace, pending_at)
             select gen_random_uuid(), i % 10, case i % 3 when 0 then 'other' else 'default' end, 'pending', 'job', 'default', now()
             from generate_series({from}, {to}) i"
        );
        sqlx::query(sqlx::AssertSqlSafe("insert into longshore.queues values ('other') on conflict do nothing"))
            .execute(&mut conn)
            .await
            .unwrap();
        sqlx::query(sqlx::AssertSqlSafe(fill)).execute(&mut conn).await.unwrap();
        sqlx::query("analyze longshore.jobs").execute(&mut conn).await.unwrap();
        // With the settings that every connection of a replica has.
        let mut replicas_own = db.conn().await.unwrap();
        let mut tx = replicas_own.begin().await.unwrap();
        let explain = format!("explain (analyze, format json, timing off) {claim}");
        let plan: serde_json::Value = sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
            .bind(replica.0)
            .bind(100_i64)
            .bind(0.0_f64)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        tx.rollback().await.unwrap();
        let mut read = 0.0;
        look_at(&plan[0]["Plan"], &mut read);
        rows_read.push(read);
    }
    assert!(rows_read[0] >= 100.0, "the rows that are claimed are read: {rows_read:?}");
    assert_eq!(rows_read[0], rows_read[1], "a longer backlog must not cost the claim a single row more");
}

/// Every scan of the jobs is by index and reads no more rows than may be claimed; nothing sorts more than the heads of the
/// queues.
fn look_at(node: &serde_json::Value, rows_read: &mut f64) {
    let kind = node["Node Type"].as_str().unwrap();
    let rows = node["Actual Rows"].as_f64().unwrap() * node["Actual Loops"].as_f64().unwrap();
    if node["Relation Name"] == "jobs_live" && kind != "ModifyTable" {
        assert!(kind.contains("Index") || kind == "Bitmap Heap Scan", "the claim reads the jobs by a {kind}: {node:#}");
        assert!(rows <= 200.0, "the claim reads {rows} rows: {node:#}");
        *rows_read += rows;
    }
    if kind.contains("Sort") {
        assert!(rows <= 200.0, "the claim sorts {rows} rows");
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        look_at(child, rows_read);
    }
}
