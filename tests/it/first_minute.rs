//! A newcomer's first minute: one command, and every line that it prints works as printed.

use std::{path::Path, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::harness::{BOUND, eventually};

/// Starts `longshore dev` on `dir`, and answers it with the command lines that it printed.
async fn dev(dir: &Path) -> (Child, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(["dev", "--port", "0", "--duration", "300ms", "--data-dir"]).arg(dir).env_remove("DATABASE_URL");
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut commands = Vec::new();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(command) = line.strip_prefix("  ") {
                commands.push(command.to_owned());
            }
            if line.trim_start().starts_with("psql") {
                break;
            }
        }
    };
    tokio::time::timeout(BOUND, read).await.expect("it prints what to try next");
    (child, commands)
}

/// Runs a command line as a newcomer would, in a shell.
async fn try_out(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}: {err}");
    out.into_owned()
}

fn server_of(dir: &Path) -> Pid {
    let file = std::fs::read_to_string(dir.join("postgres/data/postmaster.pid")).unwrap();
    Pid::from_raw(file.lines().next().unwrap().trim().parse().unwrap())
}

async fn is_gone(pid: Pid) {
    eventually("its Postgres is gone", async || kill(pid, None).is_err().then_some(())).await;
}

fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    // Postgres runs as another user when we are root, and must be able to get to its own folder.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_every_line_that_dev_prints_works_and_the_data_is_there_the_next_time() {
    let dir = folder();
    let (mut child, commands) = dev(dir.path()).await;
    let server = server_of(dir.path());
    assert!(commands.iter().any(|it| it.starts_with("curl")) && commands.iter().any(|it| it.starts_with("psql")));
    let has_kubectl = Command::new("kubectl").args(["version", "--client"]).output().await.is_ok();
    for command in &commands {
        if command.starts_with("kubectl") && !has_kubectl {
            println!("no kubectl here: its line was not tried");
            continue;
        }
        let said = try_out(command).await;
        assert!(!command.contains("psql") || said.contains("hello"), "{command}: {said}");
    }
    let psql = commands.iter().find(|it| it.starts_with("psql")).unwrap().clone();
    eventually("the newcomer's job is done", async || try_out(&psql).await.contains("succeeded").then_some(())).await;
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let status = tokio::time::timeout(BOUND, child.wait()).await.expect("Ctrl-C stops it").unwrap();
    assert!(status.success(), "{status}");
    is_gone(server).await;

    // The next time the data is there, and the psql line of the first time still holds. Then it is killed.
    let (mut child, _) = dev(dir.path()).await;
    assert!(try_out(&psql).await.contains("hello"));
    let server = server_of(dir.path());
    child.kill().await.unwrap();
    is_gone(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_second_dev_on_the_same_data_is_refused_with_the_remedy() {
    let dir = folder();
    let (_child, _) = dev(dir.path()).await;
    let second = Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(["dev", "--port", "0", "--data-dir"])
        .arg(dir.path())
        .env_remove("DATABASE_URL")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("in use") && said.contains("--data-dir"), "{said}");
}
