//! Creating the Kubernetes Job of one claim, until it is there, or refused for good, or no longer ours to make.
//!
//! Where a crash leaves it: before the request, the row is claimed, and a survivor sends the request; after it, the
//! survivor's own request meets the Job and recognises it by nonce and spec hash. The name is a function of the attempt,
//! so there is never a second one.

use std::{sync::atomic::Ordering, time::Duration};

use rand::RngExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{
        Created as Made, KubeJob,
        answer::CreateFailure,
        manifest::{self, Identity},
        seen::Seen,
    },
    error::chain,
    id::KubeUid,
    lease::Tenure,
    lifecycle::{Cancelled, Claimed, Created, Ending, Facts, Failed, LeadsTo, Reason, State},
    store::{
        Error,
        claims::{self, HandBack, NeverSent, Work},
        intents,
        jobs::{Job, Moved, advance},
        signals::Signal,
    },
};

use super::Scheduler;

/// The first pause before a create is sent again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How often to look whether a create went well whose answer did not come.
const LOOK: Duration = Duration::from_millis(200);

/// What one request came to.
enum Sent {
    Settled,
    /// It was made and deleted, and pods of it may live.
    Vanished,
    Again {
        after: Option<Duration>,
        may_exist: bool,
    },
}

impl Scheduler {
    /// Errors are logged here: the row stays claimed, and a later pass begins anew.
    pub(super) async fn create(&self, work: Work, tenure: Tenure, stop: CancellationToken) {
        let id = work.job.id();
        if let Err(err) = self.create_until_settled(work, tenure, stop).await {
            tracing::warn!(job = %id, error = chain(&err), "could not record what became of a create; looking again");
        }
    }

    async fn create_until_settled(&self, work: Work, tenure: Tenure, stop: CancellationToken) -> Result<(), Error> {
        let mut never_sent = work.never_sent().filter(|_| !self.creating.is_doubtful(work.job.id()));
        let Work { job, spec, spec_hash, .. } = work;
        let me = self.identity(&job, &spec_hash);
        let built = match &spec {
            Ok(spec) => manifest::build(spec, &me, &self.defaults).map_err(|faults| {
                faults.iter().map(|it| format!("{} {}", it.pointer, it.detail)).collect::<Vec<_>>().join("; ")
            }),
            Err(err) => Err(format!("its stored spec cannot be read: {err}")),
        };
        let built = match built {
            Ok(built) => built,
            Err(message) => return self.reject(job.clone(), &me, never_sent, message).await,
        };
        let mut pause = BACKOFF.0;
        let mut unwanted = job.head().cancel_requested;
        loop {
            if unwanted && never_sent.is_some() {
                let ending = Ending::new(Reason::Cancelled, "cancelled before its Kubernetes Job was created");
                return self.record(job, Cancelled { ending }).await;
            }
            if stop.is_cancelled() {
                return self.hand_back(&job, never_sent).await;
            }
            self.cluster.wait_for_turn().await;
            // Whatever was waited for may have outlasted the lease, and the job may be another replica's by now.
            if !self.lease.still_holds(tenure) {
                return Ok(());
            }
            self.creating.doubt(job.id());
            let after = match self.send(&job, &built, &me).await? {
                Sent::Settled => {
                    self.creating.trust(job.id());
                    return Ok(());
                }
                Sent::Vanished => return self.outlive_pods(job.clone(), &me, tenure, stop).await,
                Sent::Again { after, may_exist: true } => {
                    never_sent = None;
                    after
                }
                Sent::Again { after, may_exist: false } => {
                    if never_sent.is_some() {
                        self.creating.trust(job.id());
                    }
                    after
                }
            };
            let wait = after.unwrap_or(pause).mul_f64(rand::rng().random_range(1.0..1.5));
            if let Some(uid) = self.wait_or_see(&job, &me, wait, &stop).await {
                self.record(job.clone(), Created { nonce: me.nonce, uid }).await?;
                self.creating.trust(job.id());
                return Ok(());
            }
            pause = (pause * 2).min(BACKOFF.1);
            unwanted = self.is_unwanted(&job).await?;
        }
    }

    /// Waits before a create is sent again, unless the watch shows meanwhile that it went well.
    async fn wait_or_see(
        &self,
        job: &Job<Claimed>,
        me: &Identity<'_>,
        wait: Duration,
        stop: &CancellationToken,
    ) -> Option<KubeUid> {
        let until = Instant::now() + wait;
        loop {
            if let Seen::Present(sight) = self.view.attempt(me.namespace, &me.kube_name, job.state().nonce, None) {
                return Some(sight.job.uid);
            }
            if stop.is_cancelled() || Instant::now() >= until {
                return None;
            }
            stop.run_until_cancelled(tokio::time::sleep_until(until.min(Instant::now() + LOOK))).await;
        }
    }

