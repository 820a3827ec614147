//! Reading jobs, and asking for one to be cancelled.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    id::JobId,
    lifecycle::{Reason, StateName},
    metrics::Metrics,
    spec::Fault,
    store::{
        Conn, eta,
        intents::{self, Cancel, Retry},
        lists,
        signals::Signal,
        why,
    },
};

use super::{
    Api, Problem,
    doc::{
        answers::{OfCancel, OfJob, OfJobLists, OfLists, OfRetry},
        fields,
    },
    unread,
    view::{AttemptView, Brief, EtaView, EventView, JobView, Page, Slot, Why, position_text},
    wire::duration,
};

/// Jobs on a page unless the request says otherwise.
pub(super) const PAGE: i64 = 100;
/// The most jobs on a page of `GET /jobs`.
pub(super) const MOST_JOBS: i64 = 1_000;
/// The most jobs in the bare arrays of what waits and what runs, which is also what they have unless asked otherwise.
const MOST_BRIEF: i64 = 10_000;
/// The longest that one long poll is held: below the idle time-out of common load balancers.
const LONGEST_WAIT: Duration = Duration::from_secs(50);
/// How often a long poll looks for itself, in case a signal was lost.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BriefQuery {
    /// How many at most.
    #[param(minimum = 1, maximum = 10_000, default = 10_000)]
    limit: Option<i64>,
    /// Where to go on, as the header `Link` of the last page has it.
    #[param(pattern = "^-?[0-9]{1,9}_[0-9]{1,18}$")]
    cursor: Option<String>,
}

/// List what waits for a slot
///
/// In the order in which they will start.
#[utoipa::path(
    get, path = "/jobs/pending", tag = "jobs", operation_id = "list_pending", params(BriefQuery),
    responses(
        (status = 200, description = "What waits.", body = Vec<Brief>,
            headers(("Link" = Option<String>, description = "The next page, where there may be one: `<…>; rel=\"next\"`."))),
        OfLists,
    ),
)]
pub async fn pending(
    State(api): State<Arc<Api>>,
    query: Result<Query<BriefQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = given(query)?;
    let limit = limit(query.limit, MOST_BRIEF, MOST_BRIEF)?;
    let after = query.cursor.as_deref().map(pending_cursor).transpose()?;
    let rows = lists::pending(&mut *api.db.conn().await?, after, limit).await?;
    let next = rows.last().filter(|_| rows.len() as i64 == limit).map(|it| format!("{}_{}", it.priority, it.seq));
    let mut headers = HeaderMap::new();
    if let Some(next) = next
        && let Ok(link) = HeaderValue::from_str(&format!("</jobs/pending?limit={limit}&cursor={next}>; rel=\"next\""))
    {
        headers.insert(header::LINK, link);
    }
    Ok((headers, Json(rows.into_iter().map(Brief::from).collect::<Vec<_>>())).into_response())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunningQuery {
    /// How many at most.
    #[param(minimum = 1, maximum = 10_000, default = 10_000)]
    limit: Option<i64>,
}

/// List what holds a slot
///
/// All of it, longest first.
#[utoipa::path(
    get, path = "/jobs/running", tag = "jobs", operation_id = "list_running", params(RunningQuery),
    responses((status = 200, description = "What holds a slot.", body = Vec<Slot>), OfLists),
)]
pub async fn running(
    State(api): State<Arc<Api>>,
    query: Result<Query<RunningQuery>, QueryRejection>,
) -> Result<Json<Vec<Slot>>, Problem> {
    let query = given(query)?;
    let rows = lists::holding(&mut *api.db.conn().await?, limit(query.limit, MOST_BRIEF, MOST_BRIEF)?).await?;
    Ok(Json(rows.into_iter().map(Slot::from).collect()))
}

