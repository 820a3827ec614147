//! Queues elsewhere feed this one: what comes there becomes jobs here, once each. docs/sources.md is for those who set it up.
//!
//! Every replica runs every source. What keeps them apart is the queue elsewhere, which gives a message to one of them at a
//! time, and the idempotency key made of the message's id, under which there is one job however often it comes. A message is
//! let go of after its job is committed: whoever dies in between leaves it to come again.

mod boss;
mod certificates;
pub mod config;
pub mod desk;
pub mod inbox;
mod shape;
mod slow;
#[cfg(feature = "sqs")]
mod sqs;
mod tally;
mod workers;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::Served,
    error::chain,
    metrics::Metrics,
    store::{
        self,
        signals::Signals,
        sources::{self as rows, Held},
    },
    templates::jq::{FilterFlags, Filters},
};

use config::{Entry, Unusable};
use desk::Desk;
use shape::Filter;
use tally::Tally;

pub use desk::Shared;
pub use shape::{Body, Message};

/// The types of sources, for errors.
const TYPES: &str = "sqs, pg-boss or pg-boss-workers";
/// How often a replica tells the database what it did, and hears whether a source is paused.
const TELL_PERIOD: Duration = Duration::from_secs(1);
/// How often one of the replicas looks how much waits elsewhere.
const LOOK_PERIOD: Duration = Duration::from_secs(15);
/// How often to look for messages whose jobs have ended, whatever signals say.
const SETTLE_PERIOD: Duration = Duration::from_secs(1);
/// The pause after a pass that went wrong, doubled with each up to the longest: a queue that is away is asked once a minute.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// How much waits in a queue elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backlog {
    /// How many messages wait and could be taken now.
    pub waiting: Option<i64>,
    /// How old the oldest of them is, in seconds, where the queue tells.
    pub oldest_secs: Option<f64>,
    /// How many messages there are by state, where the queue tells.
    pub states: BTreeMap<String, i64>,
}

/// One queue elsewhere.
pub trait Source: Send + Sync {
    /// Takes what has come, makes jobs of it, and lets go of it. Waits for something to come, for a bounded time, and ends
    /// soon after `desk.stop`.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from that: it is told, and tried again after a pause.
    fn pass<'a>(&'a self, desk: &'a Desk) -> BoxFuture<'a, anyhow::Result<()>>;

    /// How much waits there.
    fn backlog<'a>(&'a self, desk: &'a Desk) -> BoxFuture<'a, anyhow::Result<Backlog>>;

    /// A field of the file that makes jobs which this installation would refuse, and why, where it is not messages that make
    /// them.
    fn refused(&self, _served: &Served<'_>) -> Option<(String, String)> {
        None
    }

    /// How many passes are under way at a time, at one replica.
    fn at_once(&self) -> usize {
        1
    }

    /// For how long a message is kept from others whose fate hangs on its job; none where none does.
    fn holds(&self) -> Option<Duration> {
        None
    }

    /// Tells the queue what became of the jobs of messages, and keeps those from others whose jobs go on. Answers those that
    /// it is done with. May be asked again about the same: whoever was asked before may have died.
    ///
    /// # Errors
    ///
    /// As for [`Self::pass`].
    fn settle<'a>(&'a self, _desk: &'a Desk, _held: &'a [Held]) -> BoxFuture<'a, anyhow::Result<Vec<Held>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// A source that was configured, and is to be run.
pub struct Configured {
    pub name: String,
    pub kind: &'static str,
    /// What it reads, for people, without a secret.
    pub reads: String,
    /// Names the queue elsewhere: see [`Desk::new`].
    pub space: String,
    pub source: Box<dyn Source>,
    entry: Entry,
}

impl Configured {
    /// Whether this installation takes its jobs, as far as the file says what they are: a slip there would be found by one
    /// message after the other.
    pub fn check(&self, served: &Served<'_>) -> Result<(), Unusable> {
        let refused = self.source.refused(served).or_else(|| self.entry.shape.refused(&self.name, served));
        refused.map_or(Ok(()), |(field, cause)| Err(self.entry.wrong(&field, cause)))
    }

    /// How much waits there, asked once by somebody who takes nothing.
    pub async fn look(&self, shared: Arc<Shared>, metrics: &Arc<Metrics>) -> anyhow::Result<Backlog> {
        let tally = Arc::new(Tally::new(metrics.source(&self.name)));
        let desk = Desk::new(self.name.clone(), &self.space, self.entry.shape.clone(), None, shared, tally);
        self.source.backlog(&desk).await
    }
}

