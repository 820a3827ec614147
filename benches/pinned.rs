//! Row 6: jobs that flow while somebody holds a transaction open, so that no dead row can be cleared away. They go through
//! the store's own functions at a fixed rate, under an exact cap, once with the transaction and once without.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use longshore::{
    id::{JobId, KubeUid, ReplicaId},
    lifecycle::{AttemptEnd, Created, Ending, Facts, Reason, Running, Succeeded},
    retry::Policy,
    roles::Roles,
    spec::{Spec, Start, Submission},
    store::{
        Db,
        claims::{self, Claim, Work},
        moves::{Moved, Moves},
        replicas,
        submit::{Intake, Ready},
    },
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Args,
    report::{Goal, Report, quantile},
    world::World,
};

const CAP: i32 = 100;
/// As many as jobs that hold a slot: what becomes of them is recorded together.
const RECORDERS: usize = CAP as usize;
/// For submitting, claiming, and moves.
const CONNECTIONS: u32 = 4;
/// How often jobs are submitted, as many together as are due.
const TICK: Duration = Duration::from_millis(10);
/// How long a claimer that found nothing waits.
const PAUSE: Duration = Duration::from_millis(5);

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new().await?;
    let secs = if args.full { 600 } else { 40 };
    for rate in [200, 1_000] {
        let without = flow(&world, rate, secs, false).await?;
        let with = flow(&world, rate, secs, true).await?;
        for (part, word) in [(0.5, "median"), (0.99, "99th")] {
            let (ours, beside) =
                (quantile(&mut with.claims.clone(), part), quantile(&mut without.claims.clone(), part));
            let what = format!("claim under a pinned snapshot, {rate} jobs/s, last quarter of {secs} s, {word}");
            report.beside(what, ours, "ms", ("without it", beside), Goal::AtMost(2.0));
        }
        report.note(format!(
            "pages read at the end: number of held slots {} (without it {}), head of the backlog {} ({}), claimed and not created {} ({})",
            with.pages[0], without.pages[0], with.pages[1], without.pages[1], with.pages[2], without.pages[2]
        ));
        // What lies in between the loops at any moment is not a backlog: what one claim takes.
        let at_least = f64::from(CAP);
        let (ours, beside) = (with.backlog.max(at_least), without.backlog.max(at_least));
        report.beside(format!("backlog then, {rate} jobs/s"), ours, "jobs", ("without it", beside), Goal::AtMost(2.0));
        report.note(format!("ended {:.0} jobs/s, without it {:.0}", with.ended_per_sec, without.ended_per_sec));
    }
    Ok(())
}

/// What was measured of one flow.
struct Flowed {
    /// How long each claim of the last quarter took, in milliseconds.
    claims: Vec<f64>,
    /// How many jobs waited at the end.
    backlog: f64,
    ended_per_sec: f64,
    /// How many pages the three questions of [`PAGES`] read at the end.
    pages: [u64; 3],
}

/// What a claim and its claimant walk.
const PAGES: [&str; 3] = [
    "select jobs from longshore.held",
    "select id from longshore.jobs_live where queue = 'default' and state = 'pending' order by priority desc, seq limit 1",
    "select id from longshore.jobs_live where replica = ':replica'",
];

/// What the tasks of one flow share.
struct Shared {
    db: Arc<Db>,
    moves: Moves,
    replica: ReplicaId,
    stop: AtomicBool,
    submitted: AtomicU64,
    claimed: AtomicU64,
    ended: AtomicU64,
    in_flight: Mutex<HashSet<JobId>>,
}

async fn flow(world: &World, rate: u64, secs: u64, pinned: bool) -> anyhow::Result<Flowed> {
    let url = world.another("flow").await?;
    let mut plain = PgConnection::connect(&url).await?;
    plain.execute(AssertSqlSafe(format!("update longshore.limits set cap = {CAP} where name = 'global'"))).await?;
    let (db, replica) = (Arc::new(Db::new(&url, CONNECTIONS)?), ReplicaId::new());
    let shared = Arc::new(Shared {
        moves: Moves::new(db.clone(), replica),
        db,
        replica,
        stop: AtomicBool::new(false),
        submitted: AtomicU64::new(0),
        claimed: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        in_flight: Mutex::default(),
    });
    replicas::beat(&mut *shared.db.conn().await?, shared.replica, "bench", Roles::ALL, 86_400.0).await?;
    let mut holder = PgConnection::connect(&url).await?;
    if pinned {
        holder.execute("begin isolation level repeatable read").await?;
        holder.execute("select count(*) from longshore.jobs_live").await?;
    }

    let (send, receive) = mpsc::channel(CAP as usize);
    let receive = Arc::new(tokio::sync::Mutex::new(receive));
    let mut tasks = JoinSet::new();
    tasks.spawn(submit_at(shared.clone(), rate));
    for _ in 0..RECORDERS {
        tasks.spawn(record(shared.clone(), receive.clone()));
    }
    let (begun, time) = (Instant::now(), Duration::from_secs(secs));
    let claims = claim_until(&shared, send, begun, time).await?;
    let ended_per_sec = shared.ended.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    shared.stop.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let mut pages = [0; 3];
    for (pages, sql) in pages.iter_mut().zip(PAGES) {
        *pages = pages_read(&mut plain, &sql.replace(":replica", &shared.replica.to_string())).await?;
    }
    let backlog = shared.submitted.load(Ordering::Relaxed) - shared.claimed.load(Ordering::Relaxed);
    holder.close().await?;
    plain.close().await?;
    shared.db.close().await;
    world.sql("set client_min_messages = warning; checkpoint").await?;
    world.sql("drop database flow with (force)").await?;
    Ok(Flowed { claims, backlog: backlog as f64, ended_per_sec, pages })
}

