//! The log: one line an event, on standard error, as text for people or JSON for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::store::notices;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging. `level` is a filter such as `info` or `longshore=debug,kube=warn`.
pub fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(level).map_err(|err| anyhow::anyhow!("--log-level {level:?} is not a filter: {err}"))?;
    // Postgres' notices, such as that a schema exists already, are nobody's news; its warnings are heard in any case.
    let filter = filter.add_directive(format!("{}=warn", notices::TARGET).parse()?);
    // It logs as errors what it returns to us, and we handle and log.
    let filter = filter.add_directive("kube_client::client::builder=off".parse()?);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colour);
    let log = match format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry().with(log.with_filter(filter)).with(notices::Listening).try_init();
    started.map_err(|err| anyhow::anyhow!("cannot start logging: {err}"))
}
