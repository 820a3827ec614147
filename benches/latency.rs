//! Row 3: how long a job that could start waits to be created: from its submission to an idle replica, and from the moment at
//! which a slot became free under a full cap; against one commit and one create, each measured alone.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Args, bare,
    http::Client,
    jobs,
    report::{Goal, Report, median, quantile},
    target::{Target, be_the_kubelet},
    world::World,
};

/// Jobs that run at once where the cap is full.
const CAP: usize = 8;
/// How long each of them runs, where that is ours to say.
const RUN: Duration = Duration::from_millis(200);
/// What is measured by turns is measured so many times.
const ROUNDS: usize = 4;
/// How long one part may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A replica that gathers no bursts.
const FLAGS: [&str; 2] = ["--dispatch-delay=0s", "--claim-period=1s"];

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new().await?;
    let jobs = if args.full { 1_000 } else { 200 };
    for mut target in Target::all(args, &world).await? {
        let measured = on(&world, &mut target, report, jobs).await;
        target.clear().await?;
        target.close().await?;
        measured?;
    }
    Ok(())
}

async fn on(world: &World, target: &mut Target, report: &mut Report, jobs: usize) -> anyhow::Result<()> {
    let (idle, limit) = idle(world, target, jobs).await?;
    target.clear().await?;
    let freed = freed(world, target, jobs).await?;
    for (what, mut millis) in [("submitted while idle", idle), ("slot freed under a full cap", freed)] {
        for (part, name, goal) in [(0.5, "median", 2.0), (0.99, "99th", 5.0)] {
            let what = format!("{}, {what} to created, {name}", target.name);
            let beside = ("commit + create", limit.0 + limit.1);
            report.beside(what, quantile(&mut millis, part), "ms", beside, Goal::AtMost(goal));
        }
        report.note(format!("commit {:.2} ms, create {:.2} ms; {} jobs", limit.0, limit.1, millis.len()));
    }
    Ok(())
}

/// From just before the request is sent to the API server's answer to the create, one job at a time; and the medians of a
/// commit and of a create alone, measured by turns with it.
async fn idle(world: &World, target: &mut Target, jobs: usize) -> anyhow::Result<(Vec<f64>, (f64, f64))> {
    world.fresh().await?;
    world.cap(i32::MAX).await?;
    let namespace = format!("--namespace={}", target.namespace);
    let replica = world.replica(&target.kubeconfig, &[FLAGS[0], FLAGS[1], &namespace]).await?;
    let mut client = Client::connect(&replica.address).await?;
    // They hold their slots to the end, so that nothing but the next job keeps the replica busy.
    let wait = json!({ "sim.longshore.dev/outcome": "unschedulable" });
    let (mut ours, mut commits, mut creates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        commits.append(&mut world.pgbench("commit.sql", 1, 1).await?.millis);
        let alone: Vec<Value> = (0..jobs / ROUNDS).map(|it| jobs::job(&target.namespace, it, &wait)).collect();
        creates.append(&mut bare::create(target, &alone, 1, 0).await?);
        target.log.skip()?;
        for number in 0..jobs / ROUNDS {
            let job = jobs::job(&target.namespace, round * jobs + number, &wait).to_string();
            let sent_at = Timestamp::now();
            let (status, text) = client.post("/jobs", job.as_bytes()).await?;
            anyhow::ensure!(status == 202, "answered {status}: {}", String::from_utf8_lossy(&text));
            let created = target.created(1).await?;
            ours.push(millis(sent_at, created[0]));
        }
    }
    Ok((ours, (median(commits), median(creates))))
}

/// From each end of a job that is on record to the create that it made room for.
async fn freed(world: &World, target: &mut Target, jobs: usize) -> anyhow::Result<Vec<f64>> {
    world.fresh().await?;
    world.cap(0).await?;
    let mut kubelet = tokio::task::JoinSet::new();
    if !target.has_nodes().await? {
        kubelet.spawn(be_the_kubelet(target.client.clone(), target.namespace.clone(), RUN));
    }
    let namespace = format!("--namespace={}", target.namespace);
    let replica = world.replica(&target.kubeconfig, &[FLAGS[0], FLAGS[1], &namespace]).await?;
    let run = json!({ "sim.longshore.dev/duration": format!("{}ms", RUN.as_millis()) });
    let all: Vec<Value> = (0..jobs).map(|it| jobs::job(&target.namespace, it, &run)).collect();
    jobs::submit(&replica.address, &all).await?;
    target.log.skip()?;
    world.cap(CAP.try_into()?).await?;
    world.sql("select pg_notify('longshore', '7')").await?;
    let over = "select count(finished_at) from longshore.attempts";
    world.until(over, jobs as f64, PATIENCE).await?;
    let created = target.created(jobs).await?;
    let ends =
        "select (extract(epoch from finished_at) * 1000000)::bigint from longshore.attempts order by finished_at";
    let ends: Vec<i64> = sqlx::query_scalar(ends).fetch_all(&mut world.conn().await?).await?;
    let ends = ends.into_iter().map(Timestamp::from_microsecond).collect::<Result<Vec<_>, _>>()?;
    // The cap is exact: the create after the first `CAP` was made possible by the first end, and so on.
    Ok(ends.iter().zip(created.iter().skip(CAP)).map(|(end, next)| millis(*end, *next)).collect())
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}
