//! `/queues` and `/limits`: caps, bounds and pauses, read and set.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::BytesRejection, rejection::QueryRejection},
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    spec::{self, Fault},
    store::{
        limits,
        queues::{self, COUNTED, Change, Queue, Rates, Settings},
        signals::Signal,
        submit::QUEUES,
    },
};

use super::{
    Api, Problem,
    doc::{
        answers::{OfLimits, OfLimitsSet, OfLists, OfQueue, OfQueueChange, OfQueuePut},
        examples,
    },
    jobs::{given, limit},
    object::Object,
    queue_defaults::QueueDefaults,
    reader::read,
    submit::body,
    view::Page,
};

/// Queues on a page unless the request says otherwise, and the most.
const PAGE: i64 = 100;

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue, example = examples::queue)]
pub struct QueueView {
    /// As jobs name it.
    name: String,
    /// How many of its jobs may hold a slot at once; null: as many as the global cap allows.
    cap: Option<i32>,
    /// How many of its jobs may wait, for a slot or for their time; null: any number.
    max_pending: Option<i32>,
    /// Whether none of its jobs is started.
    paused: bool,
    /// Since when it is paused.
    paused_at: Option<Timestamp>,
    /// What its jobs take where their submission leaves it out.
    #[schema(value_type = QueueDefaults)]
    defaults: Value,
    /// How many of its jobs hold a slot.
    held: i64,
    /// How many of its jobs wait for a slot, as text: "1000+" where there are more than anybody counts.
    pending: String,
    /// How many wait for a slot or for their time, as text.
    waiting: String,
    /// When it came into being.
    created_at: Timestamp,
    /// When somebody last set any of that; null: nobody did.
    updated_at: Option<Timestamp>,
    /// How much comes and goes; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<RatesView>,
}

/// How much came and went in the last five minutes, for each of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueRates)]
pub struct RatesView {
    /// Jobs that were submitted to it.
    submitted_per_minute: f64,
    /// Attempts of its jobs that ended. Where many ended in all queues together, over the time that the last 1,000 took.
    ended_per_minute: f64,
}

fn counted(jobs: i64) -> String {
    if jobs < COUNTED { jobs.to_string() } else { format!("{COUNTED}+") }
}

