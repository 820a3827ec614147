//! The one error type of the API: an RFC 9457 problem document with a stable `code`.
//!
//! No text of the database or the cluster reaches a client; the cause is logged once, here.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{error::chain, lifecycle::StateName, spec::Fault, store};

use super::{BODY_BYTES, items::Broken, kinds::Kind};

/// How long a client is told to wait before it asks again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The most wrong fields of a batch that are named: whoever mends those sends it again, and hears of the rest.
const BATCH_FAULTS: usize = 100;

/// A problem document (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem, for the rest of time; `/docs/problems/{code}` explains it.
    #[schema(format = "uri")]
    r#type: String,
    /// The kind of problem in a few words.
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The kind of problem, stable, for programs.
    #[schema(pattern = "^[a-z_]+$")]
    code: &'static str,
    /// What it is about here, for people.
    detail: String,
    /// Each field that is wrong; absent where none is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<Fault>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let about = kind.about();
        Self {
            r#type: format!("https://longshore.dev/problems/{}", about.code),
            title: about.title,
            status: about.status.as_u16(),
            code: about.code,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    pub fn invalid_json(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidJson, detail)
    }

    pub fn unreadable_body(detail: impl Into<String>) -> Self {
        Self::new(Kind::UnreadableBody, detail)
    }

    pub fn invalid_fields(errors: Vec<Fault>) -> Self {
        Self::of_fields(Kind::InvalidFields, errors)
    }

    /// Each of the errors names its rule.
    pub fn pod_policy(errors: Vec<Fault>) -> Self {
        Self::of_fields(Kind::PodPolicy, errors)
    }

    fn of_fields(kind: Kind, errors: Vec<Fault>) -> Self {
        let each = errors.iter().map(|it| format!("{} {}", it.pointer, it.detail).trim_start().to_owned());
        let detail = each.collect::<Vec<_>>().join("; ");
        Self { errors, ..Self::new(kind, detail) }
    }

    /// A webhook or a policy of the cluster denies it, in words that are meant for whoever asked.
    pub fn manifest_denied(message: String) -> Self {
        Self::new(Kind::ManifestRejected, message)
    }

    /// The same, with each wrong field told in another way.
    pub fn map_fields(self, tell: impl Fn(Fault) -> Fault) -> Self {
        let errors = self.errors.into_iter().map(tell).collect();
        match self.code {
            "invalid_fields" => Self::invalid_fields(errors),
            "pod_policy" => Self::pod_policy(errors),
            _ => Self { errors, ..self },
        }
    }

    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes");
        Self::new(Kind::TooLarge, detail)
    }

    /// For the rest of a batch, from item `index` on.
    pub fn broken_batch(broken: &Broken, index: usize) -> Self {
        match broken {
            Broken::TooLarge => Self::too_large(BODY_BYTES),
            Broken::Unfinished => Self::invalid_json(format!("the array is not closed after item {index}")),
            Broken::After => Self::invalid_json("something comes after the array"),
        }
    }

    /// For a batch that is not in either form.
    pub fn no_batch(err: &serde_json::Error) -> Self {
        Self::invalid_json(format!("it is neither a JSON array nor lines of JSON: {err}"))
    }

    pub fn too_many_jobs(limit: usize) -> Self {
        let detail = format!("one request takes {limit} jobs; those from this one on were left out, send them again");
        Self::new(Kind::TooManyJobs, detail)
    }

    pub fn whole_too_large(jobs: usize, bytes: usize) -> Self {
        let detail = format!("a request that is accepted as a whole takes {jobs} jobs and {bytes} bytes; send several");
        Self::new(Kind::TooManyJobs, detail)
    }

    /// For a whole batch, because of some of its items, by index: nothing of it was accepted.
    pub fn batch_refused(refused: Vec<(usize, Self)>) -> Self {
        let (status, first) = refused.first().map_or((422, String::new()), |(index, it)| {
            (it.status, format!("item {index}: {} ({}); ", it.detail, it.code))
        });
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
        let detail = format!("{first}{} of its jobs cannot be accepted, and so none was", refused.len());
        let errors = refused.into_iter().flat_map(|(index, it)| {
            let whole = it.errors.is_empty().then(|| Fault::new(format!("/{index}"), it.detail));
            it.errors
                .into_iter()
                .map(move |fault| Fault::new(format!("/{index}{}", fault.pointer), fault.detail))
                .chain(whole)
        });
        let errors = errors.take(BATCH_FAULTS).collect();
        Self { errors, status: status.as_u16(), ..Self::new(Kind::BatchRefused, detail) }
    }

    /// What it is about, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Each field that is wrong.
    pub fn errors(&self) -> &[Fault] {
        &self.errors
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether what was asked may have been done.
    pub fn is_in_doubt(&self) -> bool {
        self.code == Kind::OutcomeUnknown.about().code
    }

    pub fn no_such_job(id: &str) -> Self {
        let detail = format!("there is no job {id:?}; ids are UUIDs, as `job_id` has them");
        Self::new(Kind::NoSuchJob, detail)
    }

    pub fn no_log(why: &str) -> Self {
        Self::new(Kind::NoLog, format!("there is no log of it: {why}"))
    }

    pub fn cluster_unavailable() -> Self {
        let detail = "the Kubernetes API server does not answer as it should; ask again";
        Self::new(Kind::ClusterUnavailable, detail)
    }

    pub fn no_such_problem(code: &str) -> Self {
        Self::new(Kind::NoSuchProblem, format!("there is no kind of problem with the code {code:?}"))
    }

    pub fn no_such_path() -> Self {
        Self::new(Kind::NoSuchPath, "there is nothing at this path")
    }

    pub fn another_role() -> Self {
        Self::new(Kind::NoSuchPath, "this process runs without the role `api`; one that has it answers")
    }

    pub fn starting() -> Self {
        Self::new(
            Kind::Starting,
            "this replica is starting: it waits for the database, or brings its schema up to date",
        )
    }

    pub fn wrong_method() -> Self {
        let detail = "this path does not answer to this method; the header Allow says to which it does";
        Self::new(Kind::WrongMethod, detail)
    }

    pub fn cross_site() -> Self {
        let detail = "a page of another site may not change anything here";
        Self::new(Kind::CrossSite, detail)
    }

    pub fn unknown_host() -> Self {
        let detail = "this address is reached by the names of this machine only, such as localhost; the request names another host";
        Self::new(Kind::UnknownHost, detail)
    }

    pub fn already_finished(state: StateName) -> Self {
        let detail = format!("the job has {} and cannot be cancelled any more", state.name());
        Self::new(Kind::AlreadyFinished, detail)
    }

    pub fn not_retryable(state: StateName) -> Self {
        let detail = match state {
            StateName::Succeeded => "the job has succeeded; submit it again to run it once more".to_owned(),
            StateName::Failed => {
                "what was asked of the job was refused; its message says why: submit a better one".to_owned()
            }
            other => {
                format!("the job is {} and not over; only what failed or was cancelled is tried again", other.name())
            }
        };
        Self::new(Kind::NotRetryable, detail)
    }

    pub fn no_such_queue(name: &str) -> Self {
        let detail = format!("there is no queue {name:?}; it comes into being with its first job, or by PUT");
        Self::new(Kind::NoSuchQueue, detail)
    }

    pub fn no_such_source(name: &str) -> Self {
        Self::new(Kind::NoSuchSource, format!("there is no source {name:?}"))
    }

    pub fn queue_full(queue: &str, max_pending: i32) -> Self {
        let jobs = match max_pending {
            1 => "1 job waits".to_owned(),
            _ => format!("{max_pending} jobs wait"),
        };
        let detail = format!("{jobs} in the queue {queue:?}, which is as many as may; try again later");
        Self::new(Kind::QueueFull, detail)
    }

    pub fn not_waiting(state: StateName) -> Self {
        let detail =
            format!("the job is {}; only a job that waits, pending or scheduled, can be changed", state.name());
        Self::new(Kind::NotWaiting, detail)
    }

    pub fn key_reused(job: impl std::fmt::Display) -> Self {
        let detail = format!("this idempotency key came with another request before, which made job {job}");
        Self::new(Kind::KeyReused, detail)
    }

    pub fn too_many_queues(limit: i64) -> Self {
        let detail = format!("there are {limit} queues already, which is the most; use one of them");
        Self::new(Kind::TooManyQueues, detail)
    }

    pub fn events_gone(why: &str) -> Self {
        let detail = format!(
            "what happened after that event id cannot be told any more: {why}; read GET /jobs, and listen without an id"
        );
        Self::new(Kind::EventsGone, detail)
    }

    pub fn too_many_streams(limit: usize) -> Self {
        let detail = format!("{limit} clients listen to this replica already; ask again, or another one");
        Self::new(Kind::TooManyStreams, detail)
    }

    pub fn no_such_webhook(id: &str) -> Self {
        Self::new(Kind::NoSuchWebhook, format!("there is no webhook {id:?}"))
    }

    pub fn no_such_delivery(id: &str) -> Self {
        let detail = format!("this webhook has no delivery {id:?}");
        Self::new(Kind::NoSuchDelivery, detail)
    }

    pub fn too_many_webhooks(limit: i64) -> Self {
        let detail = format!("there are {limit} webhooks already, which is the most; delete one");
        Self::new(Kind::TooManyWebhooks, detail)
    }

    pub fn no_such_template(name: &str) -> Self {
        let detail = format!("there is no template {name:?}; GET /templates lists what there is");
        Self::new(Kind::NoSuchTemplate, detail)
    }

    /// `home`: where it is kept instead.
    pub fn template_is_fixed(home: &str) -> Self {
        let detail = format!(
            "a template of this name is kept in {home}, which goes before what is stored here; change it there"
        );
        Self::new(Kind::TemplateIsFixed, detail)
    }

    pub fn templates_unavailable() -> Self {
        let detail = "the ConfigMap with templates could not be read yet; ask again";
        Self::new(Kind::TemplatesUnavailable, detail)
    }

    pub fn too_many_templates(limit: i64) -> Self {
        let detail = format!("there are {limit} stored templates already, which is the most; delete one");
        Self::new(Kind::TooManyTemplates, detail)
    }

    /// Of `/readyz`.
    pub fn not_ready(kind: Kind, detail: impl Into<String>) -> Self {
        Self::new(kind, detail)
    }

    pub fn internal() -> Self {
        let detail = "something went wrong here that is not the request's fault; the log says what";
        Self::new(Kind::Internal, detail)
    }

    /// For a request that was not answered in its time.
    pub fn too_slow() -> Self {
        let detail = "the database does not answer; a change may have been made or not: ask again";
        Self::new(Kind::OutcomeUnknown, detail)
    }

    /// For a change of which it is not known whether it was made.
    fn outcome_unknown() -> Self {
        let detail = "the database did not answer, so this may have been done or not; ask again, a submission with the \
                      same idempotency key";
        Self::new(Kind::OutcomeUnknown, detail)
    }

    pub fn database_away() -> Self {
        let detail = "the database cannot be used right now, and nothing was done; ask again soon";
        Self::new(Kind::DatabaseUnavailable, detail)
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
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
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
