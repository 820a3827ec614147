//! What is done to one job from its page, and how a page tells what came of an act.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::Method,
    response::Response,
};
use serde::de::IgnoredAny;
use serde_json::json;

use super::{
    Ui,
    ask::{Refusal, encoded},
    form::Sent,
    job, shell,
};

/// What may be told after an act. Only these words come from the address of a page, never its text.
pub struct Done;

impl Done {
    pub fn told(what: Option<&str>) -> Option<String> {
        let (word, count) =
            what?.split_once('.').map_or((what?, None), |(word, count)| (word, count.parse::<u64>().ok()));
        let jobs = match count {
            Some(1) => "1 job".to_owned(),
            Some(count) => format!("{count} jobs"),
            None => "The jobs".to_owned(),
        };
        Some(match word {
            "submitted" => "The job was submitted.".into(),
            "cancel" => {
                "Cancelling was asked for. What waited is cancelled; what holds a slot is being stopped.".into()
            }
            "retry" => "The job waits for a slot again.".into(),
            "priority" => "The priority was changed.".into(),
            "queue" => "The queue was set.".into(),
            "paused" => "Paused: nothing more is started from it.".into(),
            "resumed" => "Resumed.".into(),
            "cap" => "The global cap was set.".into(),
            "source" => "The source was set; every replica obeys within a second or so.".into(),
            "bulk-cancel" => format!("{jobs} cancelled, or being stopped."),
            "bulk-retry" => format!("{jobs} waiting for a slot again."),
            "bulk-reprioritize" => format!("{jobs} changed to another priority."),
            _ => return None,
        })
    }
}

/// `POST /ui/jobs/{id}/cancel`
pub async fn cancel(State(ui): State<Arc<Ui>>, Path(id): Path<String>) -> Response {
    let path = format!("/jobs/{}", encoded(&id));
    let done = ui.ask.send::<IgnoredAny>(Method::DELETE, &path, None).await;
    after(&ui, &id, "cancel", done).await
}

/// `POST /ui/jobs/{id}/retry`
pub async fn retry(State(ui): State<Arc<Ui>>, Path(id): Path<String>) -> Response {
    let path = format!("/jobs/{}/retry", encoded(&id));
    let done = ui.ask.send::<IgnoredAny>(Method::POST, &path, None).await;
    after(&ui, &id, "retry", done).await
}

/// `POST /ui/jobs/{id}/priority`
pub async fn priority(State(ui): State<Arc<Ui>>, Path(id): Path<String>, Sent(fields): Sent) -> Response {
    let done = async {
        let priority = fields.number("priority")?;
        let priority = priority.ok_or_else(|| Refusal::of_field("priority", "must be a whole number"))?;
        let path = format!("/jobs/{}", encoded(&id));
        ui.ask.send::<IgnoredAny>(Method::PATCH, &path, Some(&json!({"priority": priority}))).await
    };
    after(&ui, &id, "priority", done.await).await
}

/// The page of the job: with what was done, or with why it was not.
async fn after(ui: &Ui, id: &str, what: &str, done: Result<IgnoredAny, Refusal>) -> Response {
    match done {
        Ok(_) => shell::see(&format!("../{}?done={what}", encoded(id))),
        Err(refusal) => job::shown(ui, id, &job::Asked::default(), Some(refusal), 4).await,
    }
}
