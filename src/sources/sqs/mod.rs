//! A Job per message of a queue of Amazon's SQS, or of whoever speaks as it does.
//!
//! SQS hands out a message, keeps it from others for a while (its visibility timeout), and hands it out again unless it was
//! deleted meanwhile. So a message is deleted only after its job is committed, or, where the file says so, after its job
//! succeeded; and for as long as we have one in hand its time is extended. The alternative, to let go of what cannot be stored
//! at once, would count against its tries: a database that is away for an hour would send good messages to the dead letters.

mod batch;
mod config;
mod held;
mod queue;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::BoxFuture;

use crate::store::sources::{self, Held};

use super::{
    Backlog, Configured, Source,
    config::{Entry, Unusable},
    desk::{self, Desk},
};

use config::{Config, Delete};
use queue::{BATCH, Queue};

/// How long to wait before looking again whether there is room.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// One queue of SQS.
pub struct Sqs {
    config: Config,
    queue: Queue,
    /// Whether its settings were looked at.
    looked: AtomicBool,
}

pub fn configured(entry: &Entry) -> Result<Configured, Unusable> {
    let config = Config::of(entry)?;
    Ok(Configured {
        name: entry.name.clone(),
        kind: "sqs",
        reads: config.queue_url.clone(),
        space: format!("sqs/{}", config.queue_url),
        entry: entry.clone(),
        source: Box::new(Sqs { queue: Queue::new(config.clone()), config, looked: AtomicBool::new(false) }),
    })
}

impl Source for Sqs {
    fn pass<'a>(&'a self, desk: &'a Desk) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            // A replica that stops hangs up: what would have come in the rest of the wait comes again later.
            let received = desk.stop.run_until_cancelled(self.receive(desk)).await;
            let Some(received) = received.transpose()?.flatten() else { return Ok(()) };
            self.warn_of_settings(desk).await;
            if !received.is_empty() {
                self.take(desk, received).await;
            }
            Ok(())
        })
    }

    fn backlog<'a>(&'a self, _desk: &'a Desk) -> BoxFuture<'a, anyhow::Result<Backlog>> {
        Box::pin(async {
            let (waiting, states) = self.queue.counts().await?;
            // How old the oldest is SQS tells its metrics only, not whoever reads it.
            Ok(Backlog { waiting, oldest_secs: None, states })
        })
    }

    fn at_once(&self) -> usize {
        self.config.receivers
    }

    fn holds(&self) -> Option<Duration> {
        (self.config.delete == Delete::OnSuccess).then_some(self.config.visibility_timeout)
    }

    fn settle<'a>(&'a self, desk: &'a Desk, held: &'a [Held]) -> BoxFuture<'a, anyhow::Result<Vec<Held>>> {
        Box::pin(held::settle(&self.queue, self.config.visibility_timeout, desk, held))
    }
}

impl Sqs {
    /// Waits for messages; none where there is no room for any.
    async fn receive(&self, desk: &Desk) -> anyhow::Result<Option<Vec<queue::Received>>> {
        let mut most = desk.room().await?.unwrap_or(i64::MAX);
        if self.config.delete == Delete::OnSuccess {
            most = most.min(self.config.max_held - self.held(desk).await?);
        }
        if most <= 0 {
            desk.idle(FULL_PAUSE).await;
            return Ok(None);
        }
        let most = usize::try_from(most).unwrap_or(BATCH).min(BATCH);
        let received = self.queue.receive(most).await?;
        desk.tally.received(received.len());
        Ok(Some(received))
    }

    /// How many messages are held until their jobs end, by all replicas.
    async fn held(&self, desk: &Desk) -> anyhow::Result<i64> {
        let listed = async { sources::list(&mut *desk.db.conn().await?, Some(&desk.name)).await };
        Ok(desk.db.within(listed).await?.first().map_or(0, |it| it.held))
    }

    /// Warns, once, of settings of the queue that break a promise.
    async fn warn_of_settings(&self, desk: &Desk) {
        if self.looked.swap(true, Ordering::Relaxed) {
            return;
        }
        let (source, queue) = (&desk.name, &self.config.queue_url);
        let settings = match self.queue.settings().await {
            Ok(settings) => settings,
            Err(err) => {
                let error = desk::told(&err);
                tracing::warn!(
                    source,
                    error,
                    "cannot look at the settings of a queue of SQS; grant sqs:GetQueueAttributes"
                );
                return;
            }
        };
        if !settings.redrives {
            tracing::warn!(
                source,
                queue,
                "the queue has no redrive policy: a message that can never become a job comes again until it is too old; \
                 set a dead-letter queue"
            );
        }
        let retention = desk.retention();
        if !retention.is_zero() && settings.retention > retention {
            tracing::warn!(
                source,
                queue,
                queue_keeps_secs = settings.retention.as_secs(),
                retention_secs = retention.as_secs(),
                "the queue keeps messages longer than --retention keeps jobs: one that comes again after its job was forgotten \
                 is a job once more; lower MessageRetentionPeriod, or raise --retention"
            );
        }
    }
}
