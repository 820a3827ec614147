//! Row 8: the baseline by which Kueue measures its scheduler, on the simulator: 30 queues, 15,000 jobs of three classes that
//! arrive within a minute and run for 0.2 to 1 s.
//!
//! Kueue's jobs take 1, 5 and 20 of 600 units; a job of Longshore takes one slot. So the cap is set to where the slot-seconds
//! of all jobs take as long as Kueue's unit-seconds take with 600 units: 66 s. The short set has a fifth of each queue's jobs,
//! which arrive as fast, under the same cap.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Args,
    http::Client,
    jobs,
    report::{Goal, Report},
    target::Target,
    world::World,
};

const QUEUES: usize = 30;
/// 30 queues' 170 slot-seconds each, in 66 s.
const CAP: i32 = 77;
/// The requests a second that Kueue's client is limited to.
const LIMIT: u32 = 50;
/// The connections that submit: a job is late if all of them wait.
const CONNECTIONS: usize = 16;
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(900);

struct Class {
    name: &'static str,
    /// Of each queue.
    jobs: usize,
    every: Duration,
    run: Duration,
    priority: i32,
}

const CLASSES: [Class; 3] =
    [class("small", 350, 100, 200, 50), class("medium", 100, 500, 500, 100), class("large", 50, 1_200, 1_000, 200)];

const fn class(name: &'static str, jobs: usize, every_ms: u64, run_ms: u64, priority: i32) -> Class {
    let (every, run) = (Duration::from_millis(every_ms), Duration::from_millis(run_ms));
    Class { name, jobs, every, run, priority }
}

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new().await?;
    let part = if args.full { 1 } else { 5 };
    for limit in [LIMIT, 0] {
        world.fresh().await?;
        world.cap(CAP).await?;
        let target = Target::sim(&world).await?;
        // What is over is removed as it goes, so that the requests for it are within the limit too.
        let flags = [&*format!("--kube-qps={limit}"), "--keep-finished=0s", "--lease=3s"];
        let replica = world.replica(&target.kubeconfig, &flags).await?;
        let arrivals = arrivals(part);
        let jobs = arrivals.len();
        submit_in_time(&replica.address, arrivals).await?;
        world.until("select count(*) from longshore.jobs where state = 'succeeded'", jobs as f64, PATIENCE).await?;
        tell(&world, report, jobs, limit, bound_secs(part)).await?;
    }
    Ok(())
}

/// How long all of it takes if every slot is held from the first moment, and for nothing but running.
fn bound_secs(part: usize) -> f64 {
    let slot_secs = |class: &Class| (QUEUES * class.jobs / part) as f64 * class.run.as_secs_f64();
    CLASSES.iter().map(slot_secs).sum::<f64>() / f64::from(CAP)
}

/// When each job is submitted, in order.
fn arrivals(part: usize) -> Vec<(Duration, Value)> {
    let mut arrivals = Vec::new();
    for class in &CLASSES {
        for number in 0..class.jobs / part {
            for queue in 0..QUEUES {
                let run = json!({
                    "sim.longshore.dev/duration": format!("{}ms", class.run.as_millis()), "sim.longshore.dev/start": "0s",
                });
                let mut job = jobs::job("default", number, &run);
                job["name"] = format!("{}-{queue}-{number}", class.name).into();
                job["queue"] = format!("queue-{queue}").into();
                job["priority"] = class.priority.into();
                arrivals.push((class.every * u32::try_from(number).unwrap_or(u32::MAX), job));
            }
        }
    }
    arrivals.sort_by_key(|it| it.0);
    arrivals
}

/// One request a job, when it is due.
async fn submit_in_time(address: &str, arrivals: Vec<(Duration, Value)>) -> anyhow::Result<()> {
    let (arrivals, begun) = (Arc::new(arrivals), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for share in 0..CONNECTIONS {
        let mut client = Client::connect(address).await?;
        let arrivals = arrivals.clone();
        tasks.spawn(async move {
            for (due, job) in arrivals.iter().skip(share).step_by(CONNECTIONS) {
                tokio::time::sleep_until((begun + *due).into()).await;
                let (status, text) = client.post("/jobs", job.to_string().as_bytes()).await?;
                anyhow::ensure!(status == 202, "answered {status}: {}", String::from_utf8_lossy(&text));
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn tell(world: &World, report: &mut Report, jobs: usize, limit: u32, bound: f64) -> anyhow::Result<()> {
    let span = "from longshore.jobs";
    let secs = world.number(&format!("select extract(epoch from max(finished_at) - min(created_at)) {span}")).await?;
    let what = match limit {
        0 => format!("{jobs} jobs, unlimited"),
        limit => format!("{jobs} jobs, {limit} requests/s"),
    };
    let mut waits = Vec::new();
    for class in &CLASSES {
        let of = class.priority;
        let mean = format!("select avg(waited_secs) from longshore.waits where priority = {of}");
        waits.push(format!("{} {:.2} s", class.name, world.number(&mean).await?));
    }
    let goal = (limit > 0).then_some(Goal::AtLeast(45.0));
    report.alone(&what, jobs as f64 / secs, "jobs/s", goal);
    report.note(format!("a job is a slot, whatever its class; mean wait: {}", waits.join(", ")));
    if limit == 0 {
        report.beside(format!("{what}, makespan"), secs, "s", ("arithmetic bound", bound), Goal::AtMost(1.2));
    }
    let lowest = format!(
        "with span as (select min(created_at) as b, max(finished_at) as e {span}), \
              middle as (select b + (e - b) * 0.05 as b, e - (e - b) * 0.05 as e from span) \
         select min(u.used) from middle, longshore.slot_use(middle.b, middle.e, '1 second') u"
    );
    report.alone(format!("{what}, lowest use of the cap"), 100.0 * world.number(&lowest).await?, "%", None);
    report.note("of any second between the first and the last 5 %");
    Ok(())
}
