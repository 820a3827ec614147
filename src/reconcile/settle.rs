//! Taking one job as far as it can go now: look, decide, and do that one step, until there is nothing to do.

use std::time::Duration;

use crate::{
    cluster::{
        answer::Failure,
        seen::{Phase, Seen, SeenJob},
    },
    error::chain,
    id::{KubeUid, Nonce},
    lifecycle::{
        AttemptEnd, Cancelled, Created, Ending, Facts, Failed, LeadsTo, Running, Scheduled, State, Stopping, Succeeded,
    },
    store::{
        Error,
        jobs::{Holder, Job},
        logs::{self, Kept},
        moves::Moved,
        signals::Signal,
        waits,
    },
};

use super::{
    LOOK_AGAIN, Reconciler,
    decide::{End, Step, decide},
};

/// How often a job is moved on within one pass at most. From created to its end it takes three steps.
const STEPS: usize = 8;
/// The shortest pause before a deadline: the database's clock may lag a little behind what was computed from it.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// What one step leads to.
enum Then {
    /// The job is so now, and another step may follow at once.
    On(Holder),
    /// Nothing more now; look again after so long, if at all.
    Rest(Option<Duration>),
}

impl Reconciler {
    /// Answers how soon to look again though nothing changes.
    pub(super) async fn settle(&self, mut holder: Holder) -> Result<Option<Duration>, Error> {
        if !self.cluster.covers(&holder.head().namespace) {
            return Ok(None);
        }
        let mut confirmed = None;
        for _ in 0..STEPS {
            let seen = confirmed.take().unwrap_or_else(|| self.see(&holder));
            let step = decide(&holder, &seen, &self.config.rules);
            if step == Step::Confirm {
                confirmed = self.confirm(&holder, seen).await;
                if confirmed.is_some() {
                    continue;
                }
            }
            match self.apply(holder, step).await? {
                Then::On(moved) => holder = moved,
                Then::Rest(pause) => return Ok(pause),
            }
        }
        Ok(Some(LOOK_AGAIN))
    }

    fn see(&self, holder: &Holder) -> Seen {
        let head = holder.head();
        self.view.attempt(&head.namespace, &head.kube_name(), holder.nonce(), holder.uid())
    }

    /// Asks the API server itself: for the Job where the watch does not show it, and for pods that still live. None when
    /// that is not known, or is no news; then it is asked again soon.
    async fn confirm(&self, holder: &Holder, seen: Seen) -> Option<Seen> {
        let head = holder.head();
        let name = head.kube_name();
        let asked = async {
            let pods = async || self.cluster.pods(&head.namespace, head.id, head.attempt, &name).await;
            if let Seen::Present(mut sight) = seen {
                let pods = pods().await?;
                sight.hear(&pods);
                return Ok((!pods.iter().any(|it| it.alive)).then_some(Seen::Ended(sight)));
            }
            match self.cluster.find(&head.namespace, &name).await? {
                // Someone took it out of the watch's sight; it is what it is.
                Some(found) if Some(&found.uid) == holder.uid() => {
                    let mut sight = Box::new(self.view.sight_of(&found));
                    if found.phase == Phase::Active {
                        return Ok(Some(Seen::Present(sight)));
                    }
                    let pods = pods().await?;
                    sight.hear(&pods);
                    Ok((!pods.iter().any(|it| it.alive)).then_some(Seen::Ended(sight)))
                }
                // A late repetition of our own create: it has to go before the slot is free.
                Some(found) if found.nonce == Some(holder.nonce()) => {
                    if !found.deleting {
                        self.cluster.stop(&found).await?;
                    }
                    Ok(None)
                }
                Some(_) | None => Ok::<_, Failure>((!pods().await?.iter().any(|it| it.alive)).then_some(Seen::Gone)),
            }
        };
        asked.await.unwrap_or_else(|err| {
            tracing::debug!(job = %head.id, error = %err, "could not confirm how a Kubernetes Job is");
            None
        })
    }

    async fn apply(&self, holder: Holder, step: Step) -> Result<Then, Error> {
        Ok(match (step, holder) {
            (Step::Wait(secs), _) => {
                Then::Rest(secs.and_then(|it| Duration::try_from_secs_f64(it).ok()).map(|it| it.max(LEAST_PAUSE)))
            }
            (Step::LookAgain | Step::Confirm, _) => Then::Rest(Some(LOOK_AGAIN)),
            (Step::Start(facts), Holder::Created(job)) => {
                let to = Running { nonce: job.state().nonce, uid: job.state().uid.clone() };
                on(self.moves.advance(job, to, &facts).await?, Holder::Running)
            }
            (Step::Inspect, Holder::Created(job)) => self.inspect(job).await,
            (Step::Tell(wait), Holder::Created(job)) => {
                let told = async {
                    let mut conn = self.db.conn().await?;
                    waits::tell(&mut conn, self.replica, &job, wait.as_ref()).await
                };
                self.db.within(told).await?;
                // Its grace is counted from now; the row says so when it is read again.
                Then::Rest(Some(LOOK_AGAIN))
            }
            (Step::Stop(ending, facts), Holder::Created(job)) => {
                let to = stopping(job.state().nonce, &job.state().uid, ending);
                on(self.moves.advance(job, to, &facts).await?, Holder::Stopping)
            }
            (Step::Stop(ending, facts), Holder::Running(job)) => {
                let to = stopping(job.state().nonce, &job.state().uid, ending);
                on(self.moves.advance(job, to, &facts).await?, Holder::Stopping)
            }
            (Step::Delete(seen), Holder::Stopping(job)) => {
                self.save_log_before_delete(&job, &seen).await;
                if let Err(err) = self.cluster.stop(&seen).await {
                    tracing::warn!(job = %job.id(), error = %err, "could not delete a Kubernetes Job; trying again");
                }
                Then::Rest(Some(LOOK_AGAIN))
            }
            (Step::Finish(end, facts), Holder::Created(job)) => self.end(job, end, &facts).await?,
            (Step::Finish(end, facts), Holder::Running(job)) => self.end(job, end, &facts).await?,
            (Step::Finish(End::Cancelled(end), facts), Holder::Stopping(job)) => {
                let to = Cancelled { ending: end.ending.clone() };
                self.finish(job, to, &facts, &end).await?
            }
            (Step::Finish(end, facts), Holder::Stopping(job)) => self.end(job, end, &facts).await?,
            (step, holder) => {
                tracing::error!(job = %holder.head().id, ?step, ?holder, "decided on a step that this state does not have");
                Then::Rest(None)
            }
        })
    }

