//! `/ui/queues` and `/ui/limits`: how full each queue is, and its cap, bound and pause; and the cap of all.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{Method, StatusCode},
    response::Response,
};
use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

use super::{
    Ui,
    acts::Done,
    ask::{Refusal, encoded},
    clock::Clock,
    form::{Fields, Sent, asked},
    jobs::Listing,
    shell::{self, Place, Shell},
};

/// Queues on a page.
const PAGE: usize = 100;

/// A queue, as the API tells it.
#[derive(Deserialize)]
struct Queue {
    name: String,
    cap: Option<i32>,
    max_pending: Option<i32>,
    paused: bool,
    paused_at: Option<Timestamp>,
    held: i64,
    pending: String,
    waiting: String,
    created_at: Timestamp,
    updated_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Limits {
    cap: i32,
    held: i64,
    updated_at: Timestamp,
}

#[derive(Template)]
#[template(path = "ui/queues.html")]
struct All {
    shell: Shell,
    limits: Option<Limits>,
    queues: Vec<Queue>,
    unread: bool,
    next: Option<String>,
    typed: Fields,
    clock: Clock,
    as_of: String,
}

#[derive(Template)]
#[template(path = "ui/queue.html")]
struct One {
    shell: Shell,
    queue: Queue,
    clock: Clock,
    as_of: String,
}

fn now() -> String {
    Timestamp::now().strftime("%H:%M:%S").to_string()
}

/// `GET /ui/queues`
pub async fn list(State(ui): State<Arc<Ui>>, query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Response {
    let fields = asked(query);
    all(&ui, &fields, None, 2).await
}

async fn all(ui: &Ui, fields: &Fields, refusal: Option<Refusal>, depth: usize) -> Response {
    let cursor = fields.given("cursor").map_or_else(String::new, |it| format!("&cursor={}", encoded(it)));
    let listing = ui.ask.get::<Listing<Queue>>(&format!("/queues?limit={PAGE}{cursor}")).await;
    let limits = ui.ask.get::<Limits>("/limits").await;
    let unread = listing.is_err();
    let (listing, refusal) = match listing {
        Ok(listing) => (listing, refusal),
        Err(missing) => (Listing { items: Vec::new(), next: None }, refusal.or(Some(missing))),
    };
    let status = refusal.as_ref().map_or(StatusCode::OK, Refusal::status);
    let done = Done::told(fields.given("done"));
    let page = All {
        shell: Shell::new("Queues", Place::Queues, depth).refused(refusal).done(done),
        limits: limits.ok(),
        queues: listing.items,
        unread,
        next: listing.next.map(|it| encoded(&it)),
        typed: fields.clone(),
        clock: Clock::now(),
        as_of: now(),
    };
    shell::page(status, &page)
}

/// `GET /ui/queues/{name}`
pub async fn one(
    State(ui): State<Arc<Ui>>,
    Path(name): Path<String>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let done = Done::told(asked(query).given("done"));
    shown(&ui, &name, done, None).await
}

async fn shown(ui: &Ui, name: &str, done: Option<String>, refusal: Option<Refusal>) -> Response {
    let shell = Shell::new(format!("Queue {}", super::text::visible(name)), Place::Queues, 3);
    match ui.ask.get(&format!("/queues/{}", encoded(name))).await {
        Ok(queue) => {
            let status = refusal.as_ref().map_or(StatusCode::OK, Refusal::status);
            let shell = shell.refused(refusal).done(done);
            shell::page(status, &One { shell, queue, clock: Clock::now(), as_of: now() })
        }
        Err(missing) => shell::refused(shell, refusal.unwrap_or(missing)),
    }
}

/// What a form says of a queue. An empty field is no bound.
fn settings(fields: &Fields) -> Result<Map<String, Value>, Refusal> {
    let mut settings = Map::new();
    for name in ["cap", "max_pending"] {
        settings.insert(name.into(), json!(fields.number(name)?));
    }
    Ok(settings)
}

/// `POST /ui/queues`: makes a queue. One that is there already has its own page, where an empty field is meant.
pub async fn put(State(ui): State<Arc<Ui>>, Sent(fields): Sent) -> Response {
    let name = fields.get("name").trim();
    let done = async {
        if name.is_empty() {
            return Err(Refusal::of_field("name", "Say what the queue is called."));
        }
        let settings = settings(&fields)?;
        if ui.ask.get::<IgnoredAny>(&format!("/queues/{}", encoded(name))).await.is_ok() {
            return Err(Refusal::of_field("name", "There is a queue of this name already; set it on its own page."));
        }
        ui.ask.send::<IgnoredAny>(Method::PUT, &format!("/queues/{}", encoded(name)), Some(&settings.into())).await
    };
    match done.await {
        Ok(_) => shell::see(&format!("queues/{}?done=queue", encoded(name))),
        Err(refusal) => all(&ui, &fields, Some(refusal), 2).await,
    }
}

/// `POST /ui/queues/{name}`: pauses or resumes it, or sets its bounds.
pub async fn change(State(ui): State<Arc<Ui>>, Path(name): Path<String>, Sent(fields): Sent) -> Response {
    let what = match fields.get("act") {
        "pause" => "paused",
        "resume" => "resumed",
        _ => "queue",
    };
    let done = async {
        let change = match what {
            "paused" => json!({"paused": true}),
            "resumed" => json!({"paused": false}),
            _ => settings(&fields)?.into(),
        };
        ui.ask.send::<IgnoredAny>(Method::PATCH, &format!("/queues/{}", encoded(&name)), Some(&change)).await
    };
    match done.await {
        Ok(_) => shell::see(&format!("{}?done={what}", encoded(&name))),
        Err(refusal) => shown(&ui, &name, None, Some(refusal)).await,
    }
}

/// `POST /ui/limits`
pub async fn limits(State(ui): State<Arc<Ui>>, Sent(fields): Sent) -> Response {
    let done = async {
        let cap = fields.number("cap")?.ok_or_else(|| Refusal::of_field("cap", "must be 0 or more"))?;
        ui.ask.send::<IgnoredAny>(Method::PUT, "/limits", Some(&json!({"cap": cap}))).await
    };
    match done.await {
        Ok(_) => shell::see("queues?done=cap"),
        Err(refusal) => all(&ui, &Fields::default(), Some(refusal), 2).await,
    }
}