impl Configured {
    /// Its filter, compiled.
    async fn filter(&self, flags: &FilterFlags) -> Result<Option<Filters>, Unusable> {
        let (field, filter, from_file) = match &self.entry.shape.filter {
            None => return Ok(None),
            Some(Filter::Text(text)) => ("filter", Some(text.clone()), None),
            Some(Filter::File(file)) => ("filter_file", None, Some(file.clone())),
        };
        let flags = FilterFlags { filter, from_file, ..flags.clone() };
        flags.start().await.map_err(|err| self.entry.wrong(field, desk::told(&err)))
    }
}

/// Reads the file, and makes its sources. Nothing elsewhere is asked yet: a queue that is away keeps no replica from
/// starting.
pub fn configured(file: &Path) -> Result<Vec<Configured>, Unusable> {
    let mut all: Vec<Configured> = Vec::new();
    for entry in config::read(file)? {
        for it in of(&entry)? {
            // An entry may make several, whose names are not in the file.
            if all.iter().any(|other| other.name == it.name) {
                return Err(entry.wrong("name", format!("{} is the name of another source, too", it.name)));
            }
            if it.kind == workers::KIND && all.iter().any(|other| other.space == it.space) {
                return Err(entry.wrong("jobs", format!("the queue of {} has a worker of another entry, too", it.name)));
            }
            all.push(it);
        }
    }
    Ok(all)
}

/// The sources of one entry.
fn of(entry: &Entry) -> Result<Vec<Configured>, Unusable> {
    match entry.kind.as_str() {
        #[cfg(feature = "sqs")]
        "sqs" => Ok(vec![sqs::configured(entry)?]),
        #[cfg(not(feature = "sqs"))]
        "sqs" => {
            Err(entry
                .wrong("type", "this longshore was built without SQS; build it with the feature `sqs`, as by default"))
        }
        "pg-boss" => boss::configured(entry).map(|it| vec![it]),
        workers::KIND => workers::sources(entry),
        other => Err(entry.wrong("type", format!("{other:?} is unknown; it is {TYPES}"))),
    }
}

/// Runs the sources of one replica.
pub struct Mover {
    running: Vec<Arc<Running>>,
    shared: Arc<Shared>,
}

/// One source that runs here.
struct Running {
    kind: &'static str,
    reads: String,
    /// Whether it begins paused, where it was never run before.
    paused: bool,
    source: Box<dyn Source>,
    desk: Desk,
}

impl Mover {
    /// Makes everything ready. Filters are compiled here, so that a wrong one is told of before anything else starts.
    pub async fn new(
        configured: Vec<Configured>,
        filters: &FilterFlags,
        metrics: &Arc<Metrics>,
        shared: Arc<Shared>,
    ) -> anyhow::Result<Self> {
        let mut running = Vec::new();
        for it in configured {
            it.check(&shared.reader.served())?;
            let filter = it.filter(filters).await?;
            let tally = Arc::new(Tally::new(metrics.source(&it.name)));
            let Configured { name, kind, reads, space, source, entry } = it;
            let desk = Desk::new(name, &space, entry.shape, filter, shared.clone(), tally);
            running.push(Arc::new(Running { kind, reads, paused: entry.paused, source, desk }));
        }
        Ok(Self { running, shared })
    }

