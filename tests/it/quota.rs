//! Quotas and pressure: a wait that uses up no attempt, that says why, and that holds up nobody who need not wait.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, DeleteParams, PostParams};
use longshore::sim::{Effect, Rule};
use serde_json::{Value, json};

use crate::harness::{World, eventually, jobs::job, scalar};

async fn quotas(world: &World) -> Api<ResourceQuota> {
    Api::namespaced(world.target.stranger().await, world.target.namespace())
}

/// Allows so many of something in the namespace.
pub async fn limit(world: &World, what: &str, hard: &str) {
    let quota = json!({"metadata": {"name": "tight"}, "spec": {"hard": {what: hard}}});
    let quotas = quotas(world).await;
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    if crate::harness::cluster::is_real() {
        eventually("the quota is in force", async || {
            quotas.get("tight").await.unwrap().status?.hard.is_some_and(|it| it.contains_key(what)).then_some(())
        })
        .await;
    }
}

/// Takes the limit away.
pub async fn lift(world: &World) {
    quotas(world).await.delete("tight", &DeleteParams::default()).await.unwrap();
}

/// Ends when the job says that it waits for a quota; answers it then.
async fn waits_for_quota(world: &World, replica: &str, id: &str, code: &str) -> Value {
    eventually("it is put aside", async || {
        let job = world.get(replica, &format!("/jobs/{id}")).await;
        (job["state"] == "scheduled" && job["why"]["code"] == code).then_some(job)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_over_a_quota_wait_without_a_slot_and_run_in_their_order_as_it_frees() {
    let mut world = World::new(3).await;
    limit(&world, "count/jobs.batch", "1").await;
    let replica = world.start(&[]).await;
    let first = world.submit(&replica, &job("first", 2_500, 0).priority(9)).await;
    world.reaches(&replica, &first, "running").await;
    let low = world.submit(&replica, &job("low", 100, 0)).await;
    let aside = waits_for_quota(&world, &replica, &low, "quota").await;
    assert!(aside["why"]["message"].as_str().unwrap().contains("exceeded quota"), "{}", aside["why"]);
    assert_eq!((&aside["attempt"], &aside["attempts"]), (&json!(0), &json!([])), "it used up no attempt");
    let high = world.submit(&replica, &job("high", 100, 0).priority(5)).await;
    waits_for_quota(&world, &replica, &high, "quota").await;
    assert_eq!(world.names(&replica, "running").await, ["first"], "what waits for a quota holds no slot");
    for id in [&first, &high, &low] {
        let done = world.reaches(&replica, id, "succeeded").await;
        assert_eq!(done["attempt"], 1);
    }
    let mut conn = world.conn().await;
    let order = "select string_agg(name, ' ' order by started_at) from longshore.runs";
    assert_eq!(scalar::<String>(&mut conn, order).await, "first high low");
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_others_go_on_while_one_job_is_over_its_quota() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let faults = world.target.sim().faults().clone();
    faults.add(Rule::new("create", "jobs", Effect::ExceededQuota).name_contains("greedy"));
    let greedy = world.submit(&replica, &job("greedy", 50, 0).priority(9)).await;
    for index in 0..5 {
        let id = world.submit(&replica, &job(&format!("modest{index}"), 50, 0)).await;
        world.reaches(&replica, &id, "succeeded").await;
    }
    waits_for_quota(&world, &replica, &greedy, "quota").await;
    faults.clear();
    let done = world.reaches(&replica, &greedy, "succeeded").await;
    assert_eq!(done["attempt"], 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_pods_are_over_a_quota_makes_room_and_is_tried_again() {
    let mut world = World::new(1).await;
    limit(&world, "pods", "0").await;
    let replica = world.start(&["--start-grace=FailedCreateOverQuota=500ms"]).await;
    let id = world.submit(&replica, &job("squeezed", 100, 0)).await;
    let aside = waits_for_quota(&world, &replica, &id, "pod_quota").await;
    assert!(aside["why"]["message"].as_str().unwrap().contains("exceeded quota"), "{}", aside["why"]);
    assert_eq!((&aside["failed_attempts"], &aside["interruptions"]), (&json!(0), &json!(0)));
    assert!(world.names(&replica, "running").await.is_empty(), "its slot is free");
    quotas(&world).await.delete("tight", &DeleteParams::default()).await.unwrap();
    let done = world.reaches(&replica, &id, "succeeded").await;
    assert_eq!(done["failed_attempts"], 0, "waiting for a quota is no failure");
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_what_may_not_be_created_waits_and_says_what_is_missing() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let faults = world.target.sim().faults().clone();
    faults.add(Rule::new("create", "jobs", Effect::NotAllowed).from_agent("longshore"));
    let id = world.submit(&replica, &job("forbidden", 50, 0)).await;
    let waits = eventually("it says so", async || {
        let job = world.get(&replica, &format!("/jobs/{id}")).await;
        (job["why"]["code"] == "not_permitted").then_some(job)
    })
    .await;
    let message = waits["why"]["message"].as_str().unwrap();
    assert!(message.contains("cannot create resource") && message.contains("jobs"), "{message}");
    faults.clear();
    assert_eq!(world.reaches(&replica, &id, "succeeded").await["attempt"], 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_server_in_trouble_is_told_as_such_and_spared() {
    let mut world = World::new(8).await;
    let replica = world.start(&[]).await;
    let faults = world.target.sim().faults().clone();
    let busy = Effect::Status { code: 429, reason: None, message: None, retry_after: Some(1) };
    let rule = faults.add(Rule::new("create", "jobs", busy).from_agent("longshore"));
    let mut ids = Vec::new();
    for index in 0..8 {
        ids.push(world.submit(&replica, &job(&format!("job{index}"), 50, 0)).await);
    }
    eventually("one says so", async || {
        let job = world.get(&replica, &format!("/jobs/{}", ids[0])).await;
        (job["state"] == "starting" && job["why"]["code"] == "api_trouble").then_some(())
    })
    .await;
    let (began, before) = (std::time::Instant::now(), faults.took(rule));
    eventually("it is asked again", async || (faults.took(rule) >= before + 4).then_some(())).await;
    // Every job obeys Retry-After, and so do all together: unspared, eight jobs would ask eight times in each second.
    let per_sec = 4.0 / began.elapsed().as_secs_f64();
    assert!(per_sec <= 8.0, "{per_sec} creates a second");
    faults.clear();
    for id in &ids {
        assert_eq!(world.reaches(&replica, id, "succeeded").await["attempt"], 1);
    }
    world.finish().await;
}
