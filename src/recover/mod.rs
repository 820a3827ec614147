//! `longshore recover`: brings the rows up to a cluster that is ahead of them, as after a restore of the database.
//!
//! A Kubernetes Job of this installation that no row accounts for was made by rows that are lost. Where it says which job and
//! attempt it is of, and what is left of the rows agrees, the row is moved on to it, or made: from then on it holds a slot,
//! and its outcome is recorded as any other. All of it is one transaction that keeps claims away, so a crash leaves the rows
//! as they were, and to run it again does the rest and nothing twice. Whatever contradicts the rows is left alone, and said.

mod decide;

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    io::Write,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    client::text::{clean, json},
    cluster::{
        Cluster, connect,
        salvage::Salvaged,
        seen::{Phase, SeenJob},
    },
    config,
    id::{AttemptNo, JobId, KubeUid},
    store::{
        Conn, Db, Error,
        examine::{self, Schema},
        jobs, limits,
        records::{self, Marks},
        recover::{self, Known},
        tx::Tx,
    },
};

use decide::decide;

#[derive(Debug, Args)]
pub struct Recover {
    /// Do what is listed as `adopt` and `rebuild`; without it, nothing is changed
    #[arg(long)]
    apply: bool,
    /// How to print what was found
    #[arg(long, short, default_value = "table", value_name = "FORMAT")]
    output: Format,
    /// The cluster's kubeconfig [default: the pod's service account, else KUBECONFIG, else ~/.kube/config]
    #[arg(long, env = "LONGSHORE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespaces that jobs run in, separated by commas, as `serve` has them
    #[arg(long, env = "LONGSHORE_NAMESPACE", default_value = "default", value_delimiter = ',', value_name = "NAMES")]
    namespace: Vec<String>,
    #[command(flatten)]
    database: config::Database,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// What becomes of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// The row of the job is moved on to this Kubernetes Job.
    Adopt,
    /// The job has no row: one is made.
    Rebuild,
    /// It contradicts the rows: for people.
    Leave,
    /// It is on record, and not in the cluster: the first replica records it as lost.
    Lost,
    /// It was claimed, and has no Kubernetes Job: the first replica creates it, perhaps once more.
    Create,
}

/// One difference. The fields are stable: programs read them.
#[derive(Debug, Serialize)]
struct Line {
    action: Action,
    job_id: Option<JobId>,
    attempt: Option<AttemptNo>,
    namespace: String,
    kubernetes_job: String,
    /// Whether the Kubernetes Job goes on; null where there is none.
    live: Option<bool>,
    message: String,
}

