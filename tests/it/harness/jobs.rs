//! Submitting and watching jobs over HTTP, as a user would.

use kube::ResourceExt;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{World, eventually};

/// A job that runs for a while and ends as it is told, on either target.
#[derive(Clone)]
pub struct Request(pub Value);

/// A job that sleeps for `millis` and then ends with `exit_code`.
pub fn job(name: &str, millis: u64, exit_code: i32) -> Request {
    let secs = format!("{}.{:03}", millis / 1000, millis % 1000);
    let outcome = if exit_code == 0 { "succeed".to_owned() } else { format!("exit={exit_code}") };
    Request(json!({
        "name": name,
        "image": "busybox:latest",
        "command": ["sh", "-c", format!("sleep {secs}; exit {exit_code}")],
        "annotations": {"sim.longshore.dev/duration": format!("{millis}ms"), "sim.longshore.dev/outcome": outcome},
    }))
}

/// A job whose manifest's pod has this spec. On the simulator it runs for a moment and ends well, unless told otherwise.
pub fn by_manifest(name: &str, pod: Value) -> Request {
    let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}});
    Request(json!({"name": name, "annotations": {"sim.longshore.dev/duration": "100ms"}, "manifest": manifest}))
}

/// A container for [`by_manifest`] that ends well at once.
pub fn container(name: &str, image: &str) -> Value {
    json!({"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": ["true"]})
}

impl Request {
    pub fn priority(self, priority: i32) -> Self {
        self.with("priority", json!(priority))
    }

    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }

    /// What the simulator is to do instead. It means nothing to a real cluster.
    pub fn sim(mut self, key: &str, value: &str) -> Self {
        self.0["annotations"][format!("sim.longshore.dev/{key}")] = json!(value);
        self
    }
}

impl World {
    /// Submits one job, and expects it to be accepted. Answers its id.
    pub async fn submit(&self, replica: &str, request: &Request) -> String {
        let answer = self.http.post(format!("{replica}/jobs")).json(&request.0).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{}", answer.text().await.unwrap());
        let answer: Value = answer.json().await.unwrap();
        let id = answer["job_id"].as_str().unwrap().to_owned();
        self.accepted.lock().unwrap().push(id.clone());
        id
    }

    pub async fn get(&self, replica: &str, path: &str) -> Value {
        let answer = self.http.get(format!("{replica}{path}")).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    pub async fn cancel(&self, replica: &str, id: &str) -> StatusCode {
        self.http.delete(format!("{replica}/jobs/{id}")).send().await.unwrap().status()
    }

    /// Ends when the job is in that state; answers it then.
    pub async fn reaches(&self, replica: &str, id: &str, state: &str) -> Value {
        eventually(&format!("job {id} is {state}"), async || {
            let job = self.get(replica, &format!("/jobs/{id}")).await;
            if job["state"] == state {
                return Some(job);
            }
            let ended = ["succeeded", "failed", "cancelled"].iter().any(|it| job["state"] == *it);
            assert!(!ended, "job {id} should be {state}, and is over: {job}");
            None
        })
        .await
    }

    /// Ends when the job says that it waits for what has this code; answers it then.
    pub async fn waits_for(&self, replica: &str, id: &str, code: &str) -> Value {
        eventually(&format!("job {id} waits for {code}"), async || {
            let job = self.get(replica, &format!("/jobs/{id}")).await;
            assert!(job["finished_at"].is_null(), "job {id} should wait for {code}, and is over: {job}");
            (job["why"]["code"] == code).then_some(job)
        })
        .await
    }

    /// What happened to a job, oldest first.
    pub async fn history(&self, replica: &str, id: &str) -> Vec<Value> {
        self.get(replica, &format!("/jobs/{id}/events?limit=1000")).await["items"].as_array().unwrap().clone()
    }

    /// The pods of a job in which something may still run.
    pub async fn living_pods(&self, id: &str) -> Vec<String> {
        let pods = self.target.pods().await.into_iter().filter(|it| {
            let phase = it.status.as_ref().and_then(|it| it.phase.as_deref());
            it.labels().get("longshore.dev/job-id").is_some_and(|it| it == id)
                && !matches!(phase, Some("Succeeded" | "Failed"))
        });
        pods.map(|it| it.name_any()).collect()
    }

    /// The names in `/jobs/pending` or `/jobs/running`.
    pub async fn names(&self, replica: &str, list: &str) -> Vec<String> {
        let jobs = self.get(replica, &format!("/jobs/{list}")).await;
        jobs.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Ends when no job of the world is anything but over. Asks the database, so that any replica may be down.
    pub async fn all_end(&self) {
        let mut conn = self.conn().await;
        eventually("every job ends", async || {
            let open: i64 = super::scalar(
                &mut conn,
                "select count(*) from longshore.jobs where state not in ('succeeded', 'failed', 'cancelled')",
            )
            .await;
            (open == 0).then_some(())
        })
        .await;
    }

    /// Ends when no Kubernetes Job of ours and no pod of it is left.
    pub async fn cluster_is_empty(&self) {
        eventually("the cluster is empty", async || {
            (self.target.jobs().await.is_empty() && self.target.pods().await.is_empty()).then_some(())
        })
        .await;
    }
}