    /// Runs until `stop`, and until what is under way then has ended.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        for it in &self.running {
            for _ in 0..it.source.at_once() {
                tasks.spawn(it.clone().take(stop.clone()));
            }
            tasks.spawn(it.clone().tell(stop.clone()));
            tasks.spawn(it.clone().look(stop.clone()));
            if let Some(time) = it.source.holds() {
                tasks.spawn(it.clone().settle(desk::extend_after(time), self.shared.signals.clone(), stop.clone()));
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Running {
    /// Passes, one after the other.
    async fn take(self: Arc<Self>, stop: CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            if self.desk.tally.paused() {
                self.desk.idle(TELL_PERIOD).await;
                continue;
            }
            match self.source.pass(&self.desk).await {
                Ok(()) => {
                    failures = 0;
                    self.desk.tally.worked();
                }
                Err(err) => {
                    failures += 1;
                    self.warn(&err, "a source cannot be read; trying again");
                    self.desk.idle(pause(failures, rand::random())).await;
                }
            }
        }
    }

    /// Tells the database what was done here, and hears what others did.
    async fn tell(self: Arc<Self>, stop: CancellationToken) {
        let mut known = false;
        loop {
            let last = stop.is_cancelled();
            let told = self.desk.tally.take();
            let heard = async {
                let mut conn = self.desk.db.conn().await?;
                if !known {
                    rows::register(&mut conn, &self.desk.name, self.kind, &self.reads, self.paused).await?;
                }
                rows::tell(&mut conn, &self.desk.name, &told).await
            };
            match self.desk.db.within(heard).await {
                Ok(Some(heard)) => {
                    known = true;
                    self.desk.tally.heard(heard);
                }
                Ok(None) => {
                    known = false;
                    self.desk.tally.put_back(told);
                }
                Err(err) => {
                    tracing::warn!(source = self.desk.name, error = chain(&err), "could not tell what a source did");
                    self.desk.tally.put_back(told);
                }
            }
            if last {
                return;
            }
            self.desk.idle(TELL_PERIOD).await;
        }
    }

    /// Looks how much waits elsewhere, where no other replica did.
    async fn look(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let name = &self.desk.name;
            let may = async { rows::may_look(&mut *self.desk.db.conn().await?, name, LOOK_PERIOD).await };
            match self.desk.db.within(may).await {
                Ok(true) => match self.source.backlog(&self.desk).await {
                    Ok(it) => {
                        let looked = async {
                            let mut conn = self.desk.db.conn().await?;
                            rows::looked(&mut conn, name, it.waiting, it.oldest_secs, &it.states).await
                        };
                        if let Err(err) = self.desk.db.within(looked).await {
                            tracing::warn!(
                                source = name,
                                error = chain(&err),
                                "could not record what waits in a source"
                            );
                        }
                    }
                    Err(err) => self.warn(&err, "cannot see how much waits in a source"),
                },
                Ok(false) | Err(store::Error::Away(_)) => {}
                Err(err) => tracing::warn!(source = name, error = chain(&err), "could not look at a source"),
            }
            self.desk.idle(LOOK_PERIOD / 10).await;
        }
    }

    /// Tends messages whose fate hangs on their jobs.
    async fn settle(self: Arc<Self>, extend: Duration, signals: Arc<Signals>, stop: CancellationToken) {
        let mut ended = signals.ended();
        while !stop.is_cancelled() {
            let more = match self.settle_some(extend).await {
                Ok(more) => more,
                Err(err) => {
                    self.warn(&err, "cannot tell a source what became of its jobs; trying again");
                    false
                }
            };
            if !more {
                tokio::select! {
                    () = tokio::time::sleep(SETTLE_PERIOD) => {}
                    _ = ended.changed() => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// Whether there may be more to do at once.
    async fn settle_some(&self, extend: Duration) -> anyhow::Result<bool> {
        let (db, name) = (&self.desk.db, &self.desk.name);
        let taken = async { rows::take_held(&mut *db.conn().await?, name, extend).await };
        let held = db.within(taken).await?;
        if held.is_empty() {
            return Ok(false);
        }
        let done = self.source.settle(&self.desk, &held).await?;
        let gone: Vec<(&str, &str)> = done.iter().map(|it| (it.item.as_str(), it.handle.as_str())).collect();
        let let_go = async { rows::let_go(&mut *db.conn().await?, name, &gone).await };
        db.within(let_go).await?;
        Ok(true)
    }

    fn warn(&self, err: &anyhow::Error, what: &str) {
        let error = desk::told(err);
        tracing::warn!(source = self.desk.name, error, "{what}");
        self.desk.tally.failed(&error);
    }
}

/// How long to wait after so many passes that went wrong; `draw` from 0 to 1.
fn pause(failures: i32, draw: f64) -> Duration {
    let doubled = PAUSES.0.as_secs_f64() * 2f64.powi(failures.clamp(1, 20) - 1);
    Duration::from_secs_f64(doubled.min(PAUSES.1.as_secs_f64()) * (0.5 + 0.5 * draw.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_away_is_asked_ever_more_rarely_and_once_a_minute_at_least() {
        assert_eq!(pause(1, 1.0), PAUSES.0);
        assert!(pause(3, 0.0) > pause(1, 1.0));
        assert_eq!(pause(i32::MAX, 1.0), PAUSES.1);
        assert!(pause(i32::MAX, 0.0) >= PAUSES.1 / 2);
    }

    #[cfg(not(feature = "sqs"))]
    #[test]
    fn a_build_without_sqs_says_which_has_it() {
        let entries = config::parse("sources:\n- {name: mails, type: sqs, queue_url: a}", "f").unwrap();
        let told = of(&entries[0]).err().unwrap().to_string();
        assert!(told.contains("f: source mails: type: this longshore was built without SQS; build it with"), "{told}");
    }

    #[test]
    fn an_unknown_type_is_refused_with_those_that_there_are() {
        let entries = config::parse("sources:\n- {name: mails, type: kafka}", "f").unwrap();
        let told = of(&entries[0]).err().unwrap().to_string();
        assert!(told.contains("f: source mails: type: \"kafka\" is unknown; it is sqs"), "{told}");
    }
}
