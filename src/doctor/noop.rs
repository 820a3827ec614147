//! `--submit-noop`: a job that does nothing, through the whole of Longshore. Its pod meets the strictest Pod Security level,
//! and asks for little, so that it starts wherever anything does.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::error::chain;

use super::{live::beneath, patient::Patient, report::Finding};

/// How long all of it may take: an image is pulled. Less than the five minutes that `helm test` gives.
pub const WITHIN: Duration = Duration::from_secs(240);
/// How long the job may wait for a slot, and then for its pod: both end by themselves before [`WITHIN`] does.
const WAITS: (&str, &str) = ("90s", "120s");
/// How long one question for its end may take, and how long the server may take it to answer.
const LOOK: (&str, Duration) = ("20s", Duration::from_secs(30));
/// Ahead of what usually waits: somebody looks on.
const PRIORITY: i32 = 1_000;
/// Where Longshore's image has its program.
const PROGRAM: &str = "/usr/local/bin/longshore";

pub async fn runs(patient: &Patient) -> Vec<Finding> {
    let Some(image) = &patient.noop else {
        return vec![Finding::skipped("without --submit-noop nothing is submitted")];
    };
    let (image, command) = match image {
        Some(image) => (image.as_str(), json!([PROGRAM, "--version"])),
        None => (patient.config.default_image.as_str(), json!(["true"])),
    };
    let submitted = patient.config.namespace.iter().map(async |namespace| {
        let told = one(patient, &request(namespace, image, &command, patient.config.image_pull_policy.name())).await;
        told.about(namespace)
    });
    join_all(submitted).await
}

fn request(namespace: &str, image: &str, command: &Value, pull: &str) -> Value {
    let container = json!({
        "name": "main", "image": image, "imagePullPolicy": pull, "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
    });
    let pod = json!({
        "restartPolicy": "Never", "containers": [container],
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    });
    json!({
        "name": "longshore-doctor", "namespace": namespace, "priority": PRIORITY,
        "queue_timeout": WAITS.0, "start_timeout": WAITS.1,
        "manifest": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}},
    })
}

async fn one(patient: &Patient, request: &Value) -> Finding {
    let why = "jobs of other people may go the same way";
    let path = |path: &str| beneath(&patient.url, path);
    let accepted = match ask(patient.http.request(Method::POST, path("jobs")).json(request)).await {
        Ok(answer) => answer,
        Err(told) => {
            let remedy = "do what the refusal says, and look at the checks above";
            return Finding::fail(format!("a job that does nothing was not accepted: {told}"), why, remedy);
        }
    };
    let Some(id) = accepted["job_id"].as_str() else {
        return Finding::fail("what answers is not Longshore", why, "say by --url where it is");
    };
    loop {
        let wait = patient.http.get(path(&format!("jobs/{id}/wait"))).query(&[("timeout", LOOK.0)]).timeout(LOOK.1);
        let job = match ask(wait).await {
            Ok(job) => job,
            Err(told) => {
                let found = format!("{id} was accepted, and nothing is heard of it: {told}");
                return Finding::fail(found, why, format!("`longshore get {id}` when it answers again"));
            }
        };
        let reason = job["reason"].as_str().unwrap_or_default();
        match job["state"].as_str().unwrap_or_default() {
            "succeeded" => return Finding::ok(format!("{id} was accepted, started, and ended well")),
            "failed" | "cancelled" => {
                let told = job["message"].as_str().or(job["why"]["message"].as_str()).unwrap_or_default();
                return Finding::fail(
                    format!("{id} did not end well: {reason} {told}"),
                    why,
                    format!(
                        "`longshore get {id}` and `longshore events {id}` tell more; docs/lifecycle.md has the reasons"
                    ),
                );
            }
            _ => {}
        }
    }
}

/// The answer, or why it is none.
async fn ask(request: RequestBuilder) -> Result<Value, String> {
    let answer = request.send().await.map_err(|err| chain(&err.without_url()))?;
    let status = answer.status();
    let body = answer.json::<Value>().await.unwrap_or_default();
    match status.is_success() {
        true => Ok(body),
        false => {
            let detail = body["detail"].as_str().unwrap_or("no reason was given");
            Err(format!("{} {detail}", status.as_u16()))
        }
    }
}
