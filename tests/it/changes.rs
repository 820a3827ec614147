//! `PATCH /jobs/{id}`: what may be changed of a job that waits, and only then.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::harness::{World, eventually, jobs::job, scalar};

async fn patch(world: &World, replica: &str, id: &str, body: Value) -> (u16, Value) {
    let answer = world.http.patch(format!("{replica}/jobs/{id}")).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// What happened to a job after it was submitted: states, reason and message.
async fn told(world: &World, replica: &str, id: &str) -> Vec<String> {
    let text = |it: &Value, key: &str| it[key].as_str().unwrap_or("-").to_owned();
    let history = world.history(replica, id).await;
    let line =
        |it: &Value| format!("{} {} {}: {}", text(it, "from"), text(it, "to"), text(it, "reason"), text(it, "message"));
    history.iter().skip(1).map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_priority_changes_the_order_once_and_is_told_with_the_old_one() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    for name in ["first", "second"] {
        world.submit(&replica, &job(name, 50, 0)).await;
    }
    let third = world.submit(&replica, &job("third", 50, 0)).await;
    for _ in 0..2 {
        let (status, job) = patch(&world, &replica, &third, json!({"priority": 7})).await;
        assert_eq!((status, &job["priority"], &job["queue_position"]), (200, &json!(7), &json!("0")), "{job}");
    }
    assert_eq!(world.names(&replica, "pending").await, ["third", "first", "second"]);
    assert_eq!(told(&world, &replica, &third).await, ["pending pending reprioritized: priority: 0 -> 7"]);
    assert_eq!(patch(&world, &replica, &third, json!({})).await.0, 200, "nothing asked, nothing done");
    assert_eq!(told(&world, &replica, &third).await.len(), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_were_changed_while_it_waited_are_on_its_kubernetes_job_with_the_hash_that_goes_with_them() {
    let mut world = World::new(0).await;
    let replica = world.start(&["--keep-finished=1h"]).await;
    let request = job("labelled", 50, 0).with("labels", json!({"team": "blue", "tier": "1", "old": "x"}));
    let id = world.submit(&replica, &request.clone().with("idempotency_key", json!("k"))).await;
    let change = json!({"labels": {"team": "red", "old": null, "new": "yes", "absent": null}});
    let (status, changed) = patch(&world, &replica, &id, change.clone()).await;
    let labels = json!({"team": "red", "tier": "1", "new": "yes"});
    assert_eq!((status, &changed["labels"]), (200, &labels), "{changed}");
    assert_eq!(patch(&world, &replica, &id, change).await.1["labels"], labels, "twice is once");
    let expected = "pending pending changed: label new: none -> yes; label old: x -> none; label team: blue -> red";
    assert_eq!(told(&world, &replica, &id).await, [expected]);
    for (query, jobs) in [("team%3Dred&label=new", 1), ("team%3Dblue", 0), ("old", 0)] {
        let list = world.get(&replica, &format!("/jobs?label={query}")).await;
        assert_eq!(list["items"].as_array().unwrap().len(), jobs, "{query}");
    }
    let again = request.with("idempotency_key", json!("k"));
    let same = world.http.post(format!("{replica}/jobs")).json(&again.0).send().await.unwrap();
    assert_eq!(same.status(), 200, "what was asked under a key is still what was asked");
    world.set_cap(1).await;
    world.reaches(&replica, &id, "succeeded").await;
    let jobs = world.target.jobs().await;
    let kube = jobs.iter().find(|it| it.labels().get("longshore.dev/job-id") == Some(&id)).unwrap();
    assert_eq!((kube.labels().get("team").unwrap(), kube.labels().contains_key("old")), (&"red".to_owned(), false));
    let mut conn = world.conn().await;
    let hash: String = scalar(&mut conn, "select spec_hash from longshore.job_specs").await;
    assert!(kube.annotations().values().any(|it| *it == hash), "{:?}", kube.annotations());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_put_off_and_let_go_again_and_runs() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("later", 50, 0).with("queue_timeout", json!("1h"))).await;
    let at = "2030-01-01T00:00:00Z";
    for _ in 0..2 {
        let (status, job) = patch(&world, &replica, &id, json!({"run_at": at})).await;
        assert_eq!(
            (status, &job["state"], &job["due_at"], &job["run_at"]),
            (200, &json!("scheduled"), &json!(at), &json!(at))
        );
        assert_eq!(job["expires_at"], "2030-01-01T01:00:00Z", "its whole time to wait begins then");
    }
    assert!(world.names(&replica, "pending").await.is_empty());
    for _ in 0..2 {
        let (status, job) =
            patch(&world, &replica, &id, json!({"run_at": "2020-01-01T00:00:00Z", "priority": 3})).await;
        assert_eq!((status, &job["state"], &job["due_at"]), (200, &json!("pending"), &Value::Null), "{job}");
        assert!(job["expires_at"].as_str().unwrap() < "2029", "{job}");
    }
    let expected = [
        format!("pending scheduled changed: run_at: none -> {at}"),
        format!("scheduled pending changed: priority: 0 -> 3; run_at: {at} -> 2020-01-01T00:00:00Z"),
    ];
    assert_eq!(told(&world, &replica, &id).await, expected);
    world.set_cap(1).await;
    world.reaches(&replica, &id, "succeeded").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_after_a_failure_is_cut_short_by_a_time_that_has_come() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let fails = job("again", 50, 1).with("max_attempts", json!(2)).with("backoff", json!("1h"));
    let id = world.submit(&replica, &fails).await;
    world.waits_for(&replica, &id, "backoff").await;
    let (status, job) = patch(&world, &replica, &id, json!({"run_at": null})).await;
    assert_eq!((status, &job["due_at"]), (200, &Value::Null), "{job}");
    let ended = world.reaches(&replica, &id, "failed").await;
    assert_eq!(ended["attempt"], 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_wait_is_not_changed_and_a_change_that_was_made_may_be_asked_for_again() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let id = world.submit(&replica, &job("runs", 60_000, 0)).await;
    let many: Value = (0..65).map(|it| (format!("l{it}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    let cases = [
        (json!({"colour": "red"}), "/colour"),
        (json!({"priority": null}), "/priority"),
        (json!({"priority": 2_147_483_648_u64}), "/priority"),
        (json!({"labels": null}), "/labels"),
        (json!({"labels": {"a b": "c"}}), "/labels/a b"),
        (json!({"labels": {"longshore.dev/job-id": "x"}}), "/labels/longshore.dev~1job-id"),
        (json!({"labels": {"team": "no spaces"}}), "/labels/team"),
        (json!({"labels": many}), "/labels"),
        (json!({"run_at": "soon"}), "/run_at"),
        (json!({"run_at": "2999-01-01T00:00:00Z"}), "/run_at"),
        (json!([]), ""),
    ];
    for (body, pointer) in cases {
        let (status, problem) = patch(&world, &replica, &id, body.clone()).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{body}: {problem}");
    }
    let change = json!({"priority": 4, "labels": {"team": "blue"}});
    assert_eq!(patch(&world, &replica, &id, change.clone()).await.0, 200);
    world.set_cap(1).await;
    world.reaches(&replica, &id, "running").await;
    assert_eq!(patch(&world, &replica, &id, change).await.0, 200, "the answer of the first may have been lost");
    for body in [json!({"priority": 5}), json!({"labels": {"team": null}}), json!({"run_at": "2030-01-01T00:00:00Z"})] {
        let (status, problem) = patch(&world, &replica, &id, body).await;
        assert_eq!((status, &problem["code"]), (409, &json!("not_waiting")), "{problem}");
    }
    world.cancel(&replica, &id).await;
    world.reaches(&replica, &id, "cancelled").await;
    assert_eq!(patch(&world, &replica, &id, json!({"priority": 5})).await.0, 409);
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(patch(&world, &replica, nobody, json!({"priority": 5})).await.0, 404);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_race_with_claims_are_whole_or_refused() {
    let mut world = World::new(3).await;
    let urls = [world.start(&[]).await, world.start(&[]).await];
    let mut ids = Vec::new();
    for index in 0..40 {
        ids.push(world.submit(&urls[0], &job(&format!("job{index}"), 50, 0)).await);
    }
    let mut asking = tokio::task::JoinSet::new();
    for (index, id) in ids.iter().enumerate() {
        let request = world.http.patch(format!("{}/jobs/{id}", urls[index % 2]));
        let request = request.json(&json!({"labels": {"patched": "yes"}}));
        let id = id.clone();
        asking.spawn(async move {
            loop {
                let status = request.try_clone().unwrap().send().await.unwrap().status().as_u16();
                // A busy machine refuses for the moment, and then nothing was done.
                if status != 503 {
                    return (id, status);
                }
            }
        });
    }
    let answers = asking.join_all().await;
    assert!(answers.iter().all(|it| [200, 409].contains(&it.1)), "{answers:?}");
    world.all_end().await;
    for (id, status) in answers {
        let job = world.get(&urls[0], &format!("/jobs/{id}")).await;
        assert_eq!(job["labels"].get("patched").is_some(), status == 200, "{job}");
        assert_eq!(job["state"], "succeeded");
    }
    eventually("the cluster is empty", async || world.target.jobs().await.is_empty().then_some(())).await;
    world.finish().await;
}
