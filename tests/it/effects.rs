//! A replica dies just before or just after each of its effects on the world, or never hears the answer; and whatever it
//! left is finished by a survivor, once.

#![cfg(feature = "failpoints")]

use std::time::Duration;

use longshore::{
    effects::Effect,
    id::ReplicaId,
    retry::Policy,
    roles::Roles,
    sim::{Effect as Fault, Rule},
    spec::{Spec, Start, Submission},
    store::{
        claims, history, replicas,
        submit::{Intake, Ready},
    },
};
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{
    World, eventually,
    jobs::{Request, job},
    process::Process,
    scalar,
};

/// With its name for a key, so that it may be sent again.
fn keyed(request: Request) -> Request {
    let key = request.0["name"].clone();
    request.with("idempotency_key", key)
}

/// The jobs that between them need every effect.
fn requests() -> Vec<Request> {
    let again = job("again", 50, 0)
        .sim("outcome", "exit=1,succeed")
        .with("max_attempts", json!(2))
        .with("backoff", json!("100ms"));
    let alike = (0..4).map(|index| job(&format!("alike{index}"), 50, 0));
    [again, job("delayed", 50, 0).with("delay", json!("300ms")), job("victim", 60_000, 0).priority(5)]
        .into_iter()
        .chain([job("over-quota", 50, 0), job("turned-away", 50, 0)])
        .chain([job("by-hand", 50, 0).sim("outcome", "exit=1,succeed")])
        .chain([job("put-off", 50, 0).with("delay", json!("1h"))])
        .chain(alike)
        .map(keyed)
        .collect()
}

/// What each of them comes to, with how many attempts; and those that lie there before.
const JOBS: i64 = 14;
const AS_IT_SHOULD: &str = "select count(*) from longshore.jobs where state || attempt <> case name
    when 'victim' then 'cancelled1' when 'again' then 'succeeded2' when 'by-hand' then 'succeeded2' when 'late' then 'failed0'
    else 'succeeded1' end";

/// Submits what is not accepted yet, as a client would that was answered with an error or not at all.
async fn submit_all(world: &World, replica: &str, open: &mut Vec<Request>) {
    let mut left = Vec::new();
    for request in open.drain(..) {
        let answer = world.http.post(format!("{replica}/jobs")).json(&request.0).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => {
                let answer: Value = answer.json().await.unwrap();
                world.accepted.lock().unwrap().push(answer["job_id"].as_str().unwrap().to_owned());
            }
            _ => left.push(request),
        }
    }
    *open = left;
}

/// Asks for the victim to be cancelled, once it runs; answers whether that is on its way.
async fn cancel_victim(world: &World, replica: &str) -> bool {
    let list = world.http.get(format!("{replica}/jobs?name=victim")).send().await;
    let Ok(list) = list else { return false };
    let Ok(list) = list.json::<Value>().await else { return false };
    let victim = &list["items"][0];
    match victim["state"].as_str() {
        Some("running") => {
            let url = format!("{replica}/jobs/{}", victim["job_id"].as_str().unwrap());
            let answer = world.http.delete(url).send().await;
            answer.is_ok_and(|it| it.status() == StatusCode::ACCEPTED)
        }
        Some("stopping" | "cancelled") => true,
        _ => false,
    }
}

/// Asks for the job that fails to be tried again, once it did; answers whether that is on its way.
async fn retry_by_hand(world: &World, replica: &str) -> bool {
    let list = world.http.get(format!("{replica}/jobs?name=by-hand")).send().await;
    let Ok(list) = list else { return false };
    let Ok(list) = list.json::<Value>().await else { return false };
    let job = &list["items"][0];
    if job["state"] != "failed" {
        return job["failed_attempts"] == 1;
    }
    let url = format!("{replica}/jobs/{}/retry", job["job_id"].as_str().unwrap());
    let answer = world.http.post(url).send().await;
    answer.is_ok_and(|it| it.status() == StatusCode::ACCEPTED)
}

