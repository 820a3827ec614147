//! How things are by the rows: the same at every replica, read by one look at a time and only while somebody reads metrics.
//!
//! A look that is older than [`FRESH`] is repeated by whoever reads the metrics next. One that is older than `KEPT` is not
//! shown any more: the database is away, and what was is no news.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{
    GLOBAL, Metrics,
    family::{Label, OTHER, label},
    jobs::limit_of,
    names,
    queues::LABELLED,
    write_gauge,
};

/// For how long a look is shown without another one.
pub const FRESH: Duration = Duration::from_secs(5);
/// For how long it is shown when another one fails.
const KEPT: Duration = Duration::from_secs(60);

/// What the rows say.
#[derive(Debug, Clone, Default)]
pub struct Levels {
    pub cap: i64,
    pub held: i64,
    pub queues: Vec<QueueLevel>,
    /// How many jobs of which queue are in which state and wait for what.
    pub jobs: Vec<(String, &'static str, &'static str, i64)>,
    pub webhook_backlog: i64,
    pub partitions: i64,
    pub finished_rows: f64,
}

/// What the rows say of one queue.
#[derive(Debug, Clone, Default)]
pub struct QueueLevel {
    pub name: String,
    /// Changes whenever somebody writes the queue's row.
    pub version: String,
    pub cap: Option<i64>,
    pub held: i64,
    pub max_pending: Option<i64>,
    pub paused: bool,
    pub oldest_secs: f64,
}

impl QueueLevel {
    const fn is_configured(&self) -> bool {
        self.cap.is_some() || self.max_pending.is_some() || self.paused
    }
}

#[derive(Debug, Default)]
struct Last {
    levels: Option<(Instant, Arc<Levels>)>,
    up: Option<bool>,
}

/// The last look.
#[derive(Debug, Default)]
pub struct Snapshot {
    last: Mutex<Last>,
    turn: tokio::sync::Mutex<()>,
}

impl Snapshot {
    /// Whoever has it may look; everyone else waits for what comes of that.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether no look is needed.
    pub fn is_fresh(&self) -> bool {
        let last = self.last();
        last.up == Some(true) && last.levels.as_ref().is_some_and(|it| it.0.elapsed() < FRESH)
    }

    /// Whether the database answered, where nothing else is known of it.
    pub fn answered(&self, up: bool) {
        self.last().up = Some(up);
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    /// What a look showed, which is later than the one before.
    pub fn looked(&self, levels: Levels) {
        let capped = levels.queues.iter().filter_map(|it| Some((limit_of(&it.name), it, it.cap?)));
        let capped: Vec<_> = capped.collect();
        for (limit, queue, cap) in &capped {
            self.cap.saw(limit.clone(), &queue.version, *cap, queue.held);
        }
        self.cap.keep_only(&capped.into_iter().map(|it| it.0).collect::<Vec<_>>());
        for queue in levels.queues.iter().filter(|it| it.is_configured()) {
            self.queues.configured(&queue.name);
        }
        *self.levels.last() = Last { levels: Some((Instant::now(), Arc::new(levels))), up: Some(true) };
    }
}

/// The last look, as metrics.
#[derive(Debug)]
pub struct Shown(pub Arc<Snapshot>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (up, levels) = {
            let last = self.0.last();
            let kept = last.levels.as_ref().filter(|it| it.0.elapsed() < KEPT);
            (last.up, kept.map(|it| it.1.clone()))
        };
        let one = |value: f64| vec![([] as [Label; 0], value)];
        write_gauge(&mut encoder, &names::DB_UP, &up.map_or(Vec::new(), |it| one(f64::from(u8::from(it)))))?;
        let Some(levels) = levels else { return Ok(()) };
        let labels = Labelled::new(&levels.queues);
        let mut jobs: BTreeMap<(Label, &str, &str), f64> = BTreeMap::new();
        for (queue, state, reason, count) in &levels.jobs {
            *jobs.entry((labels.of(queue), state, reason)).or_default() += *count as f64;
        }
        let jobs: Vec<_> =
            jobs.into_iter().map(|((q, state, reason), n)| ([q, label(state), label(reason)], n)).collect();
        write_gauge(&mut encoder, &names::JOBS, &jobs)?;
        let mut oldest: BTreeMap<Label, f64> = BTreeMap::new();
        for queue in &levels.queues {
            let oldest = oldest.entry(labels.of(&queue.name)).or_default();
            *oldest = oldest.max(queue.oldest_secs);
        }
        let oldest: Vec<_> = oldest.into_iter().map(|(queue, secs)| ([queue], secs)).collect();
        write_gauge(&mut encoder, &names::OLDEST_PENDING, &oldest)?;
        let own = || levels.queues.iter().filter(|it| labels.0.contains(it.name.as_str()));
        let capped = own().filter_map(|it| Some((limit_of(&it.name), it.held as f64, it.cap? as f64)));
        let limits = [(label(GLOBAL), levels.held as f64, levels.cap as f64)].into_iter().chain(capped);
        let (held, caps): (Vec<_>, Vec<_>) =
            limits.map(|(limit, held, cap)| (([limit.clone()], held), ([limit], cap))).unzip();
        write_gauge(&mut encoder, &names::SLOTS_HELD, &held)?;
        write_gauge(&mut encoder, &names::SLOTS_LIMIT, &caps)?;
        let of = |it: &QueueLevel, value: f64| ([Label::from(it.name.clone())], value);
        let paused: Vec<_> = own().map(|it| of(it, f64::from(u8::from(it.paused)))).collect();
        write_gauge(&mut encoder, &names::QUEUE_PAUSED, &paused)?;
        let bounded: Vec<_> = own().filter_map(|it| Some(of(it, it.max_pending? as f64))).collect();
        write_gauge(&mut encoder, &names::QUEUE_MAX_PENDING, &bounded)?;
        write_gauge(&mut encoder, &names::WEBHOOK_BACKLOG, &one(levels.webhook_backlog as f64))?;
        write_gauge(&mut encoder, &names::PARTITIONS, &one(levels.partitions as f64))?;
        write_gauge(&mut encoder, &names::FINISHED_ROWS, &one(levels.finished_rows))
    }
}

/// The queues that have labels of their own, by their rows alone, so that every replica says the same.
struct Labelled<'a>(HashSet<&'a str>);

impl<'a> Labelled<'a> {
    fn new(queues: &'a [QueueLevel]) -> Self {
        let mut order: Vec<_> = queues.iter().map(|it| (!it.is_configured(), it.name.as_str())).collect();
        order.sort_unstable();
        Self(order.into_iter().take(LABELLED).map(|it| it.1).collect())
    }

    fn of(&self, queue: &str) -> Label {
        if self.0.contains(queue) { queue.to_owned().into() } else { label(OTHER) }
    }
}
