//! Creating the Kubernetes Job of one claim, until it is there, or refused for good, or no longer ours to make.
//!
//! Where a crash leaves it: before the request, the row is claimed, and a survivor sends the request; after it, the
//! survivor's own request meets the Job and recognises it by nonce and spec hash. The name is a function of the attempt,
//! so there is never a second one.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{
        Created as Made,
        answer::CreateFailure,
        manifest::{self, Identity},
        policy::Checked,
        seen::Seen,
    },
    error::chain,
    id::KubeUid,
    lease::Tenure,
    lifecycle::{Claimed, Reason, Wait, WaitCode},
    metrics::Loop,
    store::{
        Error,
        claims::{self, NeverMade, Work},
        jobs::Job,
    },
    traces,
};

use super::{Active, Scheduler};

/// The first pause before a create is sent again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The longest pause that a server may ask for by Retry-After: beyond it we would rather ask once too often.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a request may be carried out after it was sent: the API server gives up after 60 seconds.
const IN_FLIGHT: Duration = Duration::from_secs(65);
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
        why: Wait,
    },
}

impl Scheduler {
    /// Errors are logged here: the row stays claimed, and a later pass begins anew.
    pub(super) async fn create(&self, work: Work, read_at: Instant, tenure: Tenure, stop: CancellationToken) {
        let id = work.job.id();
        let trace = work.trace.as_ref().and_then(|it| {
            let me = self.identity(&work.job, &work.spec_hash);
            traces::Create::begin(it, &id.to_string(), me.attempt.into(), &me.kube_name, me.namespace)
        });
        let ended = self.create_until_settled(work, read_at, tenure, stop).await;
        if let Some(trace) = trace {
            trace.ended(ended.is_ok());
        }
        if let Err(err) = ended {
            tracing::warn!(job = %id, error = chain(&err), "could not record what became of a create; looking again");
        }
    }

