//! The command line: what each command starts, in which order, and how it stops.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    client,
    cluster::{
        connect,
        policy::{self, PodPolicy},
    },
    config, doctor,
    embedded::Postgres,
    recover,
    run::Replica,
    sim::{Sim, SimConfig},
    spec::duration,
    store::{Db, migrate},
    telemetry,
    templates::jq,
};

/// Queues Kubernetes Jobs in Postgres, and creates them by priority under an exact cap.
#[derive(Parser)]
#[command(name = "longshore", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    connection: client::Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a replica: the API, the scheduler and the watches
    Serve(Serve),
    /// Try everything on this machine: a database, a simulated cluster and a replica
    Dev(Dev),
    /// Bring the database's schema up to date
    Migrate(Migrate),
    /// Find out what is wrong, and what to do about it: database, schema, permissions, quotas, clocks, watches
    Doctor(Box<doctor::Doctor>),
    /// Bring the rows up to the cluster after the database was restored: what ran since the backup is adopted
    Recover(recover::Recover),
    /// Run the simulated cluster alone
    Sim(SimArgs),
    /// Print the pod policy that is in force where no file is given, or check a file
    PodPolicy {
        /// The file to check, as --pod-policy takes it
        file: Option<PathBuf>,
    },
    /// Print what a shell needs to complete commands, as in `longshore completion bash > FILE`
    Completion { shell: Shell },
    #[command(flatten)]
    Client(client::Command),
}

#[derive(Args)]
struct Serve {
    /// The same as --filter
    #[arg(value_name = "FILTER", conflicts_with_all = ["filter", "from_file"])]
    positional_filter: Option<String>,
    /// The cluster's kubeconfig [default: the pod's service account, else KUBECONFIG, else ~/.kube/config]
    #[arg(long, env = "LONGSHORE_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Use a simulated cluster in this process, and, without --database-url and --data-dir, a database that is thrown away
    #[arg(long, env = "LONGSHORE_DRY_RUN", value_parser = config::truth)]
    dry_run: bool,
    /// How long a job of a dry run takes
    #[arg(long, env = "LONGSHORE_DRY_RUN_DURATION", default_value = "10s", value_parser = duration, value_name = "TIME")]
    dry_run_duration: Duration,
    #[command(flatten)]
    replica: config::Replica,
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    log: config::Log,
}

impl Serve {
    /// What clap cannot check: for it, a variable that says no to a flag is that flag, and would forbid another.
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.dry_run || self.kubeconfig.is_none(),
            "--dry-run uses a simulated cluster: leave out --kubeconfig (LONGSHORE_KUBECONFIG), or --dry-run \
             (LONGSHORE_DRY_RUN)"
        );
        self.database.check()?;
        self.replica.check()
    }
}

#[derive(Args)]
struct Dev {
    /// How long a job takes, unless its annotation sim.longshore.dev/duration says otherwise
    #[arg(long, env = "LONGSHORE_SIM_DURATION", default_value = "10s", value_parser = duration, value_name = "TIME")]
    duration: Duration,
    /// The port of the simulated cluster; 0 takes a free one
    #[arg(long, env = "LONGSHORE_SIM_PORT", default_value_t = 0)]
    sim_port: u16,
    #[command(flatten)]
    replica: config::Replica,
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    log: config::Log,
}

#[derive(Args)]
struct Migrate {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    log: config::Log,
}

#[derive(Args)]
struct SimArgs {
    /// The port to listen on, on the loopback interface; 0 takes a free one
    #[arg(long, env = "LONGSHORE_SIM_PORT", default_value_t = 8001)]
    port: u16,
    /// Write a kubeconfig for it here
    #[arg(long, env = "LONGSHORE_SIM_WRITE_KUBECONFIG", value_name = "FILE")]
    write_kubeconfig: Option<PathBuf>,
    /// Append Kubernetes audit events here, as JSON lines
    #[arg(long, env = "LONGSHORE_SIM_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// How long a job takes, unless its annotation sim.longshore.dev/duration says otherwise
    #[arg(long, env = "LONGSHORE_SIM_DURATION", default_value = "10s", value_parser = duration, value_name = "TIME")]
    duration: Duration,
    #[command(flatten)]
    log: config::Log,
}

/// The whole command line, which `docs/reference` is made of.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Everything that `main` does. Postgres is started from here, the main thread, because it ends with the thread that
/// started it.
pub fn main() -> ExitCode {
    if let Some(ended) = jq::work_if_asked() {
        return ended;
    }
    // One TLS stack; it can only be installed once, and this is the only place that does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Completion { shell } => {
            complete(shell);
            Ok(())
        }
        Command::Doctor(args) => return with_runtime(doctor::run(&cli.connection.url, *args)),
        Command::Client(command) => return with_runtime(client::run(cli.connection, command)),
        Command::Recover(args) => return with_runtime(recover::run(args)),
        Command::Serve(args) => serve(args),
        Command::Dev(args) => dev(args),
        Command::Migrate(args) => migrate(&args),
        Command::Sim(args) => sim(args),
        Command::PodPolicy { file } => pod_policy(file.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn pod_policy(file: Option<&Path>) -> anyhow::Result<()> {
    match file {
        None => print!("{}", policy::DEFAULT),
        Some(file) => {
            PodPolicy::read(file)?;
            println!("{} is a pod policy that can be used", file.display());
        }
    }
    Ok(())
}

fn complete(shell: Shell) {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "longshore", &mut text);
    // Whoever does not read it to its end does not want it.
    let _ = std::io::stdout().write_all(&text);
}

