//! Row 7: the peers on the same Postgres, each by its documented best settings, and Longshore's own store doing the same with
//! an event for each change and an exact cap of 1,000. No Kubernetes Job is made.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use longshore::{
    id::{KubeUid, ReplicaId},
    lifecycle::{AttemptEnd, Created, Ending, Facts, Reason, Succeeded},
    roles::Roles,
    spec::{Spec, Start, Submission},
    store::{
        Db,
        claims::{self, Claim},
        gather::Gather,
        moves::{Moved, Moves},
        replicas,
        submit::{Intake, Ready},
    },
};
use serde::Deserialize;
use tokio::{process::Command, task::JoinSet};

use crate::{
    Args,
    report::{Goal, Report, median},
    world::World,
};

/// The exact cap that Longshore holds meanwhile.
const CAP: i32 = 1_000;

/// What is measured of whom, how many jobs of ours, and which row of a peer stands beside which of ours.
const ROWS: [(&str, usize); 5] = [
    ("enqueue_single_c1", 2_000),
    ("enqueue_single_c32", 10_000),
    ("enqueue_batch", 60_000),
    ("drain_single", 3_000),
    ("drain_batch", 20_000),
];
const PEERS: [&str; 4] = ["graphile.mjs", "pgboss.mjs", "procrastinate.py", "pgqueuer.py"];
/// What a peer can do besides, for which there is no row of that name here.
const MORE: [(&str, &str, &str); 2] =
    [("graphile.mjs", "drain_batch_500", "drain_batch"), ("pgqueuer.py", "drain_batch_capped", "drain_batch")];

