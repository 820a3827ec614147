//! `/ui/sources`: the queues elsewhere that feed this one, how they do, and pausing them.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{Method, StatusCode},
    response::Response,
};
use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{
    Ui,
    acts::Done,
    ask::{Refusal, encoded},
    clock::Clock,
    form::{Sent, asked},
    jobs::Listing,
    shell::{self, Place, Shell},
};

/// A source, as the API tells it.
#[derive(Deserialize)]
struct Source {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    reads: String,
    paused: bool,
    running: bool,
    received: i64,
    submitted: i64,
    refused: i64,
    received_at: Option<Timestamp>,
    waiting: Option<i64>,
    last_error: Option<Trouble>,
    failing: bool,
    last_refusal: Option<Trouble>,
}

#[derive(Deserialize)]
struct Trouble {
    at: Timestamp,
    message: String,
}

impl Source {
    fn state(&self) -> &'static str {
        match (self.paused, self.failing, self.running) {
            (true, ..) => "paused",
            (_, true, _) => "failing",
            (_, _, true) => "running",
            _ => "not run by any replica",
        }
    }
}

#[derive(Template)]
#[template(path = "ui/sources.html")]
struct Page {
    shell: Shell,
    sources: Vec<Source>,
    unread: bool,
    clock: Clock,
}

/// `GET /ui/sources`
pub async fn list(State(ui): State<Arc<Ui>>, query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Response {
    let done = Done::told(asked(query).given("done"));
    shown(&ui, done, None, 2).await
}

async fn shown(ui: &Ui, done: Option<String>, refusal: Option<Refusal>, depth: usize) -> Response {
    let sources = ui.ask.get::<Listing<Source>>("/sources").await;
    let unread = sources.is_err();
    let (sources, refusal) = match sources {
        Ok(listing) => (listing.items, refusal),
        Err(missing) => (Vec::new(), refusal.or(Some(missing))),
    };
    let status = refusal.as_ref().map_or(StatusCode::OK, Refusal::status);
    let shell = Shell::new("Sources", Place::Sources, depth).refused(refusal).done(done);
    shell::page(status, &Page { shell, sources, unread, clock: Clock::now() })
}

/// `POST /ui/sources/{name}`
pub async fn change(State(ui): State<Arc<Ui>>, Path(name): Path<String>, Sent(fields): Sent) -> Response {
    let change = json!({"paused": fields.get("act") == "pause"});
    match ui.ask.send::<IgnoredAny>(Method::PATCH, &format!("/sources/{}", encoded(&name)), Some(&change)).await {
        Ok(_) => shell::see("../sources?done=source"),
        Err(refusal) => shown(&ui, None, Some(refusal), 3).await,
    }
}
