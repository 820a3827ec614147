//! `events`: what happened to a job, or what happens to all of them as it happens.
//!
//! The stream of the server ends whenever a replica does. It is opened again after the last event that came, with any
//! replica, so that none is missed and none comes twice. A job's own history is read once the stream is open: what is in
//! both is told once.

use std::{collections::HashSet, time::Duration};

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::{id::JobId, lifecycle::StateName};

use super::{
    Exit, Failure, Format,
    http::{Ask, Http, job_id},
    listed::{Listed, PAGE},
    output::{Paged, cell, print},
    sse::Reader,
    text::{self, Shown},
    view::Job,
};

/// How long a stream may be silent before it is opened anew: several heartbeats of the server.
const SILENCE: Duration = Duration::from_secs(60);
/// How long to wait at least before a stream is opened anew, so that a server that ends it at once is not asked in a loop.
const PAUSE: Duration = Duration::from_secs(1);

/// The arguments of `events`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all were shown, with -f ID to the job's end; 4 there is no such job, \
1 the request failed. -f without an ID goes on until Ctrl-C.")]
pub struct Events {
    /// The job's id, or job/ID: its history from the beginning
    #[arg(required_unless_present = "follow")]
    id: Option<String>,
    /// Go on with what happens: of the job until it has ended, without an ID of all jobs from now on
    #[arg(short, long)]
    follow: bool,
    /// Only of jobs of this queue
    #[arg(long, conflicts_with = "id")]
    queue: Option<String>,
    /// Only what led to this state, or to one of these
    #[arg(long, value_name = "STATE,…", value_delimiter = ',', conflicts_with = "id")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(StateName::ALL.map(StateName::name)))]
    state: Vec<String>,
    /// How to print them; `json` of a history is one array, followed one event in a line
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// An event, of a history or of the stream.
#[derive(Deserialize)]
struct Event {
    id: i64,
    at: Timestamp,
    #[serde(default)]
    job_id: Shown,
    name: Option<Shown>,
    attempt: i64,
    from: Option<Shown>,
    to: Shown,
    #[serde(default)]
    reason: Shown,
    message: Option<Shown>,
}

/// Shows events.
pub async fn run(http: &Http, events: &Events) -> Result<Exit, Failure> {
    let id = events.id.as_deref().map(job_id).transpose()?;
    let mut sheet = Sheet::new(events, id.is_some());
    match id {
        Some(id) if !events.follow => {
            let found = history(http, id).await?;
            match events.output {
                Format::Json => events.output.print_all(found)?,
                _ => sheet.add(&found).map(|_| ())?,
            }
            Ok(Exit::Done)
        }
        id => follow(http, events, id, &mut sheet).await,
    }
}

async fn history(http: &Http, id: JobId) -> Result<Vec<Value>, Failure> {
    let events: Listed<Value> = Listed::whole(http, &["jobs", &id.to_string(), "events"], Some(PAGE)).await?;
    Ok(events.values)
}

async fn follow(http: &Http, events: &Events, id: Option<JobId>, sheet: &mut Sheet<'_>) -> Result<Exit, Failure> {
    let mut last: Option<String> = None;
    let mut is_begun = false;
    let states = Some(events.state.join(",")).filter(|it| !it.is_empty());
    loop {
        let opened = Instant::now();
        let ask = Ask::events(&["events"], last.as_deref())
            .query("queue", events.queue.as_ref())
            .query("job", id)
            .query("state", states.as_ref());
        let mut stream = http.stream(ask).await?;
        if let (Some(id), false) = (id, is_begun) {
            is_begun = true;
            if sheet.catch_up(http, id).await? {
                return Ok(Exit::Done);
            }
        }
        let mut reader = Reader::default();
        // It ends where a replica ends, and is silent where one is gone: both are no more than a reason to come back.
        while let Ok(Ok(Some(piece))) = timeout(SILENCE, stream.next()).await {
            let messages = reader.feed(&piece).map_err(|_| foreign("a line of its events is too long"))?;
            for message in messages {
                if let Some(data) = message.data {
                    let value =
                        serde_json::from_str::<Value>(&data).map_err(|_| foreign("an event of it is no JSON"))?;
                    if sheet.add(std::slice::from_ref(&value))? && id.is_some() {
                        return Ok(Exit::Done);
                    }
                }
                // Only now: what could not be printed was not seen.
                last = message.id.or(last);
            }
        }
        sleep(PAUSE.saturating_sub(opened.elapsed())).await;
    }
}

fn foreign(what: &str) -> Failure {
    Failure::Foreign { url: "its address".into(), what: what.into(), status: None, unsure: false }
}

/// What is printed, as it grows.
struct Sheet<'a> {
    events: &'a Events,
    of_one: bool,
    table: Paged,
    /// The events of a history, which the stream may tell again.
    seen: HashSet<i64>,
}

impl<'a> Sheet<'a> {
    fn new(events: &'a Events, of_one: bool) -> Self {
        let header: &[&str] = match of_one {
            true => &["AT", "ATTEMPT", "FROM", "TO", "REASON", "MESSAGE"],
            false => &["AT", "ID", "NAME", "ATTEMPT", "FROM", "TO", "REASON", "MESSAGE"],
        };
        Self { events, of_one, table: Paged::new(header), seen: HashSet::new() }
    }

    /// Prints the history of a job: whether that is all there will be.
    async fn catch_up(&mut self, http: &Http, id: JobId) -> Result<bool, Failure> {
        // The job first: where it has ended by then, its history has its end.
        let job: Job = http.send(Ask::get(&["jobs", &id.to_string()])).await?.read()?;
        self.add(&history(http, id).await?)?;
        Ok(job.is_finished())
    }

    /// Prints events, except those that were printed: whether the last of them ended its job.
    fn add(&mut self, values: &[Value]) -> Result<bool, Failure> {
        let (mut rows, mut is_over) = (Vec::new(), false);
        for value in values {
            let event = Event::deserialize(value).map_err(|err| foreign(&format!("an event cannot be read: {err}")))?;
            if self.of_one && !self.seen.insert(event.id) {
                continue;
            }
            match self.events.output {
                Format::Table | Format::Wide => rows.push(self.row(&event)),
                Format::Json | Format::Jsonl => print(&text::json(value, false))?,
                Format::Name if self.of_one => print(&event.id.to_string())?,
                Format::Name => print(&format!("job/{}", event.job_id))?,
            }
            is_over = StateName::from_name(event.to.as_str()).is_some_and(StateName::is_finished);
        }
        if !rows.is_empty() {
            print(&self.table.page(rows))?;
        }
        Ok(is_over)
    }

    fn row(&self, it: &Event) -> Vec<String> {
        let maybe = |it: &Option<Shown>| it.as_ref().map_or_else(|| "-".into(), |it| cell(it.as_str()));
        let mut row = vec![it.at.to_string()];
        if !self.of_one {
            row.extend([it.job_id.to_string(), maybe(&it.name)]);
        }
        let from = it.from.as_ref().map_or_else(|| "-".into(), Shown::to_string);
        let message = it.message.as_ref().map(|it| cell(it.as_str())).unwrap_or_default();
        row.extend([it.attempt.to_string(), from, it.to.to_string(), it.reason.to_string(), message]);
        row
    }
}
