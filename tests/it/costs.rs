//! What a job costs, counted in what does not depend on the clock: rows and transactions of the database, requests to the
//! API server. A figure that grows here is a regression however fast the machine is.

use std::sync::Arc;

use longshore::{
    id::{KubeUid, ReplicaId},
    lifecycle::{AttemptEnd, Created, Ending, Facts, Reason, Running, Succeeded},
    roles::Roles,
    spec::{Spec, Start, Submission},
    store::{
        Conn, Db,
        claims::{self, Claim, Work},
        migrate,
        moves::{Moved, Moves},
        replicas,
        submit::{Intake, Ready},
    },
};
use sqlx::{Connection, Row};

use crate::harness::{World, audit, eventually, jobs::job, scalar};

const JOBS: usize = 200;

/// Takes one job from its claim to its end, by the moves of a job that runs well.
async fn live(moves: &Moves, work: Work) {
    let (nonce, uid) = (work.job.state().nonce, KubeUid("uid".into()));
    let facts = Facts::default();
    let created = moves.advance(work.job, Created { nonce, uid: uid.clone() }, &facts).await.unwrap();
    let Moved::Done(job) = created else { panic!("somebody else moved it") };
    let Moved::Done(job) = moves.advance(job, Running { nonce, uid }, &facts).await.unwrap() else {
        panic!("somebody else moved it")
    };
    let ending = Ending::new(Reason::Completed, "");
    let end = AttemptEnd { ending: ending.clone(), counts: None, log: None };
    let ended = moves.end(job, Succeeded { ending }, &facts, &end).await.unwrap();
    assert!(matches!(ended, Moved::Done(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_costs_the_database_its_rows_and_moves_share_their_transactions() {
    let world = World::new(1).await;
    // A database that no watcher of the world looks into.
    let url = format!("{}_costs", world.url);
    migrate::create_database(&url).await.unwrap();
    let db = Arc::new(Db::new(&url, 4).unwrap());
    migrate::run(&db).await.unwrap();
    let mut conn: Conn = Conn::connect(&url).await.unwrap();
    sqlx::query("update longshore.limits set cap = 1000").execute(&mut conn).await.unwrap();
    let replica = ReplicaId::new();
    replicas::beat(&mut conn, replica, "test", Roles::ALL, 600.0).await.unwrap();
    conn.close().await.unwrap();
    db.close().await;
    let before = spent(&world).await;

    let db = Arc::new(Db::new(&url, 4).unwrap());
    let mut conn = db.conn().await.unwrap();
    let ready: Vec<Ready> = (0..JOBS)
        .map(|index| {
            Ready::new(Submission {
                name: format!("job{index}"),
                priority: (index % 5) as i32,
                queue: "default".into(),
                namespace: "default".into(),
                start: Start::Now,
                idempotency_key: None,
                policy: Default::default(),
                spec: Spec::default(),
            })
        })
        .collect();
    Intake::new(replica).submit(&mut conn, &ready).await.unwrap();
    let moves = Moves::new(db.clone(), replica);
    let mut claims = 0;
    while let Claim::Claimed { jobs: 1.., .. } = claims::claim(&mut conn, replica, 100, 0.0, false).await.unwrap() {
        claims += 1;
        let mine = claims::mine(&mut conn, replica, &[], 100).await.unwrap();
        futures::future::join_all(mine.into_iter().map(|it| live(&moves, it))).await;
    }
    drop(conn);
    drop(moves);
    eventually("the moves' connections are given back", async || (Arc::strong_count(&db) == 1).then_some(())).await;
    db.close().await;
    let after = spent(&world).await;

    let rows = |of: fn(&Spent) -> i64| (of(&after) - of(&before)) as f64 / JOBS as f64;
    // The job's row and the same among what is over, its spec, its attempt; and an event each for being submitted, claimed,
    // created, started and ended.
    let inserted =
        ["row", "row that is over", "spec", "attempt", "submitted", "claimed", "created", "started", "ended"];
    assert_eq!(rows(|it| it.inserted), inserted.len() as f64, "rows that are inserted a job");
    assert_eq!(rows(|it| it.deleted), 1.0, "the row leaves the partition of what is not over");
    // The row when it is claimed, created and started; the attempt when it is created, started and ended. The number of
    // held slots is rewritten once a statement.
    let updated = ["claimed", "created", "started", "attempt created", "attempt started", "attempt ended"];
    let statements = rows(|it| it.updated) - updated.len() as f64;
    assert!((0.0..0.2).contains(&statements), "{statements} rows are updated a job besides {updated:?}");
    assert!(claims <= JOBS / 100, "a claim takes as many as it may: {claims} claims");
    let commits = rows(|it| it.commits);
    assert!(commits < 0.5, "{commits} transactions a job: moves that are asked at once share theirs");
    world.finish().await;
}

/// What was done in the database of costs so far.
struct Spent {
    commits: i64,
    inserted: i64,
    updated: i64,
    deleted: i64,
}

/// Once every connection to it has gone, for a backend tells what it did when it goes.
async fn spent(world: &World) -> Spent {
    let mut conn = world.conn().await;
    let busy = "select count(*) from pg_stat_activity where datname like '%\\_costs'";
    eventually("nobody is connected", async || (scalar::<i64>(&mut conn, busy).await == 0).then_some(())).await;
    let sql = "select xact_commit, tup_inserted, tup_updated, tup_deleted from pg_stat_database where datname like '%\\_costs'";
    let row = sqlx::query(sql).fetch_one(&mut conn).await.unwrap();
    Spent { commits: row.get(0), inserted: row.get(1), updated: row.get(2), deleted: row.get(3) }
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_job_costs_the_api_server_one_create_and_its_share_of_a_removal() {
    let mut world = World::new(20).await;
    // As it is by default: a job that is late is asked for after this time.
    let patient = ["--reconcile-period=10s"];
    let urls = [world.start(&patient).await, world.start(&patient).await];
    for index in 0..JOBS {
        world.submit(&urls[index % 2], &job(&format!("job{index}"), 10, 0)).await;
    }
    world.all_end().await;
    world.cluster_is_empty().await;
    let mut conn = world.conn().await;
    let instance: String = scalar(&mut conn, "select name from longshore.instance").await;
    let log = world.target.audit_log().await.unwrap();
    let asked = audit::read(&log, &instance).requests;
    let count = |verbs: &[&str]| -> u64 {
        asked.iter().filter(|(what, _)| verbs.contains(&what.split(' ').next().unwrap())).map(|it| it.1).sum()
    };
    let jobs = JOBS as u64;
    assert_eq!(count(&["create"]), jobs, "{asked:?}");
    assert!(count(&["delete", "deletecollection"]) <= jobs / 4, "removals are gathered: {asked:?}");
    assert_eq!(count(&["get", "patch", "update"]), 0, "nothing is asked of a single job: {asked:?}");
    // By each of two replicas: two kinds once, and both once more, to compare them with the rows before the first claim.
    assert!(count(&["list"]) <= 8, "everything else is heard from the watches: {asked:?}");
    world.finish().await;
}
