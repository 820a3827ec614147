//! `/ui/jobs`: lists of jobs, narrowed by what is in the query string, a page at a time.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    lifecycle::{Reason, StateName},
    store::console::{COUNTED, Counts},
};

use super::{
    Ui,
    acts::Done,
    ask::{Refusal, encoded},
    clock::Clock,
    filter::Filter,
    form::asked,
    shell::{self, Place, Shell},
    text::{capped, visible, words},
};

/// Jobs on a page: as many as can be looked through.
const PAGE: usize = 50;

/// A job, as the API tells it in a list.
#[derive(Deserialize)]
pub struct Listed {
    job_id: String,
    name: String,
    queue: String,
    priority: i32,
    state: String,
    reason: Option<String>,
    message: Option<String>,
    attempt: i32,
    created_at: Timestamp,
    claimed_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

/// A page of a list of the API.
#[derive(Deserialize)]
pub struct Listing<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

struct Row {
    id: String,
    name: String,
    queue: String,
    priority: i32,
    state: String,
    reason: String,
    message: String,
    attempt: i32,
    time: String,
    created: super::clock::When,
}

impl Row {
    fn new(it: Listed, clock: Clock) -> Self {
        let over = it.finished_at.is_some();
        let told = |did: &str, does: &str, from| {
            format!("{} {}", if over { did } else { does }, clock.between(from, it.finished_at))
        };
        // The start is by the node's clock, which may be a little behind.
        let started = it.started_at.map(|at| it.claimed_at.map_or(at, |claimed| at.max(claimed)));
        let ran = started.map(|from| told("ran", "runs", from));
        let held = it.claimed_at.map(|from| told("did not start in", "starts since", from));
        let waited = || told("waited", "waits", it.created_at);
        let time = match it.state.as_str() {
            "scheduled" | "pending" => waited(),
            _ => ran.or(held).unwrap_or_else(waited),
        };
        Self {
            id: it.job_id,
            name: it.name,
            queue: it.queue,
            priority: it.priority,
            state: it.state,
            reason: it.reason.as_deref().map(words).unwrap_or_default(),
            message: it.message.unwrap_or_default(),
            attempt: it.attempt,
            time,
            created: clock.when(it.created_at),
        }
    }
}

/// A state to look at, with how many there are.
struct Tab {
    label: &'static str,
    count: Option<String>,
    query: String,
    current: bool,
}

#[derive(Template)]
#[template(path = "ui/jobs.html")]
struct Page {
    shell: Shell,
    filter: Filter,
    tabs: Vec<Tab>,
    reasons: Vec<&'static str>,
    rows: Vec<Row>,
    /// The query of the next page.
    next: Option<String>,
    /// Whether this is not the first page.
    further: bool,
    api_query: String,
    command: String,
    as_of: String,
}

/// `GET /ui/jobs`
pub async fn page(State(ui): State<Arc<Ui>>, query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Response {
    let fields = asked(query);
    let filter = Filter::read(&fields);
    let cursor = fields.given("cursor");
    let path = format!(
        "/jobs?limit={PAGE}&{}{}",
        filter.api_query(),
        cursor.map_or_else(String::new, |it| format!("&cursor={}", encoded(it)))
    );
    let (listing, refusal) = match ui.ask.get::<Listing<Listed>>(&path).await {
        Ok(listing) => (listing, None),
        Err(refusal) => (Listing { items: Vec::new(), next: None }, Some(refusal)),
    };
    let status = refusal.as_ref().map_or(StatusCode::OK, Refusal::status);
    let counts = match filter.is_of_state() && cursor.is_none() {
        true => ui.sample().await.harbour.map(|it| it.counts.clone()),
        false => None,
    };
    let query = filter.query();
    let clock = Clock::now();
    let page = Page {
        shell: Shell::new("Jobs", Place::Jobs, 2).refused(refusal).done(Done::told(fields.given("done"))),
        tabs: tabs(&filter, counts.as_ref().filter(|_| status.is_success())),
        reasons: Reason::ALL.map(Reason::name).into(),
        rows: listing.items.into_iter().map(|it| Row::new(it, clock)).collect(),
        next: listing
            .next
            .map(|it| format!("{query}{}cursor={}", if query.is_empty() { "" } else { "&" }, encoded(&it))),
        further: cursor.is_some(),
        api_query: filter.api_query(),
        command: visible(&filter.command()),
        as_of: Timestamp::now().strftime("%H:%M:%S").to_string(),
        filter,
    };
    shell::page(status, &page)
}

fn tabs(filter: &Filter, counts: Option<&Counts>) -> Vec<Tab> {
    let all = [("", "All")].into_iter().chain(StateName::ALL.map(|it| (it.name(), it.name())));
    let tab = |(state, label): (&'static str, &'static str)| Tab {
        label,
        count: counts.and_then(|it| count(it, state)).map(|it| capped(it, COUNTED)),
        query: filter.query_in(state),
        current: filter.state == state,
    };
    all.map(tab).collect()
}

fn count(counts: &Counts, state: &str) -> Option<i64> {
    match state {
        "scheduled" => Some(counts.scheduled),
        "pending" => Some(counts.pending),
        "starting" => Some(counts.starting),
        "running" => Some(counts.running),
        "stopping" => Some(counts.stopping),
        "succeeded" => Some(counts.succeeded),
        "failed" => Some(counts.failed),
        "cancelled" => Some(counts.cancelled),
        _ => None,
    }
}
