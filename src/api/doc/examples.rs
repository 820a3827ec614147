//! Answers as they look, for the OpenAPI document. A test holds each against its schema.

use serde_json::{Value, json};

const JOB: &str = "01a1fcb0-fb99-711d-b522-9e80eacaac35";

/// Of `POST /jobs`.
pub fn submitted() -> Value {
    json!({"job_id": JOB, "name": "job1", "queue_position": "0", "status": "Job submitted successfully"})
}

/// Of `POST /job`, and of `GET /job/{id}` while it waits.
pub fn job_summary() -> Value {
    json!({"id": "demo-job-a59c882c2fcdd8f26a5fd326110d667620368145", "status": {}})
}

/// Of `POST /jobs/batch`.
pub fn batch_result() -> Value {
    json!({"index": 0, "status": 202, "job_id": JOB, "name": "a", "queue_position": "0"})
}

/// Of `GET /jobs/pending`.
pub fn pending() -> Value {
    json!({"name": "job1", "job_id": JOB, "priority": 2, "queue": "default", "namespace": "default", "state": "pending",
        "created_at": "2026-11-21T06:00:19.609953Z"})
}

/// Of `GET /jobs/running`.
pub fn running() -> Value {
    json!({"name": "job1", "job_id": JOB, "priority": 2, "queue": "default", "namespace": "default", "state": "running",
        "attempt": 1, "claimed_at": "2026-11-21T06:00:59.50143Z", "code": "running", "message": null})
}

/// Of `GET /jobs/{id}`.
pub fn job() -> Value {
    json!({"job_id": JOB, "name": "job1", "queue": "default", "namespace": "default", "priority": 2, "state": "pending",
        "reason": null, "message": null, "labels": {}, "attempt": 0, "max_attempts": 1, "failed_attempts": 0,
        "interruptions": 0, "created_at": "2026-11-21T06:00:19.609953Z", "run_at": null, "due_at": null,
        "expires_at": null, "claimed_at": null, "started_at": null, "finished_at": null, "cancel_requested_at": null,
        "queue_position": "4", "attempts": [], "spec": {},
        "why": {"code": "global_cap",
            "message": "every slot of the global cap is held (2 of 2); 4 jobs are ahead of it",
            "since": "2026-11-21T06:00:19.609946Z", "until": null, "position": "4",
            "limit": {"name": "global", "cap": 2, "held": 2}}})
}

/// Among the attempts of a job.
pub fn attempt() -> Value {
    json!({"attempt": 1, "kube_name": "import-01a1fcb0fa4077f4b21f745bcc8f2dc1-1",
        "kube_uid": "85080d96-009e-4823-9253-9f2fd1e076e5", "node": "sim-node",
        "pod": "import-01a1fcb0fa4077f4b21f745bcc8f2dc1-1-rslt2", "container": "main", "exit_code": 1,
        "termination_message": "connection reset by peer", "reason": "job_failed",
        "message": "the container main ended with exit code 1", "counts": true, "log": "kept",
        "waited_since": "2026-11-21T06:00:19.268766Z", "claimed_at": "2026-11-21T06:00:21.809255Z",
        "created_at": "2026-11-21T06:00:21.861613Z", "started_at": "2026-11-21T06:00:21Z",
        "finished_at": "2026-11-21T06:00:23.008541Z"})
}

/// Of `GET /jobs/{id}/events`.
pub fn event() -> Value {
    json!({"id": 44, "at": "2026-11-21T06:00:26.64902Z", "attempt": 1, "from": "starting", "to": "starting",
        "reason": "created", "message": null, "replica": "ab1fd8f0-ea6c-4ed7-8288-61744e08d4d0"})
}

/// Of `GET /queues/{name}`.
pub fn queue() -> Value {
    json!({"name": "reports", "cap": 4, "max_pending": 1000, "paused": false, "paused_at": null,
        "defaults": {"timeout": "1h"}, "held": 4, "pending": "17", "waiting": "19",
        "rates": {"submitted_per_minute": 12.4, "ended_per_minute": 11.8}, "created_at": "2026-11-21T06:00:19.609953Z", "updated_at": "2026-11-21T06:10:02.100211Z"})
}

/// Of `GET /sources/{name}`.
pub fn source() -> Value {
    json!({"name": "mails", "type": "sqs", "reads": "https://sqs.eu-central-1.amazonaws.com/123456789012/mails", "paused": false,
        "paused_at": null, "running": true, "received": 10004, "submitted": 10000, "duplicates": 1, "refused": 3,
        "received_at": "2026-11-21T06:10:02.100211Z", "lag_seconds": 0.31, "held": 0, "waiting": 12, "oldest_seconds": null,
        "states": {}, "looked_at": "2026-11-21T06:10:02.100211Z", "last_error": null, "failing": false,
        "last_refusal": {"at": "2026-11-21T06:04:11.000302Z", "message": "5fea7756-0ea4-451a-a703-a558b933e274: its body is not \
            JSON: expected value at line 1 column 1"}})
}

/// Of `GET /limits`.
pub fn limits() -> Value {
    json!({"cap": 50, "held": 12, "updated_at": "2026-11-21T06:10:02.100211Z"})
}

/// Of the data of `GET /events`.
pub fn stream_event() -> Value {
    json!({"id": 44, "at": "2026-11-21T06:00:26.64902Z", "job_id": JOB, "name": "job1", "queue": "default", "priority": 2,
        "attempt": 1, "from": "running", "to": "succeeded", "reason": "completed", "message": "every container ended well",
        "replica": "ab1fd8f0-ea6c-4ed7-8288-61744e08d4d0"})
}

/// Of `GET /webhooks/{id}`.
pub fn webhook() -> Value {
    json!({"id": "01a1fcb0-fb99-711d-b522-9e80eacaac36", "url": "https://example.com/jobs", "queue": null,
        "states": ["failed"], "created_at": "2026-11-21T06:00:19.609953Z", "disabled_at": null, "disabled_why": null})
}

/// Of `GET /webhooks/{id}/deliveries`.
pub fn delivery() -> Value {
    json!({"id": "01a1fcb0-fb99-711d-b522-9e80eacaac37", "job_id": JOB, "job_state": "failed", "state": "delivered",
        "tries": 1, "created_at": "2026-11-21T06:00:26.64902Z", "due_at": null,
        "tried_at": "2026-11-21T06:00:26.71002Z", "delivered_at": "2026-11-21T06:00:26.71002Z", "last_status": 204,
        "last_error": null})
}

/// Of `GET /templates/{name}`.
pub fn template() -> Value {
    json!({"name": "report", "home": "stored", "usable": true, "description": "Makes the report of a day.",
        "parameters": [{"name": "day", "type": "string", "required": true}], "defaults": {"queue": "reports"},
        "additions": ["env"], "created_at": "2026-11-21T06:00:19.609953Z", "updated_at": "2026-11-21T06:00:19.609953Z"})
}
