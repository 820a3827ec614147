//! The log: one line an event, each about a job names it, and nothing secret is in it, at whichever level and in either form.

use serde_json::{Value, json};

use crate::harness::{
    World, eventually,
    jobs::job,
    proxy::{Mode, Proxy},
};

/// What stands in the database's URL, and must be nowhere else.
const PASSWORD: &str = "planted-pass-4711";
/// What stands in a job's environment.
const TOKEN: &str = "planted-token-0815";

/// The life of some jobs at a replica that logs everything in this form, with a database that goes away in between. Answers
/// the log, and the id of a job that ended in it.
async fn lives(world: &mut World, form: &str) -> (Vec<String>, String) {
    let (scheme, rest) = world.url.split_once("://").unwrap();
    let (user, place) = rest.split_once('@').unwrap();
    let host = place.split('/').next().unwrap();
    let proxy = Proxy::to(host.to_owned()).await;
    // The server trusts whoever is on this machine, whatever the password; one in a container has its own.
    let user = if user.contains(':') { user.to_owned() } else { format!("{user}:{PASSWORD}") };
    let through = format!("{scheme}://{user}@{}", place.replacen(host, &proxy.address.to_string(), 1));
    let env = [("LONGSHORE_LOG_LEVEL", "debug"), ("LONGSHORE_LOG_FORMAT", form)];
    let process = world.spawn_on(&through, &[], &env).await;
    let with_token = |it: crate::harness::jobs::Request| it.with("env", json!({"API_TOKEN": TOKEN}));
    let ends = world.submit(&process.url, &with_token(job("ends", 100, 0))).await;
    let fails = world.submit(&process.url, &with_token(job("fails", 100, 3))).await;
    world.reaches(&process.url, &ends, "succeeded").await;
    world.reaches(&process.url, &fails, "failed").await;
    let mut wrong = job("wrong", 100, 0).0;
    wrong["env"] = json!({"API_TOKEN": TOKEN, "not a name": [TOKEN]});
    let answer = world.http.post(format!("{}/jobs", process.url)).json(&wrong).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    proxy.set(Mode::Refuse);
    eventually("the log tells that the database is away", async || {
        let _ = world.http.get(format!("{}/jobs/{ends}", process.url)).send().await;
        process.said("the database is away").then_some(())
    })
    .await;
    proxy.set(Mode::Pass);
    let ready = world.http.get(format!("{}/readyz", process.url));
    eventually("it is ready again", async || {
        ready.try_clone().unwrap().send().await.is_ok_and(|it| it.status().is_success()).then_some(())
    })
    .await;
    let log = process.log();
    process.terminate().await;
    (log, fails)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_about_a_job_names_it_and_nothing_secret_is_in_the_log() {
    let mut world = World::new(2).await;
    let (json_lines, job) = lives(&mut world, "json").await;
    let (text_lines, _) = lives(&mut world, "text").await;
    for line in json_lines.iter().chain(&text_lines) {
        assert!(!line.contains(PASSWORD) && !line.contains(TOKEN), "{line}");
        assert!(!line.chars().any(|it| it.is_control()), "{line:?}");
    }
    let lines: Vec<Value> = json_lines.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    for line in &lines {
        for field in ["timestamp", "level", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
    let ended = lines.iter().find(|it| it["message"] == "an attempt ended" && it["job"] == job.as_str()).unwrap();
    assert_eq!(
        (&ended["state"], &ended["reason"], &ended["attempt"]),
        (&json!("failed"), &json!("job_failed"), &json!(1))
    );
    assert!(text_lines.iter().any(|it| it.contains("an attempt ended") && it.contains("job=")));
    world.finish().await;
}
