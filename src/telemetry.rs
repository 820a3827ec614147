//! The log: one line an event, on standard error, as text for people or JSON for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging. `level` is a filter such as `info` or `longshore=debug,kube=warn`.
pub fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(level).map_err(|err| anyhow::anyhow!("--log-level {level:?} is not a filter: {err}"))?;
    // Postgres' notices, such as that a schema exists already, are nobody's news.
    let filter = filter.add_directive("sqlx::postgres::notice=warn".parse()?);
    // It logs as errors what it returns to us, and we handle and log.
    let filter = filter.add_directive("kube_client::client::builder=off".parse()?);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colour);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|err| anyhow::anyhow!("cannot start logging: {err}"))
}
