//! `longshore recover`: a database is restored from a dump, and brought up to the cluster that went on without it.

use std::process::Stdio;

use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams};
use longshore::store::migrate;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{World, cli::Said, eventually, jobs::job, scalar};

/// Restores what pg_dump wrote into a new database, where the world goes on.
async fn restore(world: &mut World, dump: &[u8]) {
    let url = format!("{}_restored", world.url);
    migrate::create_database(&url).await.unwrap();
    let mut psql = Command::new("psql");
    psql.args(["--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1", &url]).stdin(Stdio::piped());
    let mut psql = psql.spawn().unwrap();
    let mut stdin = psql.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, dump).await.unwrap();
    drop(stdin);
    assert!(psql.wait().await.unwrap().success(), "the dump cannot be restored");
    world.goes_on_in(url).await;
}

/// Runs the command as an operator would.
async fn recover(world: &World, flags: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.arg("recover").args(flags).args(["--database-url", &world.url, "--namespace", world.target.namespace()]);
    command.arg("--kubeconfig").arg(world.target.kubeconfig()).env_remove("DATABASE_URL");
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// What it would do about each job, and how many attempts these then have.
fn actions(said: &Said) -> Vec<(String, String, i64)> {
    let line = |it: &Value| {
        let text = |key: &str| it[key].as_str().unwrap().to_owned();
        (text("action"), text("job_id"), it["attempt"].as_i64().unwrap())
    };
    let mut lines: Vec<_> = said.json().as_array().unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_since_a_backup_is_adopted_and_nothing_runs_twice() {
    let mut world = World::new(2).await;
    let mut before = world.spawn(&["--keep-finished=1h"], &[]).await;
    let replica = before.url.clone();
    let long = |name: &str| job(name, 600_000, 0).with("termination_grace_period", json!("1s"));
    let again = long("again").with("max_attempts", json!(2)).with("backoff", json!("0s"));
    let again = world.submit(&replica, &again.with("retry", json!({"on": ["lost"]}))).await;
    let runs = world.submit(&replica, &long("runs")).await;
    let first = world.reaches(&replica, &again, "running").await;
    world.reaches(&replica, &runs, "running").await;
    let waits = world.submit(&replica, &long("waits")).await;
    let ends = world.submit(&replica, &job("ends", 50, 0)).await;
    let late = world.submit(&replica, &long("put-off").with("delay", json!("1h"))).await;
    let dump = Command::new("pg_dump").arg(&world.url).output().await.unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));

    // The cluster goes on.
    world.set_cap(6).await;
    world.reaches(&replica, &ends, "succeeded").await;
    world.reaches(&replica, &waits, "running").await;
    let hasten = world.http.patch(format!("{replica}/jobs/{late}")).json(&json!({"run_at": null}));
    assert!(hasten.send().await.unwrap().status().is_success());
    world.reaches(&replica, &late, "running").await;
    let after = long("Afterwards!").with("queue", json!("new")).with("labels", json!({"team": "a"}));
    let after = world.submit(&replica, &after).await;
    world.reaches(&replica, &after, "running").await;
    let api: Api<Job> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    let name = first["attempts"][0]["kube_name"].as_str().unwrap();
    api.delete(name, &DeleteParams::background()).await.unwrap();
    eventually("another attempt runs", async || {
        let job = world.get(&replica, &format!("/jobs/{again}")).await;
        (job["attempt"] == 2 && job["state"] == "running").then_some(())
    })
    .await;
    before.signal(Signal::SIGTERM);
    assert!(before.ended().await.success());

    // The rows are as they were.
    restore(&mut world, &dump.stdout).await;
    let mut conn = world.conn().await;
    sqlx::query("update longshore.limits set cap = 0").execute(&mut conn).await.unwrap();
    let held = "select count(*) from longshore.jobs_live where state in ('starting', 'running', 'stopping')";
    assert_eq!(scalar::<i64>(&mut conn, held).await, 2);
    let owned = |action: &str, id: &str, attempt: i64| (action.to_owned(), id.to_owned(), attempt);
    let mut expected = vec![
        owned("adopt", &again, 2),
        owned("adopt", &waits, 1),
        owned("adopt", &ends, 1),
        owned("adopt", &late, 1),
        owned("rebuild", &after, 1),
    ];
    expected.sort();
    let plan = recover(&world, &["-o", "json"]).await.with(1);
    assert_eq!(actions(&plan), expected);
    assert_eq!(scalar::<i64>(&mut conn, held).await, 2, "a plan changes nothing");
    let told = recover(&world, &[]).await.with(1);
    assert!(told.out.contains("longshore recover --apply") && told.out.contains("adopt  "), "{}", told.out);
    assert_eq!(actions(&recover(&world, &["--apply", "-o", "json"]).await.with(0)), expected);
    assert_eq!(scalar::<i64>(&mut conn, held).await, 6, "each of them holds a slot");
    assert_eq!(actions(&recover(&world, &["--apply", "-o", "json"]).await.with(0)), [], "nothing is left to do");

    let replica = world.start(&[]).await;
    world.is_ready(&replica).await;
    world.reaches(&replica, &ends, "succeeded").await;
    for id in [&runs, &again, &waits, &late, &after] {
        world.reaches(&replica, id, "running").await;
    }
    let second = world.get(&replica, &format!("/jobs/{again}")).await;
    assert_eq!((&second["attempt"], &second["failed_attempts"]), (&json!(2), &json!(1)));
    assert_eq!(second["attempts"][0]["reason"], "lost");
    let rebuilt = world.get(&replica, &format!("/jobs/{after}")).await;
    assert_eq!((&rebuilt["name"], &rebuilt["queue"]), (&json!("Afterwards!"), &json!("new")));
    assert_eq!(rebuilt["labels"], json!({"team": "a"}));
    let history = world.history(&replica, &waits).await;
    assert!(history.iter().any(|it| it["reason"] == "recovered"), "{history:?}");
    world.set_cap(6).await;
    let next = world.submit(&replica, &job("next", 50, 0)).await;
    world.reaches(&replica, &next, "succeeded").await;
    for id in [&runs, &again, &waits, &late, &after] {
        world.cancel(&replica, id).await;
    }
    world.all_end().await;
    world.cluster_is_empty().await;
    world.finish().await;
}
