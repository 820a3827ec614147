//! Row 4: what a job costs the API server, counted in the server's audit log.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    Args, jobs,
    report::{Goal, Report},
    target::{Asked, Target, be_the_kubelet},
    world::World,
};

/// How many jobs run at once.
const CAP: i32 = 50;
/// How long a job runs, where that is ours to say.
const RUN: Duration = Duration::from_millis(50);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new().await?;
    for mut target in Target::all(args, &world).await? {
        world.fresh().await?;
        let measured = on(&world, &mut target, report, args.full).await;
        target.clear().await?;
        target.close().await?;
        measured?;
    }
    Ok(())
}

async fn on(world: &World, target: &mut Target, report: &mut Report, full: bool) -> anyhow::Result<()> {
    let number = if full { 5_000 } else { 1_000 };
    world.cap(CAP).await?;
    // The pods of a control plane without nodes are ended by ourselves.
    let mut kubelet = tokio::task::JoinSet::new();
    if !target.has_nodes().await? {
        kubelet.spawn(be_the_kubelet(target.client.clone(), target.namespace.clone(), RUN));
    }
    let namespace = format!("--namespace={}", target.namespace);
    let flags = ["--keep-finished=0s", "--lease=3s", &namespace];
    target.log.skip()?;
    let one = world.replica(&target.kubeconfig, &flags).await?;
    let _other = world.replica(&target.kubeconfig, &flags).await?;
    let run = json!({ "sim.longshore.dev/duration": format!("{}ms", RUN.as_millis()) });
    let all: Vec<Value> = (0..number).map(|it| jobs::job(&target.namespace, it, &run)).collect();
    jobs::submit(&one.address, &all).await?;
    let over = "select count(*) from longshore.jobs where state = 'succeeded'";
    world.until(over, number as f64, PATIENCE).await?;
    // The Kubernetes Jobs of the last ones are removed a while later: that belongs to what a job costs.
    target.wait_until_empty().await?;
    let created = |all: &[Asked]| all.iter().filter(|it| it.made_a_job()).count() >= number;
    let asked: Vec<Asked> =
        target.asked(created).await?.into_iter().filter(|it| it.agent.starts_with("longshore/")).collect();
    count(target.name, number, &asked, report);
    Ok(())
}

fn count(name: &str, jobs: usize, asked: &[Asked], report: &mut Report) {
    let mut by_verb: BTreeMap<String, usize> = BTreeMap::new();
    let (mut writes, mut reads, mut lists, mut known) = (0, 0, 0, HashSet::new());
    for it in asked.iter().filter(|it| known.insert(&it.id)) {
        *by_verb.entry(format!("{} {}", it.verb, it.of_what())).or_default() += 1;
        match it.verb.as_str() {
            "get" => reads += 1,
            // A list that names a job is a read of that job, whatever its verb.
            "list" if it.uri.contains("job-id") || it.uri.contains("fieldSelector") => reads += 1,
            "list" | "watch" => lists += 1,
            _ => writes += 1,
        }
    }
    let verbs: Vec<String> = by_verb.iter().map(|(verb, times)| format!("{verb}: {times}")).collect();
    let each = |requests: usize| requests as f64 / jobs as f64;
    report.alone(format!("{name}, writes a job"), each(writes), "requests", Some(Goal::AtMost(2.0)));
    report.note(format!("{jobs} jobs; {}", verbs.join(", ")));
    report.alone(format!("{name}, reads a job"), each(reads), "requests", Some(Goal::AtMost(0.0)));
    report.alone(format!("{name}, lists and watches in all"), lists as f64, "requests", None);
}
