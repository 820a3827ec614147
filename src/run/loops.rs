//! The loops of a replica: what each is for, and that none ends before it is told to.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    roles::Role::{self, Api, Scheduler, Sources, Watcher},
    sources, sweep,
    templates::follow,
    webhooks,
};

use super::Parts;

/// How long a loop that panicked rests before it is started again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One loop, which any of these roles needs.
pub(super) struct Loop {
    name: &'static str,
    roles: &'static [Role],
    make: fn(&Parts, CancellationToken) -> Work,
}

/// Those that end when the replica is told to stop.
pub(super) const OF_ROLES: &[Loop] = &[
    Loop { name: "scheduler", roles: &[Scheduler], make: |it, stop| Box::pin(it.scheduler().run(stop)) },
    Loop { name: "reconciler", roles: &[Watcher], make: |it, stop| Box::pin(it.reconciler().run(stop)) },
    Loop { name: "cleaner", roles: &[Watcher], make: |it, stop| Box::pin(it.cleaner().run(stop)) },
    Loop { name: "sweep", roles: &[Watcher], make: swept },
    Loop { name: "webhooks", roles: &[Watcher], make: told },
    // The scheduler claims nothing before it knows what there is, and the API shows what Jobs say of themselves.
    Loop { name: "watches", roles: &[Api, Scheduler, Watcher], make: watched },
    Loop { name: "templates", roles: &[Api, Sources], make: followed },
    Loop { name: "events", roles: &[Api], make: read },
    Loop { name: "sources", roles: &[Sources], make: fed },
    Loop { name: "inbox", roles: &[Sources], make: taken_in },
    Loop { name: "listener", roles: &Role::ALL, make: heard },
];

/// Those that end when everything else has.
pub(super) const UNTIL_DRAINED: &[Loop] = &[
    Loop { name: "heartbeat", roles: &Role::ALL, make: kept_alive },
    Loop { name: "notifier", roles: &Role::ALL, make: sent },
];

fn swept(it: &Parts, stop: CancellationToken) -> Work {
    let (db, metrics, retention) = (it.db.clone(), it.metrics.clone(), it.config.retention);
    Box::pin(async move { sweep::run(&db, &metrics, retention, stop).await })
}

fn told(it: &Parts, stop: CancellationToken) -> Work {
    let mover = webhooks::Mover::new(it.db.clone(), it.egress.clone(), it.metrics.clone());
    let signals = it.signals.clone();
    Box::pin(async move { mover.run(&signals, stop).await })
}

fn watched(it: &Parts, stop: CancellationToken) -> Work {
    let (view, cluster, instance) = (it.view.clone(), it.cluster.clone(), it.instance.clone());
    Box::pin(async move { view.follow(&cluster, &instance, stop).await })
}

fn followed(it: &Parts, stop: CancellationToken) -> Work {
    let (shelf, cluster) = (it.shelf.clone(), it.cluster.clone());
    Box::pin(async move { follow::follow(shelf, &cluster, stop).await })
}

fn read(it: &Parts, stop: CancellationToken) -> Work {
    let (events, signals) = (it.events.clone(), it.signals.clone());
    Box::pin(async move { events.run(&signals, stop).await })
}

fn fed(it: &Parts, stop: CancellationToken) -> Work {
    let sources = it.sources.clone();
    Box::pin(async move { sources.run(stop).await })
}

fn taken_in(it: &Parts, stop: CancellationToken) -> Work {
    let feed = it.feed.clone();
    Box::pin(async move { sources::inbox::run(feed, stop).await })
}

fn heard(it: &Parts, stop: CancellationToken) -> Work {
    let (signals, db) = (it.signals.clone(), it.db.clone());
    Box::pin(async move { signals.hear_others(&db, stop).await })
}

fn kept_alive(it: &Parts, stop: CancellationToken) -> Work {
    let (lease, db, me) = (it.lease.clone(), it.heart_db.clone(), it.me.clone());
    Box::pin(async move { lease.keep(&db, &me, stop).await })
}

fn sent(it: &Parts, stop: CancellationToken) -> Work {
    let (signals, db) = (it.signals.clone(), it.db.clone());
    Box::pin(async move { signals.send_to_others(&db, stop).await })
}

/// Starts those of `loops` that the replica's roles need.
pub(super) fn start(parts: &Arc<Parts>, loops: &'static [Loop], stop: &CancellationToken) -> TaskTracker {
    let started = TaskTracker::new();
    for it in loops.iter().filter(|it| it.roles.iter().any(|role| parts.me.roles.has(*role))) {
        started.spawn(keep_going(parts.clone(), it, stop.clone()));
    }
    started.close();
    started
}

/// Runs one loop, and starts it anew when it panics: one strange row or object must not take the others with it.
async fn keep_going(parts: Arc<Parts>, it: &Loop, stop: CancellationToken) {
    loop {
        match tokio::spawn((it.make)(&parts, stop.clone())).await {
            Ok(()) => return,
            Err(err) if err.is_panic() && !stop.is_cancelled() => {
                tracing::error!(name = it.name, "a loop panicked; starting it again");
                tokio::time::sleep(PANIC_PAUSE).await;
            }
            Err(_) => return,
        }
    }
}
