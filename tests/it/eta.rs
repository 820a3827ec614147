//! When a job will start: what is said of it, and, measured on request, how good that is.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{World, eventually, jobs::job};

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_told_when_it_will_start_once_enough_was_measured() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let endless = world.submit(&replica, &job("endless", 600_000, 0)).await;
    world.reaches(&replica, &endless, "running").await;
    let early = world.submit(&replica, &job("quick", 50, 0)).await;
    let eta = world.get(&replica, &format!("/jobs/{early}")).await["eta"].clone();
    assert_eq!((&eta["basis"], &eta["starts_p50"]), (&json!("too_few_samples"), &Value::Null), "{eta}");
    world.cancel(&replica, &endless).await;
    for _ in 0..5 {
        let id = world.submit(&replica, &job("quick", 50, 0)).await;
        world.reaches(&replica, &id, "succeeded").await;
    }
    let endless = world.submit(&replica, &job("endless", 600_000, 0)).await;
    world.reaches(&replica, &endless, "running").await;
    for (name, basis) in [("quick", "name"), ("other", "queue")] {
        let id = world.submit(&replica, &job(name, 50, 0)).await;
        let eta = world.get(&replica, &format!("/jobs/{id}")).await["eta"].clone();
        assert_eq!(eta["basis"], basis, "{eta}");
        let at = |key: &str| eta[key].as_str().unwrap().parse::<Timestamp>().unwrap();
        assert!(at("starts_p50") <= at("starts_p90") && at("starts_p90") <= at("ends_p90"), "{eta}");
        assert!(at("starts_p50") < at("ends_p50"), "{eta}");
    }
    assert!(world.get(&replica, &format!("/jobs/{endless}")).await.get("eta").is_none(), "of what waits only");
    let all = json!({"action": "cancel", "filter": {"name": "*"}});
    world.http.post(format!("{replica}/bulk")).json(&all).send().await.unwrap();
    world.all_end().await;
    // Not by the world, which would hold what ran before to it.
    world.http.put(format!("{replica}/limits")).json(&json!({"cap": 0})).send().await.unwrap();
    let last = world.submit(&replica, &job("quick", 50, 0)).await;
    assert_eq!(world.get(&replica, &format!("/jobs/{last}")).await["eta"]["basis"], "nothing_starts");
    world.finish().await;
}

/// Some hundred jobs of three kinds come in bursts; what is said of each when it comes is held against what became of it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes; see docs/http.md"]
async fn sim_only_how_good_the_estimate_is() {
    let mut world = World::new(8).await;
    let replica = world.start(&[]).await;
    let kinds = [("short", 1_000, 3_000), ("middle", 4_000, 10_000), ("long", 15_000, 30_000)];
    let mut said: Vec<(String, Value)> = Vec::new();
    for burst in 0..10 {
        for index in 0..40_u64 {
            // Six in ten are short, three of middle length, one is long; within its kind each has its own length.
            let (name, least, most) = kinds[[0, 0, 1, 0, 0, 1, 0, 2, 1, 0][index as usize % 10]];
            let millis = least + (burst * 7_919 + index * 104_729) % (most - least);
            let id = world.submit(&replica, &job(name, millis, 0)).await;
            let eta = world.get(&replica, &format!("/jobs/{id}")).await["eta"].clone();
            if eta["starts_p50"].is_string() {
                said.push((id, eta));
            }
        }
        eventually("most of the burst is over", async || {
            (world.names(&replica, "pending").await.len() < 15).then_some(())
        })
        .await;
    }
    world.all_end().await;
    let (mut by, mut errors) = ([0; 4], Vec::new());
    for (id, eta) in &said {
        let job = world.get(&replica, &format!("/jobs/{id}")).await;
        let at = |of: &Value, key: &str| of[key].as_str().unwrap().parse::<Timestamp>().unwrap();
        let actual = [at(&job, "claimed_at"), at(&job, "finished_at")];
        for (place, key) in ["starts_p50", "starts_p90", "ends_p50", "ends_p90"].iter().enumerate() {
            by[place] += i32::from(actual[place / 2] <= at(eta, key));
        }
        let waited = (actual[0] - at(&job, "created_at")).total(jiff::Unit::Second).unwrap();
        let foreseen = (at(eta, "starts_p50") - at(&job, "created_at")).total(jiff::Unit::Second).unwrap();
        errors.push((waited - foreseen).abs() / waited.max(0.5));
    }
    errors.sort_by(f64::total_cmp);
    let share = by.map(|it| 100 * it / said.len() as i32);
    println!(
        "{} jobs; in time by starts_p50 {} %, starts_p90 {} %, ends_p50 {} %, ends_p90 {} %; median error of starts_p50 {:.0} %",
        said.len(),
        share[0],
        share[1],
        share[2],
        share[3],
        100.0 * errors[errors.len() / 2]
    );
    assert!(share[1] >= 85, "nine in ten should start by starts_p90");
    world.finish().await;
}