/// Lets the job that is put off go at once; answers whether that is on its way.
async fn hasten(world: &World, replica: &str) -> bool {
    let list = world.http.get(format!("{replica}/jobs?name=put-off")).send().await;
    let Ok(list) = list else { return false };
    let Ok(list) = list.json::<Value>().await else { return false };
    let Some(id) = list["items"][0]["job_id"].as_str() else { return false };
    let request = world.http.patch(format!("{replica}/jobs/{id}")).json(&json!({"run_at": null}));
    request.send().await.is_ok_and(|it| it.status() == StatusCode::OK)
}

/// A job that a replica claimed before it died, so that there is something to take over; one that has waited too long; and
/// one that was submitted in SQL.
async fn leave_behind(world: &mut World) {
    let mut conn = world.conn().await;
    // So that a replica has one sweep to do before it is ready.
    while history::sweep(&mut conn, Duration::from_secs(30 * 24 * 3600)).await.unwrap().is_some() {}
    let in_sql = job("in-sql", 50, 0).0;
    sqlx::query("select longshore.submit($1)").bind(in_sql).execute(&mut conn).await.unwrap();
    let dead = ReplicaId::new();
    let annotations = [("sim.longshore.dev/duration".to_owned(), "50ms".to_owned())];
    let spec = Spec { annotations: annotations.into(), command: vec!["true".into()], ..Spec::default() };
    let submission = Submission {
        name: "left".into(),
        priority: 0,
        queue: "default".into(),
        namespace: world.target.namespace().to_owned(),
        start: Start::Now,
        idempotency_key: None,
        policy: Policy::default(),
        spec,
    };
    Intake::new(dead).submit(&mut conn, &[Ready::new(submission.clone())]).await.unwrap();
    replicas::beat(&mut conn, dead, "dead", Roles::ALL, 60.0).await.unwrap();
    claims::claim(&mut conn, dead, 1, 0.0, true).await.unwrap();
    replicas::beat(&mut conn, dead, "dead", Roles::ALL, 0.0).await.unwrap();
    let policy = Policy { queue_timeout_secs: Some(0.001), ..Policy::default() };
    let late = Submission { name: "late".into(), policy, ..submission };
    Intake::new(dead).submit(&mut conn, &[Ready::new(late)]).await.unwrap();
}

async fn everything_ended(world: &World) -> bool {
    let mut conn = world.conn().await;
    let open: i64 = scalar(&mut conn, "select count(*) from longshore.jobs where finished_at is null").await;
    let ended: i64 = scalar(&mut conn, "select count(*) from longshore.jobs where finished_at is not null").await;
    open == 0 && ended >= JOBS && world.target.jobs().await.is_empty()
}