fn serve(mut args: Serve) -> anyhow::Result<()> {
    args.replica.filter.filter = args.positional_filter.take().or(args.replica.filter.filter);
    telemetry::start(&args.log.log_level, args.log.log_format)?;
    args.check()?;
    let _traces = args.replica.trace()?;
    let postgres = match args.database.given_url() {
        Some(_) => None,
        None if args.dry_run && args.database.data_dir.is_none() => {
            Some(Postgres::start_throw_away(args.database.postgres_bin.as_deref())?)
        }
        None => Some(own_postgres(&args.database)?),
    };
    block_on(async {
        let stop = stop_on_signal()?;
        let url = database_url(&args.database, postgres.as_ref()).await?;
        let (client, sim) = match args.dry_run {
            true => {
                let sim = start_sim(0, SimConfig { duration: args.dry_run_duration, ..SimConfig::default() }).await?;
                tracing::info!(server = sim.url(), "dry run: the cluster is a simulation in this process");
                (connect::to_url(&sim.url())?, Some(sim))
            }
            false => {
                let (client, server) = connect::connect(args.kubeconfig.as_deref()).await?;
                tracing::info!(server, "using the cluster");
                (client, None)
            }
        };
        Replica::start(&args.replica, &url, client, stop).await?.stopped().await;
        if let Some(sim) = sim {
            sim.stop().await;
        }
        Ok(())
    })
}

fn dev(args: Dev) -> anyhow::Result<()> {
    telemetry::start(&args.log.log_level, args.log.log_format)?;
    args.replica.check()?;
    let _traces = args.replica.trace()?;
    let dir = args.database.data_dir();
    let postgres = match args.database.given_url() {
        Some(_) => None,
        None => Some(own_postgres(&args.database)?),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create the folder {}", dir.display()))?;
    block_on(async {
        let stop = stop_on_signal()?;
        let url = database_url(&args.database, postgres.as_ref()).await?;
        let sim = start_sim(args.sim_port, SimConfig { duration: args.duration, ..SimConfig::default() }).await?;
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, sim.kubeconfig())
            .with_context(|| format!("cannot write {}", kubeconfig.display()))?;
        let mut config = args.replica.clone();
        config.host.get_or_insert(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let replica = Replica::start(&config, &url, connect::to_url(&sim.url())?, stop).await?;
        let api = format!("http://127.0.0.1:{}", replica.address.port());
        println!(
            r#"
Longshore is up, with a simulated cluster in which a job takes {duration:?}. Ctrl-C stops it; its data is kept in {dir}.

Look at it in a browser: {api}/

Submit a job, and see it:
  curl -s {api}/jobs -d '{{"name":"hello","priority":2,"command":["echo","hello"]}}'
  curl -s {api}/jobs/running

See it in the cluster:
  kubectl --kubeconfig {kubeconfig} get jobs,pods

See it in the database:
  psql '{url}' -c 'select name, state, reason, created_at from longshore.jobs order by id desc limit 10'
"#,
            duration = args.duration,
            dir = dir.display(),
            kubeconfig = kubeconfig.display(),
        );
        replica.stopped().await;
        sim.stop().await;
        Ok(())
    })
}

fn migrate(args: &Migrate) -> anyhow::Result<()> {
    telemetry::start(&args.log.log_level, args.log.log_format)?;
    let url = args.database.given_url().context("give --database-url, or set DATABASE_URL")?;
    block_on(async {
        migrate::run(&Db::new(&url, 1)?).await?;
        println!("the schema is at version {}", migrate::target());
        Ok(())
    })
}

fn sim(args: SimArgs) -> anyhow::Result<()> {
    telemetry::start(&args.log.log_level, args.log.log_format)?;
    block_on(async {
        let stop = stop_on_signal()?;
        let config = SimConfig { duration: args.duration, audit_log: args.audit_log, ..SimConfig::default() };
        let sim = start_sim(args.port, config).await?;
        if let Some(path) = &args.write_kubeconfig {
            std::fs::write(path, sim.kubeconfig()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        println!("a simulated cluster answers at {}", sim.url());
        stop.cancelled().await;
        sim.stop().await;
        Ok(())
    })
}

/// A server of our own on the named folder. Not in a cluster, where every replica would have another.
fn own_postgres(database: &config::Database) -> anyhow::Result<Postgres> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        anyhow::bail!("no database: give --database-url, or set DATABASE_URL, to the Postgres that all replicas share");
    }
    let postgres = Postgres::start(&database.data_dir(), database.postgres_bin.as_deref())?;
    tracing::info!(dir = %postgres.dir.display(), "no --database-url was given: using a Postgres of my own");
    Ok(postgres)
}

async fn database_url(database: &config::Database, own: Option<&Postgres>) -> anyhow::Result<String> {
    match own {
        Some(postgres) => {
            migrate::create_database(&postgres.url).await.context("cannot create the database")?;
            Ok(postgres.url.clone())
        }
        None => database.given_url().context("no database"),
    }
}

async fn start_sim(port: u16, config: SimConfig) -> anyhow::Result<Sim> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("the simulated cluster cannot listen on port {port}"))?;
    Sim::start(listener, config).await.context("cannot start the simulated cluster")
}

/// Cancelled by the first SIGTERM or SIGINT; the second one ends the process at once.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if stopping.is_cancelled() {
                tracing::warn!("told to stop again: ending at once");
                std::process::exit(130);
            }
            tracing::info!("stopping: finishing what is under way");
            stopping.cancel();
        }
    });
    Ok(stop)
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

fn with_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match block_on(async { Ok(work.await) }) {
        Ok(code) => code,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}