impl From<Queue> for QueueView {
    fn from(it: Queue) -> Self {
        Self {
            name: it.name,
            cap: it.cap,
            max_pending: it.max_pending,
            paused: it.paused_at.is_some(),
            paused_at: it.paused_at,
            defaults: it.defaults,
            held: it.held,
            pending: counted(it.pending),
            waiting: counted(it.waiting),
            created_at: it.created_at,
            updated_at: it.updated_at,
            rates: None,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QueuesQuery {
    /// Where to go on: `next` of the last page.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// List queues
///
/// By name, a page at a time.
#[utoipa::path(
    get, path = "/queues", tag = "queues", operation_id = "list_queues", params(QueuesQuery),
    responses((status = 200, description = "A page of queues.", body = Page<QueueView>), OfLists),
)]
pub async fn list(
    State(api): State<Arc<Api>>,
    query: Result<Query<QueuesQuery>, QueryRejection>,
) -> Result<Json<Page<QueueView>>, Problem> {
    let query = given(query)?;
    let limit = limit(query.limit, PAGE, QUEUES)?;
    let after = query.cursor.as_deref().filter(|it| !it.contains('\0'));
    let rows = queues::list(&mut *api.db.conn().await?, None, after, limit).await?;
    let next = rows.last().filter(|_| rows.len() as i64 == limit).map(|it| it.name.clone());
    Ok(Json(Page { items: rows.into_iter().map(QueueView::from).collect(), next }))
}

/// Get a queue
#[utoipa::path(
    get, path = "/queues/{name}", tag = "queues", operation_id = "get_queue",
    params(("name" = String, Path, description = "The queue's name.", min_length = 1, max_length = 63,
        pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")),
    responses((status = 200, description = "The queue.", body = QueueView), OfQueue),
)]
pub async fn get(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<QueueView>, Problem> {
    Ok(Json(one(&api, &name).await?))
}

/// All that a queue can be set to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// How many of its jobs may hold a slot at once; absent or null: as many as the global cap allows.
    #[schema(minimum = 0)]
    cap: Option<i32>,
    /// How many of its jobs may wait; absent or null: any number.
    #[schema(minimum = 0)]
    max_pending: Option<i32>,
    /// Whether none of its jobs is started.
    #[serde(default)]
    paused: bool,
    /// What its jobs take where their submission, and its template, leave it out.
    #[serde(default)]
    defaults: Object<QueueDefaults>,
}

/// Set a queue
///
/// Creates it, or sets everything that can be set; what is left out is as for a new queue.
#[utoipa::path(
    put, path = "/queues/{name}", tag = "queues", operation_id = "put_queue",
    params(("name" = String, Path, description = "The queue's name.", min_length = 1, max_length = 63,
        pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")),
    request_body(content = QueueSettings, example = json!({"cap": 4, "max_pending": 1000})),
    responses((status = 200, description = "The queue, as it is now.", body = QueueView), OfQueuePut),
)]
pub async fn put(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    given: Result<Bytes, BytesRejection>,
) -> Result<Json<QueueView>, Problem> {
    let asked: QueueSettings = read(&body(given)?)?;
    spec::check_queue(&name).map_err(|detail| Problem::invalid_fields(vec![Fault::new("/name", detail)]))?;
    check(asked.cap, asked.max_pending, Some(&asked.defaults.0))?;
    let QueueSettings { cap, max_pending, paused, defaults } = asked;
    let done = async {
        let settings = Settings { cap, max_pending, paused, defaults: defaults.0.to_value() };
        queues::put(&mut *api.db.conn().await?, &name, settings).await
    };
    if !api.db.within(done).await.map_err(Problem::of_change)? {
        return Err(Problem::too_many_queues(QUEUES));
    }
    changed(&api, &name).await
}

/// What of a queue is to be different: what is left out stays, and null takes a bound away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueChange {
    /// How many of its jobs may hold a slot at once; null: as many as the global cap allows.
    #[serde(default, deserialize_with = "maybe_null")]
    #[schema(value_type = Option<i32>, minimum = 0)]
    cap: Option<Option<i32>>,
    /// How many of its jobs may wait; null: any number.
    #[serde(default, deserialize_with = "maybe_null")]
    #[schema(value_type = Option<i32>, minimum = 0)]
    max_pending: Option<Option<i32>>,
    /// Whether none of its jobs is started.
    paused: Option<bool>,
    /// What its jobs take where their submission, and its template, leave it out: all of it, in place of what there was.
    #[schema(value_type = Option<QueueDefaults>)]
    defaults: Option<Object<QueueDefaults>>,
}

/// Tells a field that is null from one that is not there.
fn maybe_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<i32>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Change a queue
///
/// What is left out stays as it is, and null takes a bound away.
#[utoipa::path(
    patch, path = "/queues/{name}", tag = "queues", operation_id = "change_queue",
    params(("name" = String, Path, description = "The queue's name.", min_length = 1, max_length = 63,
        pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")),
    request_body(content = QueueChange, example = json!({"paused": true})),
    responses((status = 200, description = "The queue, as it is now.", body = QueueView), OfQueueChange),
)]
pub async fn change(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    given: Result<Bytes, BytesRejection>,
) -> Result<Json<QueueView>, Problem> {
    let asked: QueueChange = read(&body(given)?)?;
    let QueueChange { cap, max_pending, paused, defaults } = asked;
    check(cap.flatten(), max_pending.flatten(), defaults.as_ref().map(|it| &it.0))?;
    let known = spec::check_queue(&name).is_ok();
    let done = async {
        let defaults = defaults.as_ref().map(|it| it.0.to_value());
        let change = Change { cap, max_pending, paused, defaults };
        queues::change(&mut *api.db.conn().await?, &name, change).await
    };
    if !known || !api.db.within(done).await.map_err(Problem::of_change)? {
        return Err(Problem::no_such_queue(&name));
    }
    changed(&api, &name).await
}

async fn changed(api: &Api, name: &str) -> Result<Json<QueueView>, Problem> {
    // More may start than before. The other replicas hear it from the database.
    api.signals.raise(Signal::Freed);
    api.reader.of_queues.refresh(&api.db).await;
    let queue = one(api, name).await?;
    tracing::info!(queue = name, cap = ?queue.cap, max_pending = ?queue.max_pending, paused = queue.paused, "a queue was set");
    Ok(Json(queue))
}

async fn one(api: &Api, name: &str) -> Result<QueueView, Problem> {
    if spec::check_queue(name).is_err() {
        return Err(Problem::no_such_queue(name));
    }
    let mut conn = api.db.conn().await?;
    let queue = queues::list(&mut conn, Some(name), None, 1).await?.into_iter().next();
    let queue = queue.map(QueueView::from).ok_or_else(|| Problem::no_such_queue(name))?;
    let Rates { submitted, ended } = queues::rates(&mut conn, name).await?;
    let rates = RatesView { submitted_per_minute: submitted, ended_per_minute: ended };
    Ok(QueueView { rates: Some(rates), ..queue })
}

fn check(cap: Option<i32>, max_pending: Option<i32>, defaults: Option<&QueueDefaults>) -> Result<(), Problem> {
    let given = [("/cap", cap), ("/max_pending", max_pending)];
    let wrong = given.into_iter().filter(|(_, it)| it.is_some_and(|it| it < 0));
    let mut faults: Vec<Fault> = wrong.map(|(pointer, _)| Fault::new(pointer, "must be 0 or more, or null")).collect();
    faults.extend(defaults.map(QueueDefaults::faults).unwrap_or_default());
    if faults.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(faults)) }
}

