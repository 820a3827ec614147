//! `/ui/jobs/{id}`: one job: how it is and why, what became of each attempt, its log, and what it is to do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use askama::Template;
use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{Method, StatusCode},
    response::Response,
};
use futures::StreamExt;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::lifecycle::StateName;

use super::{
    Ui,
    acts::Done,
    ask::{Refusal, encoded},
    clock::{Clock, When},
    form::asked,
    jobs::Listing,
    manifest,
    shell::{self, Place, Shell},
    text::{visible, words},
};

/// How many events are shown: the newest are on a page of the API.
const EVENTS: usize = 200;
/// How many lines of a log are shown, and how many bytes at most: what fits a page; all of it can be had as text.
const LOG_LINES: usize = 200;
const LOG_BYTES: usize = 64 * 1024;
/// How long the page waits for a log that a node has to send.
const LOG_WAIT: Duration = Duration::from_secs(3);

/// A job, as the API tells it.
#[derive(Deserialize)]
struct Job {
    job_id: String,
    name: String,
    queue: String,
    namespace: String,
    priority: i32,
    state: String,
    reason: Option<String>,
    message: Option<String>,
    labels: BTreeMap<String, String>,
    attempt: i32,
    max_attempts: i64,
    failed_attempts: i32,
    interruptions: i32,
    created_at: Timestamp,
    run_at: Option<Timestamp>,
    due_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    why: Option<Why>,
    eta: Option<Eta>,
    policy: Option<Value>,
    #[serde(default)]
    attempts: Vec<Attempt>,
    spec: Option<Value>,
}

#[derive(Deserialize)]
struct Why {
    code: String,
    message: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    position: Option<String>,
    limit: Option<Limit>,
}

#[derive(Deserialize)]
struct Limit {
    name: String,
    cap: i32,
    held: i64,
}

#[derive(Deserialize)]
struct Eta {
    starts_p50: Option<Timestamp>,
    starts_p90: Option<Timestamp>,
    samples: usize,
    basis: String,
}

#[derive(Deserialize)]
struct Attempt {
    attempt: i32,
    kube_name: Option<String>,
    node: Option<String>,
    pod: Option<String>,
    container: Option<String>,
    exit_code: Option<i32>,
    termination_message: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    waited_since: Timestamp,
    claimed_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Event {
    at: Timestamp,
    attempt: i32,
    from: Option<String>,
    to: String,
    reason: String,
    message: Option<String>,
}

/// One stretch of a job's time.
struct Stretch {
    kind: &'static str,
    attempt: i32,
    from: When,
    took: String,
    /// On a scale of a thousand.
    x: u32,
    width: u32,
}

/// The log as far as it is shown.
struct Log {
    text: String,
    /// What to know of it: live or kept, and whether there is more.
    note: String,
    attempt: String,
}

/// What is to be shown besides.
#[derive(Default)]
pub struct Asked {
    env: bool,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "ui/job.html")]
struct Page {
    shell: Shell,
    job: Job,
    clock: Clock,
    stretches: Vec<Stretch>,
    events: Vec<Event>,
    more_events: bool,
    log: Result<Log, String>,
    labels: Vec<(String, String)>,
    spec: String,
    policy: Option<String>,
    manifest: Result<String, String>,
    env_shown: bool,
    over: bool,
    can_cancel: bool,
    can_retry: bool,
    waits: bool,
    as_of: String,
}

impl Page {
    fn code(&self, code: &str) -> String {
        words(code)
    }

    /// Where a basis of an estimate is told in words.
    fn basis(&self, basis: &str) -> &'static str {
        match basis {
            "name" => "from jobs of this name",
            "queue" => "from jobs of this queue",
            "all" => "from all jobs",
            "too_few_samples" => "too few jobs have ended to tell",
            "nothing_starts" => "nothing starts: the cap is 0, or the queue is paused",
            _ => "too many jobs are ahead to tell",
        }
    }
}

/// `GET /ui/jobs/{id}`
pub async fn page(
    State(ui): State<Arc<Ui>>,
    Path(id): Path<String>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let fields = asked(query);
    let done = Done::told(fields.given("done"));
    shown(&ui, &id, &Asked { env: fields.get("show") == "env", done }, None, 3).await
}

