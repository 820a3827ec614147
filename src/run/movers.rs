//! The movers of a replica, each made of the parts that it needs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    metrics::names,
    reconcile::{self, Peers, Reconciler, clean::Cleaner, decide::Rules},
    scheduler::{self, Scheduler},
    trouble::Table,
};

use super::{Parts, start_timeout_secs};

impl Parts {
    pub(super) fn scheduler(&self) -> Scheduler {
        Scheduler {
            replica: self.me.id,
            instance: self.instance.clone(),
            db: self.db.clone(),
            moves: self.moves.clone(),
            cluster: self.cluster.clone(),
            view: self.view.clone(),
            signals: self.signals.clone(),
            lease: self.lease.clone(),
            defaults: self.defaults.clone(),
            config: scheduler::Config {
                dispatch_delay: self.config.dispatch_delay,
                period: self.config.claim_period,
                concurrency: self.config.create_concurrency.into(),
                per_sec: self.config.kube_qps,
            },
            creating: self.creating.clone(),
            metrics: self.metrics.clone(),
            recovery: self.recovery.clone(),
        }
    }

    pub(super) fn reconciler(&self) -> Reconciler {
        // A create that is late by less than a lease still meets its own earlier self.
        let keep_at_least = self.config.lease;
        Reconciler {
            replica: self.me.id,
            db: self.db.clone(),
            moves: self.moves.clone(),
            cluster: self.cluster.clone(),
            view: self.view.clone(),
            signals: self.signals.clone(),
            tasks: self.tasks.clone(),
            config: reconcile::Config {
                period: self.config.reconcile_period,
                keep_finished: self.config.keep_finished.max(keep_at_least),
                keep_at_least,
                rules: Rules {
                    start_timeout_secs: start_timeout_secs(&self.config),
                    troubles: Table::default().with(&self.config.start_grace),
                    logs: self.config.keep_logs,
                },
            },
            again: HashMap::new(),
            reported: HashSet::new(),
            peers: Peers::new(self.me.id, Vec::new()),
            peers_read_at: None,
            cancel_heard: false,
            metrics: self.metrics.clone(),
        }
    }

    pub(super) fn cleaner(&self) -> Cleaner {
        Cleaner {
            instance: self.instance.clone(),
            db: self.db.clone(),
            cluster: self.cluster.clone(),
            view: self.view.clone(),
            signals: self.signals.clone(),
            tasks: self.tasks.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// Lets the metrics ask for what nobody counts.
    pub(super) fn measure(&self) {
        let pools = [&self.db, &self.requests_db, &self.heart_db, &self.feed.db].map(Arc::clone);
        self.metrics.at_scrape(&names::DB_POOL, move || {
            let (idle, used) = pools.iter().map(|it| it.connections()).fold((0, 0), |a, it| (a.0 + it.0, a.1 + it.1));
            let given_up = pools.iter().map(|it| it.given_up()).sum::<usize>();
            [("idle", idle), ("used", used), ("given_up", given_up)]
                .map(|(state, it)| ([state.into()], it as f64))
                .to_vec()
        });
        let recovery = self.recovery.clone();
        self.metrics.at_scrape(&names::UNEXPLAINED, move || vec![([], recovery.unexplained() as f64)]);
        let events = self.events.clone();
        self.metrics.at_scrape(&names::STREAM_CLIENTS, move || vec![([], events.listeners() as f64)]);
    }
}
