//! `/webhooks`: who is told when a job has ended, and what was delivered.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    id::JobId,
    lifecycle::StateName,
    spec::{self, Fault},
    store::{
        deliveries::{self, DeliveryRow},
        webhooks::{self, NewWebhook, Secret, WEBHOOKS, WebhookRow},
    },
    webhooks::sign::{self, Key},
};

use super::{
    Api, BODY_BYTES, Problem,
    doc::{
        answers::{OfRedeliver, OfWebhook, OfWebhookChange, OfWebhookCreate, OfWebhookLists, OfWebhooks},
        examples, fields,
    },
    jobs::{given, limit, wrong},
    reader::read,
    view::Page,
};

/// Deliveries on a page unless the request says otherwise, and the most.
const PAGES: (i64, i64) = (100, 1_000);

/// A webhook that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where to send what is told: https, and of the open Internet, unless an operator allowed more.
    #[schema(format = "uri")]
    url: String,
    /// Only of jobs of this queue.
    #[schema(min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    queue: Option<String>,
    #[schema(schema_with = fields::endings)]
    states: Option<Vec<String>>,
    /// What to sign messages with: `whsec_` and 24 to 64 bytes in base64; made here unless given.
    #[schema(pattern = "^whsec_([A-Za-z0-9+/]{4}){8,21}$")]
    secret: Option<String>,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook, example = examples::webhook)]
pub struct WebhookView {
    /// What to ask for it by.
    id: Uuid,
    /// Where it is sent.
    url: String,
    /// Only of jobs of this queue; null: of all.
    queue: Option<String>,
    /// Only of jobs that ended so.
    #[schema(value_type = Vec<StateName>)]
    states: Vec<String>,
    /// When it was made.
    created_at: Timestamp,
    /// Since when nothing is sent there any more, because it said that it is gone.
    disabled_at: Option<Timestamp>,
    /// What it said.
    disabled_why: Option<String>,
    /// What messages are signed with. Shown once, to the one who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<WebhookRow> for WebhookView {
    fn from(it: WebhookRow) -> Self {
        Self {
            id: it.id,
            url: it.url,
            queue: it.queue,
            states: it.states,
            created_at: it.created_at.to_jiff(),
            disabled_at: it.disabled_at.map(|it| it.to_jiff()),
            disabled_why: it.disabled_why,
            secret: None,
        }
    }
}

/// What is, or was, to be delivered to a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery, example = examples::delivery)]
pub struct DeliveryView {
    /// As the header `webhook-id` has it.
    id: Uuid,
    job_id: JobId,
    /// How the job ended.
    #[schema(value_type = StateName)]
    job_state: String,
    /// `pending`, `delivered`, or `dead`: given up.
    state: String,
    /// How often it was tried.
    tries: i32,
    /// When the job ended.
    created_at: Timestamp,
    /// When it is tried next.
    due_at: Option<Timestamp>,
    /// When it was tried last.
    tried_at: Option<Timestamp>,
    /// When it was taken.
    delivered_at: Option<Timestamp>,
    /// What was answered the last time, if anything was.
    last_status: Option<i32>,
    /// What went wrong the last time, in words.
    last_error: Option<String>,
}

impl From<DeliveryRow> for DeliveryView {
    fn from(it: DeliveryRow) -> Self {
        Self {
            id: it.id,
            job_id: JobId(it.job_id),
            job_state: it.job_state,
            state: it.state,
            tries: it.tries,
            created_at: it.created_at.to_jiff(),
            due_at: it.due_at.map(|it| it.to_jiff()),
            tried_at: it.tried_at.map(|it| it.to_jiff()),
            delivered_at: it.delivered_at.map(|it| it.to_jiff()),
            last_status: it.last_status,
            last_error: it.last_error,
        }
    }
}

