//! `longshore doctor`: looks at everything that a replica needs, before or while it runs, and says what is wrong, what comes of
//! it and what to do.
//!
//! It takes the settings of `serve`, and changes nothing: but for the job of `--submit-noop`, which is asked for. Each check
//! has a bounded time, and one that would only repeat what another has found is skipped. `checks.rs` is the table of them.

mod checks;
mod cluster;
mod database;
mod jobs;
mod live;
mod namespace;
mod noop;
mod patient;
mod replica;
mod report;
mod rows;
mod sources;

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};
use reqwest::Url;

use crate::config;

pub use checks::{CHECKS, Check};
use patient::Patient;
use report::{Finding, Report, Status};

/// How long one check may take: several requests of 10 s each do not fit in, and whoever waits for a person's answer neither.
const CHECK_WITHIN: Duration = Duration::from_secs(20);
/// The address that is assumed where nobody gave one, as the client commands do.
const ASSUMED: &str = "http://127.0.0.1:8000";
/// Something was found that has to be put right, and the command line itself is wrong.
const FAILED: u8 = 1;
const USAGE: u8 = 2;

#[derive(Debug, Args)]
pub struct Doctor {
    /// Ask only whether the replica lives, at --url, else on this machine at --port: for health checks
    #[arg(long, conflicts_with = "submit_noop")]
    live: bool,
    /// Submit a job that does nothing, in each namespace, and wait until it has ended
    #[arg(long)]
    submit_noop: bool,
    /// Longshore's own image, for the job that does nothing [default: `true` in the default image]
    #[arg(long, env = "LONGSHORE_NOOP_IMAGE", value_name = "IMAGE")]
    noop_image: Option<String>,
    /// How to print what was found
    #[arg(long, short, default_value = "table", value_name = "FORMAT")]
    output: Format,
    /// The cluster's kubeconfig [default: the pod's service account, else KUBECONFIG, else ~/.kube/config]
    #[arg(long, env = "LONGSHORE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    database: config::Database,
    #[command(flatten, next_help_heading = "Settings of serve")]
    replica: config::Replica,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Examines, and prints what was found. `url`: where a replica is, as the client commands take it.
pub async fn run(url: &str, args: Doctor) -> ExitCode {
    let usage = |what: &str, fix: &str| {
        eprintln!("error: {what}\nfix: {fix}");
        ExitCode::from(USAGE)
    };
    let is_given = url != ASSUMED;
    let address = match (is_given, args.live) {
        (false, true) => format!("http://127.0.0.1:{}", args.replica.port),
        _ => url.trim().to_owned(),
    };
    let Some(address) = Url::parse(&address).ok().filter(|it| matches!(it.scheme(), "http" | "https")) else {
        return usage("the address of Longshore is wrong", "give --url as http://HOST:PORT or https://HOST");
    };
    let http = match patient::http() {
        Ok(http) => http,
        Err(err) => return usage(&format!("{err:#}"), "look at the certificates of this machine"),
    };
    if args.live {
        return live::ask(&http, &address).await;
    }
    if let Err(err) = args.replica.check() {
        return usage(&format!("{err:#}"), "correct the setting; `longshore serve --help` has them all");
    }
    let patient = Patient {
        url: address,
        url_is_given: is_given,
        http,
        database: patient::database(&args.database),
        cluster: patient::cluster(&args.replica, args.kubeconfig.as_deref()).await,
        noop: args.submit_noop.then_some(args.noop_image),
        config: args.replica,
    };
    let report = examine(&patient).await;
    let text = match args.output {
        Format::Json => report.json(),
        Format::Table => {
            let coloured =
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
            report.table(coloured)
        }
    };
    // Whoever does not read it to its end still gets the exit code.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
    if report.has_failed() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

/// Makes one check after the other.
async fn examine(patient: &Patient) -> Report {
    let mut found: Vec<Finding> = Vec::new();
    for check in CHECKS {
        let is_well = |name: &str| found.iter().filter(|it| it.check == name).all(|it| it.status == Status::Ok);
        let told = match check.needs.iter().find(|it| !is_well(it)) {
            Some(missing) => vec![Finding::because_of(missing)],
            None => {
                let bound = if check.name == "no-op" { noop::WITHIN } else { CHECK_WITHIN };
                let late = || {
                    let remedy = "look at what is between here and what it asks, and try again";
                    vec![Finding::fail(format!("no answer within {bound:?}"), check.looks, remedy)]
                };
                tokio::time::timeout(bound, (check.ask)(patient)).await.unwrap_or_else(|_| late())
            }
        };
        found.extend(told.into_iter().map(|it| Finding { check: check.name, ..it }));
    }
    Report(found)
}
