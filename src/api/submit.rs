//! `POST /jobs`.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    metrics::Via,
    spec::Fault,
    store::{
        lists,
        signals::Signal,
        submit::{QUEUES, Submitted},
    },
};

use super::{
    Api, BODY_BYTES, Problem,
    doc::answers::OfSubmit,
    measure,
    templated::Looked,
    view::{SubmitAnswer, position_text},
    wire::SubmitRequest,
};

const STATUS: &str = "Job submitted successfully";

/// Submit a job
///
/// The body is read as JSON whatever its content type says. What could never be created is refused at once.
#[utoipa::path(
    post, path = "/jobs", tag = "jobs", operation_id = "submit_job",
    params(("Idempotency-Key" = Option<String>, Header, description = "As the field `idempotency_key`.", min_length = 1,
        max_length = 255, pattern = "^[ -~]+$")),
    request_body(content = SubmitRequest, description = "The job.", examples(
        ("minimal" = (summary = "A name and a priority", value = json!({"name": "job1", "priority": 2}))),
        ("container" = (summary = "A container", value = json!({
            "name": "import", "image": "busybox:latest", "command": ["echo", "hello"], "env": {"LEVEL": "debug"},
            "labels": {"team": "billing"}, "idempotency_key": "import-2026-11-21"}))),
        ("retries" = (summary = "Retries and deadlines", value = json!({
            "name": "import", "max_attempts": 4, "timeout": "2h", "queue_timeout": "1d",
            "backoff": {"initial": "30s", "max": "10m"}, "retry": {"except_exit_codes": [2], "max_interruptions": 10}}))),
        ("later" = (summary = "In a quarter of an hour", value = json!({"name": "report", "queue": "reports", "delay": "15m"}))),
        ("manifest" = (summary = "A whole Kubernetes Job", value = json!({"name": "whole", "manifest": {
            "apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
                "containers": [{"name": "main", "image": "busybox:latest"}]}}}}}))),
    )),
    responses(
        (status = 202, description = "The job is new, and committed.", body = SubmitAnswer,
            headers(("Location" = String, description = "Where the job is: `/jobs/{id}`."))),
        (status = 200, description = "The same request was accepted before under its key; this is the job it made.",
            body = SubmitAnswer, headers(("Location" = String, description = "Where the job is: `/jobs/{id}`."))),
        OfSubmit,
    ),
)]
pub async fn submit(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = self::body(body)?;
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(key) => Some(key.to_str().map(str::to_owned).map_err(|_| {
            Problem::invalid_fields(vec![Fault::new(
                "/idempotency_key",
                "the header Idempotency-Key is not plain text",
            )])
        })?),
    };
    let read = api.reader.read(&mut Looked::default(), &body, key).await;
    let ready = read.map_err(|it| api.count_refused(Via::Http, it))?;
    let via = if ready.is_templated() { Via::Template } else { Via::Http };
    let (name, queue) = (ready.submission().name.clone(), ready.submission().queue.clone());
    let submitted = api.submissions.ask(ready).await.map_err(Problem::of_change)?;
    api.metrics.submitted(via, Some(&queue), measure::accepted(&submitted));
    if matches!(submitted, Submitted::New { .. }) {
        api.signals.raise(Signal::Pending);
    }
    let (status, answer) = answer(&api, name, &queue, submitted).await?;
    let location = HeaderValue::from_str(&format!("/jobs/{}", answer.job_id));
    let mut response = (status, Json(answer)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// A body that came whole and is not too large.
pub fn body(given: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    given.map_err(|err| match err.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(BODY_BYTES),
        _ => Problem::unreadable_body("it ended too early, or came too slowly"),
    })
}

/// What is said to its submitter.
pub async fn answer(
    api: &Api,
    name: String,
    queue: &str,
    submitted: Submitted,
) -> Result<(StatusCode, SubmitAnswer), Problem> {
    let (status, id, position) = match submitted {
        Submitted::New { id, position } => (StatusCode::ACCEPTED, id, position),
        Submitted::Before { id } => {
            let mut conn = api.db.conn().await?;
            let waits = lists::get(&mut conn, id).await?.filter(|it| it.state == "pending");
            let position = match waits {
                Some(row) => lists::position(&mut conn, &row.queue, row.priority, row.seq).await?,
                None => 0,
            };
            (StatusCode::OK, id, position)
        }
        Submitted::KeyTaken { id } => return Err(Problem::key_reused(id)),
        Submitted::TooManyQueues => return Err(Problem::too_many_queues(QUEUES)),
        Submitted::QueueFull { max_pending } => return Err(Problem::queue_full(queue, max_pending)),
    };
    Ok((status, SubmitAnswer { job_id: id.to_string(), name, queue_position: position_text(position), status: STATUS }))
}