#[derive(Debug, Deserialize)]
struct Said {
    peer: String,
    version: String,
    clients: usize,
    batch: usize,
    jobs: f64,
    secs: f64,
}

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let installed =
        Command::new(dir.join("install")).current_dir(&dir).output().await.context("benches/peers/install")?;
    anyhow::ensure!(installed.status.success(), "the peers cannot be installed: {}", text(&installed.stderr));
    let world = World::new().await?;
    world.cap(CAP).await?;
    for peer in PEERS {
        drive(&dir, &world, peer, "setup").await?;
    }
    let rounds = if args.full { 3 } else { 1 };
    for (row, jobs) in ROWS {
        let mut ours = Vec::new();
        let mut theirs: Vec<(Said, Vec<f64>)> = Vec::new();
        let more = MORE.iter().filter(|it| it.2 == row).map(|it| (it.0, it.1));
        let asked: Vec<(&str, &str)> = PEERS.iter().map(|it| (*it, row)).chain(more).collect();
        for round in 0..rounds {
            ours.push(own(&world, row, jobs).await?);
            for (place, (peer, row)) in asked.iter().enumerate() {
                let said = drive(&dir, &world, peer, row).await?.context("no line of JSON")?;
                let rate = said.jobs / said.secs;
                match round {
                    0 => theirs.push((said, vec![rate])),
                    _ => theirs[place].1.push(rate),
                }
            }
        }
        let ours = median(ours);
        for ((said, rates), (_, their_row)) in theirs.into_iter().zip(asked) {
            let peer = format!("{} {} ({} clients)", said.peer, said.version, said.clients);
            let what = format!("{row}, beside {their_row}, batches of {}", said.batch);
            report.beside(what, ours, "jobs/s", (&peer, median(rates)), Goal::AtLeast(1.0));
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Has a peer's driver do one row.
async fn drive(dir: &Path, world: &World, peer: &str, row: &str) -> anyhow::Result<Option<Said>> {
    let program = if peer.ends_with(".py") { dir.join(".venv/bin/python") } else { PathBuf::from("node") };
    let output =
        Command::new(program).current_dir(dir).args([peer, &world.url, row]).output().await.context("a peer")?;
    anyhow::ensure!(output.status.success(), "{peer} {row}: {}", text(&output.stderr));
    let said = text(&output.stdout);
    said.lines().last().map(|line| Ok(serde_json::from_str(line)?)).transpose()
}

/// Longshore's own store does one row; answers with jobs a second.
async fn own(world: &World, row: &str, jobs: usize) -> anyhow::Result<f64> {
    world.sql("truncate longshore.jobs, longshore.job_specs, longshore.attempts, longshore.job_events").await?;
    let db = Arc::new(Db::new(&world.url, 40)?);
    let rate = match row {
        "enqueue_single_c1" => enqueue(&db, jobs, 1).await?,
        "enqueue_single_c32" => enqueue(&db, jobs, 32).await?,
        "enqueue_batch" => enqueue_batches(&db, jobs).await?,
        _ => {
            enqueue_batches(&db, jobs).await?;
            world.sql("vacuum analyze longshore.jobs_live").await?;
            drain(&db, jobs, row == "drain_batch").await?
        }
    };
    let (counted, wanted) = match row.starts_with("drain") {
        true => (world.number("select count(*) from longshore.jobs where state = 'succeeded'").await?, jobs as f64),
        false => (world.number("select count(*) from longshore.jobs_live").await?, jobs as f64),
    };
    anyhow::ensure!(counted == wanted, "{row}: {counted} jobs are there, and {wanted} should be");
    db.close().await;
    Ok(rate)
}

fn submission(number: usize) -> Submission {
    Submission {
        name: format!("job-{number}"),
        priority: (number % 10) as i32,
        queue: "default".into(),
        namespace: "default".into(),
        start: Start::Now,
        idempotency_key: None,
        policy: longshore::retry::Policy::default(),
        spec: Spec {
            image: Some("busybox:1.36".into()),
            command: ["sh", "-c", "sleep 60"].map(str::to_owned).to_vec(),
            resources: Some(serde_json::json!({"requests": {"cpu": "100m", "memory": "64Mi"}})),
            labels: [("app", "bench"), ("tenant", "acme")].map(|(key, it)| (key.to_owned(), it.to_owned())).into(),
            ..Spec::default()
        },
    }
}

async fn enqueue(db: &Arc<Db>, jobs: usize, clients: usize) -> anyhow::Result<f64> {
    // As a replica accepts them.
    let intake = Arc::new(Intake::new(ReplicaId::new()));
    let counter = Gather::new(db.clone(), 2, move |conn, ready| {
        let intake = intake.clone();
        Box::pin(async move { intake.submit(conn, ready).await })
    });
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let counter = counter.clone();
        tasks.spawn(async move {
            for number in (client..jobs).step_by(clients) {
                counter.ask(Ready::new(submission(number))).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(jobs as f64 / begun.elapsed().as_secs_f64())
}

async fn enqueue_batches(db: &Arc<Db>, jobs: usize) -> anyhow::Result<f64> {
    let (intake, begun) = (Arc::new(Intake::new(ReplicaId::new())), Instant::now());
    let mut tasks = JoinSet::new();
    for client in 0..4 {
        let (db, intake) = (db.clone(), intake.clone());
        tasks.spawn(async move {
            for batch in (client * 1_000..jobs).step_by(4_000) {
                let ready: Vec<Ready> = (batch..jobs.min(batch + 1_000)).map(|it| Ready::new(submission(it))).collect();
                intake.submit(&mut *db.conn().await?, &ready).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(jobs as f64 / begun.elapsed().as_secs_f64())
}

/// Claims and completes everything: as a replica does, in batches; or one at a time, each move in a statement of its own.
async fn drain(db: &Arc<Db>, jobs: usize, batches: bool) -> anyhow::Result<f64> {
    let (workers, most) = if batches { (2, 100) } else { (8, 1) };
    let ended = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (db, ended) = (db.clone(), ended.clone());
        tasks.spawn(async move {
            let replica = ReplicaId::new();
            let mut conn = db.conn().await?;
            replicas::beat(&mut conn, replica, "bench", Roles::ALL, 600.0).await?;
            let moves = Moves::new(db.clone(), replica);
            while ended.load(Ordering::Relaxed) < jobs {
                match claims::claim(&mut conn, replica, most, 0.0, true).await? {
                    Claim::Claimed { jobs: 1.., .. } => {}
                    // As the scheduler: somebody else is claiming.
                    _ => {
                        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                        continue;
                    }
                }
                let mine = claims::mine(&mut conn, replica, &[], most).await?;
                let done = futures::future::try_join_all(mine.into_iter().map(|it| complete(&moves, it))).await?;
                ended.fetch_add(done.len(), Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(jobs as f64 / begun.elapsed().as_secs_f64())
}

/// The shortest way that a job may go: its Kubernetes Job is there, and has succeeded.
async fn complete(moves: &Moves, work: claims::Work) -> anyhow::Result<()> {
    let to = Created { nonce: work.job.state().nonce, uid: KubeUid("no Kubernetes Job".into()) };
    let Moved::Done(job) = moves.advance(work.job, to, &Facts::default()).await? else {
        anyhow::bail!("a job was claimed twice");
    };
    let ending = Ending::new(Reason::Completed, "");
    let end = AttemptEnd { ending: ending.clone(), counts: None, log: None };
    let Moved::Done(_) = moves.end(job, Succeeded { ending }, &Facts::default(), &end).await? else {
        anyhow::bail!("a job was claimed twice");
    };
    Ok(())
}
