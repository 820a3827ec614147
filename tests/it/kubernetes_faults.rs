//! Answers that are lost, refused, late or untrue, and names that are taken.

use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use longshore::sim::{Effect, Rule};
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{World, eventually, jobs::job, scalar};

/// Runs jobs while a fault is on, and expects every one to succeed at its first attempt. Answers how often the fault took.
async fn all_succeed_under(rule: Rule) -> u64 {
    some_succeed_under(20, rule).await
}

async fn some_succeed_under(jobs: usize, rule: Rule) -> u64 {
    let mut world = World::new(4).await;
    let replicas = [world.start(&[]).await, world.start(&[]).await];
    let armed = world.target.sim().faults().add(rule);
    for index in 0..jobs {
        world.submit(&replicas[index % 2], &job(&format!("job{index}"), 30, 0)).await;
    }
    world.all_end().await;
    world.cluster_is_empty().await;
    let took = world.target.sim().faults().took(armed);
    world.target.sim().faults().clear();
    let mut conn = world.conn().await;
    let good: i64 =
        scalar(&mut conn, "select count(*) from longshore.jobs where state = 'succeeded' and attempt = 1").await;
    assert_eq!(usize::try_from(good).unwrap(), jobs);
    world.finish().await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_create_whose_answer_is_lost_is_met_again_and_not_repeated() {
    let lost = Rule::new("create", "jobs", Effect::DropAnswer).probability(0.5).from_agent("longshore");
    assert!(all_succeed_under(lost).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_create_that_never_arrives_is_sent_again() {
    let lost = Rule::new("create", "jobs", Effect::DropRequest).probability(0.5).from_agent("longshore");
    assert!(all_succeed_under(lost).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_servers_in_trouble_use_up_no_attempt() {
    for code in [429, 500, 503, 504] {
        let effect = Effect::Status { code, reason: None, message: None, retry_after: None };
        assert!(all_succeed_under(Rule::new("create", "jobs", effect).times(10).from_agent("longshore")).await > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_quota_is_a_wait() {
    assert!(
        all_succeed_under(Rule::new("create", "jobs", Effect::ExceededQuota).times(10).from_agent("longshore")).await
            > 0
    );
    assert!(
        all_succeed_under(Rule::new("create", "jobs", Effect::NotAllowed).times(10).from_agent("longshore")).await > 0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_watches_that_break_lose_or_repeat_events_lose_no_outcome() {
    // Watches that say nothing at all would be noticed after a minute: see the list that follows them.
    assert!(all_succeed_under(Rule::new("watch", "jobs", Effect::RepeatEvent).probability(0.3)).await > 0);
    let mut world = World::new(4).await;
    let replica = world.start(&[]).await;
    for index in 0..20 {
        world.submit(&replica, &job(&format!("job{index}"), 100, 0)).await;
        let effect = if index % 2 == 0 { Effect::CutWatches } else { Effect::ExpireWatches };
        world.target.sim().faults().add(Rule::new("watch", "*", effect).times(1));
    }
    world.all_end().await;
    world.cluster_is_empty().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_deletes_that_fail_are_tried_again() {
    // One that has ended alone is removed by a request of its own, many are removed by one.
    for (verb, jobs) in [("delete", 1), ("deletecollection", 20)] {
        let fails = Effect::Status { code: 500, reason: None, message: None, retry_after: None };
        for effect in [fails, Effect::DropAnswer] {
            let rule = Rule::new(verb, "jobs", effect).times(3).from_agent("longshore");
            assert!(some_succeed_under(jobs, rule).await > 0, "{verb}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_while_the_cluster_is_away_submissions_are_accepted_and_run_afterwards() {
    let mut world = World::new(2).await;
    let replica = world.start(&[]).await;
    let faults = world.target.sim().faults().clone();
    let away = Effect::Status { code: 503, reason: None, message: None, retry_after: None };
    faults.add(Rule { verb: None, resource: None, ..Rule::new("*", "*", away) }.from_agent("longshore"));
    let id = world.submit(&replica, &job("patient", 100, 0)).await;
    let ready = world.http.get(format!("{replica}/readyz")).send().await.unwrap().status();
    assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
    faults.clear();
    world.reaches(&replica, &id, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_only_a_job_whose_create_is_never_answered_well_can_be_cancelled() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let broken = Effect::Status { code: 500, reason: None, message: None, retry_after: None };
    let faults = world.target.sim().faults().clone();
    let rule = faults.add(Rule::new("create", "jobs", broken).from_agent("longshore"));
    let stuck = world.submit(&replica, &job("stuck", 100, 0)).await;
    eventually("it is refused", async || (faults.took(rule) > 0).then_some(())).await;
    assert_eq!(world.cancel(&replica, &stuck).await, StatusCode::ACCEPTED);
    let next = world.submit(&replica, &job("next", 100, 0)).await;
    // Only when no request that was sent can still be carried out; the bound of this test is longer.
    world.reaches(&replica, &stuck, "cancelled").await;
    faults.clear();
    world.reaches(&replica, &next, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_labels_and_annotations_someone_removes_is_still_told_as_it_ends() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("edited", 3000, 3)).await;
    let running = world.reaches(&replica, &id, "running").await;
    let api: Api<Job> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    let patch = json!({"metadata": {
        "labels": {"longshore.dev/instance": null, "longshore.dev/job-id": "garbled"},
        "annotations": {"longshore.dev/nonce": null},
    }});
    let name = running["attempts"][0]["kube_name"].as_str().unwrap();
    api.patch(name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!((&failed["reason"], &failed["attempts"][0]["exit_code"]), (&json!("job_failed"), &json!(3)));
    // What is not marked as ours any more is not ours to remove; and the witness cannot follow it.
    world.target.tear_down().await;
}

/// Makes a Job of somebody else's.
async fn stranger(world: &World, name: &str, labels: serde_json::Value, annotations: serde_json::Value) -> Job {
    let api: Api<Job> = Api::namespaced(world.target.stranger().await, world.target.namespace());
    let container =
        json!({"name": "a", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "600"]});
    let theirs = json!({
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"parallelism": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    });
    api.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_job_of_the_same_name_is_neither_adopted_nor_touched() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    world.is_ready(&replica).await;
    let id = world.submit(&replica, &job("taken", 100, 0)).await;
    let name = longshore::id::kube_name("taken", id.parse().unwrap(), 1);
    let mut conn = world.conn().await;
    let instance: String = scalar(&mut conn, "select name from longshore.instance").await;
    // It even carries our labels, as someone with rights in the namespace could write them; not our nonce.
    let labels = json!({"longshore.dev/instance": instance, "longshore.dev/job-id": id, "longshore.dev/attempt": "1"});
    let annotations = json!({"longshore.dev/nonce": uuid::Uuid::new_v4().to_string()});
    let theirs = stranger(&world, &name, labels, annotations).await;
    world.set_cap(1).await;
    let failed = world.reaches(&replica, &id, "failed").await;
    assert_eq!(failed["reason"], "name_conflict");
    let next = world.submit(&replica, &job("next", 100, 0)).await;
    world.reaches(&replica, &next, "succeeded").await;
    let left = world.target.jobs().await;
    assert!(left.iter().any(|it| it.metadata.uid == theirs.metadata.uid && it.metadata.deletion_timestamp.is_none()));
    // The witness counts what carries our labels, and this one is a forgery; so the audit is not asked here.
    world.target.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_ours_that_no_row_knows_is_left_alone() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    world.is_ready(&replica).await;
    let mut conn = world.conn().await;
    let instance: String = scalar(&mut conn, "select name from longshore.instance").await;
    let id = uuid::Uuid::now_v7().to_string();
    let labels = json!({"longshore.dev/instance": instance, "longshore.dev/job-id": id, "longshore.dev/attempt": "1"});
    let theirs = stranger(&world, "unknown-1", labels, json!({"longshore.dev/nonce": id})).await;
    let known = world.submit(&replica, &job("known", 100, 0)).await;
    world.reaches(&replica, &known, "succeeded").await;
    eventually("what is known is cleared away", async || (world.target.jobs().await.len() == 1).then_some(())).await;
    assert_eq!(world.target.jobs().await[0].metadata.uid, theirs.metadata.uid);
    world.target.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_appears_after_its_attempt_is_over_is_stopped() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("over", 100, 0)).await;
    let done = world.reaches(&replica, &id, "succeeded").await;
    world.cluster_is_empty().await;
    // A replica that was paused in the middle of its create, and whose request arrives only now.
    let mut conn = world.conn().await;
    let instance: String = scalar(&mut conn, "select name from longshore.instance").await;
    let nonce: uuid::Uuid = scalar(&mut conn, "select nonce from longshore.attempts").await;
    let labels = json!({"longshore.dev/instance": instance, "longshore.dev/job-id": id, "longshore.dev/attempt": "1"});
    let name = done["attempts"][0]["kube_name"].as_str().unwrap();
    stranger(&world, name, labels, json!({"longshore.dev/nonce": nonce.to_string()})).await;
    world.cluster_is_empty().await;
    assert_eq!(world.get(&replica, &format!("/jobs/{id}")).await["state"], "succeeded", "what is over stays over");
    world.target.tear_down().await;
}
