//! Measured work: `cargo bench -- [ROW]…`, `make bench`. Every figure stands beside its limit or its peer, measured by turns
//! in the same run on the same machine, because only such ratios mean anything elsewhere. docs/benchmarks.md tells what each
//! row asks, and shows the latest answers.

mod bare;
mod create;
mod growth;
mod http;
mod jobs;
mod kueue;
mod latency;
mod memory;
mod peers;
mod pinned;
mod report;
mod requests;
mod submit;
mod target;
mod world;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use report::Report;

/// What can be measured, in the order of docs/benchmarks.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    Submit,
    Create,
    Latency,
    Requests,
    Growth,
    Memory,
    Pinned,
    Peers,
    Kueue,
}

#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything, when nothing is named
    rows: Vec<Row>,
    /// Measure for longer, and at the sizes that take longer to make
    #[arg(long)]
    full: bool,
    /// The kubeconfig of a real control plane, for the rows that ask one; without it they ask the simulator, and say so
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Where to write what was measured, besides printing it
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Given by cargo to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    // The Postgres of a row ends with the thread that started it: see src/embedded.rs. That is this one.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut report = Report::new(args.full);
    let rows = if args.rows.is_empty() { Row::value_variants().to_vec() } else { args.rows.clone() };
    for row in rows {
        report.begin(row.to_possible_value().map_or_else(String::new, |it| it.get_name().to_owned()));
        let measured = match row {
            Row::Submit => submit::run(&args, &mut report).await,
            Row::Create => create::run(&args, &mut report).await,
            Row::Latency => latency::run(&args, &mut report).await,
            Row::Requests => requests::run(&args, &mut report).await,
            Row::Peers => peers::run(&args, &mut report).await,
            Row::Growth => growth::run(&args, &mut report).await,
            Row::Memory => memory::run(&args, &mut report).await,
            Row::Pinned => pinned::run(&args, &mut report).await,
            Row::Kueue => kueue::run(&args, &mut report).await,
        };
        // One row that cannot be measured here must not keep the others from it.
        if let Err(err) = measured {
            report.could_not(&format!("{err:#}"));
        }
    }
    report.write(&args.out)
}
