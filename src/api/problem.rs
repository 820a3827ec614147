//! The one error type of the API: an RFC 9457 problem document with a stable `code`.
//!
//! No text of the database or the cluster reaches a client; the cause is logged once, here.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{error::chain, lifecycle::StateName, spec::Fault, store};

use super::{BODY_BYTES, items::Broken};

/// How long a client is told to wait before it asks again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A problem document.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            r#type: format!("https://longshore.dev/problems/{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    pub fn invalid_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", "The body is not JSON", detail)
    }

    pub fn unreadable_body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable_body", "The body could not be read", detail)
    }

    pub fn invalid_fields(errors: Vec<Fault>) -> Self {
        let detail = errors.iter().map(|it| format!("{} {}", it.pointer, it.detail)).collect::<Vec<_>>().join("; ");
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", "Some fields are wrong", detail);
        Self { errors, ..problem }
    }

    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large", detail)
    }

    /// For the rest of a batch, from item `index` on.
    pub fn broken_batch(broken: &Broken, index: usize) -> Self {
        match broken {
            Broken::TooLarge => Self::too_large(BODY_BYTES),
            Broken::Unfinished => Self::invalid_json(format!("the array is not closed after item {index}")),
            Broken::After => Self::invalid_json("something comes after the array"),
        }
    }

    pub fn too_many_jobs(limit: usize) -> Self {
        let detail = format!("one request takes {limit} jobs; those from this one on were left out, send them again");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_jobs", "Too many jobs", detail)
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn no_such_job(id: &str) -> Self {
        let detail = format!("there is no job {id:?}; ids are UUIDs, as `job_id` has them");
        Self::new(StatusCode::NOT_FOUND, "no_such_job", "No such job", detail)
    }

    pub fn no_log(why: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_log", "No log", format!("there is no log of it: {why}"))
    }

    pub fn cluster_unavailable() -> Self {
        let detail = "the Kubernetes API server does not answer as it should; ask again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "cluster_unavailable", "Cluster unavailable", detail)
    }

    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_path", "No such path", "there is nothing at this path")
    }

    pub fn wrong_method() -> Self {
        let detail = "this path does not answer to this method; the header Allow says to which it does";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "Wrong method", detail)
    }

    pub fn cross_site() -> Self {
        let detail = "a page of another site may not change anything here";
        Self::new(StatusCode::FORBIDDEN, "cross_site", "Refused", detail)
    }

    pub fn already_finished(state: StateName) -> Self {
        let detail = format!("the job has {} and cannot be cancelled any more", state.name());
        Self::new(StatusCode::CONFLICT, "already_finished", "The job has ended", detail)
    }

    pub fn key_reused(job: impl std::fmt::Display) -> Self {
        let detail = format!("this idempotency key came with another request before, which made job {job}");
        Self::new(StatusCode::CONFLICT, "idempotency_key_reused", "The idempotency key is taken", detail)
    }

    pub fn too_many_queues(limit: i64) -> Self {
        let detail = format!("there are {limit} queues already, which is the most; use one of them");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_queues", "Too many queues", detail)
    }

    pub fn not_ready(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "Not ready", detail)
    }

    pub fn internal() -> Self {
        let detail = "something went wrong here that is not the request's fault; the log says what";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// For a request that was not answered in its time.
    pub fn too_slow() -> Self {
        let detail = "the database does not answer; a change may have been made or not: ask again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", "Outcome unknown", detail)
    }

    /// For a change of which it is not known whether it was made.
    fn outcome_unknown() -> Self {
        let detail = "the database did not answer, so this may have been done or not; ask again, a submission with the \
                      same idempotency key";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", "Outcome unknown", detail)
    }

    fn database_away() -> Self {
        let detail = "the database cannot be used right now, and nothing was done; ask again soon";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", "The database is away", detail)
    }

    /// For a statement that changes something.
    pub fn of_change(err: store::Error) -> Self {
        match err {
            store::Error::NoAnswer(_) | store::Error::NotReplicated => {
                tracing::warn!(error = chain(&err), "the outcome of a change is not known");
                Self::outcome_unknown()
            }
            err => err.into(),
        }
    }
}

/// For a statement that only reads, or getting a connection.
impl From<store::Error> for Problem {
    fn from(err: store::Error) -> Self {
        match &err {
            store::Error::Away(_) | store::Error::NoAnswer(_) | store::Error::ReadOnly | store::Error::Busy(_) => {
                tracing::warn!(error = chain(&err), "the database is away");
                Self::database_away()
            }
            store::Error::Url(_)
            | store::Error::NotReplicated
            | store::Error::Unknown { .. }
            | store::Error::Migrate(_)
            | store::Error::Statement(_) => {
                tracing::error!(error = chain(&err), "a request failed");
                Self::internal()
            }
        }
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into()
    }
}