/// Make a webhook
///
/// The answer has the secret that messages are signed with, which is not shown again.
#[utoipa::path(
    post, path = "/webhooks", tag = "webhooks", operation_id = "create_webhook",
    request_body(content = WebhookRequest, example = json!({"url": "https://example.com/jobs", "states": ["failed"]})),
    responses(
        (status = 201, description = "The webhook, with its secret.", body = WebhookView,
            headers(("Location" = String, description = "Where the webhook is: `/webhooks/{id}`."))),
        OfWebhookCreate,
    ),
)]
pub async fn create(State(api): State<Arc<Api>>, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let body = body.map_err(|err| match err.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(BODY_BYTES),
        _ => Problem::unreadable_body("it ended too early, or came too slowly"),
    })?;
    let new = checked(&api, read(&body)?).map_err(Problem::invalid_fields)?;
    let mut conn = api.db.conn().await?;
    let made = api.db.within(webhooks::create(&mut conn, &new)).await.map_err(Problem::of_change)?;
    let row = made.ok_or_else(|| Problem::too_many_webhooks(WEBHOOKS))?;
    let location = HeaderValue::from_str(&format!("/webhooks/{}", row.id));
    let view = WebhookView { secret: Some(new.secret.reveal().to_owned()), ..row.into() };
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// List webhooks
///
/// All of them, oldest first.
#[utoipa::path(
    get, path = "/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    responses((status = 200, description = "All webhooks.", body = Page<WebhookView>), OfWebhooks),
)]
pub async fn list(State(api): State<Arc<Api>>) -> Result<Json<Page<WebhookView>>, Problem> {
    let rows = webhooks::list(&mut *api.db.conn().await?).await?;
    Ok(Json(Page { items: rows.into_iter().map(WebhookView::from).collect(), next: None }))
}

/// Get a webhook
#[utoipa::path(
    get, path = "/webhooks/{id}", tag = "webhooks", operation_id = "get_webhook",
    params(("id" = Uuid, Path, description = "The webhook's `id`.")),
    responses((status = 200, description = "The webhook.", body = WebhookView), OfWebhook),
)]
pub async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<WebhookView>, Problem> {
    let row = webhooks::get(&mut *api.db.conn().await?, parse(&id)?).await?;
    row.map(|it| Json(it.into())).ok_or_else(|| Problem::no_such_webhook(&id))
}

/// Delete a webhook
///
/// What was still to be delivered is not.
#[utoipa::path(
    delete, path = "/webhooks/{id}", tag = "webhooks", operation_id = "delete_webhook",
    params(("id" = Uuid, Path, description = "The webhook's `id`.")),
    responses((status = 204, description = "It is gone."), OfWebhookChange),
)]
pub async fn delete(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let webhook = parse(&id)?;
    let mut conn = api.db.conn().await?;
    match api.db.within(webhooks::delete(&mut conn, webhook)).await.map_err(Problem::of_change)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::no_such_webhook(&id)),
    }
}

