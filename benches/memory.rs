//! Row 5, the other half: the memory of a replica that is idle, and what each live Kubernetes Job adds to it.

use std::{path::Path, time::Duration};

use crate::{
    Args,
    report::{Goal, Report},
    world::{Process, World},
};

/// How long the memory is left to settle: more than two passes over every row, and lists of the watches among them.
const SETTLE: Duration = Duration::from_secs(12);
/// What the simulator itself takes for a live Job, with its pod and their managed fields.
const SIM_KIB_A_JOB: u64 = 100;

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new().await?;
    let (mut sim, mut kubeconfig) = world.sim(&["--duration=1h"]).await?;
    let (idle, peak) = idle(&world, &kubeconfig).await?;
    report.alone("resident memory of an idle replica", idle / 1024.0, "MiB", Some(Goal::AtMost(30.0)));
    report.note(format!("{:.1} MiB at its highest", peak / 1024.0));
    for jobs in if args.full { vec![10_000, 100_000] } else { vec![10_000] } {
        let needed = u64::from(jobs) * SIM_KIB_A_JOB;
        let free = available_kib()?;
        if needed > free {
            report.could_not(&format!(
                "{jobs} live Jobs: the simulator needs about {} MiB, and {} MiB are free",
                needed >> 10,
                free >> 10
            ));
            continue;
        }
        drop(sim);
        (sim, kubeconfig) = world.sim(&["--duration=1h"]).await?;
        world.fresh().await?;
        let replica = live(&world, &kubeconfig, jobs).await?;
        tokio::time::sleep(SETTLE).await;
        let resident = replica.memory_kib("VmRSS:")?;
        let each = (resident - idle) * 1024.0 / f64::from(jobs);
        report.alone(format!("memory of a live Job, of {jobs}"), each, "bytes", Some(Goal::AtMost(2048.0)));
        report.note(format!(
            "{:.1} MiB resident, {:.1} MiB at its highest; the simulator {:.0} MiB",
            resident / 1024.0,
            replica.memory_kib("VmHWM:")? / 1024.0,
            sim.memory_kib("VmRSS:")? / 1024.0
        ));
    }
    Ok(())
}

/// What a replica that has nothing to do takes, in KiB: now, and at its highest.
async fn idle(world: &World, kubeconfig: &Path) -> anyhow::Result<(f64, f64)> {
    let replica = world.replica(kubeconfig, &[]).await?;
    tokio::time::sleep(SETTLE).await;
    Ok((replica.memory_kib("VmRSS:")?, replica.memory_kib("VmHWM:")?))
}

/// A replica with so many running jobs, which it created itself.
async fn live(world: &World, kubeconfig: &Path, jobs: u32) -> anyhow::Result<Process> {
    world.sql(&include_str!("sql/pending.sql").replace(":jobs", &jobs.to_string())).await?;
    world.cap(jobs.try_into()?).await?;
    let replica = world.replica(kubeconfig, &["--kube-qps=0", "--create-concurrency=64"]).await?;
    let running = "select count(*) from longshore.jobs_live where state = 'running'";
    let (mut before, mut stuck) = (0.0, 0);
    while before < f64::from(jobs) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = world.number(running).await?;
        stuck = if now > before { 0 } else { stuck + 1 };
        anyhow::ensure!(stuck < 120, "{now} of {jobs} jobs run, and no more begin: {}", replica.last_words());
        before = now;
    }
    Ok(replica)
}

fn available_kib() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|it| it.strip_prefix("MemAvailable:"));
    Ok(line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX))
}
