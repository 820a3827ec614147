//! The stream of all events: one reader a replica asks the database, and everyone who listens here is told by it.
//!
//! While nobody listens nothing is asked. A listener that comes, or comes back, or cannot keep up, reads for itself, page by
//! page, up to where the reader is, and is told by the reader from there: nobody's slowness is kept in memory.

mod follow;
mod place;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    error::chain,
    store::{
        self, Db,
        signals::Signals,
        stream::{self, NewEvent, Span},
    },
};

pub use follow::{Ended, Follower, Piece};
pub use place::{Place, Snapshot, Unreadable};

/// The most that listen to one replica at a time. Each has a connection and a task; the figure is what a small pod bears.
pub const STREAMS: usize = 1_000;
/// How often to look, whatever signals say: starts of jobs raise none.
const PERIOD: Duration = Duration::from_secs(1);
/// The least time between two looks: long enough to gather a burst, short enough not to be felt.
const GATHER: Duration = Duration::from_millis(50);
/// The most events that are told at once, some megabytes. Whoever listens reads for itself what is more.
const TOLD_AT_ONCE: i64 = 5_000;
/// How many times something was told a listener may be behind before it has to read for itself.
const BEHIND: usize = 32;
/// How many listeners read for themselves at a time, so that they leave connections for requests.
const READ_AT_ONCE: usize = 2;
/// How long one that comes waits for the reader's next look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// An event as it is told to many: what each would have to write about it is written once.
#[derive(Debug)]
pub struct Told {
    pub event: NewEvent,
    text: OnceLock<String>,
}

impl Told {
    fn new(event: NewEvent) -> Self {
        Self { event, text: OnceLock::new() }
    }

    /// What `write` makes of it, which must be the same for everyone.
    pub fn text(&self, write: impl FnOnce(&NewEvent) -> String) -> &str {
        self.text.get_or_init(|| write(&self.event))
    }
}

/// What the reader saw in one look.
#[derive(Debug)]
struct Look {
    epoch: String,
    millis: i64,
    from: Snapshot,
    to: Snapshot,
    /// None: more than is told at once, or nobody listened yet when it began.
    events: Option<Arc<[Told]>>,
}

/// Where the reader is.
#[derive(Debug, Clone)]
struct Position {
    epoch: String,
    millis: i64,
    seen: Snapshot,
}

/// Where events are read, and listened to.
pub struct Hub {
    /// Connections of the reader, and of listeners that read for themselves.
    db: Arc<Db>,
    requests_db: Arc<Db>,
    position: Mutex<Option<Position>>,
    told: broadcast::Sender<Arc<Look>>,
    streams: Arc<Semaphore>,
    reading: Semaphore,
    wanted: Notify,
    /// How many looks were begun, and how many of them ended well.
    looks: watch::Sender<(u64, u64)>,
    /// How long what happened to a job can be read after it; none is for ever.
    retention: Option<Duration>,
}

impl Hub {
    pub fn new(db: Arc<Db>, requests_db: Arc<Db>, retention: Duration) -> Arc<Self> {
        Arc::new(Self {
            db,
            requests_db,
            position: Mutex::default(),
            told: broadcast::Sender::new(BEHIND),
            streams: Arc::new(Semaphore::new(STREAMS)),
            reading: Semaphore::new(READ_AT_ONCE),
            wanted: Notify::new(),
            looks: watch::Sender::new((0, 0)),
            retention: (!retention.is_zero()).then_some(retention),
        })
    }

    /// The right to listen, while there is room for one more.
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().ok()
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        STREAMS.saturating_sub(self.streams.available_permits())
    }

    /// Reads for those who listen, until `stop`.
    pub async fn run(&self, signals: &Signals, stop: CancellationToken) {
        let mut heard = signals.any();
        while !stop.is_cancelled() {
            if let Err(err) = self.look().await {
                tracing::warn!(error = chain(&err), "could not read what happened; trying again");
                stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await;
                self.wanted.notify_one();
            }
            stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
            let due = async {
                match self.told.receiver_count() {
                    0 => std::future::pending().await,
                    _ => tokio::select! { () = tokio::time::sleep(PERIOD) => {}, _ = heard.changed() => {} },
                }
            };
            tokio::select! { () = due => {}, () = self.wanted.notified() => {}, () = stop.cancelled() => {} }
        }
    }

    async fn look(&self) -> Result<(), store::Error> {
        let begun = {
            let mut begun = 0;
            self.looks.send_modify(|it| {
                it.0 += 1;
                begun = it.0;
            });
            begun
        };
        let before = if self.told.receiver_count() > 0 { self.position().clone() } else { None };
        let (span, events) = self.db.within(self.read(before.as_ref())).await?;
        let to: Snapshot = span.till.parse().map_err(|Unreadable| unreadable(&span.till))?;
        let Span { epoch, millis, .. } = span;
        {
            // Nobody can begin to listen between what is told and the position that says what was.
            let mut position = self.position();
            if let Some(before) = position.take() {
                let look = Look { epoch: epoch.clone(), millis, from: before.seen, to: to.clone(), events };
                // Nobody listens, perhaps.
                let _ = self.told.send(Arc::new(look));
            }
            *position = Some(Position { epoch, millis, seen: to });
        }
        self.looks.send_modify(|it| it.1 = begun);
        Ok(())
    }

    async fn read(&self, before: Option<&Position>) -> Result<(Span, Option<Arc<[Told]>>), store::Error> {
        let mut conn = self.db.conn().await?;
        let Some(before) = before else { return Ok((stream::now(&mut conn).await?, None)) };
        let since = before.seen.to_string();
        let span = stream::measure(&mut conn, &since, None, TOLD_AT_ONCE).await?;
        if span.events >= TOLD_AT_ONCE || span.epoch != before.epoch {
            return Ok((span, None));
        }
        let mut events = Vec::new();
        while (events.len() as i64) < span.events {
            let after = events.last().map_or(0, |it: &Told| it.event.id);
            let page = stream::page(&mut conn, &since, &span.till, after, span.least).await?;
            if page.is_empty() {
                break;
            }
            events.extend(page.into_iter().map(Told::new));
        }
        Ok((span, Some(events.into())))
    }

    /// Ends when the reader has begun a look after this call, and ended it; false when it did not in its time.
    async fn fresh(&self) -> bool {
        let mut looks = self.looks.subscribe();
        let begun = looks.borrow().0;
        self.wanted.notify_one();
        tokio::time::timeout(LOOK_TIMEOUT, looks.wait_for(|it| it.1 > begun)).await.is_ok_and(|it| it.is_ok())
    }

    /// Begins to listen; answers from where on.
    fn join(&self) -> Option<(broadcast::Receiver<Arc<Look>>, Position)> {
        let position = self.position();
        Some((self.told.subscribe(), position.clone()?))
    }

    fn position(&self) -> MutexGuard<'_, Option<Position>> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(snapshot: &str) -> store::Error {
    store::Error::Unknown { table: "job_events", what: format!("a snapshot {snapshot:?}") }
}
