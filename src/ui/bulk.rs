//! `POST /ui/jobs/bulk`: cancels, tries again, or gives another priority to all jobs of a list, after saying how many.
//!
//! The first step counts and changes nothing. Its answer carries the filter in the form that is signed off, and the time of
//! the count, so that what is changed is what was shown: no job outside of the filter, and none that came later.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{Method, StatusCode},
    response::Response,
};
use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{
    Ui,
    ask::{Refusal, encoded},
    filter::Filter,
    form::{Fields, Sent},
    jobs::Listing,
    shell::{self, Place, Shell},
};

/// The most jobs that one request tries again: each is a statement of its own.
const RETRIES: usize = 500;
/// How far those are counted.
const COUNTED: usize = 1_000;

/// What the API says of a part of the work.
#[derive(Deserialize)]
struct Part {
    matched: i64,
    done: i64,
    skipped: i64,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Id {
    job_id: String,
}

/// What is to be done.
struct Wish {
    action: &'static str,
    priority: Option<i64>,
    filter: Filter,
    /// Only what was submitted before: when it was counted.
    until: String,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "ui/bulk.html")]
struct Confirm {
    shell: Shell,
    action: &'static str,
    verb: &'static str,
    priority: Option<i64>,
    filter: Filter,
    until: String,
    /// The same as people read it.
    until_told: String,
    cursor: Option<String>,
    /// How many the filter finds; text, for there may be more than anybody counts.
    count: String,
    none: bool,
    /// What was done so far, where there is more to do.
    so_far: Option<(i64, i64)>,
}

/// `POST /ui/jobs/bulk`
pub async fn act(State(ui): State<Arc<Ui>>, Sent(fields): Sent) -> Response {
    let shell = Shell::new("Change many jobs", Place::Jobs, 3);
    let wish = match Wish::read(&fields) {
        Ok(wish) => wish,
        Err(refusal) => return shell::refused(shell, refusal),
    };
    let signed_off = fields.get("step") == "do";
    let part = match (wish.action, signed_off) {
        ("retry", false) => wish.count_retries(&ui).await,
        ("retry", true) => wish.retry(&ui).await,
        (_, _) => ui.ask.send(Method::POST, "/bulk", Some(&wish.request(!signed_off))).await,
    };
    let part: Part = match part {
        Ok(part) => part,
        Err(refusal) => return shell::refused(shell, refusal),
    };
    if signed_off && part.next.is_none() {
        let query = wish.filter.query();
        return shell::see(&format!("../jobs?{query}&done=bulk-{}.{}", wish.action, part.done));
    }
    let count = match &part.next {
        Some(_) if !signed_off => format!("{} or more", part.matched),
        _ => part.matched.to_string(),
    };
    let page = Confirm {
        verb: wish.verb(),
        action: wish.action,
        priority: wish.priority,
        none: !signed_off && part.matched == 0,
        so_far: signed_off.then_some((part.done, part.skipped)),
        cursor: part.next.filter(|_| signed_off),
        filter: wish.filter,
        until_told: told(&wish.until),
        until: wish.until,
        count,
        shell,
    };
    shell::page(StatusCode::OK, &page)
}

/// To the second; what is no time, as it is.
fn told(until: &str) -> String {
    let at = until.parse::<Timestamp>().map(|it| it.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    at.unwrap_or_else(|_| super::text::visible(until))
}

impl Wish {
    fn read(fields: &Fields) -> Result<Self, Refusal> {
        let action = match fields.get("action") {
            "cancel" => "cancel",
            "retry" => "retry",
            "reprioritize" => "reprioritize",
            _ => return Err(Refusal::of_field("action", "must be cancel, retry or reprioritize")),
        };
        let filter = Filter::read(fields);
        if filter.is_empty() {
            let detail = "The filter is empty, which would be every job there is. Narrow the list first; if all are meant, choose their state.";
            return Err(Refusal::of_field("filter", detail));
        }
        if !filter.reason.is_empty() && action != "retry" {
            let detail = "A reason tells how a job ended, and what is over can be neither cancelled nor moved ahead. Leave the reason out.";
            return Err(Refusal::of_field("reason", detail));
        }
        let priority = fields.number("priority")?.filter(|_| action == "reprioritize");
        if action == "reprioritize" && priority.is_none() {
            return Err(Refusal::of_field("priority", "Say which priority the jobs are to have."));
        }
        let until = fields.given("until").map_or_else(|| Timestamp::now().to_string(), str::to_owned);
        Ok(Self { action, priority, filter, until, cursor: fields.given("cursor").map(str::to_owned) })
    }

    fn verb(&self) -> &'static str {
        match self.action {
            "cancel" => "Cancel",
            "retry" => "Try again",
            _ => "Change the priority of",
        }
    }

    fn request(&self, dry_run: bool) -> Value {
        let mut request = json!({"action": self.action, "filter": self.filter.bulk(&self.until), "dry_run": dry_run});
        if let Some(priority) = self.priority {
            request["priority"] = json!(priority);
        }
        if let Some(cursor) = &self.cursor {
            request["cursor"] = json!(cursor);
        }
        request
    }

    /// The list of those that can be tried again: what failed, or was cancelled, and passes the filter.
    async fn page_of_retries(&self, ui: &Ui, limit: usize) -> Result<Listing<Id>, Refusal> {
        let over = |it: &str| matches!(it.trim(), "failed" | "cancelled");
        if !self.filter.state.is_empty() && !self.filter.state.split(',').all(over) {
            let detail = "Only what failed or was cancelled can be tried again. Choose one of those states, or none.";
            return Err(Refusal::of_field("state", detail));
        }
        let state = if self.filter.state.is_empty() { "failed,cancelled" } else { &self.filter.state };
        let filter = Filter { state: state.to_owned(), ..self.filter.clone() };
        let cursor = self.cursor.as_ref().map_or_else(String::new, |it| format!("&cursor={}", encoded(it)));
        let query = format!("{}&created_before={}", filter.api_query(), encoded(&self.until));
        ui.ask.get(&format!("/jobs?limit={limit}&{query}{cursor}")).await
    }

    async fn count_retries(&self, ui: &Ui) -> Result<Part, Refusal> {
        let page = self.page_of_retries(ui, COUNTED).await?;
        Ok(Part { matched: page.items.len() as i64, done: 0, skipped: 0, next: page.next })
    }

    async fn retry(&self, ui: &Ui) -> Result<Part, Refusal> {
        let page = self.page_of_retries(ui, RETRIES).await?;
        let mut part = Part { matched: page.items.len() as i64, done: 0, skipped: 0, next: page.next };
        for it in &page.items {
            match ui.ask.send::<IgnoredAny>(Method::POST, &format!("/jobs/{}/retry", it.job_id), None).await {
                Ok(_) => part.done += 1,
                Err(refusal) if refusal.status < 500 => part.skipped += 1,
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(part)
    }
}
