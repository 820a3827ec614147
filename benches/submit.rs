//! Row 1: submitting, one at a time against pgbench writing the same rows, and in batches against COPY.

use std::time::{Duration, Instant};

use crate::{
    Args,
    http::{Client, load},
    report::{Goal, Report, median, quantile},
    world::World,
};

/// A submission as people send them.
pub fn request(client: usize, number: usize) -> String {
    format!(
        r#"{{"name":"job-{client}-{number}","image":"busybox:latest","command":["sh","-c","sleep 60"],"args":["--tenant","acme"],"labels":{{"app":"bench"}},"resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}}}}"#
    )
}

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cap(0).await?;
    let (_sim, kubeconfig) = world.sim(&[]).await?;
    let replica = world.replica(&kubeconfig, &[]).await?;
    let (rounds, secs) = if args.full { (5, 10) } else { (3, 3) };
    let addresses = [replica.address.clone()];
    for connections in [1, 8, 64] {
        let (mut ours, mut limit, mut millis) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            limit.push(world.pgbench("submit.sql", connections, secs).await?.per_sec);
            let mut load = load(&addresses, connections, Duration::from_secs(secs), 202, "/jobs", request).await?;
            ours.push(load.per_sec);
            millis.append(&mut load.millis);
        }
        let what = format!("POST /jobs, connections: {connections}");
        report.beside(&what, median(ours), "jobs/s", ("pgbench", median(limit)), Goal::AtLeast(0.5));
        report.note(format!("median {:.2} ms", quantile(&mut millis, 0.5)));
        report.alone(format!("{what}, 99th"), quantile(&mut millis, 0.99), "ms", Some(Goal::AtMost(50.0)));
    }
    batches(args, report, &world, &replica.address).await
}

/// The most jobs of one request here; the server takes more.
const BATCH: usize = 10_000;

async fn batches(args: &Args, report: &mut Report, world: &World, address: &str) -> anyhow::Result<()> {
    let (rounds, requests) = if args.full { (5, 20) } else { (3, 5) };
    let body: String = (0..BATCH).map(|it| request(0, it) + "\n").collect();
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        limit.push(copy(world, BATCH * requests).await?);
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for share in 0..2 {
            let mut client = Client::connect(address).await?;
            let body = body.clone();
            tasks.spawn(async move {
                for _ in (share..requests).step_by(2) {
                    let (status, text) =
                        client.ask("POST", "/jobs/batch", body.as_bytes(), "application/x-ndjson").await?;
                    let refused = String::from_utf8_lossy(&text).matches("\"status\":4").count();
                    anyhow::ensure!(status == 200 && refused == 0, "answered {status}, {refused} items refused");
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        ours.push((BATCH * requests) as f64 / begun.elapsed().as_secs_f64());
    }
    report.beside(
        "POST /jobs/batch of 10,000",
        median(ours.clone()),
        "jobs/s",
        ("COPY", median(limit)),
        Goal::AtLeast(0.0),
    );
    report.alone("POST /jobs/batch of 10,000", median(ours), "jobs/s", Some(Goal::AtLeast(50_000.0)));
    Ok(())
}

/// Copies as many rows into the same tables, from files that are there already, and answers how many a second.
async fn copy(world: &World, jobs: usize) -> anyhow::Result<f64> {
    let dir = &world.postgres.dir;
    let file = |table: &str| dir.join(format!("{table}.copy")).display().to_string();
    let text = ["jobs", "specs", "events"]
        .iter()
        .fold(include_str!("sql/copy.sql").to_owned(), |text, it| text.replace(&format!(":{it}_file"), &file(it)))
        .replace(":jobs", &jobs.to_string());
    let (make, load) = text.split_once("-- load\n").unwrap_or_default();
    world.sql(make).await?;
    let begun = Instant::now();
    world.sql(load).await?;
    Ok(jobs as f64 / begun.elapsed().as_secs_f64())
}
