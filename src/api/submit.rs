//! `POST /jobs`.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use crate::{
    cluster::manifest::{self, Identity},
    id::{JobId, Nonce},
    spec::{Fault, Submission},
    store::{
        lists,
        signals::Signal,
        submit::{QUEUES, Ready, Submitted},
    },
};

use super::{
    Api, BODY_BYTES, Problem,
    view::{SubmitAnswer, position_text},
    wire::SubmitRequest,
};

const STATUS: &str = "Job submitted successfully";

/// Accepts a job: 202 when it is new and committed, 200 when the same request was accepted before under its key.
pub async fn submit(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|err| match err.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(BODY_BYTES),
        _ => Problem::unreadable_body("it ended too early, or came too slowly"),
    })?;
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(key) => Some(key.to_str().map(str::to_owned).map_err(|_| {
            Problem::invalid_fields(vec![Fault::new(
                "/idempotency_key",
                "the header Idempotency-Key is not plain text",
            )])
        })?),
    };
    let submission = read_submission(&api, &body, key)?;
    let name = submission.name.clone();
    let submitted = api.submissions.ask(Ready::new(submission)).await.map_err(Problem::of_change)?;
    if matches!(submitted, Submitted::New { .. }) {
        api.signals.raise(Signal::Pending);
    }
    let (status, answer) = answer(&api, name, submitted).await?;
    let location = HeaderValue::from_str(&format!("/jobs/{}", answer.job_id));
    let mut response = (status, Json(answer)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The job that one request asks for.
pub fn read_submission(api: &Api, body: &[u8], key: Option<String>) -> Result<Submission, Problem> {
    let request: SubmitRequest = read(body)?;
    let default_namespace = api.cluster.namespaces.first().map_or("default", String::as_str);
    let submission = request.into_submission(key, default_namespace).map_err(Problem::invalid_fields)?;
    check_against_cluster(api, &submission)?;
    Ok(submission)
}

/// What is said to its submitter.
pub async fn answer(api: &Api, name: String, submitted: Submitted) -> Result<(StatusCode, SubmitAnswer), Problem> {
    let (status, id, position) = match submitted {
        Submitted::New { id, position } => (StatusCode::ACCEPTED, id, position),
        Submitted::Before { id } => {
            let mut conn = api.db.conn().await?;
            let waits = lists::get(&mut conn, id).await?.filter(|it| it.state == "pending");
            let position = match waits {
                Some(row) => lists::position(&mut conn, row.priority, row.seq).await?,
                None => 0,
            };
            (StatusCode::OK, id, position)
        }
        Submitted::KeyTaken { id } => return Err(Problem::key_reused(id)),
        Submitted::TooManyQueues => return Err(Problem::too_many_queues(QUEUES)),
    };
    Ok((status, SubmitAnswer { job_id: id.to_string(), name, queue_position: position_text(position), status: STATUS }))
}

/// What could never be created is refused now and not after it has waited.
fn check_against_cluster(api: &Api, submission: &Submission) -> Result<(), Problem> {
    if !api.cluster.covers(&submission.namespace) {
        let allowed = api.cluster.namespaces.join(", ");
        let detail = format!("is none of the namespaces that this installation serves: {allowed}");
        return Err(Problem::invalid_fields(vec![Fault::new("/namespace", detail)]));
    }
    let nobody = Identity {
        instance: "longshore",
        job: JobId::new(),
        attempt: 1,
        nonce: Nonce(uuid::Uuid::nil()),
        spec_hash: "",
        kube_name: String::new(),
        namespace: &submission.namespace,
        queue: &submission.queue,
        job_name: &submission.name,
    };
    manifest::build(&submission.spec, &submission.policy, &nobody, &api.defaults)
        .map(|_| ())
        .map_err(Problem::invalid_fields)
}

/// Reads a JSON body, whatever its content type says: 400 when it is not JSON, 422 with the field when it does not fit.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|err| {
        let path = err.path().to_string();
        let err = err.into_inner();
        match err.classify() {
            serde_json::error::Category::Data => {
                let pointer = if path == "." {
                    String::new()
                } else {
                    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
                };
                Problem::invalid_fields(vec![Fault::new(pointer, err.to_string())])
            }
            _ => Problem::invalid_json(err.to_string()),
        }
    })?;
    reader.end().map_err(|err| Problem::invalid_json(err.to_string()))?;
    Ok(value)
}
