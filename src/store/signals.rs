//! Waking each other up: within a process at once, across replicas by a NOTIFY that is sent after the commit.
//!
//! Not in the submitting transactions: Postgres serialises the commits of all that notify, server-wide. One connection
//! per replica sends at most one NOTIFY per `DEBOUNCE`, and one listens. A lost signal costs a period, nothing more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::error::chain;

use super::Db;

const CHANNEL: &str = "longshore";
/// The least time between two NOTIFYs of one replica: long enough to gather a burst, short enough not to be felt.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How long to wait before listening again after the connection broke.
const RECONNECT: Duration = Duration::from_secs(1);

/// What may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A slot became free.
    Freed,
    /// A job became pending.
    Pending,
    /// Someone asked for a job to be cancelled.
    Cancel,
    /// A job ended.
    Ended,
}

impl Signal {
    const ALL: [Signal; 4] = [Self::Freed, Self::Pending, Self::Cancel, Self::Ended];

    fn bit(self) -> u8 {
        match self {
            Self::Freed => 1,
            Self::Cancel => 2,
            Self::Ended => 4,
            Self::Pending => 8,
        }
    }
}

/// The signals of one replica.
pub struct Signals {
    freed: Notify,
    pending: Notify,
    cancel: Notify,
    ended: watch::Sender<u64>,
    any: watch::Sender<u64>,
    outgoing: AtomicU8,
    send: Notify,
}

impl Signals {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            freed: Notify::new(),
            pending: Notify::new(),
            cancel: Notify::new(),
            ended: watch::Sender::new(0),
            any: watch::Sender::new(0),
            outgoing: AtomicU8::new(0),
            send: Notify::new(),
        })
    }

    /// Tells this process now, and the other replicas soon.
    pub fn raise(&self, signal: Signal) {
        self.wake(signal.bit());
        self.outgoing.fetch_or(signal.bit(), Ordering::Relaxed);
        self.send.notify_one();
    }

    /// Ends when a slot may be free. For one caller.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Ends when a job may be pending. For one caller.
    pub async fn pending(&self) {
        self.pending.notified().await;
    }

    /// Ends when a cancel may have been asked for. For one caller.
    pub async fn cancel(&self) {
        self.cancel.notified().await;
    }

    /// Changes whenever a job may have ended.
    pub fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Changes whenever anything may have happened that a signal tells of.
    pub fn any(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }

    fn wake(&self, bits: u8) {
        self.any.send_modify(|it| *it = it.wrapping_add(1));
        if bits & Signal::Freed.bit() != 0 {
            self.freed.notify_one();
        }
        if bits & Signal::Pending.bit() != 0 {
            self.pending.notify_one();
        }
        if bits & Signal::Cancel.bit() != 0 {
            self.cancel.notify_one();
        }
        if bits & Signal::Ended.bit() != 0 {
            self.ended.send_modify(|it| *it = it.wrapping_add(1));
        }
    }

    /// Sends to the other replicas what is raised here, until `stop`.
    pub async fn send_to_others(&self, db: &Db, stop: CancellationToken) {
        while stop.run_until_cancelled(self.send.notified()).await.is_some() {
            let bits = self.outgoing.swap(0, Ordering::Relaxed);
            let sent = async {
                let mut conn = db.conn().await?;
                sqlx::query!("select pg_notify($1, $2)", CHANNEL, bits.to_string()).execute(&mut *conn).await?;
                Ok::<_, super::Error>(())
            };
            if let Err(err) = db.within(sent).await {
                tracing::debug!(
                    error = chain(&err),
                    "could not notify the other replicas; they will look by themselves"
                );
            }
            tokio::time::sleep(DEBOUNCE).await;
        }
    }

    /// Hears what the other replicas raise, until `stop`.
    pub async fn hear_others(&self, db: &Db, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Some(Err(err)) = stop.run_until_cancelled(self.listen(db)).await {
                tracing::debug!(error = chain(&err), "not listening for other replicas; looking by period meanwhile");
                stop.run_until_cancelled(tokio::time::sleep(RECONNECT)).await;
            }
        }
    }

    async fn listen(&self, db: &Db) -> Result<(), super::Error> {
        let mut listener = PgListener::connect_with(&db.pool()).await.map_err(super::Error::Away)?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        // Whatever was said before this moment was not heard.
        self.wake(Signal::ALL.into_iter().fold(0, |bits, it| bits | it.bit()));
        while let Some(heard) = listener.try_recv().await? {
            self.wake(heard.payload().parse().unwrap_or(u8::MAX));
        }
        Ok(())
    }
}
