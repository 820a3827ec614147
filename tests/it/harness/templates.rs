//! Two templates, and asking for them as a client would.

use serde_json::Value;

use super::World;

/// The launcher's own: a plain Job, named and labelled by whoever wrote it.
pub const SEED: &str = "apiVersion: batch/v1
kind: Job
metadata:
  name: job-from-template
  labels:
    app: launcher
  annotations:
    sim.longshore.dev/duration: 200ms
spec:
  template:
    spec:
      containers:
        - name: worker
          image: busybox:latest
          imagePullPolicy: IfNotPresent
          command: [\"sh\", \"-c\", \"echo $MODE $TASK; sleep 0.2\"]
          env:
            - name: MODE
              value: fast
      restartPolicy: Never
";

/// One with parameters of each kind.
pub const IMPORT: &str = r#"{
  "description": "imports a file",
  "parameters": [
    {"name": "file", "type": "string"},
    {"name": "lines", "type": "integer", "default": 100},
    {"name": "mode", "type": "string", "enum": ["fast", "slow"], "default": "fast"}
  ],
  "defaults": {"priority": 7, "queue": "imports", "timeout": "1h"},
  "additions": ["env", "labels", "annotations"],
  "manifest": {
    "apiVersion": "batch/v1", "kind": "Job",
    "metadata": {"annotations": {"sim.longshore.dev/duration": "100ms", "example.com/of": "{{ job.name }}"}},
    "spec": {"completions": "{{ lines }}", "parallelism": 1, "template": {"spec": {"containers": [{
      "name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent",
      "command": ["true"], "args": ["--lines={{ lines }}", "--file", "{{ file }}"],
      "env": [{"name": "MODE", "value": "{{ mode }}"}]
    }]}}}
  }
}"#;

pub async fn send(world: &World, method: &str, url: String, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let asked = world.http.request(method.parse().unwrap(), url).body(body).send().await.unwrap();
    let status = asked.status().as_u16();
    (status, serde_json::from_str(&asked.text().await.unwrap()).unwrap_or_default())
}

pub async fn post(world: &World, replica: &str, body: &Value) -> (u16, Value) {
    send(world, "POST", format!("{replica}/jobs"), body.to_string()).await
}

/// The pointers that a refused submission names.
pub async fn refused(world: &World, replica: &str, body: &Value) -> Vec<String> {
    let (status, problem) = post(world, replica, body).await;
    assert_eq!(status, 422, "{body}: {problem}");
    problem["errors"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap().to_owned()).collect()
}
