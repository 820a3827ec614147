//! `/`: what holds the slots, what is next and why it waits, what ended lately, and what is in the way.

use std::{collections::BTreeMap, sync::Arc};

use askama::Template;
use axum::{extract::State, http::StatusCode, response::Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::store::{
    console::{COUNTED, Harbour, NEXT},
    lists::Listed,
    queues,
};

use super::{
    Ui,
    acts::Done,
    clock::{Clock, When},
    forecast::{Forecast, Start},
    problems::{Trouble, problems},
    sampler::Sample,
    shell::{self, Place, Shell},
    text::{capped, visible, words},
};

/// The most berths that are drawn: those of more are told as a number.
const BERTHS: usize = 60;
/// The most free berths that are drawn.
const FREE: i64 = 24;
/// For queues with a cap of their own, so many are played through.
const CURVES: usize = 8;

/// Everything that changes on the page.
#[derive(Template)]
#[template(path = "ui/board.html")]
pub struct Board {
    pub root: &'static str,
    pub away: bool,
    pub as_of: Option<When>,
    pub cap: i32,
    pub held: i64,
    pub berths: Vec<Berth>,
    pub more_held: i64,
    pub free: i64,
    pub more_free: i64,
    pub pending: String,
    pub scheduled: String,
    pub oldest: Option<When>,
    pub next: Vec<Next>,
    pub more_next: bool,
    /// No job was ever there.
    pub first: bool,
    pub queues: Vec<QueueRow>,
    pub more_queues: bool,
    pub outcomes: Vec<Outcome>,
    pub ended: Vec<EndedRow>,
    pub replicas: usize,
    pub problems: Vec<Trouble>,
}

/// What it renders to is escaped already.
impl askama::filters::HtmlSafe for Board {}

/// A slot that is held.
pub struct Berth {
    pub id: String,
    pub name: String,
    pub queue: String,
    pub state: String,
    pub attempt: i32,
    pub since: When,
    /// What is the matter, where the state does not say all.
    pub code: Option<String>,
    pub message: Option<String>,
}

/// A job that waits.
pub struct Next {
    pub place: usize,
    pub id: String,
    pub name: String,
    pub queue: String,
    pub priority: i32,
    pub waited: When,
    pub code: String,
    pub why: String,
    pub starts: Option<When>,
    pub starts_late: Option<When>,
}

pub struct QueueRow {
    pub name: String,
    pub cap: Option<i32>,
    pub held: i64,
    pub pending: String,
    pub max_pending: Option<i32>,
    pub paused: Option<When>,
}

pub struct Outcome {
    pub state: &'static str,
    pub count: String,
}

pub struct EndedRow {
    pub id: String,
    pub name: String,
    pub state: String,
    pub reason: String,
    pub message: String,
    pub when: When,
}

#[derive(Template)]
#[template(path = "ui/overview.html")]
struct Page {
    shell: Shell,
    board: Board,
}

#[derive(Deserialize)]
pub struct Asked {
    done: Option<String>,
}

/// `GET /`
pub async fn page(State(ui): State<Arc<Ui>>, axum::extract::Query(asked): axum::extract::Query<Asked>) -> Response {
    let sample = ui.sample().await;
    let shell = Shell::new("Overview", Place::Overview, 1).done(Done::told(asked.done.as_deref()));
    shell::page(StatusCode::OK, &Page { shell, board: Board::new(&sample) })
}

/// The part that changes, as it is in the page.
pub fn fragment(board: &Board) -> String {
    board.render().unwrap_or_default()
}

impl Board {
    pub fn new(sample: &Sample) -> Self {
        let Some(harbour) = &sample.harbour else { return Self::empty(sample.cluster_away) };
        // The database's clock, so that replicas agree; and when it is away, that of its last answer.
        let now = harbour.at.to_jiff();
        let clock = Clock::at(now);
        let as_of = sample.read_at.map(|it| Clock::now().when(it));
        let berths: Vec<Berth> = harbour.slots.iter().take(BERTHS).map(|it| Berth::new(it, clock)).collect();
        let free = (i64::from(harbour.global.cap) - harbour.global.held).max(0);
        let starts = starts(harbour);
        let next = harbour.next.iter().take(NEXT as usize).enumerate();
        let next = next.map(|(place, it)| Next::new(place, it, harbour, starts.get(place).copied().flatten(), clock));
        Self {
            root: "./",
            away: sample.away,
            as_of: as_of.map(|it| When { told: exact_time(harbour.at.to_jiff()), ..it }),
            cap: harbour.global.cap,
            held: harbour.global.held,
            more_held: harbour.global.held - berths.len() as i64,
            berths,
            free: free.min(FREE),
            more_free: (free - FREE).max(0),
            pending: capped(harbour.counts.pending, COUNTED),
            scheduled: capped(harbour.counts.scheduled, COUNTED),
            oldest: harbour.oldest_wait.map(|it| clock.since(it.to_jiff())),
            next: next.collect(),
            first: harbour.last_event <= 1
                && harbour.next.is_empty()
                && harbour.slots.is_empty()
                && harbour.ended.is_empty(),
            more_next: harbour.next.len() as i64 > NEXT,
            queues: harbour.queues.iter().map(|it| QueueRow::new(it, clock)).collect(),
            more_queues: harbour.queues.len() as i64 >= crate::store::console::QUEUES,
            outcomes: outcomes(harbour),
            ended: harbour.ended.iter().map(|it| EndedRow::new(it, clock)).collect(),
            replicas: harbour.replicas.iter().filter(|it| it.alive).count(),
            problems: problems(harbour, sample.away, sample.cluster_away),
        }
    }

    /// Nothing was ever seen.
    fn empty(cluster_away: bool) -> Self {
        Self {
            root: "./",
            away: true,
            as_of: None,
            cap: 0,
            held: 0,
            berths: Vec::new(),
            more_held: 0,
            free: 0,
            more_free: 0,
            pending: "?".into(),
            scheduled: "?".into(),
            oldest: None,
            next: Vec::new(),
            more_next: false,
            first: false,
            queues: Vec::new(),
            more_queues: false,
            outcomes: Vec::new(),
            ended: Vec::new(),
            replicas: 0,
            problems: [Trouble::database()].into_iter().chain(cluster_away.then(Trouble::cluster)).collect(),
        }
    }
}

/// To the second, and in UTC, which the page says.
fn exact_time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

impl Berth {
    fn new(it: &crate::store::lists::SlotRow, clock: Clock) -> Self {
        Self {
            id: it.job_id.to_string(),
            name: visible(&it.name),
            queue: it.queue.clone(),
            state: it.state.clone(),
            attempt: it.attempt,
            since: clock.since(it.since.to_jiff()),
            code: (it.code != it.state).then(|| words(&it.code)),
            message: it.message.as_deref().map(visible),
        }
    }
}

impl Next {
    fn new(place: usize, it: &Listed, harbour: &Harbour, start: Option<Start>, clock: Clock) -> Self {
        let why = harbour.why.get(place).filter(|why| why.id == it.id.0);
        let at = |secs: f64| {
            let at = harbour.at.to_jiff().checked_add(SignedDuration::from_millis((secs * 1_000.0) as i64)).ok()?;
            Some(clock.until(at))
        };
        Self {
            place: place + 1,
            id: it.id.to_string(),
            name: visible(&it.name),
            queue: it.queue.clone(),
            priority: it.priority,
            waited: clock.since(it.created_at),
            code: why.map_or_else(|| "pending".into(), |it| words(&it.code)),
            why: why.map_or_else(String::new, |it| visible(&it.message)),
            starts: start.and_then(|it| at(it.p50)),
            starts_late: start.and_then(|it| at(it.p90)),
        }
    }
}

impl QueueRow {
    fn new(it: &queues::Queue, clock: Clock) -> Self {
        Self {
            name: it.name.clone(),
            cap: it.cap,
            held: it.held,
            pending: capped(it.pending, queues::COUNTED - 1),
            max_pending: it.max_pending,
            paused: it.paused_at.map(|it| clock.since(it)),
        }
    }
}

impl EndedRow {
    fn new(it: &crate::store::console::Ended, clock: Clock) -> Self {
        Self {
            id: it.id.to_string(),
            name: visible(&it.name),
            state: it.state.clone(),
            reason: words(it.reason.as_deref().unwrap_or_default()),
            message: visible(it.message.as_deref().unwrap_or_default()),
            when: clock.when(it.finished_at.to_jiff()),
        }
    }
}

fn outcomes(harbour: &Harbour) -> Vec<Outcome> {
    let count = |state: &str| harbour.ended.iter().find(|it| it.state == state).map_or(0, |it| it.of_state);
    let told = |state: &'static str| Outcome { state, count: capped(count(state), COUNTED) };
    ["succeeded", "failed", "cancelled"].map(told).into()
}

/// When each of the next jobs starts: by the global cap and that of its queue, whichever is later.
fn starts(harbour: &Harbour) -> Vec<Option<Start>> {
    let now = harbour.at.to_jiff();
    let secs = |since: Timestamp| now.duration_since(since).as_secs_f64().max(0.0);
    let measured: Vec<f64> = harbour.measured.iter().map(|it| it.secs).collect();
    let holders: Vec<f64> = harbour.slots.iter().map(|it| secs(it.since.to_jiff())).collect();
    let slots = usize::try_from(harbour.global.cap).unwrap_or(0);
    let longest = harbour.next.len().saturating_sub(1);
    let global = Forecast::new(slots, &holders, &measured, longest);
    let mut curves: BTreeMap<&str, (Forecast, usize)> = BTreeMap::new();
    let capped = harbour.queues.iter().filter_map(|it| Some((it, it.cap.filter(|cap| *cap < harbour.global.cap)?)));
    for (queue, cap) in capped.filter(|(it, _)| it.pending > 0).take(CURVES) {
        let of_queue = harbour.slots.iter().filter(|it| it.queue == queue.name);
        let holders: Vec<f64> = of_queue.map(|it| secs(it.since.to_jiff())).collect();
        let curve = Forecast::new(usize::try_from(cap).unwrap_or(0), &holders, &measured, longest);
        curves.insert(&queue.name, (curve, 0));
    }
    let paused = |queue: &str| harbour.paused.iter().any(|it| it == queue);
    let start = |(ahead, it): (usize, &Listed)| {
        if paused(&it.queue) {
            return None;
        }
        let start = global.start(ahead)?;
        match curves.get_mut(it.queue.as_str()) {
            None => Some(start),
            Some((curve, before)) => {
                let own = curve.start(*before)?;
                *before += 1;
                Some(start.later(own))
            }
        }
    };
    harbour.next.iter().enumerate().map(start).collect()
}
