//! The flags of the commands that serve. Every flag has an environment variable `LONGSHORE_…`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::{lifecycle::KeepLogs, spec::duration, telemetry::LogFormat, trouble::Override};

/// Flags of every command that runs in the foreground and logs.
#[derive(Debug, Clone, Args)]
pub struct Log {
    /// What to log: a level, or a filter such as `longshore=debug,warn`
    #[arg(long, env = "LONGSHORE_LOG_LEVEL", default_value = "info", global = true, value_name = "FILTER")]
    pub log_level: String,
    /// How to write the log
    #[arg(long, env = "LONGSHORE_LOG_FORMAT", default_value = "text", global = true, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Which database.
#[derive(Debug, Clone, Args)]
pub struct Database {
    /// The Postgres to use, such as postgres://user:password@host/database; also DATABASE_URL. Without it a server of
    /// Longshore's own is started, from the programs installed on this machine
    #[arg(long, env = "LONGSHORE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Where a server of Longshore's own keeps its data between runs
    /// [default: /var/lib/longshore for root, else ~/.local/share/longshore]
    #[arg(long, env = "LONGSHORE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the programs `postgres` and `initdb` are, if not on the PATH or under /usr/lib/postgresql
    #[arg(long, env = "LONGSHORE_POSTGRES_BIN", value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
}

impl Database {
    /// The URL that was given, by flag or environment.
    pub fn given_url(&self) -> Option<String> {
        let from_env = || std::env::var("DATABASE_URL").ok();
        self.database_url.clone().or_else(from_env).filter(|it| !it.is_empty())
    }

