//! `GET /events`: what happens to all jobs, as it happens, as server-sent events.

use std::{convert::Infallible, fmt::Write, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    events::{Ended, Follower, Piece, Place, STREAMS},
    id::JobId,
    lifecycle::StateName,
    store::stream::NewEvent,
};

use super::{
    Api, Problem,
    doc::{answers::OfStream, examples},
    jobs::{given, wrong},
};

/// How often a client hears something when nothing happens: more often than proxies close what is silent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client may leave what was sent unread. It is cut off then, and comes back where it was.
const UNREAD: Duration = Duration::from_secs(30);
/// How soon a client comes back that was cut off, in milliseconds.
const RETRY_MILLIS: u32 = 1_000;
/// How many pieces, of a thousand events each or fewer, wait for a client that reads slowly.
const WAITING: usize = 2;

/// Which events are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Of jobs of this queue.
    queue: Option<String>,
    /// Of this job.
    #[param(format = Uuid)]
    job: Option<String>,
    /// Those that led to one of these states, separated by commas.
    #[param(
        pattern = "^(scheduled|pending|starting|running|stopping|succeeded|failed|cancelled)(,(scheduled|pending|starting|running|stopping|succeeded|failed|cancelled))*$"
    )]
    state: Option<String>,
    /// The same as the header `Last-Event-ID`, which goes before it.
    last_event_id: Option<String>,
}

/// What is wanted, read.
struct Wanted {
    queue: Option<String>,
    job: Option<Uuid>,
    states: Vec<StateName>,
}

impl Wanted {
    fn includes(&self, event: &NewEvent) -> bool {
        self.job.is_none_or(|it| it == event.job_id)
            && self.queue.as_ref().is_none_or(|it| event.queue.as_ref() == Some(it))
            && (self.states.is_empty() || self.states.iter().any(|it| it.name() == event.to_state))
    }
}

/// One event of one job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamEvent, example = examples::stream_event)]
pub struct JobEvent<'a> {
    /// Its number, as in `GET /jobs/{id}/events`.
    id: i64,
    /// When, by the database's clock.
    at: Timestamp,
    job_id: JobId,
    /// The job's name, queue and priority as they are now; null when the job has aged out.
    name: Option<&'a str>,
    /// Likewise.
    queue: Option<&'a str>,
    /// Likewise.
    priority: Option<i32>,
    /// Of which attempt; 0 before the first.
    attempt: i32,
    /// The state before; null: the job was accepted.
    #[schema(value_type = Option<StateName>)]
    from: Option<&'a str>,
    /// The state after.
    #[schema(value_type = StateName)]
    to: &'a str,
    /// Why, stable, for programs.
    reason: &'a str,
    /// Why, in words.
    message: Option<&'a str>,
    /// Who wrote it.
    replica: Option<Uuid>,
}