/// Give a webhook another secret
///
/// The one before signs as well for a day.
#[utoipa::path(
    post, path = "/webhooks/{id}/rotate", tag = "webhooks", operation_id = "rotate_webhook",
    params(("id" = Uuid, Path, description = "The webhook's `id`.")),
    responses((status = 200, description = "The webhook, with its new secret.", body = WebhookView), OfWebhookChange),
)]
pub async fn rotate(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let (webhook, secret) = (parse(&id)?, Secret::new(sign::secret()));
    let mut conn = api.db.conn().await?;
    let changed = api.db.within(webhooks::rotate(&mut conn, webhook, &secret)).await.map_err(Problem::of_change)?;
    let row = if changed { webhooks::get(&mut conn, webhook).await? } else { None };
    let row = row.ok_or_else(|| Problem::no_such_webhook(&id))?;
    let view = WebhookView { secret: Some(secret.reveal().to_owned()), ..row.into() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// Where to go on: `next` of the last page.
    #[param(minimum = 0)]
    cursor: Option<i64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// List what is delivered to a webhook
///
/// Newest first, a page at a time.
#[utoipa::path(
    get, path = "/webhooks/{id}/deliveries", tag = "webhooks", operation_id = "list_deliveries",
    params(("id" = Uuid, Path, description = "The webhook's `id`."), DeliveriesQuery),
    responses((status = 200, description = "A page of deliveries.", body = Page<DeliveryView>), OfWebhookLists),
)]
pub async fn deliveries(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    query: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Result<Json<Page<DeliveryView>>, Problem> {
    let webhook = parse(&id)?;
    let query = given(query)?;
    let limit = limit(query.limit, PAGES.0, PAGES.1)?;
    if query.cursor.is_some_and(|it| it < 0) {
        return Err(wrong("cursor", "must be what `next` of the last page was"));
    }
    let mut conn = api.db.conn().await?;
    let rows = deliveries::list(&mut conn, webhook, query.cursor, limit).await?;
    if rows.is_empty() && webhooks::get(&mut conn, webhook).await?.is_none() {
        return Err(Problem::no_such_webhook(&id));
    }
    let next = rows.last().filter(|_| rows.len() as i64 == limit).map(|it| it.seq.to_string());
    Ok(Json(Page { items: rows.into_iter().map(DeliveryView::from).collect(), next }))
}

/// Deliver again
///
/// It is tried as if it were new, under the same id.
#[utoipa::path(
    post, path = "/webhooks/{id}/deliveries/{delivery}/redeliver", tag = "webhooks", operation_id = "redeliver",
    params(("id" = Uuid, Path, description = "The webhook's `id`."), ("delivery" = Uuid, Path, description = "The delivery's `id`.")),
    responses((status = 202, description = "It will be tried.", body = DeliveryView), OfRedeliver),
)]
pub async fn redeliver(
    State(api): State<Arc<Api>>,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let webhook = parse(&id)?;
    let wanted = delivery.parse().map_err(|_| Problem::no_such_delivery(&delivery))?;
    let mut conn = api.db.conn().await?;
    if webhooks::get(&mut conn, webhook).await?.is_none() {
        return Err(Problem::no_such_webhook(&id));
    }
    let row = api.db.within(deliveries::redeliver(&mut conn, webhook, wanted)).await.map_err(Problem::of_change)?;
    let row = row.ok_or_else(|| Problem::no_such_delivery(&delivery))?;
    Ok((StatusCode::ACCEPTED, Json(row.into())))
}

/// The webhook that is asked for, or every field that is wrong.
fn checked(api: &Api, request: WebhookRequest) -> Result<NewWebhook, Vec<Fault>> {
    let mut faults = Vec::new();
    // Kept as it was read: what is called is what was judged.
    let url = api.egress.check_url(&request.url).map(String::from).unwrap_or_else(|fault| {
        faults.push(Fault::new("/url", fault));
        String::new()
    });
    if let Some(queue) = &request.queue
        && let Err(fault) = spec::check_queue(queue)
    {
        faults.push(Fault::new("/queue", fault));
    }
    let endings: Vec<&str> = StateName::ALL.into_iter().filter(|it| it.is_finished()).map(StateName::name).collect();
    let mut states = request.states.unwrap_or_else(|| endings.iter().map(|it| (*it).to_owned()).collect());
    for (index, state) in states.iter().enumerate() {
        if !endings.contains(&state.as_str()) {
            faults.push(Fault::new(format!("/states/{index}"), format!("must be one of {}", endings.join(", "))));
        }
    }
    if states.is_empty() {
        faults.push(Fault::new("/states", "must not be empty; leave it out for all endings"));
    }
    states.sort_unstable();
    states.dedup();
    let secret = request.secret.unwrap_or_else(sign::secret);
    if Key::read(&secret).is_none() {
        faults
            .push(Fault::new("/secret", "must be whsec_ and 24 to 64 bytes in base64; leave it out to have one made"));
    }
    let new = NewWebhook { url, queue: request.queue, states, secret: Secret::new(secret) };
    if faults.is_empty() { Ok(new) } else { Err(faults) }
}

fn parse(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| Problem::no_such_webhook(id))
}
