//! A replica that loses its way to the API server, while the others have theirs.

use longshore::{
    cluster::connect,
    sim::{Effect, Rule},
};
use reqwest::StatusCode;
use serde_json::Value;

use crate::harness::{
    World, eventually,
    jobs::job,
    proxy::{Mode, Proxy},
    scalar,
};

/// Waits until the replica says so of itself; answers the whole problem.
async fn says(world: &World, replica: &str, code: &str) -> Value {
    eventually(code, async || {
        let problem: Value = world.http.get(format!("{replica}/readyz")).send().await.ok()?.json().await.ok()?;
        (problem["code"] == code).then_some(problem)
    })
    .await
}

/// As many jobs as the cap allows, whose creates are answered by `effect` until the replica's way is closed as `mode` says;
/// then another replica, which was there before, has them, and four more jobs.
async fn others_go_on(cap: i32, mode: Mode, effect: Effect, expected: &'static str) {
    let mut world = World::new(cap).await;
    let proxy = Proxy::to(world.target.sim().address().to_string()).await;
    let client = connect::to_url(&format!("http://{}", proxy.address)).unwrap();
    let cut = world.start_with(&world.url.clone(), client, &[]).await;
    let first = world.submit(&cut, &job("first", 50, 0)).await;
    world.reaches(&cut, &first, "succeeded").await;
    let faults = world.target.sim().faults().clone();
    let turned_away = faults.add(Rule::new("create", "jobs", effect).from_agent("longshore"));
    let mut ids = Vec::new();
    for index in 0..cap {
        ids.push(world.submit(&cut, &job(&format!("stuck{index}"), 50, 0)).await);
    }
    let mut conn = world.conn().await;
    eventually("all are claimed, and were sent", async || {
        let waiting = "select count(*) from longshore.jobs where state = 'starting' and wait_code = 'api_trouble'";
        let waiting: i64 = scalar(&mut conn, waiting).await;
        (waiting == i64::from(cap) && faults.took(turned_away) >= waiting as u64).then_some(())
    })
    .await;
    // Every slot is held, so that this one claims nothing yet.
    let sees = world.start(&[]).await;
    world.is_ready(&sees).await;
    let cut_at: String = scalar(&mut conn, "select clock_timestamp()::text").await;
    proxy.set(mode);
    says(&world, &cut, "cluster_unavailable").await;
    faults.clear();
    for index in 0..4 {
        ids.push(world.submit(&cut, &job(&format!("more{index}"), 50, 0)).await);
    }
    for id in &ids {
        let done = world.reaches(&sees, id, "succeeded").await;
        assert_eq!(done["attempt"], 1, "no attempt is used up");
    }
    let told = "select string_agg(distinct reason, ' ' order by reason) from longshore.job_events
        where reason in ('handed_back', 'let_go', 'taken_over')";
    assert_eq!(scalar::<String>(&mut conn, told).await, expected);
    // Three leases of 3 s after it last heard anything, which on a busy machine was a while before the way was closed.
    let late = "select min(at) > $1::timestamptz + interval '5 s' from longshore.job_events
        where reason in ('handed_back', 'let_go')";
    let late: bool = sqlx::query_scalar(late).bind(cut_at).fetch_one(&mut conn).await.unwrap();
    assert!(late, "it lets go only when nothing that it sent can still be under way");
    let claimed = "select count(*) from longshore.job_events where reason = 'claimed' and replica =
        (select replica from longshore.job_events where reason = 'claimed' order by id limit 1)";
    let claimed: i64 = scalar(&mut conn, claimed).await;
    assert_eq!(claimed, 1 + i64::from(cap), "the one that is cut off claims nothing more");
    let asked = world.http.get(format!("{cut}/readyz")).send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::SERVICE_UNAVAILABLE);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_what_a_cut_off_replica_cannot_create_another_one_creates() {
    // It is not sent again before the way is closed, so that it is known never to have been made.
    let refused = Effect::Status { code: 429, reason: None, message: None, retry_after: Some(20) };
    others_go_on(1, Mode::Refuse, refused, "handed_back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_what_a_cut_off_replica_may_have_created_another_one_finds_out() {
    let unclear = Effect::Status { code: 500, reason: None, message: None, retry_after: None };
    others_go_on(2, Mode::Hang, unclear, "let_go taken_over").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_lone_replica_keeps_what_it_claimed_and_goes_on_when_its_way_is_open_again() {
    let mut world = World::new(1).await;
    let proxy = Proxy::to(world.target.sim().address().to_string()).await;
    let client = connect::to_url(&format!("http://{}", proxy.address)).unwrap();
    let lone = world.start_with(&world.url.clone(), client, &["--lease=1s"]).await;
    world.is_ready(&lone).await;
    proxy.set(Mode::Refuse);
    says(&world, &lone, "cluster_unavailable").await;
    let id = world.submit(&lone, &job("patient", 50, 0)).await;
    let late = world.submit(&lone, &job("late", 50, 0).with("queue_timeout", serde_json::json!("4s"))).await;
    let late = world.reaches(&lone, &late, "failed").await;
    assert_eq!(late["reason"], "queue_timeout", "what the clock alone decides is decided");
    proxy.set(Mode::Pass);
    let done = world.reaches(&lone, &id, "succeeded").await;
    assert_eq!(done["attempt"], 1);
    world.is_ready(&lone).await;
    let mut conn = world.conn().await;
    let let_go = "select count(*) from longshore.job_events where reason in ('let_go', 'handed_back')";
    assert_eq!(scalar::<i64>(&mut conn, let_go).await, 0);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_replica_that_may_not_watch_pods_any_more_says_so_and_claims_nothing() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    world.is_ready(&replica).await;
    let faults = world.target.sim().faults().clone();
    for verb in ["list", "watch"] {
        faults.add(Rule::new(verb, "pods", Effect::NotAllowed).from_agent("longshore"));
    }
    faults.add(Rule::new("watch", "pods", Effect::CutWatches).times(1));
    let before = world.submit(&replica, &job("before", 50, 0)).await;
    let problem = says(&world, &replica, "watch_broken").await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(" pods in namespace default ") && detail.contains("403"), "{detail}");
    let waits = world.submit(&replica, &job("waits", 50, 0)).await;
    let due = world.submit(&replica, &job("due", 50, 0).with("delay", serde_json::json!("100ms"))).await;
    // What has become pending did so in a pass of the scheduler.
    world.reaches(&replica, &due, "pending").await;
    assert_eq!(world.get(&replica, &format!("/jobs/{waits}")).await["state"], "pending");
    faults.clear();
    world.is_ready(&replica).await;
    for id in [before, waits, due] {
        world.reaches(&replica, &id, "succeeded").await;
    }
    world.finish().await;
}