    /// Its Kubernetes Job cannot be built here. A replica of another version may have built it before us.
    async fn reject(
        &self,
        job: Job<Claimed>,
        me: &Identity<'_>,
        never_sent: Option<NeverSent>,
        message: String,
    ) -> Result<(), Error> {
        let found = match never_sent {
            Some(_) => None,
            None => match self.cluster.find(me.namespace, &me.kube_name).await {
                Ok(found) => found.filter(|it| it.nonce == Some(me.nonce)),
                // Not known; a later pass asks again.
                Err(_) => return Ok(()),
            },
        };
        match found {
            Some(found) => self.record(job, Created { nonce: me.nonce, uid: found.uid }).await,
            None => self.fail(job, Reason::ManifestRejected, message).await,
        }
    }

    /// The slot of a job whose Kubernetes Job vanished is its pods' until they are gone.
    async fn outlive_pods(
        &self,
        job: Job<Claimed>,
        me: &Identity<'_>,
        tenure: Tenure,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        while !stop.is_cancelled() && self.lease.still_holds(tenure) {
            if let Ok(false) = self.cluster.has_live_pods(me.namespace, me.job, me.attempt, &me.kube_name).await {
                let message = "a Kubernetes Job of its name was there and vanished; it may have been its own";
                return self.fail(job, Reason::Lost, message.into()).await;
            }
            stop.run_until_cancelled(tokio::time::sleep(BACKOFF.1 / 10)).await;
        }
        Ok(())
    }

    async fn send(&self, job: &Job<Claimed>, built: &KubeJob, me: &Identity<'_>) -> Result<Sent, Error> {
        self.creating.active.fetch_add(1, Ordering::Relaxed);
        let made = self.cluster.create(built, me, self.lease.create_timeout()).await;
        self.creating.active.fetch_sub(1, Ordering::Relaxed);
        match made {
            Ok(Made::New(uid) | Made::Before(uid)) => {
                tracing::debug!(job = %job.id(), name = me.kube_name, "created a Kubernetes Job");
                self.record(job.clone(), Created { nonce: me.nonce, uid }).await?;
            }
            Err(CreateFailure::NotNow { message, retry_after, may_exist }) => {
                tracing::warn!(job = %job.id(), why = message, may_exist, "Kubernetes did not take a Job for now");
                return Ok(Sent::Again { after: retry_after, may_exist });
            }
            Err(CreateFailure::Refused { message }) => {
                self.fail(job.clone(), Reason::ManifestRejected, message).await?
            }
            Err(CreateFailure::Exists | CreateFailure::NameTaken) => {
                let message = format!("a Kubernetes Job named {} is there and is not ours", me.kube_name);
                self.fail(job.clone(), Reason::NameConflict, message).await?;
            }
            Err(CreateFailure::Vanished) => return Ok(Sent::Vanished),
        }
        Ok(Sent::Settled)
    }

    fn identity<'a>(&'a self, job: &'a Job<Claimed>, spec_hash: &'a str) -> Identity<'a> {
        let head = job.head();
        Identity {
            instance: &self.instance,
            job: head.id,
            attempt: head.attempt,
            nonce: job.state().nonce,
            spec_hash,
            kube_name: head.kube_name(),
            namespace: &head.namespace,
            queue: &head.queue,
            job_name: &head.name,
        }
    }

    async fn is_unwanted(&self, job: &Job<Claimed>) -> Result<bool, Error> {
        let mut conn = self.db.conn().await?;
        intents::cancel_is_requested(&mut conn, job.id()).await
    }

    async fn fail(&self, job: Job<Claimed>, reason: Reason, message: String) -> Result<(), Error> {
        tracing::info!(job = %job.id(), reason = reason.name(), why = message, "a job failed before it ran");
        self.record(job, Failed { ending: Ending::new(reason, message) }).await
    }

    async fn record<To: State>(&self, job: Job<Claimed>, to: To) -> Result<(), Error>
    where
        Claimed: LeadsTo<To>,
    {
        let mut conn = self.db.conn().await?;
        let id = job.id();
        match advance(&mut conn, self.replica, job, to, &Facts::default()).await? {
            Moved::Lost => tracing::debug!(job = %id, "another replica was first to record what became of a claim"),
            Moved::Done(_) if To::NAME.is_finished() => {
                self.signals.raise(Signal::Work);
                self.signals.raise(Signal::Ended);
            }
            // The watch may have told of it while the row did not say so yet.
            Moved::Done(_) => self.view.follow_job(id),
        }
        Ok(())
    }

    /// A claim under which nothing was sent is given back; any other is left to the survivors, who find out.
    async fn hand_back(&self, job: &Job<Claimed>, never_sent: Option<NeverSent>) -> Result<(), Error> {
        let Some(never_sent) = never_sent else { return Ok(()) };
        let mut conn = self.db.conn().await?;
        if claims::hand_back(&mut conn, self.replica, job, never_sent).await? == HandBack::Done {
            tracing::info!(job = %job.id(), "handed a claim back");
            self.signals.raise(Signal::Work);
        }
        Ok(())
    }
}
