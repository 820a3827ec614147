//! `POST /job`, `POST /job/{path}` and `GET /job/{id}`: the front of the jq dispatcher, with its answers. An id here is the
//! name that the filter gave to its Job.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    id::{JobId, kube_name},
    lifecycle::StateName,
    metrics::Via,
    spec::Fault,
    store::{
        lists, names,
        signals::Signal,
        submit::{Ready, Submitted},
    },
    templates::jq::{Filters, Refused, asked},
};

use super::{
    Api, Problem, acceptable,
    doc::{
        answers::{OfFilter, OfJobName},
        examples,
    },
    job_status::JobStatus,
    kinds::Kind,
    measure, submit,
};

/// A Job that a filter made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = examples::job_summary)]
pub struct JobSummary {
    /// The name that the filter gave it.
    id: String,
    /// Kubernetes' JobStatus. Not there in the answer to a `POST`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    status: Option<Status>,
}

/// Kubernetes' JobStatus.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Status {
    /// As Kubernetes has it.
    Live(Value),
    /// Made of what is on record, where there is no Kubernetes Job, or not any more.
    Recorded(JobStatus),
}

/// The routes of this front. What is documented and what is served are two things here: a router cannot have `/job/{id}`
/// beside all paths below `/job`, and OpenAPI has no word for the latter.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    let served = Router::new()
        .route("/job", post(create))
        .route("/job/", post(create))
        .route("/job/{*path}", post(create_below).get(get));
    let mut router = OpenApiRouter::from(served);
    *router.get_openapi_mut() = Documented::openapi();
    router
}

#[derive(OpenApi)]
#[openapi(paths(create, create_below, get))]
struct Documented;

/// Make a Job by the filter
///
/// The filter turns the body, any JSON, into a Kubernetes Job, which is queued like any other. docs/jq.md has the rules.
#[utoipa::path(
    post, path = "/job", tag = "filter", operation_id = "create_job",
    request_body(content = Value, description = "Any JSON: `.` in the filter.", example = json!({"args": ["Hello", "world!"]})),
    responses(
        (status = 201, description = "The Job is new, and committed.", body = JobSummary,
            headers(("Location" = String, description = "Where its status is: `/job/{id}`."))),
        (status = 200, description = "There is a Job of this name already; nothing was done.", body = JobSummary),
        OfFilter,
    ),
)]
pub async fn create(State(api): State<Arc<Api>>, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    make(&api, "", body).await
}

/// Make a Job by the filter, which sees the path
///
/// The path may have several segments.
#[utoipa::path(
    post, path = "/job/{path}", tag = "filter", operation_id = "create_job_below",
    params(("path" = String, Path, description = "`$PATH` in the filter, behind `/job/`.")),
    request_body(content = Value, description = "Any JSON: `.` in the filter.", example = json!({"args": ["Hello", "world!"]})),
    responses(
        (status = 201, description = "The Job is new, and committed.", body = JobSummary,
            headers(("Location" = String, description = "Where its status is: `/job/{id}`."))),
        (status = 200, description = "There is a Job of this name already; nothing was done.", body = JobSummary),
        OfFilter,
    ),
)]
pub async fn create_below(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Ok(Path(path)) = path else { return Err(Problem::no_such_path()) };
    make(&api, &path, body).await
}

