//! What a row is measured on: a Postgres whose commits wait for the disk, a cluster, and replicas as processes of their own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context;
use longshore::{
    embedded::{self, Postgres},
    store::{Db, migrate},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// How often a row looks whether what it waits for is there.
const LOOK: Duration = Duration::from_millis(50);

/// A Postgres of its own, with Longshore's schema in it, on a folder that is removed with it.
pub struct World {
    // Dropped in this order.
    pub postgres: Postgres,
    pub dir: tempfile::TempDir,
    pub url: String,
}

impl World {
    /// On the main thread only: see [`Postgres::start`].
    pub async fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        // Another user runs the server.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let postgres = Postgres::start(dir.path(), None)?;
        let url = postgres.url.clone();
        let world = Self { postgres, dir, url };
        world.fresh().await?;
        Ok(world)
    }

    /// Begins anew with an empty database.
    pub async fn fresh(&self) -> anyhow::Result<()> {
        let (server, name) = self.url.rsplit_once('/').context("a URL without a database")?;
        let mut admin = PgConnection::connect(&format!("{server}/postgres")).await?;
        admin.execute(AssertSqlSafe(format!("drop database if exists {name} with (force)"))).await?;
        migrate::create_database(&self.url).await?;
        migrate::run(&Db::new(&self.url, 2)?).await?;
        Ok(())
    }

    /// Another database on the same server, with the schema in it; answers with its URL.
    pub async fn another(&self, name: &str) -> anyhow::Result<String> {
        let (server, _) = self.url.rsplit_once('/').context("a URL without a database")?;
        let url = format!("{server}/{name}");
        migrate::create_database(&url).await?;
        migrate::run(&Db::new(&url, 2)?).await?;
        Ok(url)
    }

    pub async fn conn(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// Runs statements that answer nothing.
    pub async fn sql(&self, text: &str) -> anyhow::Result<()> {
        self.conn().await?.execute(AssertSqlSafe(text.to_owned())).await?;
        Ok(())
    }

    /// One number.
    pub async fn number(&self, text: &str) -> anyhow::Result<f64> {
        let sql = AssertSqlSafe(format!("select ({text})::float8"));
        Ok(sqlx::query_scalar(sql).fetch_one(&mut self.conn().await?).await?)
    }

    /// Ends when a number is as large as that.
    pub async fn until(&self, text: &str, at_least: f64, within: Duration) -> anyhow::Result<()> {
        let (mut conn, begun) = (self.conn().await?, Instant::now());
        let sql = format!("select ({text})::float8");
        loop {
            let now: f64 = sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(&mut conn).await?;
            if now >= at_least {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < within, "{text} came to {now} of {at_least} in {within:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sets the global cap.
    pub async fn cap(&self, cap: i32) -> anyhow::Result<()> {
        self.sql(&format!("update longshore.limits set cap = {cap} where name = 'global'")).await
    }

    /// Starts a replica that sees this cluster.
    pub async fn replica(&self, kubeconfig: &Path, flags: &[&str]) -> anyhow::Result<Process> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(["serve", "--host=127.0.0.1", "--port=0", "--log-format=json", "--log-level=warn,longshore=info"]);
        command.args(["--database-url", &self.url]).arg("--kubeconfig").arg(kubeconfig).args(flags);
        Process::start(command, |line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            (event["message"] == "ready").then(|| event["address"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Starts the simulated cluster, and answers with its kubeconfig.
    pub async fn sim(&self, flags: &[&str]) -> anyhow::Result<(Process, PathBuf)> {
        let kubeconfig = self.dir.path().join(format!("kubeconfig-{}", uuid::Uuid::new_v4().simple()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(["sim", "--port=0", "--write-kubeconfig"]).arg(&kubeconfig).args(flags);
        let sim =
            Process::start(command, |line| line.split_once("answers at http://").map(|it| it.1.to_owned())).await?;
        Ok((sim, kubeconfig))
    }

    /// Runs pgbench for so many seconds with a script of `benches/sql`.
    pub async fn pgbench(&self, script: &str, clients: usize, secs: u64) -> anyhow::Result<Pgbench> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sql").join(script);
        let prefix = self.dir.path().join(format!("pgbench-{}", uuid::Uuid::new_v4().simple()));
        let mut command = Command::new(pg_program("pgbench"));
        command.args(["--no-vacuum", "--protocol=prepared", "--log", "--log-prefix"]).arg(&prefix);
        command.args([format!("--client={clients}"), format!("--jobs={}", clients.min(2)), format!("--time={secs}")]);
        let output = command.arg("--file").arg(path).arg(&self.url).output().await.context("pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let per_sec = said.lines().find_map(|it| it.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        let mut millis = Vec::new();
        for entry in std::fs::read_dir(self.dir.path())?.flatten() {
            if entry.path().to_string_lossy().starts_with(&*prefix.to_string_lossy()) {
                let text = std::fs::read_to_string(entry.path())?;
                let micros = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
                millis.extend(text.lines().filter_map(micros).map(|it| it / 1000.0));
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Pgbench { per_sec: per_sec.context("pgbench did not say how fast it was")?, millis })
    }
}

/// What pgbench measured.
pub struct Pgbench {
    pub per_sec: f64,
    /// How long each transaction took.
    pub millis: Vec<f64>,
}

/// Where a program of Postgres is: with the server's, else on the PATH.
pub fn pg_program(name: &str) -> String {
    let beside_server = embedded::find_programs(None).map(|it| it.join(name)).filter(|it| it.is_file());
    beside_server.map_or_else(|| name.to_owned(), |it| it.display().to_string())
}

/// A process of Longshore's own that is killed when dropped.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: String,
    /// The last lines that it said.
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    async fn start(mut command: Command, ready: fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        command.env_remove("DATABASE_URL").env_remove("KUBECONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let (out, err) = (child.stdout.take().context("no output")?, child.stderr.take().context("no output")?);
        let keep = |mut lines: tokio::io::Lines<Box<dyn tokio::io::AsyncBufRead + Send + Unpin>>| {
            let (said, tell) = (said.clone(), tell.clone());
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Some(address) = ready(&line) {
                        let _ = tell.try_send(address);
                    }
                    if let Ok(mut said) = said.lock() {
                        said.push(line);
                        let surplus = said.len().saturating_sub(100);
                        said.drain(..surplus);
                    }
                }
            })
        };
        keep((Box::new(BufReader::new(out)) as Box<dyn tokio::io::AsyncBufRead + Send + Unpin>).lines());
        keep((Box::new(BufReader::new(err)) as Box<dyn tokio::io::AsyncBufRead + Send + Unpin>).lines());
        drop(tell);
        let address = told.recv().await;
        let last_words = || said.lock().map(|it| it.join("\n")).unwrap_or_default();
        let address = address.with_context(|| format!("a process ended before it was ready: {}", last_words()))?;
        Ok(Self { child, address, said })
    }

    /// The last lines that it said.
    pub fn last_words(&self) -> String {
        self.said.lock().map(|it| it.join("\n")).unwrap_or_default()
    }

    /// A value of `/proc/PID/status` in KiB, such as VmRSS.
    pub fn memory_kib(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().context("it ended")?))?;
        let line = status.lines().find(|it| it.starts_with(name)).context("no such line")?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
    }
}