/// The page of a job, with what was in the way of an act.
pub async fn shown(ui: &Ui, id: &str, asked: &Asked, refusal: Option<Refusal>, depth: usize) -> Response {
    let path = format!("/jobs/{}", encoded(id));
    let job: Job = match ui.ask.get(&path).await {
        Ok(job) => job,
        Err(missing) => return shell::refused(Shell::new("Job", Place::Jobs, depth), refusal.unwrap_or(missing)),
    };
    let events: Listing<Event> = ui
        .ask
        .get(&format!("{path}/events?limit={EVENTS}"))
        .await
        .unwrap_or_else(|_| Listing { items: Vec::new(), next: None });
    let clock = Clock::now();
    let state = StateName::from_name(&job.state);
    let over = state.is_some_and(StateName::is_finished);
    let waits = matches!(job.state.as_str(), "scheduled" | "pending");
    let status = refusal.as_ref().map_or(StatusCode::OK, Refusal::status);
    let show = |value: &Value| match asked.env {
        true => pretty(value),
        false => pretty(&manifest::without_env(value)),
    };
    let manifest = manifest::of(ui, id, job.attempt.max(1)).await;
    let page = Page {
        shell: Shell::new(job.name.clone(), Place::Jobs, depth).refused(refusal).done(asked.done.clone()),
        stretches: stretches(&job, &events.items, clock),
        more_events: events.next.is_some(),
        events: events.items,
        log: log(ui, &path, job.attempt).await,
        labels: job.labels.clone().into_iter().collect(),
        spec: job.spec.as_ref().map(&show).unwrap_or_default(),
        policy: job.policy.as_ref().map(pretty),
        manifest: manifest.map(|it| show(&it)),
        env_shown: asked.env,
        over,
        can_cancel: !over && job.cancel_requested_at.is_none(),
        can_retry: matches!(job.state.as_str(), "failed" | "cancelled"),
        waits,
        as_of: Timestamp::now().strftime("%H:%M:%S").to_string(),
        clock,
        job,
    };
    shell::page(status, &page)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Where its time went, in order.
fn stretches(job: &Job, events: &[Event], clock: Clock) -> Vec<Stretch> {
    let end = job.finished_at.unwrap_or_else(Timestamp::now);
    let mut found: Vec<(&'static str, i32, Timestamp, Timestamp)> = Vec::new();
    let mut at = job.created_at;
    for it in &job.attempts {
        found.push(("scheduled", it.attempt, at, it.waited_since));
        found.push(("pending", it.attempt, it.waited_since, it.claimed_at));
        let over = it.finished_at.unwrap_or(end);
        // The event's time is by the database's clock; the node's may be a little behind, and tells whole seconds.
        let event = events.iter().find(|event| event.attempt == it.attempt && event.reason == "started");
        let started = event.map(|it| it.at).or(it.started_at).map(|at| at.max(it.claimed_at).min(over));
        found.push(("starting", it.attempt, it.claimed_at, started.unwrap_or(over)));
        if let Some(started) = started {
            found.push(("running", it.attempt, started, over));
        }
        at = over;
    }
    match job.state.as_str() {
        "scheduled" => found.push(("scheduled", job.attempt + 1, at, end)),
        "pending" => {
            let due = job.why.as_ref().and_then(|it| it.since).map_or(at, |it| it.max(at).min(end));
            found.push(("scheduled", job.attempt + 1, at, due));
            found.push(("pending", job.attempt + 1, due, end));
        }
        _ if job.attempts.is_empty() => found.push(("pending", 0, at, end)),
        _ => {}
    }
    let secs = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64().max(0.0);
    // What took no time is no stretch, unless the job was doing something.
    found.retain(|it| secs(it.2, it.3) >= 0.05 || matches!(it.0, "running"));
    let whole: f64 = found.iter().map(|it| secs(it.2, it.3)).sum::<f64>().max(0.001);
    let mut so_far = 0.0;
    let stretch = |(kind, attempt, from, to): (&'static str, i32, Timestamp, Timestamp)| {
        let secs = secs(from, to);
        let x = (so_far / whole * 1_000.0) as u32;
        so_far += secs;
        let width = ((so_far / whole * 1_000.0) as u32).saturating_sub(x).max(3);
        Stretch { kind, attempt, from: clock.when(from), took: clock.between(from, Some(to)), x, width }
    };
    found.into_iter().map(stretch).collect()
}

/// The end of the log: from the pod while there is one, else what was kept; or why there is none.
async fn log(ui: &Ui, path: &str, attempt: i32) -> Result<Log, String> {
    if attempt == 0 {
        return Err("It has not begun.".into());
    }
    let path = format!("{path}/logs?tail={LOG_LINES}");
    let read = async {
        let response = ui.ask.answer(Method::GET, &path, None).await.map_err(|it| it.detail)?;
        let (head, body) = response.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let (kind, attempt) = (header("longshore-log"), header("longshore-attempt").to_owned());
        let cut = header("longshore-log-truncated") == "true";
        let mut bytes: Vec<u8> = Vec::new();
        let mut pieces = body.into_data_stream();
        let mut clipped = false;
        while let Some(Ok(piece)) = pieces.next().await {
            bytes.extend_from_slice(&piece);
            if bytes.len() > LOG_BYTES {
                // What is at the end tells most.
                bytes.drain(..bytes.len() - LOG_BYTES);
                clipped = true;
            }
        }
        let text = visible(&String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        let note = match (kind, cut || clipped) {
            ("live", _) => format!("From its pod: the last {LOG_LINES} lines at most."),
            (_, true) => "Its pod is gone; this is the end of what it wrote, and there was more before.".to_owned(),
            (_, false) => "Its pod is gone; this is all that it wrote.".to_owned(),
        };
        Ok(Log { text, note, attempt })
    };
    tokio::time::timeout(LOG_WAIT, read).await.unwrap_or_else(|_| Err("It could not be read in time.".into()))
}
