//! A standby of a world's Postgres, which takes its place. It needs PostgreSQL's programs on this machine.

use std::{
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use longshore::embedded;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use sqlx::{Connection, PgConnection};

use super::{eventually, scalar};

/// A running server; stopped when dropped.
pub struct Standby {
    server: Child,
    /// It can be read before it is promoted.
    pub url: String,
    _dir: tempfile::TempDir,
}

impl Standby {
    /// Copies the primary that `url` leads to, and follows it over the same way; answers when it can be read. None where only
    /// a container has a Postgres.
    pub async fn of(url: &str) -> Option<Self> {
        // Where they are found may be links to the server's alone.
        let server = embedded::find_programs(None)?.join("postgres").canonicalize().unwrap();
        let bin = server.parent().unwrap();
        let dir = tempfile::tempdir().unwrap();
        // It refuses root.
        let user = geteuid().is_root().then(|| User::from_name("postgres").unwrap().expect("there is a user postgres"));
        if let Some(user) = &user {
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        let command = |program: &str| command(bin.join(program), dir.path(), user.as_ref());
        let mut copy = tokio::process::Command::from(command("pg_basebackup"));
        copy.args(["--dbname", url, "--pgdata", "data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        let copied = copy.output().await.unwrap();
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = command("postgres");
        server.args(["-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        server.args(["-c", &format!("port={port}"), "-c", "max_connections=200", "-c", "fsync=off"]);
        let server = server.spawn().unwrap();
        let (login, database) = (url.split_once('@').unwrap().0, url.rsplit_once('/').unwrap().1);
        let standby = Self { server, url: format!("{login}@127.0.0.1:{port}/{database}"), _dir: dir };
        eventually("the standby can be read", async || PgConnection::connect(&standby.url).await.ok()).await;
        Some(standby)
    }

    pub async fn conn(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// Ends when it does not follow the primary any more, whose way to it was cut.
    pub async fn is_cut_off(&self) {
        let mut conn = self.conn().await;
        eventually("the standby follows nobody", async || {
            let follows = "select exists (select from pg_stat_wal_receiver)";
            (!scalar::<bool>(&mut conn, follows).await).then_some(())
        })
        .await;
    }

    /// Makes it a primary of what it has got.
    pub async fn promote(&self) {
        assert!(scalar::<bool>(&mut self.conn().await, "select pg_promote()").await, "it is not promoted in a minute");
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.server.id().try_into().unwrap()), Signal::SIGQUIT);
        let _ = self.server.wait();
    }
}

fn command(program: PathBuf, dir: &Path, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}