async fn make(api: &Api, path: &str, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let filters = filters(api)?;
    let body = submit::body(body)?;
    let body: Value = serde_json::from_slice(&body).map_err(|err| Problem::invalid_json(err.to_string()))?;
    let output = filters.run(&seen_path(path), &body).await.map_err(Problem::of_filter)?;
    let submission = asked::submission(output, api.reader.default_namespace()).map_err(Problem::invalid_fields)?;
    if !api.cluster.covers(&submission.namespace) {
        let detail = format!("must be one of {}, which this installation serves", api.cluster.namespaces.join(", "));
        return Err(Problem::invalid_fields(vec![Fault::new("/manifest/metadata/namespace", detail)]));
    }
    acceptable::check(&api.reader, &submission).await?;
    let (name, namespace, queue) = (submission.name.clone(), submission.namespace.clone(), submission.queue.clone());
    let mut submitted = api.submissions.ask(Ready::new(submission.clone())).await.map_err(Problem::of_change)?;
    if let Submitted::Before { id } = submitted
        && names::free(&mut *api.db.conn().await?, &asked::key(&namespace, &name), id).await?
    {
        submitted = api.submissions.ask(Ready::new(submission)).await.map_err(Problem::of_change)?;
    }
    api.metrics.submitted(Via::Filter, Some(&queue), measure::accepted(&submitted));
    let status = match submitted {
        Submitted::New { .. } => {
            api.signals.raise(Signal::Pending);
            StatusCode::CREATED
        }
        Submitted::Before { .. } => StatusCode::OK,
        refused => submit::answer(api, name.clone(), &queue, refused).await?.0,
    };
    let location = HeaderValue::from_str(&format!("/job/{name}"));
    let mut response = (status, Json(JobSummary { id: name, status: None })).into_response();
    if let (StatusCode::CREATED, Ok(location)) = (status, location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Get the status of a Job that the filter made
///
/// As Kubernetes has it while there is a Kubernetes Job, else made of what is on record.
#[utoipa::path(
    get, path = "/job/{id}", tag = "filter", operation_id = "get_job_by_name",
    params(("id" = String, Path, description = "The name that the filter gave to the Job.")),
    responses((status = 200, description = "The Job.", body = JobSummary), OfJobName),
)]
pub async fn get(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<JobSummary>, Problem> {
    filters(&api)?;
    let Ok(Path(mut name)) = name else { return Err(Problem::no_such_path()) };
    // Clients of the dispatcher may end the path with a slash, which it took off.
    if name.ends_with('/') {
        name.pop();
    }
    let unknown = || Problem::no_job_of_that_name(&name);
    let keys: Vec<String> = api.cluster.namespaces.iter().map(|it| asked::key(it, &name)).collect();
    let mut conn = api.db.conn().await?;
    let id = if name.contains('\0') { None } else { names::find(&mut conn, &keys).await? };
    let row = lists::get(&mut conn, id.ok_or_else(unknown)?).await?.ok_or_else(unknown)?;
    let finished = StateName::from_name(&row.state).is_some_and(StateName::is_finished);
    let kube_name = kube_name(&row.name, JobId(row.id), row.attempt);
    let live = api.view.job_status(&row.namespace, &kube_name).filter(|it| !finished || it.get("conditions").is_some());
    let status = match live {
        Some(live) if row.attempt > 0 => Status::Live(live),
        _ => Status::Recorded(JobStatus::from(&row)),
    };
    Ok(Json(JobSummary { id: name, status: Some(status) }))
}

fn filters(api: &Api) -> Result<&Filters, Problem> {
    api.filters.as_deref().ok_or_else(Problem::no_filter)
}

/// The path as a filter sees it: from `/job` on, decoded, without empty segments.
fn seen_path(below: &str) -> String {
    below.split('/').filter(|it| !it.is_empty()).fold("/job".to_owned(), |path, segment| format!("{path}/{segment}"))
}

impl Problem {
    fn no_filter() -> Self {
        let detail = "this Longshore was started without a filter; give `serve` --filter or --from-file";
        Self::new(Kind::NoFilter, detail)
    }

    fn no_job_of_that_name(name: &str) -> Self {
        let detail =
            format!("the filter made no Job that is called {name:?}, or so long ago that nothing is known of it");
        Self::new(Kind::NoSuchJob, detail)
    }

    fn of_filter(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Busy => Self::new(Kind::FilterBusy, detail),
            Refused::TimedOut(_) => Self::new(Kind::FilterTimeout, detail),
            Refused::Failed(_) => Self::new(Kind::FilterFailed, detail),
            Refused::NotStarted(_) => {
                tracing::error!(error = detail, "cannot run the filter");
                Self::new(Kind::FilterUnavailable, "the filter cannot be run right now; ask again soon")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_sees_the_path_without_what_means_nothing() {
        assert_eq!(seen_path(""), "/job");
        assert_eq!(seen_path("reports/daily"), "/job/reports/daily");
        assert_eq!(seen_path("/reports//daily/"), "/job/reports/daily");
    }
}