async fn survives(effect: Effect, moment: &str) {
    let mut world = World::new(3).await;
    leave_behind(&mut world).await;
    let faults = world.target.sim().faults().clone();
    faults.add(Rule::new("create", "jobs", Fault::ExceededQuota).name_contains("over-quota").times(1));
    let busy = Fault::Status { code: 429, reason: None, message: None, retry_after: None };
    faults.add(Rule::new("create", "jobs", busy).name_contains("turned-away").times(1));
    // A replica sweeps once before it is ready.
    let skip = if effect == Effect::Sweep { ":1" } else { "" };
    let failpoint = format!("{}:{moment}{skip}", effect.name());
    let mut planted = world.spawn(&[], &[("LONGSHORE_FAILPOINT", &failpoint)]).await;
    let mut open = requests();
    let url = planted.url.clone();
    let (mut cancelled, mut retried, mut hastened) = (false, false, false);
    eventually("the planted replica dies, or has done everything", async || {
        if planted.has_ended() {
            return Some(());
        }
        submit_all(&world, &url, &mut open).await;
        cancelled = cancelled || cancel_victim(&world, &url).await;
        retried = retried || retry_by_hand(&world, &url).await;
        hastened = hastened || hasten(&world, &url).await;
        (open.is_empty() && cancelled && retried && hastened && everything_ended(&world).await).then_some(())
    })
    .await;
    if effect == Effect::HandBack {
        hand_back(&mut world, &mut planted).await;
    }
    // Whether finished Jobs go one by one or many by one request is a matter of when they end: more of them, until it was so.
    let more = match effect {
        Effect::RemoveJob => 1,
        Effect::RemoveJobs => 4,
        _ => 0,
    };
    let mut added: i64 = 0;
    eventually("the failpoint is told: without it, the test tests nothing", async || {
        if planted.said("failpoint") {
            return Some(());
        }
        if open.is_empty() && !planted.has_ended() && everything_ended(&world).await {
            open.extend((added..added + more).map(|index| keyed(job(&format!("more{index}"), 50, 0))));
            added += more;
        }
        submit_all(&world, &url, &mut open).await;
        None
    })
    .await;
    let survivor = world.start(&[]).await;
    eventually("the survivor finishes everything", async || {
        submit_all(&world, &survivor, &mut open).await;
        cancelled = cancelled || cancel_victim(&world, &survivor).await;
        retried = retried || retry_by_hand(&world, &survivor).await;
        hastened = hastened || hasten(&world, &survivor).await;
        (open.is_empty() && retried && everything_ended(&world).await).then_some(())
    })
    .await;
    let mut conn = world.conn().await;
    let jobs: i64 = scalar(&mut conn, "select count(*) from longshore.jobs").await;
    let expected = added + if effect == Effect::HandBack { JOBS + 1 } else { JOBS };
    assert_eq!(jobs, expected, "{failpoint}: each job is there once");
    let bad: i64 = scalar(&mut conn, AS_IT_SHOULD).await;
    assert_eq!(bad, 0, "{failpoint}: a job ended otherwise than it should, or after more attempts");
    if planted.has_ended() {
        drop(planted);
    } else {
        planted.terminate().await;
    }
    world.finish().await;
}

/// Stops the replica while Kubernetes turns away what it claimed.
async fn hand_back(world: &mut World, planted: &mut Process) {
    let full = Fault::Status { code: 429, reason: None, message: None, retry_after: None };
    let faults = world.target.sim().faults().clone();
    let rule = faults.add(Rule::new("create", "jobs", full).from_agent("longshore"));
    let id = world.submit(&planted.url.clone(), &job("stuck", 50, 0)).await;
    world.reaches(&planted.url.clone(), &id, "starting").await;
    eventually("it is turned away", async || (faults.took(rule) > 0).then_some(())).await;
    planted.signal(Signal::SIGTERM);
    planted.ended().await;
    faults.clear();
}

macro_rules! each_effect {
    ($($name:ident: $effect:ident;)+) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sim_only_dies_before() {
                super::survives(super::Effect::$effect, "before").await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn sim_only_dies_after() {
                super::survives(super::Effect::$effect, "after").await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn sim_only_loses_the_answer() {
                super::survives(super::Effect::$effect, "lose").await;
            }
        }
    )+

        #[test]
        fn no_effect_is_left_out() {
            assert_eq!([$(Effect::$effect),+], Effect::ALL);
        }
    };
}

each_effect! {
    submit_a_job: Submit;
    take_in: TakeIn;
    promote: Promote;
    claim: Claim;
    take_over: TakeOver;
    hand_back_a_claim: HandBack;
    create_job: CreateJob;
    record_created: RecordCreated;
    record_running: RecordRunning;
    request_cancel: RequestCancel;
    try_again: TryAgain;
    change_job: ChangeJob;
    record_stopping: RecordStopping;
    delete_job: DeleteJob;
    record_ending: RecordEnding;
    record_retry: RecordRetry;
    put_aside: PutAside;
    expire: Expire;
    tell_wait: TellWait;
    keep_log: KeepLog;
    remove_job: RemoveJob;
    remove_jobs: RemoveJobs;
    sweep: Sweep;
}