async fn submit_at(shared: Arc<Shared>, rate: u64) -> anyhow::Result<()> {
    let intake = Intake::new(shared.replica);
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        let count = due.saturating_sub(shared.submitted.load(Ordering::Relaxed));
        let ready: Vec<Ready> = (0..count).map(|_| Ready::new(submission())).collect();
        intake.submit(&mut *shared.db.conn().await?, &ready).await?;
        shared.submitted.fetch_add(count, Ordering::Relaxed);
    }
    Ok(())
}

/// Claims what fits, and hands it on; answers how long each claim of the last quarter took that took something.
async fn claim_until(
    shared: &Shared,
    send: mpsc::Sender<Work>,
    begun: Instant,
    time: Duration,
) -> anyhow::Result<Vec<f64>> {
    let mut millis = Vec::new();
    while begun.elapsed() < time {
        let mut conn = shared.db.conn().await?;
        let asked = Instant::now();
        let claim = claims::claim(&mut conn, shared.replica, claims::CLAIM_BATCH, 0.0, false).await?;
        let took = asked.elapsed();
        let Claim::Claimed { jobs: 1.., .. } = claim else {
            drop(conn);
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if begun.elapsed() > time * 3 / 4 {
            millis.push(took.as_secs_f64() * 1000.0);
        }
        let in_flight: Vec<JobId> = shared.in_flight().iter().copied().collect();
        let work = claims::mine(&mut conn, shared.replica, &in_flight, CAP.into()).await?;
        drop(conn);
        shared.claimed.fetch_add(work.len() as u64, Ordering::Relaxed);
        for it in work {
            shared.in_flight().insert(it.job.id());
            send.send(it).await?;
        }
    }
    Ok(millis)
}

/// Records what becomes of each job: created, running, succeeded.
async fn record(shared: Arc<Shared>, work: Arc<tokio::sync::Mutex<mpsc::Receiver<Work>>>) -> anyhow::Result<()> {
    loop {
        let Some(work) = work.lock().await.recv().await else { return Ok(()) };
        record_one(&shared, work).await?;
        shared.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn record_one(shared: &Shared, work: Work) -> anyhow::Result<()> {
    let (id, nonce) = (work.job.id(), work.job.state().nonce);
    let (uid, facts) = (KubeUid(id.to_string()), Facts::default());
    let created = Created { nonce, uid: uid.clone() };
    let Moved::Done(job) = shared.moves.advance(work.job, created, &facts).await? else { anyhow::bail!("lost") };
    shared.in_flight().remove(&id);
    let Moved::Done(job) = shared.moves.advance(job, Running { nonce, uid }, &facts).await? else {
        anyhow::bail!("lost")
    };
    let ending = Ending::new(Reason::Completed, "it completed");
    let end = AttemptEnd { ending: ending.clone(), counts: None, log: None };
    let Moved::Done(_) = shared.moves.end(job, Succeeded { ending }, &facts, &end).await? else {
        anyhow::bail!("lost")
    };
    Ok(())
}

impl Shared {
    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashSet<JobId>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many pages a question reads, dead rows and all.
async fn pages_read(conn: &mut PgConnection, sql: &str) -> anyhow::Result<u64> {
    conn.execute("set enable_seqscan = off; set enable_bitmapscan = off; set max_parallel_workers_per_gather = 0")
        .await?;
    let sql = AssertSqlSafe(format!("explain (analyze, buffers, format json) {sql}"));
    let explained: serde_json::Value = sqlx::query_scalar(sql).fetch_one(conn).await?;
    let plan = &explained[0]["Plan"];
    let blocks = |name: &str| plan[name].as_u64().unwrap_or(0);
    Ok(blocks("Shared Hit Blocks") + blocks("Shared Read Blocks"))
}

fn submission() -> Submission {
    Submission {
        name: "job".into(),
        priority: 0,
        queue: "default".into(),
        namespace: "default".into(),
        start: Start::Now,
        idempotency_key: None,
        policy: Policy::default(),
        spec: Spec { image: Some("busybox:latest".into()), command: vec!["true".into()], ..Spec::default() },
    }
}