    /// Reads what the cluster's components tell about a job that does not start.
    async fn inspect(&self, job: Job<Created>) -> Then {
        let uid = &job.state().uid;
        let about: KubeUid = self.view.waiting_pod(uid).unwrap_or_else(|| uid.clone());
        match self.cluster.warnings(&job.head().namespace, &about, &self.config.rules.troubles).await {
            Ok(trouble) => {
                self.view.note_inspection(uid, about, trouble);
                Then::On(Holder::Created(job))
            }
            Err(err) => {
                tracing::debug!(job = %job.id(), error = %err, "could not read the events of a job");
                Then::Rest(Some(self.config.period))
            }
        }
    }

    /// What is deleted takes its log along, so its end is kept first, as far as it has come. Nothing is kept from being
    /// stopped by a log that cannot be read.
    async fn save_log_before_delete(&self, job: &Job<Stopping>, seen: &SeenJob) {
        if !self.config.rules.logs.wants(job.state().ending.reason) {
            return;
        }
        let Some(pod) = self.view.telling_pod(&seen.namespace, &seen.name).filter(|it| it.facts.started_at.is_some())
        else {
            return;
        };
        let container = pod.facts.container;
        let tail = match self.cluster.log_tail(&seen.namespace, &pod.name, container.as_deref()).await {
            Ok(Some(tail)) => tail,
            Ok(None) => return,
            Err(err) => {
                tracing::warn!(job = %job.id(), error = %err, "could not read the log of a job that is being stopped");
                return;
            }
        };
        let (container, truncated) = (container.unwrap_or_default(), tail.truncated);
        let kept = Kept { pod: pod.name, container, tail: tail.text, truncated };
        let saved = async {
            let mut conn = self.db.conn().await?;
            logs::keep(&mut conn, job.id(), job.head().attempt, Some(&kept)).await
        };
        if let Err(err) = self.db.within(saved).await {
            tracing::warn!(job = %job.id(), error = chain(&err), "could not keep the log of a job that is being stopped");
        }
    }

    async fn end<From>(&self, job: Job<From>, end: End, facts: &Facts) -> Result<Then, Error>
    where
        From: LeadsTo<Succeeded> + LeadsTo<Failed> + LeadsTo<Scheduled>,
    {
        match end {
            End::Succeeded(end) => self.finish(job, Succeeded { ending: end.ending.clone() }, facts, &end).await,
            End::Failed(end) => self.finish(job, Failed { ending: end.ending.clone() }, facts, &end).await,
            End::Again { in_secs, wait, end } => self.finish(job, Scheduled { in_secs, wait }, facts, &end).await,
            End::Cancelled(_) => {
                tracing::error!(job = %job.id(), "a job that was not being stopped cannot end as cancelled");
                Ok(Then::Rest(None))
            }
        }
    }

    async fn finish<From, To>(&self, job: Job<From>, to: To, facts: &Facts, end: &AttemptEnd) -> Result<Then, Error>
    where
        From: LeadsTo<To>,
        To: State,
    {
        let (id, attempt) = (job.id(), job.head().attempt);
        let ended = job.state().columns().uid.and_then(|uid| self.view.ended_since(uid));
        // A cancel that was wished meanwhile keeps it from being tried again: it has to be decided about anew.
        let Moved::Done(_) = self.moves.end(job, to, facts, end).await? else {
            return Ok(Then::Rest(Some(LOOK_AGAIN)));
        };
        tracing::info!(job = %id, attempt, state = To::NAME.name(), reason = end.ending.reason.name(), "an attempt ended");
        if let Some(ended) = ended {
            self.metrics.slot_released(ended);
        }
        self.signals.raise(Signal::Freed);
        if To::NAME.is_finished() {
            self.signals.raise(Signal::Ended);
        }
        Ok(Then::Rest(None))
    }
}

fn stopping(nonce: Nonce, uid: &KubeUid, ending: Ending) -> Stopping {
    Stopping { nonce, uid: uid.clone(), ending }
}

fn on<S>(moved: Moved<S>, holder: impl FnOnce(Job<S>) -> Holder) -> Then {
    match moved {
        Moved::Done(job) => Then::On(holder(job)),
        // Whoever moved it may not be the one that follows it, nor know when its next deadline is.
        Moved::Lost => Then::Rest(Some(LOOK_AGAIN)),
    }
}
