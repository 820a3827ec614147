//! `/sources`: the queues elsewhere that feed this one, how they do, and pausing them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    spec::check_dns_label,
    store::sources::{self, SourceRow},
};

use super::{
    Api, Problem,
    doc::{
        answers::{OfSource, OfSourceChange, OfSources},
        examples,
    },
    reader::read,
    submit::body,
    view::Page,
};

/// A queue elsewhere.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Source, example = examples::source)]
pub struct SourceView {
    /// As the file of sources has it.
    name: String,
    /// `sqs`, `pg-boss` or `pg-boss-workers`.
    #[serde(rename = "type")]
    kind: String,
    /// Which queue it reads.
    reads: String,
    /// Whether nothing is taken from it.
    paused: bool,
    /// Since when it is paused.
    paused_at: Option<Timestamp>,
    /// Whether a replica runs it: said so within half a minute.
    running: bool,
    /// How many messages came, ever, at all replicas; a replica tells once a second.
    received: i64,
    /// How many of them became jobs.
    submitted: i64,
    /// How many were jobs already: they came again.
    duplicates: i64,
    /// How many can never become a job.
    refused: i64,
    /// When one came last.
    received_at: Option<Timestamp>,
    /// How old the last one was when its job was committed, in seconds; null where its queue does not tell.
    lag_seconds: Option<f64>,
    /// How many of its messages wait for their jobs to end, kept from others meanwhile.
    held: i64,
    /// How many wait there and could be taken now; null: it was not seen yet, or its queue does not tell.
    waiting: Option<i64>,
    /// How old the oldest of them is, in seconds; null where its queue does not tell.
    oldest_seconds: Option<f64>,
    /// How many there are by state, where its queue tells.
    states: BTreeMap<String, i64>,
    /// When that was seen, which is done every quarter of a minute.
    looked_at: Option<Timestamp>,
    /// What went wrong last; null: nothing did.
    last_error: Option<Trouble>,
    /// Whether that has not been seen to be over since.
    failing: bool,
    /// The last message that can never become a job, and why.
    last_refusal: Option<Trouble>,
}

/// Something that went wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceTrouble)]
pub struct Trouble {
    /// When.
    at: Timestamp,
    /// What, in one line.
    message: String,
}

fn trouble(at: Option<Timestamp>, message: Option<String>) -> Option<Trouble> {
    Some(Trouble { at: at?, message: message? })
}

impl From<SourceRow> for SourceView {
    fn from(it: SourceRow) -> Self {
        let states = it.states.and_then(|it| serde_json::from_value(it).ok()).unwrap_or_default();
        Self {
            name: it.name,
            kind: it.kind,
            reads: it.reads,
            paused: it.paused_at.is_some(),
            paused_at: it.paused_at,
            running: it.running,
            received: it.received,
            submitted: it.submitted,
            duplicates: it.duplicates,
            refused: it.refused,
            received_at: it.received_at,
            lag_seconds: it.lag_secs,
            held: it.held,
            waiting: it.waiting,
            oldest_seconds: it.oldest_secs,
            states,
            looked_at: it.looked_at,
            failing: it.error_at.is_some() && it.worked_at < it.error_at,
            last_error: trouble(it.error_at, it.error),
            last_refusal: trouble(it.refusal_at, it.refusal),
        }
    }
}

/// List sources
///
/// All of them, by name.
#[utoipa::path(
    get, path = "/sources", tag = "sources", operation_id = "list_sources",
    responses((status = 200, description = "Every source.", body = Page<SourceView>), OfSources),
)]
pub async fn list(State(api): State<Arc<Api>>) -> Result<Json<Page<SourceView>>, Problem> {
    let rows = sources::list(&mut *api.db.conn().await?, None).await?;
    Ok(Json(Page { items: rows.into_iter().map(SourceView::from).collect(), next: None }))
}

/// Get a source
#[utoipa::path(
    get, path = "/sources/{name}", tag = "sources", operation_id = "get_source",
    params(("name" = String, Path, description = "The source's name.")),
    responses((status = 200, description = "The source.", body = SourceView), OfSource),
)]
pub async fn get(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<SourceView>, Problem> {
    Ok(Json(one(&api, &name).await?))
}

/// What of a source is to be different.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceChange {
    /// Whether nothing is taken from it.
    paused: bool,
}

/// Pause a source, or let it go on
///
/// Every replica obeys within a second or so, and after the poll of the queue elsewhere that is under way. What was taken
/// before goes on.
#[utoipa::path(
    patch, path = "/sources/{name}", tag = "sources", operation_id = "change_source",
    params(("name" = String, Path, description = "The source's name.")),
    request_body(content = SourceChange, example = json!({"paused": true})),
    responses((status = 200, description = "The source, as it is now.", body = SourceView), OfSourceChange),
)]
pub async fn change(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    given: Result<Bytes, BytesRejection>,
) -> Result<Json<SourceView>, Problem> {
    let asked: SourceChange = read(&body(given)?)?;
    let known = check_dns_label(&name).is_ok();
    let done = async { sources::set_paused(&mut *api.db.conn().await?, &name, asked.paused).await };
    if !known || !api.db.within(done).await.map_err(Problem::of_change)? {
        return Err(Problem::no_such_source(&name));
    }
    tracing::info!(source = name, paused = asked.paused, "a source was set");
    Ok(Json(one(&api, &name).await?))
}

async fn one(api: &Api, name: &str) -> Result<SourceView, Problem> {
    if check_dns_label(name).is_err() {
        return Err(Problem::no_such_source(name));
    }
    let rows = sources::list(&mut *api.db.conn().await?, Some(name)).await?;
    rows.into_iter().next().map(SourceView::from).ok_or_else(|| Problem::no_such_source(name))
}
