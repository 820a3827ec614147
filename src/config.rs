//! The flags of the commands that serve. Every flag has an environment variable `LONGSHORE_…`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    egress::Allow,
    lifecycle::KeepLogs,
    roles::{Role, Roles},
    spec::duration,
    telemetry::LogFormat,
    templates::jq::FilterFlags,
    traces::Traces,
    trouble::Override,
};

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
        unless_empty(self.database_url.clone()).or_else(|| unless_empty(std::env::var("DATABASE_URL").ok()))
    }

    /// Whether what says which database says nothing, as a variable does whose Secret lacks the key. Each replica would take
    /// a Postgres of its own, and so a queue of its own.
    pub fn check(&self) -> anyhow::Result<()> {
        let empty = match (self.database_url.as_deref(), std::env::var_os("DATABASE_URL")) {
            (Some(""), _) => "--database-url (LONGSHORE_DATABASE_URL)",
            (None, Some(url)) if url.is_empty() => "DATABASE_URL",
            _ => return Ok(()),
        };
        anyhow::ensure!(
            self.given_url().is_some() || self.data_dir.is_some(),
            "{empty} is set, and empty: set it to the Postgres to use, such as postgres://user:password@host/database; or \
             unset it, for a Postgres of Longshore's own"
        );
        Ok(())
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
    /// Which parts this process runs, separated by commas; others run the rest on the same database
    #[arg(
        long,
        env = "LONGSHORE_ROLES",
        default_value = "api,scheduler,watcher,sources",
        value_delimiter = ',',
        value_name = "NAMES",
        hide_possible_values = true
    )]
    pub roles: Vec<Role>,
    /// The global cap: how many jobs may hold a slot at once. It is kept in the database, and written there when it differs
    /// from what a flag last gave, so that a restart does not undo what was set since; a new database has 2
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
    /// A folder with templates (*.yaml, *.yml, *.json), read again when they change
    #[arg(long, env = "LONGSHORE_TEMPLATES", value_name = "DIR")]
    pub templates: Option<PathBuf>,
    /// A ConfigMap with templates, followed; in the first namespace, where it names none
    #[arg(long, env = "LONGSHORE_TEMPLATE_CONFIG_MAP", value_name = "[NAMESPACE/]NAME")]
    pub template_config_map: Option<String>,
    /// The template of a job that says nothing of what to run
    #[arg(long, env = "LONGSHORE_DEFAULT_TEMPLATE", value_name = "NAME")]
    pub default_template: Option<String>,
    /// What pods may be: a file as `longshore pod-policy` prints one [default: Kubernetes' baseline, and a little less]
    #[arg(long, env = "LONGSHORE_POD_POLICY", value_name = "FILE")]
    pub pod_policy: Option<PathBuf>,
    /// Service accounts that pods may run under besides those of the pod policy, separated by commas; `*` is any
    #[arg(long, env = "LONGSHORE_ALLOW_SERVICE_ACCOUNT", value_delimiter = ',', value_name = "NAMES")]
    pub allow_service_account: Vec<String>,
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
    /// Where webhooks may lead besides the open Internet, and without TLS: addresses such as 10.1.0.0/16, or the name of a host.
    /// Several are separated by commas
    #[arg(long, env = "LONGSHORE_WEBHOOK_ALLOW", value_delimiter = ',', value_name = "CIDR|HOST")]
    pub webhook_allow: Vec<Allow>,
    /// The most database connections for requests; the loops have a few of their own
    #[arg(long, env = "LONGSHORE_DATABASE_CONNECTIONS", default_value_t = 10, value_name = "CONNECTIONS",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_connections: u32,
    /// How long a replica that was told to stop goes on as before, but says that it is not ready: until every load balancer
    /// has heard of it
    #[arg(long, env = "LONGSHORE_DRAIN_DELAY", default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub drain_delay: Duration,
    /// How long a replica that was told to stop waits for what is under way
    #[arg(long, env = "LONGSHORE_DRAIN_TIMEOUT", default_value = "20s", value_parser = duration, value_name = "TIME")]
    pub drain_timeout: Duration,
    /// A collector that traces are told to, by OTLP over HTTP, such as http://collector:4318; also OTEL_EXPORTER_OTLP_ENDPOINT
    #[arg(long, env = "LONGSHORE_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Queues elsewhere whose messages become jobs: a file that docs/sources.md describes
    #[arg(long, env = "LONGSHORE_SOURCES", value_name = "FILE")]
    pub sources: Option<PathBuf>,
    #[command(flatten)]
    pub filter: FilterFlags,
}

impl Replica {
    /// The parts that this process runs.
    pub fn roles(&self) -> Roles {
        self.roles.iter().copied().collect()
    }

    /// Begins to tell a collector of traces, if one is named; until what comes back is dropped.
    pub fn trace(&self) -> anyhow::Result<Option<Traces>> {
        let from_env = || unless_empty(std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok());
        let collector = unless_empty(self.otlp_endpoint.clone()).or_else(from_env);
        collector.as_deref().map(Traces::start).transpose()
    }

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

/// What a variable says of a flag that is given or not. Empty is as good as not set.
pub fn truth(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("must be true, yes, on or 1, or else false, no, off or 0".to_owned()),
    }
}

/// What is set to nothing is not set.
fn unless_empty(given: Option<String>) -> Option<String> {
    given.filter(|it| !it.is_empty())
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
    fn a_flag_in_the_environment_is_given_or_not_in_every_usual_word() {
        assert!(["1", "true", "yes", "on", "True", "YES"].iter().all(|it| truth(it) == Ok(true)));
        assert!(["", "0", "false", "no", "off", "Off"].iter().all(|it| truth(it) == Ok(false)));
        assert!(truth("2").is_err_and(|it| it.contains("true")));
    }

    #[test]
    fn rows_stay_for_as_long_as_the_kubernetes_jobs_that_they_tell_of() {
        assert!(check(&[]) && check(&["--retention=0s"]) && check(&["--retention=10m"]));
        assert!(!check(&["--retention=6m"]), "finished Jobs are kept for 5 min, and removed by what their rows say");
        assert!(check(&["--retention=10s", "--keep-finished=0s", "--lease=3s"]));
    }
}
