//! Reading jobs, and asking for one to be cancelled.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use crate::{
    id::JobId,
    lifecycle::StateName,
    spec::Fault,
    store::{
        Conn,
        intents::{self, Cancel},
        lists::{self, Filter},
        signals::Signal,
        why,
    },
};

use super::{
    Api, Problem,
    view::{AttemptView, Brief, EventView, JobView, Page, Slot, Why, position_text},
    wire::duration,
};

/// Jobs on a page unless the request says otherwise.
const PAGE: i64 = 100;
/// The most jobs on a page of `GET /jobs`.
const MOST_JOBS: i64 = 1_000;
/// The most jobs in the bare arrays of what waits and what runs, which is also what they have unless asked otherwise.
const MOST_BRIEF: i64 = 10_000;
/// The longest that one long poll is held: below the idle time-out of common load balancers.
const LONGEST_WAIT: Duration = Duration::from_secs(50);
/// How often a long poll looks for itself, in case a signal was lost.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BriefQuery {
    limit: Option<i64>,
    cursor: Option<String>,
}

/// `GET /jobs/pending`: in the order in which they will start.
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

/// `GET /jobs/running`: all that hold a slot, longest first.
pub async fn running(
    State(api): State<Arc<Api>>,
    query: Result<Query<BriefQuery>, QueryRejection>,
) -> Result<Json<Vec<Slot>>, Problem> {
    let query = given(query)?;
    if query.cursor.is_some() {
        return Err(wrong("cursor", "is not taken here: all that hold a slot come at once"));
    }
    let rows = lists::holding(&mut *api.db.conn().await?, limit(query.limit, MOST_BRIEF, MOST_BRIEF)?).await?;
    Ok(Json(rows.into_iter().map(Slot::from).collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    state: Option<String>,
    queue: Option<String>,
    name: Option<String>,
    cursor: Option<String>,
    limit: Option<i64>,
}

/// `GET /jobs`: newest first.
pub async fn list(
    State(api): State<Arc<Api>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<JobView>>, Problem> {
    let query = given(query)?;
    let states = StateName::ALL.map(StateName::name).join(", ");
    let state = query
        .state
        .as_deref()
        .map(|it| StateName::from_name(it).ok_or_else(|| wrong("state", format!("must be one of {states}"))));
    for (parameter, value) in [("queue", &query.queue), ("name", &query.name)] {
        if value.as_ref().is_some_and(|it| it.contains('\0')) {
            return Err(wrong(parameter, "must not contain the character U+0000"));
        }
    }
    let filter = Filter { state: state.transpose()?, queue: query.queue, name: query.name };
    let before: Option<JobId> = match query.cursor {
        None => None,
        Some(cursor) => Some(cursor.parse().map_err(|_| wrong("cursor", "must be what `next` of the last page was"))?),
    };
    let limit = limit(query.limit, PAGE, MOST_JOBS)?;
    let rows = lists::list(&mut *api.db.conn().await?, &filter, before, limit).await?;
    let next = rows.last().filter(|_| rows.len() as i64 == limit).map(|it| it.id.to_string());
    Ok(Json(Page { items: rows.into_iter().map(JobView::from).collect(), next }))
}

/// `GET /jobs/{id}`.
pub async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<JobView>, Problem> {
    let id = parse(&id)?;
    Ok(Json(whole(&mut *api.db.conn().await?, id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
}

/// `GET /jobs/{id}/wait`: the job, as soon as it has ended, or as it is when the time is up.
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
            return Ok(Json(whole(&mut *api.db.conn().await?, id).await?));
        }
        let until = deadline.min(tokio::time::Instant::now() + LOOK);
        tokio::select! {
            _ = ended.changed() => {}
            () = tokio::time::sleep_until(until) => {}
            () = api.stop.cancelled() => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    cursor: Option<i64>,
    limit: Option<i64>,
}

/// `GET /jobs/{id}/events`: its history, oldest first.
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

/// `DELETE /jobs/{id}`: 200 when it is cancelled, 202 when it is being stopped, 409 when it ended otherwise before.
pub async fn cancel(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let mut conn = api.db.conn().await?;
    let cancelled = api.db.within(intents::cancel(&mut conn, api.replica, id)).await.map_err(Problem::of_change)?;
    let status = match cancelled {
        Cancel::Done => {
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
    Ok((status, Json(whole(&mut conn, id).await?)).into_response())
}

async fn whole(conn: &mut Conn, id: JobId) -> Result<JobView, Problem> {
    let row = lists::get(conn, id).await?.ok_or_else(|| Problem::no_such_job(&id.to_string()))?;
    let (spec, policy) = (row.spec.clone(), row.policy.clone());
    let mut view = JobView::from(row);
    let why = why::why(conn, id).await?;
    view.queue_position = why.as_ref().and_then(|it| it.queue_position).map(position_text);
    view.why = why.map(Why::from);
    view.policy = policy;
    view.attempts = Some(lists::attempts(conn, id).await?.into_iter().map(AttemptView::from).collect());
    view.spec = Some(spec);
    Ok(view)
}

pub(super) fn parse(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| Problem::no_such_job(id))
}

pub(super) fn given<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|it| it.0).map_err(|err| Problem::invalid_fields(vec![Fault::new("", err.body_text())]))
}

fn limit(asked: Option<i64>, default: i64, most: i64) -> Result<i64, Problem> {
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
