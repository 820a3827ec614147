//! `delete: on_success`: messages that are held until their jobs have ended.
//!
//! Which they are is in the database, written in the transaction that stores their jobs, so that any replica can keep them
//! from others, and tell their queue in the end. A message that comes again meanwhile (no replica ran for longer than its
//! visibility timeout, or SQS's twelve hours from its receipt are over) finds its job, and is held under its new handle. So
//! does one that was given back because its job failed: the same job then has another attempt, not a second job.

use std::time::Duration;

use sqlx::Connection;

use crate::{
    effects::{self, Effect},
    id::JobId,
    lifecycle::StateName,
    store::{
        self, lists, notices,
        sources::{Fate, Held, Item},
        submit::{Ready, Submitted},
    },
};

use super::{
    Sqs,
    batch::Came,
    desk::Desk,
    queue::{Queue, Received},
};

impl Sqs {
    /// Stores jobs, and with them that their messages are held: what is stored and not held, nobody would tell its queue of.
    pub(super) async fn submit_and_hold(
        &self,
        desk: &Desk,
        messages: &[Received],
        ready: &[Ready],
    ) -> Result<Vec<Submitted>, store::Error> {
        let work = async {
            let mut conn = desk.db.conn().await?;
            let mut tx = conn.begin().await?;
            let submitted = desk.submit_within(&mut tx, ready).await?;
            let new = messages.iter().zip(&submitted).filter_map(|(message, submitted)| match submitted {
                Submitted::New { id, .. } => Some(item(message, *id)),
                _ => None,
            });
            let new: Vec<Item> = new.collect();
            desk.hold(&mut tx, &new, self.config.visibility_timeout).await?;
            let committed = effects::at(Effect::Submit, async { Ok::<_, store::Error>(tx.commit().await?) });
            match notices::listen(committed).await {
                (Ok(()), true) if !new.is_empty() => Err(store::Error::NotReplicated),
                (committed, _) => committed.map(|()| submitted),
            }
        };
        let submitted = desk.db.within(work).await?;
        desk.count(ready.iter().zip(&submitted));
        desk.stored();
        Ok(submitted)
    }

    /// What is to be done about a message that is a job already.
    pub(super) async fn came_again(&self, desk: &Desk, message: &Received, job: JobId) -> Result<Came, store::Error> {
        let state = async { lists::state(&mut *desk.db.conn().await?, job).await };
        let state = desk.db.within(state).await?;
        match state.as_deref().and_then(StateName::from_name) {
            None => return Ok(Came::Refused(format!("its job {job} is not on record any more"))),
            // Whoever was to tell its queue died before.
            Some(StateName::Succeeded | StateName::Cancelled) => return Ok(Came::Done),
            // Before it is held: one that is held with a job that failed is given back at once.
            Some(StateName::Failed) => {
                desk.try_again(job).await?;
            }
            Some(_) => {}
        }
        let held = async {
            let mut conn = desk.db.conn().await?;
            desk.hold(&mut conn, &[item(message, job)], self.config.visibility_timeout).await
        };
        desk.db.within(held).await?;
        Ok(Came::Held)
    }
}

fn item(message: &Received, job: JobId) -> Item {
    Item { item: message.message.id.clone(), handle: message.handle.clone(), job }
}

/// Tells a queue what became of the jobs of messages; answers those that it is done with.
pub(super) async fn settle(
    queue: &Queue,
    visibility: Duration,
    desk: &Desk,
    held: &[Held],
) -> anyhow::Result<Vec<Held>> {
    let (mut go_on, mut over, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for it in held {
        match it.fate {
            Fate::GoesOn => go_on.push(it),
            // What a person cancelled must not come back.
            Fate::Succeeded | Fate::Cancelled => over.push(it),
            Fate::Failed(_) => failed.push(it),
        }
    }
    // Those first that would slip away.
    for failure in queue.keep(&handles(&go_on), visibility).await? {
        // Most likely its twelve hours are over. It comes again, and is held anew.
        let message_id = go_on.get(failure.at).map(|it| it.item.as_str());
        tracing::info!(
            source = desk.name,
            message_id,
            why = failure.why,
            "a message is not kept from other replicas any longer"
        );
    }
    let mut done = Vec::new();
    for (messages, answer) in
        [(&over, queue.delete(&handles(&over)).await?), (&failed, queue.keep(&handles(&failed), Duration::ZERO).await?)]
    {
        let mut again = Vec::new();
        for failure in answer {
            let message_id = messages.get(failure.at).map(|it| it.item.as_str());
            tracing::warn!(
                source = desk.name,
                message_id,
                error = failure.why,
                "a queue was not told what became of a job"
            );
            if !failure.for_good {
                again.push(failure.at);
            }
        }
        let told = messages.iter().enumerate().filter(|(at, _)| !again.contains(at));
        done.extend(told.map(|(_, it)| (*it).clone()));
    }
    Ok(done)
}

fn handles<'a>(held: &[&'a Held]) -> Vec<&'a str> {
    held.iter().map(|it| it.handle.as_str()).collect()
}