/// Listen to what happens
///
/// Server-sent events, to all jobs or to those that are asked for: from now on, or after the event that the client had last.
/// The `data` of each is a `StreamEvent`, its `event` is `dev.longshore.job.….v1`, and its `id` is where to go on.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "stream_events",
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header,
        description = "The `id` of the last event that was received: what came after it is sent first.")),
    responses(
        (status = 200, description = "Events, until the client goes.", body = String, content_type = "text/event-stream"),
        OfStream,
    ),
)]
pub async fn stream(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = given(query)?;
    let place = place(&headers, query.last_event_id.as_deref())?;
    let wanted = wanted(query)?;
    let admitted = api.events.admit().ok_or_else(|| Problem::too_many_streams(STREAMS))?;
    let follower = Follower::begin(&api.events, admitted, place).await.map_err(problem)?;
    let (pieces, body) = mpsc::channel(WAITING);
    tokio::spawn(feed(follower, wanted, pieces, api.stop.clone()));
    let body =
        futures::stream::unfold(body, |mut body| async { Some((Ok::<_, Infallible>(body.recv().await?), body)) });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that gathers would hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Sends what is wanted, until the client goes, does not read, or this process stops.
async fn feed(mut follower: Follower, wanted: Wanted, pieces: mpsc::Sender<Bytes>, stop: CancellationToken) {
    // A message without data is none, but a browser keeps its id: whoever is cut off before the first event loses nothing.
    let mut text = format!("retry: {RETRY_MILLIS}\nid: {}\n\n", follower.place());
    loop {
        if !text.is_empty() && !matches!(tokio::time::timeout(UNREAD, pieces.send(text.into())).await, Ok(Ok(()))) {
            return;
        }
        text = tokio::select! {
            piece = follower.next() => match piece {
                Ok(piece) => write(&piece, &wanted),
                Err(ended) => {
                    tracing::debug!(?ended, "a stream of events ended");
                    return;
                }
            },
            // The place moves on even where nothing is wanted.
            () = tokio::time::sleep(HEARTBEAT) => format!(": nothing new\nid: {}\n\n", follower.place()),
            () = pieces.closed() => return,
            () = stop.cancelled() => return,
        };
    }
}

fn write(piece: &Piece, wanted: &Wanted) -> String {
    let mut text = String::new();
    let mut place = piece.before.clone();
    for told in piece.events.iter().filter(|it| wanted.includes(&it.event)) {
        place.after = told.event.id;
        // Writing to a string cannot fail.
        let _ = write!(text, "id: {place}\n{}", told.text(message));
    }
    text
}

/// An event without its id, which says where the listener is and differs from one to the next.
fn message(event: &NewEvent) -> String {
    let data = JobEvent {
        id: event.id,
        at: event.at.to_jiff(),
        job_id: JobId(event.job_id),
        name: event.name.as_deref(),
        queue: event.queue.as_deref(),
        priority: event.priority,
        attempt: event.attempt,
        from: event.from_state.as_deref(),
        to: &event.to_state,
        reason: &event.reason,
        message: event.message.as_deref(),
        replica: event.replica,
    };
    // JSON of strings and numbers cannot fail, and has no line breaks.
    let data = serde_json::to_string(&data).unwrap_or_default();
    format!("event: {}\ndata: {data}\n\n", kind(event))
}

/// What an event is called: `submitted`, or the state that was reached, or what happened without a move.
fn kind(event: &NewEvent) -> String {
    let what = match &event.from_state {
        None => "submitted",
        Some(from) if *from == event.to_state => &event.reason,
        Some(_) => &event.to_state,
    };
    format!("dev.longshore.job.{what}.v1")
}

fn place(headers: &HeaderMap, parameter: Option<&str>) -> Result<Option<Place>, Problem> {
    let text = match headers.get("last-event-id") {
        Some(header) => Some(header.to_str().unwrap_or("?")),
        None => parameter,
    };
    // A browser that had no id yet may send an empty one.
    let Some(text) = text.filter(|it| !it.is_empty()) else { return Ok(None) };
    let unknown = |_| wrong("last_event_id", "must be the `id` of an event of this stream, as it was given");
    text.parse().map(Some).map_err(unknown)
}

fn wanted(query: StreamQuery) -> Result<Wanted, Problem> {
    let job =
        query.job.map(|it| it.parse::<Uuid>().map_err(|_| wrong("job", "must be the id of a job"))).transpose()?;
    let names = StateName::ALL.map(StateName::name).join(", ");
    let state = |name: &str| {
        StateName::from_name(name)
            .ok_or_else(|| wrong("state", format!("must be some of {names}, separated by commas")))
    };
    let states = match query.state {
        Some(text) => text.split(',').map(state).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    Ok(Wanted { queue: query.queue, job, states })
}

fn problem(ended: Ended) -> Problem {
    match ended {
        Ended::Gone(why) => Problem::events_gone(why),
        Ended::Stopped | Ended::Away => Problem::database_away(),
        Ended::Failed(err) => err.into(),
    }
}
