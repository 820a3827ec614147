//! Row 2: creating Kubernetes Jobs while the cap is wide open, against a client that does nothing but post the same manifests.
//!
//! The Jobs have no pods. Making those keeps the Job controller and the API server busy for longer than the creating takes, on
//! the same cores: whoever is slower would share them with more of that, and look slower still.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Args, bare, jobs,
    report::{Goal, Report, median},
    target::Target,
    world::World,
};

/// How many replicas are measured.
const REPLICAS: [usize; 4] = [1, 2, 4, 8];
/// How many requests at a time the bare client is tried with, to find its best.
const TRIED: [usize; 5] = [4, 8, 16, 32, 64];
/// The creates a second that both sides are held to where they are: each replica gets its share of it.
const LIMIT: u32 = 160;
/// How long a round may take.
const ROUND: Duration = Duration::from_secs(120);

/// How large everything is.
struct Size {
    jobs: usize,
    limited_jobs: usize,
    tried_jobs: usize,
    rounds: usize,
}

struct Bench<'a> {
    world: World,
    target: Target,
    report: &'a mut Report,
    size: Size,
}

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new().await?;
    let target = Target::best(args, &world).await?;
    let size = match args.full {
        true => Size { jobs: 5_000, limited_jobs: 2_400, tried_jobs: 1_000, rounds: 3 },
        false => Size { jobs: 1_500, limited_jobs: 960, tried_jobs: 400, rounds: 1 },
    };
    let mut bench = Bench { world, target, report, size };
    let measured = bench.measure().await;
    bench.target.clear().await?;
    bench.target.close().await?;
    measured
}

impl Bench<'_> {
    async fn measure(&mut self) -> anyhow::Result<()> {
        let mut best = (0, 0.0);
        for concurrency in TRIED {
            let per_sec = self.bare(self.size.tried_jobs, concurrency, 0).await?;
            if per_sec > best.1 {
                best = (concurrency, per_sec);
            }
        }
        let concurrency = best.0;
        let name = self.target.name;
        self.beside_bare(&format!("{name}, unlimited"), self.size.jobs, concurrency, 0).await?;
        self.report
            .note(format!("the bare client is best with {concurrency} requests at a time; replicas as by default"));
        self.beside_bare(&format!("{name}, {LIMIT} requests/s in all"), self.size.limited_jobs, concurrency, LIMIT)
            .await
    }

    /// Every number of replicas and the bare client by turns.
    async fn beside_bare(&mut self, what: &str, jobs: usize, concurrency: usize, limit: u32) -> anyhow::Result<()> {
        let (mut bare, mut ours) = (Vec::new(), REPLICAS.map(|_| Vec::new()));
        for _ in 0..self.size.rounds {
            for (number, replicas) in REPLICAS.into_iter().enumerate() {
                // What a limit lets through does not vary; without one, the server may be slower than a moment ago.
                if bare.is_empty() || (limit == 0 && number % 2 == 0) {
                    bare.push(self.bare(jobs, concurrency, limit).await?);
                }
                ours[number].push(self.ours(jobs, replicas, limit).await?);
            }
        }
        let (bare, ours) = (median(bare), ours.map(median));
        for (replicas, ours) in REPLICAS.into_iter().zip(ours) {
            let what = format!("{what}, replicas: {replicas}");
            self.report.beside(what, ours, "Jobs/s", ("bare client", bare), Goal::AtLeast(0.9));
        }
        for (replicas, more) in REPLICAS.into_iter().zip(ours).skip(1) {
            let what = format!("{what}, replicas: {replicas} against 1");
            self.report.beside(what, more, "Jobs/s", ("1 replica", ours[0]), Goal::AtLeast(0.9));
        }
        Ok(())
    }

    /// The bare client's Jobs a second.
    async fn bare(&mut self, jobs: usize, concurrency: usize, limit: u32) -> anyhow::Result<f64> {
        self.target.log.skip()?;
        bare::create(&self.target, &self.jobs(jobs), concurrency, limit).await?;
        let rate = per_sec(&self.target.created(jobs).await?);
        self.target.clear().await?;
        Ok(rate)
    }

    /// Longshore's Jobs a second: everything is submitted before the cap lets the first one through.
    async fn ours(&mut self, jobs: usize, replicas: usize, limit: u32) -> anyhow::Result<f64> {
        self.world.fresh().await?;
        self.world.cap(0).await?;
        let share = limit as usize / replicas;
        let flags = [format!("--kube-qps={share}"), format!("--namespace={}", self.target.namespace)];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut running = Vec::new();
        for _ in 0..replicas {
            running.push(self.world.replica(&self.target.kubeconfig, &flags).await?);
        }
        jobs::submit(&running[0].address, &self.jobs(jobs)).await?;
        self.target.log.skip()?;
        self.world.cap(i32::MAX).await?;
        self.world.sql("select pg_notify('longshore', '7')").await?;
        self.world.until("select count(created_at) from longshore.attempts", jobs as f64, ROUND).await?;
        let rate = per_sec(&self.target.created(jobs).await?);
        drop(running);
        self.target.clear().await?;
        Ok(rate)
    }

    /// Submissions of Jobs without pods.
    fn jobs(&self, jobs: usize) -> Vec<Value> {
        let without_pods = |number| {
            json!({ "name": format!("job-{number}"), "namespace": self.target.namespace, "manifest": {
                "apiVersion": "batch/v1", "kind": "Job", "spec": { "parallelism": 0, "template": { "spec": { "containers": [{
                    "name": "main", "image": "busybox:latest", "command": ["sh", "-c", "exit 0"],
                    "args": ["--tenant", "acme"], "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
                }] } } },
            } })
        };
        (0..jobs).map(without_pods).collect()
    }
}

/// From the first to the last, in Jobs a second.
fn per_sec(created: &[Timestamp]) -> f64 {
    let (Some(first), Some(last)) = (created.first(), created.last()) else { return 0.0 };
    (created.len() - 1) as f64 / last.duration_since(*first).as_secs_f64()
}
