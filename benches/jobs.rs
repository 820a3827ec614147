//! The jobs that rows submit, and the Kubernetes Jobs that Longshore makes of them.

use anyhow::Context;
use longshore::{
    cluster::manifest::{self, Defaults, Identity},
    id::{self, JobId, Nonce},
    retry::Policy,
    spec::Spec,
};
use serde_json::{Value, json};

use crate::http::Client;

/// The most jobs of one request here; the server takes more.
const BATCH: usize = 5_000;

/// A submission as people send them, into this namespace. The annotations tell the simulator what its pod will do.
pub fn job(namespace: &str, number: usize, annotations: &Value) -> Value {
    json!({
        "name": format!("job-{number}"), "namespace": namespace, "image": "busybox:latest",
        "command": ["sh", "-c", "exit 0"], "args": ["--tenant", "acme"], "labels": {"app": "bench"},
        "annotations": annotations, "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    })
}

/// The body of the request by which a replica creates the first attempt of such a job.
pub fn manifest(job: &Value) -> anyhow::Result<Vec<u8>> {
    let spec: Spec = serde_json::from_value(job.clone())?;
    let name = job["name"].as_str().context("a job without a name")?;
    let job_id = JobId::new();
    let (_, spec_hash) = spec.text_and_hash();
    let me = Identity {
        instance: "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        job: job_id,
        attempt: 1,
        nonce: Nonce(uuid::Uuid::new_v4()),
        spec_hash: &spec_hash,
        kube_name: id::kube_name(name, job_id, 1),
        namespace: job["namespace"].as_str().context("a job without a namespace")?,
        queue: "default",
        job_name: name,
    };
    let defaults = Defaults {
        image: "busybox:latest".into(),
        image_pull_policy: "IfNotPresent".into(),
        start_timeout_secs: Some(3600.0),
    };
    let policy: Policy = serde_json::from_value(json!({ "max_attempts": 1 }))?;
    let built = manifest::build(&spec, &policy, &me, &defaults);
    let built = built.map_err(|faults| anyhow::anyhow!("cannot build a Kubernetes Job: {faults:?}"))?;
    Ok(serde_json::to_vec(&built)?)
}

/// Submits all of them in batches.
pub async fn submit(address: &str, jobs: &[Value]) -> anyhow::Result<()> {
    let mut client = Client::connect(address).await?;
    for some in jobs.chunks(BATCH) {
        let body: String = some.iter().map(|it| format!("{it}\n")).collect();
        let (status, text) = client.ask("POST", "/jobs/batch", body.as_bytes(), "application/x-ndjson").await?;
        let refused = String::from_utf8_lossy(&text).matches("\"status\":4").count();
        anyhow::ensure!(status == 200 && refused == 0, "answered {status}, {refused} items refused");
    }
    Ok(())
}