/// The caps that hold for all jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits, example = examples::limits)]
pub struct LimitsView {
    /// The global cap: how many jobs may hold a slot at once.
    cap: i32,
    /// How many do.
    held: i64,
    /// When the cap was changed last.
    updated_at: Timestamp,
}

/// Get the limits
#[utoipa::path(
    get, path = "/limits", tag = "queues", operation_id = "get_limits",
    responses((status = 200, description = "The limits.", body = LimitsView), OfLimits),
)]
pub async fn limits(State(api): State<Arc<Api>>) -> Result<Json<LimitsView>, Problem> {
    let it = limits::global(&mut *api.db.conn().await?).await?;
    Ok(Json(LimitsView { cap: it.cap, held: it.held, updated_at: it.updated_at.to_jiff() }))
}

/// The caps to be set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsRequest {
    /// The global cap, 0 or more. What holds a slot already is not stopped when it is lowered.
    #[schema(minimum = 0)]
    cap: i32,
}

/// Set the limits
///
/// For all replicas, and for good: until they are set again, or a replica starts with another `--max-concurrency` than the
/// last.
#[utoipa::path(
    put, path = "/limits", tag = "queues", operation_id = "set_limits",
    request_body(content = LimitsRequest, example = json!({"cap": 50})),
    responses((status = 200, description = "The limits, as they are now.", body = LimitsView), OfLimitsSet),
)]
pub async fn set_limits(
    State(api): State<Arc<Api>>,
    given: Result<Bytes, BytesRejection>,
) -> Result<Json<LimitsView>, Problem> {
    let asked: LimitsRequest = read(&body(given)?)?;
    check(Some(asked.cap), None, None)?;
    let done = async { limits::set_cap(&mut *api.db.conn().await?, asked.cap).await };
    api.db.within(done).await.map_err(Problem::of_change)?;
    tracing::info!(cap = asked.cap, "the global cap was set");
    api.signals.raise(Signal::Freed);
    limits(State(api)).await
}