/// Get a job
///
/// With its attempts, what it is to do, and why it is not running or what became of it.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = "jobs", operation_id = "get_job",
    params(("id" = JobId, Path, description = "The job's `job_id`.")),
    responses((status = 200, description = "The job.", body = JobView), OfJob),
)]
pub async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<JobView>, Problem> {
    let id = parse(&id)?;
    Ok(Json(whole(&mut *api.db.conn().await?, &api.metrics, id).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// How long to wait: 50 s unless given, and at most.
    #[serde(default, deserialize_with = "duration")]
    #[param(schema_with = fields::wait_timeout, required = false)]
    timeout: Option<Duration>,
}

/// Wait for a job to end
///
/// Answers with the job as soon as it has ended, or as it is when the time is up: look at `state`.
#[utoipa::path(
    get, path = "/jobs/{id}/wait", tag = "jobs", operation_id = "wait_for_job",
    params(("id" = JobId, Path, description = "The job's `job_id`."), WaitQuery),
    responses((status = 200, description = "The job.", body = JobView), OfJobLists),
)]
pub async fn wait(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> Result<Json<JobView>, Problem> {
    let id = parse(&id)?;
    let asked = given(query)?.timeout.unwrap_or(LONGEST_WAIT);
    let deadline = tokio::time::Instant::now() + asked.min(LONGEST_WAIT);
    let mut ended = api.signals.ended();
    loop {
        ended.mark_unchanged();
        let name =
            lists::state(&mut *api.db.conn().await?, id).await?.ok_or_else(|| Problem::no_such_job(&id.to_string()))?;
        let finished = StateName::from_name(&name).is_some_and(StateName::is_finished);
        if finished || tokio::time::Instant::now() >= deadline || api.stop.is_cancelled() {
            return Ok(Json(whole(&mut *api.db.conn().await?, &api.metrics, id).await?));
        }
        let until = deadline.min(tokio::time::Instant::now() + LOOK);
        tokio::select! {
            _ = ended.changed() => {}
            () = tokio::time::sleep_until(until) => {}
            () = api.stop.cancelled() => {}
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Where to go on: `next` of the last page, or the `id` of the last event.
    cursor: Option<i64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// List the events of a job
///
/// Its whole history, oldest first, a page at a time.
#[utoipa::path(
    get, path = "/jobs/{id}/events", tag = "jobs", operation_id = "list_job_events",
    params(("id" = JobId, Path, description = "The job's `job_id`."), EventsQuery),
    responses((status = 200, description = "A page of events.", body = Page<EventView>), OfJobLists),
)]
pub async fn events(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Page<EventView>>, Problem> {
    let id = parse(&id)?;
    let query = given(query)?;
    let limit = limit(query.limit, PAGE, MOST_JOBS)?;
    let mut conn = api.db.conn().await?;
    let rows = lists::events(&mut conn, id, query.cursor.unwrap_or(0), limit).await?;
    if rows.is_empty() && lists::state(&mut conn, id).await?.is_none() {
        return Err(Problem::no_such_job(&id.to_string()));
    }
    let next = rows.last().filter(|_| rows.len() as i64 == limit).map(|it| it.id.to_string());
    Ok(Json(Page { items: rows.into_iter().map(EventView::from).collect(), next }))
}

/// Cancel a job
///
/// Asking again changes nothing.
#[utoipa::path(
    delete, path = "/jobs/{id}", tag = "jobs", operation_id = "cancel_job",
    params(("id" = JobId, Path, description = "The job's `job_id`.")),
    responses(
        (status = 200, description = "It is cancelled: it waited, or it was cancelled before.", body = JobView),
        (status = 202, description = "It holds a slot and is being stopped.", body = JobView),
        OfCancel,
    ),
)]
pub async fn cancel(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let mut conn = api.db.conn().await?;
    let cancelled = api.db.within(intents::cancel(&mut conn, api.replica, id)).await.map_err(Problem::of_change)?;
    let status = match cancelled {
        Cancel::Done { queue } => {
            let reason = Reason::Cancelled.name();
            api.metrics.finished(&queue, 1, StateName::Cancelled.name(), reason);
            api.signals.raise(Signal::Ended);
            StatusCode::OK
        }
        Cancel::AlreadyCancelled => StatusCode::OK,
        Cancel::Requested => {
            api.signals.raise(Signal::Cancel);
            StatusCode::ACCEPTED
        }
        Cancel::TooLate(state) => return Err(Problem::already_finished(state)),
        Cancel::NoSuchJob => return Err(Problem::no_such_job(&id.to_string())),
    };
    Ok((status, Json(whole(&mut conn, &api.metrics, id).await?)).into_response())
}

/// Try a job again
///
/// What failed or was cancelled gets another attempt.
#[utoipa::path(
    post, path = "/jobs/{id}/retry", tag = "jobs", operation_id = "retry_job",
    params(("id" = JobId, Path, description = "The job's `job_id`.")),
    responses((status = 202, description = "It waits for a slot again.", body = JobView), OfRetry),
)]
pub async fn retry(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let mut conn = api.db.conn().await?;
    match api.db.within(intents::retry(&mut conn, api.replica, id)).await.map_err(Problem::of_change)? {
        Retry::Done => api.signals.raise(Signal::Pending),
        Retry::Refused(state) => return Err(Problem::not_retryable(state)),
        Retry::NoSuchJob => return Err(Problem::no_such_job(&id.to_string())),
    }
    Ok((StatusCode::ACCEPTED, Json(whole(&mut conn, &api.metrics, id).await?)).into_response())
}

pub(super) async fn whole(conn: &mut Conn, metrics: &Metrics, id: JobId) -> Result<JobView, Problem> {
    let row = lists::get(conn, id).await?.ok_or_else(|| Problem::no_such_job(&id.to_string()))?;
    let (spec, policy) = (row.spec.clone(), row.policy.clone());
    let mut view = JobView::from(row);
    let why = why::why(conn, id).await?;
    view.queue_position = why.as_ref().and_then(|it| it.queue_position).map(position_text);
    view.why = why.map(Why::from);
    let estimate = eta::estimate(conn, id).await?;
    if let Some(eta) = estimate.as_ref().and_then(|it| it.eta) {
        metrics.estimated(id, eta.starts_p50);
    }
    view.eta = estimate.map(EtaView::from);
    view.policy = policy;
    view.attempts = Some(lists::attempts(conn, id).await?.into_iter().map(AttemptView::from).collect());
    view.spec = spec;
    Ok(view)
}

pub(super) fn parse(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| Problem::no_such_job(id))
}

pub(super) fn given<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|it| it.0).map_err(|err| {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&err);
        while let Some(it) = cause {
            if let Some(it) = it.downcast_ref::<serde_path_to_error::Error<serde::de::value::Error>>() {
                return Problem::invalid_fields(vec![unread::fault(it.path(), it.inner())]);
            }
            cause = it.source();
        }
        Problem::invalid_fields(vec![Fault::new("", err.body_text())])
    })
}

pub(super) fn limit(asked: Option<i64>, default: i64, most: i64) -> Result<i64, Problem> {
    match asked.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(wrong("limit", format!("must be 1 to {most}"))),
    }
}

fn pending_cursor(cursor: &str) -> Result<(i32, i64), Problem> {
    let parsed = cursor.split_once('_').and_then(|(priority, seq)| Some((priority.parse().ok()?, seq.parse().ok()?)));
    parsed.ok_or_else(|| wrong("cursor", "must be what the header Link of the last page had"))
}

pub(super) fn wrong(parameter: &str, detail: impl Into<String>) -> Problem {
    Problem::invalid_fields(vec![Fault::new(format!("/{parameter}"), detail)])
}
