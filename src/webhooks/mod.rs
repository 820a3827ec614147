//! Webhooks: delivers what was written down when jobs ended, at least once each.
//!
//! The transaction that ends a job also writes what is to be delivered (`longshore.tell_webhooks`). Any replica takes what is
//! due for longer than a try can last, sends it, and records what came of it. If it dies in between, the delivery is due
//! again: a receiver may hear of one twice, under the same id, and never not at all.

mod send;
pub mod sign;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    egress::Egress,
    error::chain,
    metrics::Metrics,
    store::{
        Db, Error,
        deliveries::{self, Outcome, Taken},
        signals::Signals,
    },
};

use send::Sender;

/// How often to look for what is due, whatever signals say.
const PERIOD: Duration = Duration::from_secs(1);
/// How many messages to one webhook are under way at a time, of one replica. One that hangs holds up nobody but itself, for
/// there are a hundred webhooks at most.
const AT_ONCE: usize = 4;
/// For how long a delivery is taken: longer than a message and its record may take.
const LEASE: Duration = Duration::from_secs(30);
/// The pause after the first try, doubled with each, up to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4 * 3600));
/// By which share of itself a pause is made longer at most, so that what failed together does not come back together.
const JITTER: f64 = 0.2;
/// A delivery that did not succeed within a day is dead.
const GIVE_UP: Duration = Duration::from_secs(24 * 3600);

/// Delivers, for one replica.
pub struct Mover {
    db: Arc<Db>,
    egress: Arc<Egress>,
    metrics: Arc<Metrics>,
    /// Made with the first message: where there are no webhooks nothing about TLS can go wrong.
    sender: OnceLock<Sender>,
    under_way: Mutex<HashMap<Uuid, usize>>,
    done: Notify,
}

impl Mover {
    pub fn new(db: Arc<Db>, egress: Arc<Egress>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (sender, under_way) = (OnceLock::new(), Mutex::default());
        Arc::new(Self { db, egress, metrics, sender, under_way, done: Notify::new() })
    }

    /// Runs until `stop`, and until what is under way then has ended.
    pub async fn run(self: Arc<Self>, signals: &Signals, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut ended = signals.ended();
        while !stop.is_cancelled() {
            if let Err(err) = self.tick(&tasks).await {
                tracing::warn!(error = chain(&err), "could not look for what is to be delivered; trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                _ = ended.changed() => {}
                () = self.done.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Takes what is due and there is room for, and sends it.
    async fn tick(self: &Arc<Self>, tasks: &TaskTracker) -> Result<(), Error> {
        let taken = self.db.within(self.take()).await?;
        for it in taken {
            let under_way = UnderWay::new(self.clone(), it.webhook_id);
            tasks.spawn(async move { under_way.mover.deliver(&it).await });
        }
        Ok(())
    }

    async fn take(&self) -> Result<Vec<Taken>, Error> {
        let mut conn = self.db.conn().await?;
        let due = deliveries::due(&mut conn).await?;
        let room = |id: &Uuid| AT_ONCE.saturating_sub(self.under_way().get(id).copied().unwrap_or(0));
        let room: Vec<(Uuid, i32)> = due.into_iter().map(|id| (id, room(&id) as i32)).filter(|it| it.1 > 0).collect();
        if room.is_empty() {
            return Ok(Vec::new());
        }
        deliveries::take(&mut conn, &room, LEASE).await
    }

    async fn deliver(&self, taken: &Taken) {
        let outcome = match self.sender() {
            Ok(sender) => sender.send(taken).await,
            Err(err) => Outcome { delivered: false, status: None, error: Some(chain(&err)), gone: false },
        };
        self.metrics.delivery(match outcome.error {
            None => "delivered",
            Some(_) if outcome.gone => "gone",
            Some(_) => "failed",
        });
        let (webhook, delivery) = (taken.webhook_id, taken.id);
        match &outcome.error {
            None => tracing::debug!(%webhook, %delivery, "delivered"),
            Some(error) => tracing::info!(%webhook, %delivery, tries = taken.tries, error, "not delivered"),
        }
        let pause = pause(taken.tries, rand::random());
        let settled = async {
            let mut conn = self.db.conn().await?;
            deliveries::settle(&mut conn, taken, &outcome, pause, GIVE_UP).await
        };
        if let Err(err) = self.db.within(settled).await {
            tracing::warn!(error = chain(&err), %delivery, "could not record a delivery; it will be repeated");
        }
    }

    fn sender(&self) -> Result<&Sender, reqwest::Error> {
        if let Some(sender) = self.sender.get() {
            return Ok(sender);
        }
        let sender = Sender::new(self.egress.clone())?;
        Ok(self.sender.get_or_init(|| sender))
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One message under way, counted as long as it lives, however it ends.
struct UnderWay {
    mover: Arc<Mover>,
    webhook: Uuid,
}

impl UnderWay {
    fn new(mover: Arc<Mover>, webhook: Uuid) -> Self {
        *mover.under_way().entry(webhook).or_default() += 1;
        Self { mover, webhook }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.mover.under_way();
        if let Some(count) = under_way.get_mut(&self.webhook) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                under_way.remove(&self.webhook);
            }
        }
        drop(under_way);
        self.mover.done.notify_one();
    }
}

/// How long to wait after a try; `draw` from 0 to 1.
fn pause(tries: i32, draw: f64) -> Duration {
    let doubled = PAUSES.0.as_secs_f64() * 2f64.powi(tries.clamp(1, 30) - 1);
    Duration::from_secs_f64(doubled.min(PAUSES.1.as_secs_f64()) * (1.0 + JITTER * draw.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_four_hours_and_a_day_has_some_twenty_tries() {
        assert_eq!(pause(1, 0.0), Duration::from_secs(1));
        assert_eq!(pause(4, 0.0), Duration::from_secs(8));
        assert_eq!(pause(i32::MAX, 1.0).as_secs_f64(), 4.0 * 3600.0 * 1.2);
        for draw in [0.0, 1.0] {
            let mut spent = Duration::ZERO;
            let tries = (1..).take_while(|it| {
                spent += pause(*it, draw);
                spent < GIVE_UP
            });
            let tries = tries.count();
            assert!((15..25).contains(&tries), "{tries}");
        }
    }
}