/// Compares, does what it may, and prints. The exit code is 0 when nothing is left to do.
pub async fn run(args: Recover) -> ExitCode {
    match try_to(args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether nothing is left to do.
async fn try_to(args: Recover) -> anyhow::Result<bool> {
    let url = args.database.given_url().context("give --database-url, or set DATABASE_URL")?;
    let db = Db::new(&url, 1)?;
    let mut conn = db.conn().await?;
    let schema = examine::schema(&mut conn).await?;
    anyhow::ensure!(
        matches!(schema, Schema::Current(_)),
        "the schema of the database is not this version's ({schema:?}): run `longshore migrate` first"
    );
    let (client, _) = connect::connect(args.kubeconfig.as_deref()).await?;
    // As fast as it can: there are few questions.
    let cluster = Cluster::new(client, args.namespace, 0);
    let lines = compare(&mut conn, &cluster, args.apply).await?;
    let text = match args.output {
        Format::Json => json(&serde_json::json!(lines), true),
        Format::Table => table(&lines, args.apply),
    };
    // Whoever does not read it to its end still gets the exit code.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
    let is_left = |it: &Line| match it.action {
        Action::Adopt | Action::Rebuild => !args.apply,
        Action::Leave => it.live == Some(true),
        Action::Lost | Action::Create => false,
    };
    Ok(!lines.iter().any(is_left))
}

/// Every difference between rows and cluster; those that can be mended are, where `apply` says so.
async fn compare(conn: &mut Conn, cluster: &Cluster, apply: bool) -> anyhow::Result<Vec<Line>> {
    let instance = limits::instance(conn).await?;
    // Read before the cluster is: what is created in between is in both.
    let holders = jobs::holding(conn).await?;
    let in_cluster = cluster.salvage(&instance).await.context("cannot list the Kubernetes Jobs")?;
    let mut tx = Tx::begin(conn).await?;
    recover::hold_claims(tx.conn()).await?;
    let mut lines = mend(tx.conn(), &in_cluster, apply).await?;
    match apply {
        true => tx.commit(&[]).await.context("it is not known whether it was done: run it again")?,
        false => tx.rollback().await?,
    }
    let moved_on: HashSet<JobId> =
        lines.iter().filter(|it| it.action == Action::Adopt).filter_map(|it| it.job_id).collect();
    let uids: HashSet<&KubeUid> = in_cluster.iter().map(|it| &it.0.uid).collect();
    let names: HashSet<(&str, &str)> =
        in_cluster.iter().map(|it| (it.0.namespace.as_str(), it.0.name.as_str())).collect();
    for holder in &holders {
        let head = holder.head();
        let kubernetes_job = head.kube_name();
        let (action, message) = match holder.uid() {
            Some(uid) if !uids.contains(uid) => (Action::Lost, "it was created, and is not in the cluster"),
            None if !names.contains(&(head.namespace.as_str(), kubernetes_job.as_str())) => {
                (Action::Create, "it was claimed and not created; if it ran since, it runs again")
            }
            _ => continue,
        };
        if !cluster.covers(&head.namespace) || moved_on.contains(&head.id) {
            continue;
        }
        lines.push(Line {
            action,
            job_id: Some(head.id),
            attempt: Some(head.attempt),
            namespace: head.namespace.clone(),
            kubernetes_job,
            live: None,
            message: message.into(),
        });
    }
    Ok(lines)
}

/// What is done about each Kubernetes Job that no attempt accounts for.
async fn mend(conn: &mut Conn, jobs: &[(SeenJob, Option<Salvaged>)], apply: bool) -> Result<Vec<Line>, Error> {
    let marks: Vec<Marks> = jobs.iter().map(|(it, _)| Marks::of(it.attempt, it.nonce, &it.uid)).collect();
    let unknown = records::unknown(conn, &marks).await?;
    let mut unknown: Vec<&(SeenJob, Option<Salvaged>)> = unknown.into_iter().filter_map(|at| jobs.get(at)).collect();
    // Of several attempts of one job, the last is the current one.
    let order = |it: &SeenJob| (it.attempt.map(|(job, attempt)| (job, Reverse(attempt))), it.name.clone());
    unknown.sort_by_cached_key(|it| order(&it.0));
    let ids: Vec<JobId> = unknown.iter().filter_map(|it| Some(it.0.attempt?.0)).collect();
    let known: HashMap<JobId, Known> = recover::known(conn, &ids).await?.into_iter().map(|it| (it.job, it)).collect();
    let mut done = HashSet::new();
    let mut lines = Vec::new();
    for (seen, salvaged) in unknown {
        let row = seen.attempt.and_then(|(id, _)| known.get(&id));
        let decided = match seen.attempt {
            Some((id, _)) if done.contains(&id) => Err("a later attempt of its job is in the cluster"),
            _ => decide(seen, salvaged.as_ref(), row),
        };
        let (action, message) = match decided {
            Ok((found, mending)) => {
                let (action, message) = mending.told();
                let is_mended = !apply || mending.carry_out(conn, &found).await?;
                done.insert(found.job);
                match is_mended {
                    true => (action, message),
                    false => (Action::Leave, "its row was moved meanwhile: run it again"),
                }
            }
            Err(why) => (Action::Leave, why),
        };
        lines.push(Line {
            action,
            job_id: seen.attempt.map(|it| it.0),
            attempt: seen.attempt.map(|it| it.1),
            namespace: seen.namespace.clone(),
            kubernetes_job: seen.name.clone(),
            live: Some(seen.phase == Phase::Active),
            message: message.into(),
        });
    }
    Ok(lines)
}

/// For people.
fn table(lines: &[Line], applied: bool) -> String {
    let mut text = String::new();
    for it in lines {
        let action = match it.action {
            Action::Adopt => "adopt",
            Action::Rebuild => "rebuild",
            Action::Leave => "leave",
            Action::Lost => "lost",
            Action::Create => "create",
        };
        let is = match it.live {
            Some(true) => " (it goes on)",
            Some(false) => " (it has ended)",
            None => "",
        };
        text += &clean(&format!("{action:8}{}/{}{is}: {}", it.namespace, it.kubernetes_job, it.message));
        if it.action == Action::Leave && it.live == Some(true) {
            let remedy = "wait until it ends, or: kubectl delete job -n";
            text += &clean(&format!("; {remedy} {} {}", it.namespace, it.kubernetes_job));
        }
        text.push('\n');
    }
    let count = |actions: &[Action]| lines.iter().filter(|it| actions.contains(&it.action)).count();
    let (mended, left) = (count(&[Action::Adopt, Action::Rebuild]), count(&[Action::Leave]));
    text + &match (mended, applied) {
        (0, _) if left == 0 => "Every Kubernetes Job of this installation has its row.".to_owned(),
        (0, _) => format!("Nothing to adopt or rebuild; {left} left alone."),
        (_, true) => format!("{mended} were adopted or rebuilt, {left} left alone."),
        (_, false) => format!(
            "Nothing was changed. `longshore recover --apply` adopts or rebuilds {mended}, and leaves {left} alone."
        ),
    }
}