    /// Where to keep data when nothing was said.
    pub fn data_dir(&self) -> PathBuf {
        let home = || std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let of_user = || std::env::var_os("XDG_DATA_HOME").map_or_else(|| home().join(".local/share"), PathBuf::from);
        self.data_dir.clone().unwrap_or_else(|| match nix::unistd::geteuid().is_root() {
            true => PathBuf::from("/var/lib/longshore"),
            false => of_user().join("longshore"),
        })
    }
}

/// The shortest retention: partitions of a tenth of it are made and dropped at that pace.
pub const SHORTEST_RETENTION: Duration = Duration::from_secs(10);

/// What a replica does and how.
#[derive(Debug, Clone, Args)]
pub struct Replica {
    /// The address to listen on [default: 0.0.0.0; for `dev` 127.0.0.1]
    #[arg(long, env = "LONGSHORE_HOST", value_name = "ADDRESS")]
    pub host: Option<IpAddr>,
    /// The port to listen on; 0 takes a free one
    #[arg(long, env = "LONGSHORE_PORT", default_value_t = 8000)]
    pub port: u16,
    /// The global cap: how many jobs may hold a slot at once. Written to the database when given; a new database has 2
    #[arg(long, env = "LONGSHORE_MAX_CONCURRENCY", value_name = "JOBS", value_parser = clap::value_parser!(i32).range(0..))]
    pub max_concurrency: Option<i32>,
    /// The namespaces that jobs may run in, separated by commas; the first is the default
    #[arg(long, env = "LONGSHORE_NAMESPACE", default_value = "default", value_delimiter = ',', value_name = "NAMES")]
    pub namespace: Vec<String>,
    /// The image of a job that names none
    #[arg(long, env = "LONGSHORE_DEFAULT_IMAGE", default_value = "busybox:latest", value_name = "IMAGE")]
    pub default_image: String,
    /// When nodes pull the images of jobs without a manifest
    #[arg(long, env = "LONGSHORE_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_name = "POLICY")]
    pub image_pull_policy: PullPolicy,
    /// How long an idle queue's first job waits for the rest of its burst, so that the burst starts in the order of
    /// priority
    #[arg(long, env = "LONGSHORE_DISPATCH_DELAY", default_value = "100ms", value_parser = duration, value_name = "TIME")]
    pub dispatch_delay: Duration,
    /// How long a replica may be silent before the others take over what it was creating
    #[arg(long, env = "LONGSHORE_LEASE", default_value = "15s", value_parser = duration, value_name = "TIME")]
    pub lease: Duration,
    /// How long a finished Kubernetes Job is kept for people to look at
    #[arg(long, env = "LONGSHORE_KEEP_FINISHED", default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub keep_finished: Duration,
    /// Of which attempts the end of the log is kept in the database, 16 KiB each: none, failed or all
    #[arg(long, env = "LONGSHORE_KEEP_LOGS", default_value = "failed", value_parser = keep_logs, value_name = "WHICH")]
    pub keep_logs: KeepLogs,
    /// How long finished jobs stay in the database; 0s keeps them for ever
    #[arg(long, env = "LONGSHORE_RETENTION", default_value = "30d", value_parser = duration, value_name = "TIME")]
    pub retention: Duration,
    /// How long an attempt may take until the containers of a pod run, init containers done, where its job does not say; 0s is no bound
    #[arg(long, env = "LONGSHORE_START_TIMEOUT", default_value = "1h", value_parser = duration, value_name = "TIME")]
    pub start_timeout: Duration,
    /// How long a trouble at the start is borne, by the kubelet's name for it, such as ImagePullBackOff=5m; `never` leaves it
    /// to the start timeout. Several are separated by commas; docs/lifecycle.md has the table
    #[arg(long, env = "LONGSHORE_START_GRACE", value_delimiter = ',', value_name = "NAME=TIME")]
    pub start_grace: Vec<Override>,
    /// How often to look for work that no signal told of
    #[arg(long, env = "LONGSHORE_CLAIM_PERIOD", default_value = "1s", value_parser = duration, value_name = "TIME")]
    pub claim_period: Duration,
    /// How often to compare every row with the cluster, whatever the watches tell
    #[arg(long, env = "LONGSHORE_RECONCILE_PERIOD", default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub reconcile_period: Duration,
    /// The most Kubernetes Jobs that this replica creates at a time
    #[arg(long, env = "LONGSHORE_CREATE_CONCURRENCY", default_value_t = 64, value_name = "REQUESTS",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub create_concurrency: u16,
    /// The most requests a second that this replica sends to Kubernetes, its lists, watches and readiness checks excepted;
    /// 0 is no bound
    #[arg(long, env = "LONGSHORE_KUBE_QPS", default_value_t = 100, value_name = "REQUESTS")]
    pub kube_qps: u32,
    /// The most database connections for requests; the loops have a few of their own
    #[arg(long, env = "LONGSHORE_DATABASE_CONNECTIONS", default_value_t = 10, value_name = "CONNECTIONS",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_connections: u32,
    /// How long a replica that was told to stop waits for what is under way
    #[arg(long, env = "LONGSHORE_DRAIN_TIMEOUT", default_value = "20s", value_parser = duration, value_name = "TIME")]
    pub drain_timeout: Duration,
}

impl Replica {
    /// What clap cannot check.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.lease >= crate::lease::SHORTEST, "--lease must be at least {:?}", crate::lease::SHORTEST);
        anyhow::ensure!(
            self.retention.is_zero() || self.retention >= SHORTEST_RETENTION,
            "--retention must be at least {SHORTEST_RETENTION:?}, or 0s to keep everything"
        );
        let kept = self.keep_finished.max(self.lease);
        anyhow::ensure!(
            self.retention.is_zero() || self.retention / 2 >= kept,
            "--retention must be at least twice {kept:?}, for which finished Kubernetes Jobs are kept: one that no row \
             knows any more is left alone"
        );
        anyhow::ensure!(!self.claim_period.is_zero(), "--claim-period must not be zero");
        anyhow::ensure!(!self.reconcile_period.is_zero(), "--reconcile-period must not be zero");
        anyhow::ensure!(self.dispatch_delay <= Duration::from_secs(60), "--dispatch-delay must be at most a minute");
        for name in &self.namespace {
            crate::spec::check_dns_label(name).map_err(|fault| anyhow::anyhow!("--namespace {name:?} {fault}"))?;
        }
        Ok(())
    }
}

fn keep_logs(text: &str) -> Result<KeepLogs, String> {
    KeepLogs::from_name(text).ok_or_else(|| "must be none, failed or all".to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        replica: Replica,
    }

    fn check(flags: &[&str]) -> bool {
        Flags::try_parse_from([&["test"], flags].concat()).unwrap().replica.check().is_ok()
    }

    #[test]
    fn rows_stay_for_as_long_as_the_kubernetes_jobs_that_they_tell_of() {
        assert!(check(&[]) && check(&["--retention=0s"]) && check(&["--retention=10m"]));
        assert!(!check(&["--retention=6m"]), "finished Jobs are kept for 5 min, and removed by what their rows say");
        assert!(check(&["--retention=10s", "--keep-finished=0s", "--lease=3s"]));
    }
}