    async fn create_until_settled(
        &self,
        work: Work,
        read_at: Instant,
        tenure: Tenure,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let mut never_made = work.never_made().filter(|_| !self.creating.is_doubtful(work.job.state().nonce));
        let Work { job, spec, spec_hash, was_aside, .. } = work;
        let me = self.identity(&job, &spec_hash);
        let built = match &spec {
            // By the policy of now: it may have become stricter since the job was accepted.
            Ok(spec) => manifest::build(spec, &job.head().policy, &me, &self.defaults)
                .and_then(|built| self.cluster.policy.check(built, spec))
                .map_err(|faults| {
                    faults.iter().map(|it| format!("{} {}", it.pointer, it.detail)).collect::<Vec<_>>().join("; ")
                }),
            Err(err) => Err(format!("its stored spec cannot be read: {err}")),
        };
        let built = match built {
            Ok(built) => built,
            Err(message) => return self.reject(job.clone(), &me, never_made, message).await,
        };
        let mut pause = BACKOFF.0;
        let mut sent_at = None;
        // Until when a request of this attempt that nobody knows the end of may still be carried out.
        let mut in_doubt_until = Instant::now() + IN_FLIGHT;
        loop {
            let active = Active::count(&self.creating);
            // Whoever is stopping does not wait for a better moment: it gives the claim back below. Nor does who will not send.
            let turn = stop.run_until_cancelled(async {
                let turn = self.creating.turns.acquire().await;
                if !self.is_cut_off() {
                    self.cluster.wait_to_create().await;
                }
                turn
            });
            let turn = turn.await;
            // After whatever was waited for, the row may not be as it was read: it may be another replica's by now, or over.
            // Not so within a part of the lease: nobody takes a claim over within one, and a Kubernetes Job that was made for
            // it is kept for one, so that a create meets it. It may have been cancelled before it was taken over.
            let stands = match sent_at.is_none() && read_at.elapsed() < self.lease.create_timeout() {
                true => Some(job.head().cancel_requested),
                false => self.stands(&job).await?,
            };
            match stands {
                None => {
                    self.creating.trust(me.nonce);
                    return Ok(());
                }
                Some(false) => {}
                Some(true) if never_made.is_some() => {
                    return self.cancelled(job.clone(), "cancelled before its Kubernetes Job was created").await;
                }
                Some(true) => return self.give_up(job.clone(), &me, sent_at, tenure, stop).await,
            }
            if !self.lease.still_holds(tenure) {
                return Ok(());
            }
            if stop.is_cancelled() {
                return self.hand_back(&job, never_made).await;
            }
            let sent = if self.is_cut_off() {
                drop(turn);
                if self.lets_go(&job, &mut never_made).await? {
                    return Ok(());
                }
                let why = Wait::new(WaitCode::ApiTrouble, "the Kubernetes API server does not answer");
                Sent::Again { after: None, may_exist: false, why }
            } else {
                self.creating.doubt(me.nonce);
                sent_at = Some(Instant::now());
                self.send(&job, &built, &me, turn).await?
            };
            drop(active);
            let after = match sent {
                Sent::Settled => {
                    self.creating.trust(me.nonce);
                    // What let this one through may let the next one through.
                    if was_aside {
                        self.hasten_next(me.namespace).await?;
                    }
                    return Ok(());
                }
                Sent::Vanished => return self.outlive_pods(job.clone(), &me, tenure, stop).await,
                Sent::Again { after, may_exist, why } => {
                    never_made = never_made.filter(|_| !may_exist);
                    if may_exist {
                        in_doubt_until = Instant::now() + IN_FLIGHT;
                    }
                    if never_made.is_some() {
                        self.creating.trust(me.nonce);
                    }
                    // Others may be created while this one may not: its slot is theirs.
                    if matches!(why.code, WaitCode::Quota | WaitCode::NotPermitted)
                        && let Some(proof) = never_made
                    {
                        return self.put_aside(&job, &why, proof).await;
                    }
                    let settled = why.code == WaitCode::Quota && Instant::now() >= in_doubt_until;
                    if settled && self.nothing_is_there(&me).await {
                        self.creating.trust(me.nonce);
                        return self.fail(job.clone(), Reason::Quota, why.message).await;
                    }
                    self.tell(&job, &why).await?;
                    after
                }
            };
            let wait = after.unwrap_or(pause).min(LONGEST_WAIT).mul_f64(rand::rng().random_range(1.0..1.5));
            if let Some(uid) = self.wait_or_see(&job, &me, wait, &stop).await {
                self.created(job.clone(), &me, uid).await?;
                self.creating.trust(me.nonce);
                return Ok(());
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// A job that is to be cancelled, and whose Kubernetes Job may have been made: nothing more is sent, and it is looked for
    /// until no request that was sent can still be carried out.
    async fn give_up(
        &self,
        job: Job<Claimed>,
        me: &Identity<'_>,
        sent_at: Option<Instant>,
        tenure: Tenure,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let until = sent_at.unwrap_or_else(Instant::now) + IN_FLIGHT;
        while !stop.is_cancelled() && self.lease.still_holds(tenure) {
            match self.cluster.find(me.namespace, &me.kube_name).await {
                Ok(Some(found)) if found.nonce == Some(me.nonce) => {
                    return self.created(job, me, found.uid).await;
                }
                Ok(_) if Instant::now() >= until => {
                    if let Ok(false) = self.cluster.has_live_pods(me.namespace, me.job, me.attempt, &me.kube_name).await
                    {
                        return self.cancelled(job, "cancelled; its Kubernetes Job was never made").await;
                    }
                }
                Err(_) if self.lets_go(&job, &mut None).await? => return Ok(()),
                Ok(_) | Err(_) => {}
            }
            stop.run_until_cancelled(tokio::time::sleep(BACKOFF.1 / 10)).await;
        }
        Ok(())
    }

    /// Whether no Job has the name of this attempt, and no pod of it lives. Once nothing that was sent can still be carried
    /// out, its slot is free for others; its number is not, for it may have been made and deleted.
    async fn nothing_is_there(&self, me: &Identity<'_>) -> bool {
        matches!(self.cluster.find(me.namespace, &me.kube_name).await, Ok(None))
            && matches!(self.cluster.has_live_pods(me.namespace, me.job, me.attempt, &me.kube_name).await, Ok(false))
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
        never_made: Option<NeverMade>,
        message: String,
    ) -> Result<(), Error> {
        let found = match never_made {
            Some(_) => None,
            None => match self.cluster.find(me.namespace, &me.kube_name).await {
                Ok(found) => found.filter(|it| it.nonce == Some(me.nonce)),
                // Not known; a later pass asks again, here or elsewhere.
                Err(_) => return self.lets_go(&job, &mut None).await.map(|_| ()),
            },
        };
        match found {
            Some(found) => self.created(job, me, found.uid).await,
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
            match self.cluster.has_live_pods(me.namespace, me.job, me.attempt, &me.kube_name).await {
                Ok(false) => {
                    let message = "a Kubernetes Job of its name was there and vanished; it may have been its own";
                    return self.fail(job, Reason::Lost, message.into()).await;
                }
                Err(_) if self.lets_go(&job, &mut None).await? => return Ok(()),
                Ok(true) | Err(_) => {}
            }
            stop.run_until_cancelled(tokio::time::sleep(BACKOFF.1 / 10)).await;
        }
        Ok(())
    }

    async fn send<Turn>(
        &self,
        job: &Job<Claimed>,
        built: &Checked,
        me: &Identity<'_>,
        turn: Turn,
    ) -> Result<Sent, Error> {
        let pass = self.metrics.pass(Loop::Launch);
        let made = self.cluster.create(built, me, self.lease.create_timeout()).await;
        // The next one is sent while this one is recorded.
        drop(turn);
        match made {
            Ok(Made::New(uid) | Made::Before(uid)) => {
                tracing::debug!(job = %job.id(), name = me.kube_name, "created a Kubernetes Job");
                self.created(job.clone(), me, uid).await?;
            }
            Err(CreateFailure::NotNow { code, message, retry_after, may_exist }) => {
                tracing::warn!(job = %job.id(), why = message, may_exist, "Kubernetes did not take a Job for now");
                return Ok(Sent::Again { after: retry_after, may_exist, why: Wait::new(code, message) });
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
        pass.succeeded();
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

    /// Whether the claim is as it was read, and whether its job is to be cancelled.
    async fn stands(&self, job: &Job<Claimed>) -> Result<Option<bool>, Error> {
        self.db.within(async { claims::stands(&mut *self.db.conn().await?, self.replica, job).await }).await
    }
}
