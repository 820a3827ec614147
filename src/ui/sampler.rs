//! The state of the whole, sampled once for all who look at this replica.
//!
//! Nothing runs while nobody looks. Whoever wants to see it asks for a sample that is recent enough, and one of those who
//! ask at the same time takes it for all: so a hundred open pages cost the database what one costs.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::{
    cluster::Cluster,
    error::chain,
    store::{
        Db, Error,
        console::{self, Harbour},
    },
};

/// For how long a sample is recent.
pub const PERIOD: Duration = Duration::from_secs(2);
/// How long all of its statements may take together: what is slower is shown as it was.
const LONGEST: Duration = Duration::from_secs(4);

/// What was seen, and when.
#[derive(Clone)]
pub struct Sample {
    /// Grows with each sample that was tried.
    pub number: u64,
    pub taken: Instant,
    /// The last one that could be read; none yet, if the database was away all along.
    pub harbour: Option<Arc<Harbour>>,
    /// When that was, by this machine's clock.
    pub read_at: Option<Timestamp>,
    /// Whether the database could not be read just now, and this is what was seen before.
    pub away: bool,
    /// Whether the API server did not answer as it should.
    pub cluster_away: bool,
}

impl Sample {
    /// The same as long as no job has moved and nothing was set.
    pub fn mark(&self) -> String {
        let set = self.harbour.as_ref().map(|it| {
            let queues = it.queues.iter().filter_map(|it| it.updated_at).max();
            (it.last_event, it.global.updated_at.to_jiff(), queues, it.queues.len())
        });
        format!("{set:?} {}", self.away).split_whitespace().collect::<Vec<_>>().join("")
    }
}

#[derive(Default)]
pub struct Sampler {
    last: RwLock<Option<Sample>>,
    /// Held by whoever takes the next one.
    taking: Mutex<()>,
}

impl Sampler {
    /// A sample that is recent.
    pub async fn recent(&self, db: &Db, cluster: &Cluster) -> Sample {
        if let Some(sample) = self.fresh() {
            return sample;
        }
        let _turn = self.taking.lock().await;
        if let Some(sample) = self.fresh() {
            return sample;
        }
        let before = self.last();
        let read = tokio::time::timeout(LONGEST, async { console::harbour(&mut *db.conn().await?).await });
        let (read, answered) = tokio::join!(read, tokio::time::timeout(LONGEST, cluster.ping()));
        let cluster_away = !matches!(answered, Ok(Ok(())));
        let number = before.as_ref().map_or(1, |it| it.number + 1);
        let taken = Instant::now();
        let sample = match read {
            Ok(Ok(harbour)) => {
                let (harbour, read_at) = (Some(Arc::new(harbour)), Some(Timestamp::now()));
                Sample { number, taken, harbour, read_at, away: false, cluster_away }
            }
            failed => {
                if let Ok(Err(err)) = failed {
                    tell(&err);
                }
                let (harbour, read_at) = before.map_or((None, None), |it| (it.harbour, it.read_at));
                Sample { number, taken, harbour, read_at, away: true, cluster_away }
            }
        };
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(sample.clone());
        sample
    }

    fn last(&self) -> Option<Sample> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh(&self) -> Option<Sample> {
        self.last().filter(|it| it.taken.elapsed() < PERIOD)
    }
}

fn tell(err: &Error) {
    match err {
        Error::Away(_) | Error::NoAnswer(_) | Error::Busy(_) => {
            tracing::debug!(error = chain(err), "the console shows what it saw before");
        }
        err => tracing::warn!(error = chain(err), "the console cannot read the state of the whole"),
    }
}
