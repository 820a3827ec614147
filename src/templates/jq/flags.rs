//! Which filter, and what it may see and take.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;

use crate::spec::duration;

use super::{
    frame::Start,
    pool::{Filters, Limits, Refused},
};

/// Variables that a filter may see without being named: the dispatcher's own settings begin like this.
const FREE_PREFIX: &str = "JOB_";
/// The shortest time for a filter: below it a busy machine would fail good ones.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest: requests wait for each other's filters, and none is held for over a minute.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The flags of the jq front.
#[derive(Debug, Clone, Args)]
pub struct FilterFlags {
    /// A jq filter that turns the body of POST /job into a Kubernetes Job; docs/jq.md says how
    #[arg(long, env = "LONGSHORE_FILTER", value_name = "FILTER", conflicts_with = "from_file")]
    pub filter: Option<String>,
    /// Read that filter from a file
    #[arg(short = 'f', long, env = "LONGSHORE_FILTER_FILE", value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Environment variables that the filter may see besides those that begin with JOB_, separated by commas
    #[arg(long, env = "LONGSHORE_FILTER_ENV", value_delimiter = ',', value_name = "NAMES")]
    pub filter_env: Vec<String>,
    /// How long the filter may run for one request, 100ms to 10s
    #[arg(long, env = "LONGSHORE_FILTER_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub filter_timeout: Duration,
    /// The program that runs filters, if not this one: a test is a program of its own.
    #[arg(long, hide = true, default_value = "/proc/self/exe", value_name = "PROGRAM")]
    pub filter_program: PathBuf,
}

impl FilterFlags {
    /// Starts the filter, if there is one. It is compiled here, so that a wrong one is told of before anything else starts.
    pub async fn start(&self) -> anyhow::Result<Option<Filters>> {
        let (filter, origin) = match (&self.filter, &self.from_file) {
            (_, Some(file)) => {
                let text = std::fs::read_to_string(file);
                (
                    text.with_context(|| format!("cannot read the filter {}", file.display()))?,
                    file.display().to_string(),
                )
            }
            (Some(filter), None) => (filter.clone(), "filter".to_owned()),
            (None, None) => return Ok(None),
        };
        anyhow::ensure!(
            (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&self.filter_timeout),
            "--filter-timeout must be {SHORTEST_TIMEOUT:?} to {LONGEST_TIMEOUT:?}"
        );
        let limits = Limits { timeout: self.filter_timeout, ..Limits::default() };
        let start = Start {
            filter,
            origin,
            env: self.visible(std::env::vars_os().filter_map(|(name, value)| {
                // What is not text could not be shown to a filter.
                Some((name.into_string().ok()?, value.into_string().ok()?))
            })),
            cpu_secs: limits.timeout.as_secs() + 1,
            memory_bytes: limits.memory_bytes,
            output_bytes: limits.output_bytes,
        };
        match Filters::start(&self.filter_program, &start, limits).await {
            Ok(filters) => Ok(Some(filters)),
            Err(Refused::Failed(why)) => anyhow::bail!("the filter does not compile: {why}"),
            Err(err) => Err(err.into()),
        }
    }

    fn visible(&self, env: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
        let may = |name: &str| name.starts_with(FREE_PREFIX) || self.filter_env.iter().any(|it| it == name);
        let mut visible: Vec<_> = env.filter(|(name, _)| may(name)).collect();
        visible.sort();
        visible
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: FilterFlags,
    }

    #[test]
    fn a_filter_sees_the_variables_of_jobs_and_those_that_were_named_and_no_secret() {
        let flags = Cli::try_parse_from(["test", "--filter-env=REGION,ZONE"]).unwrap().flags;
        let env =
            ["ZONE", "DATABASE_URL", "JOB_IMAGE", "MY_JOB_IMAGE", "REGIONS"].map(|it| (it.to_owned(), "v".to_owned()));
        let names: Vec<String> = flags.visible(env.into_iter()).into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["JOB_IMAGE", "ZONE"]);
    }
}
