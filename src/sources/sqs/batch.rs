//! Messages that came together, from their receipt until they are let go of.
//!
//! They are read, stored in one statement, and deleted after its commit. What cannot be stored now (the database is away, the
//! queue here is full) is kept from others and tried again, for as long as this replica runs. What is left by one that died
//! comes again, and finds its job under the key that is made of its id.

use std::{convert::Infallible, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;

use crate::{
    error::chain,
    store::{
        self,
        submit::{QUEUES, Ready, Submitted},
    },
};

use super::{
    Sqs,
    config::Delete,
    desk::{self, Desk, Unread},
    queue::{Failure, Received},
};

/// The pauses before what could not be stored is tried again: the first, doubled up to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long a replica that stops may take to give messages back.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// What became of a message.
pub(super) enum Came {
    /// Its queue may forget it.
    Done,
    /// It is held until its job has ended.
    Held,
    /// It can never become a job.
    Refused(String),
    /// There is no room for its job now.
    NoRoom,
}

/// Messages in hand, which are kept from others while something is done about them.
struct Hand<'a> {
    sqs: &'a Sqs,
    desk: &'a Desk,
    /// When they must be kept from others anew.
    due: Instant,
}

impl Hand<'_> {
    async fn during<T>(&mut self, messages: &[Received], work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.keep(messages) => match never {},
        }
    }

    async fn keep(&mut self, messages: &[Received]) -> Infallible {
        let visibility = self.sqs.config.visibility_timeout;
        loop {
            tokio::time::sleep_until(self.due).await;
            self.due = Instant::now() + desk::extend_after(visibility);
            if !messages.is_empty() {
                let kept = self.sqs.queue.keep(&handles(messages), visibility).await;
                tell(self.desk, kept, messages, "a message could not be kept from other replicas; it may come twice");
            }
        }
    }
}

impl Sqs {
    /// Makes jobs of messages, and lets go of them.
    pub(super) async fn take(&self, desk: &Desk, received: Vec<Received>) {
        let due = Instant::now() + desk::extend_after(self.config.visibility_timeout);
        let mut hand = Hand { sqs: self, desk, due };
        let (mut open, mut pause) = (received, PAUSES.0);
        loop {
            open = self.round(desk, &mut hand, open).await;
            if open.is_empty() {
                return;
            }
            if desk.stop.is_cancelled() {
                return self.give_back(desk, &open).await;
            }
            hand.during(&open, desk.idle(pause)).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// Does what can be done now; answers the messages that are left.
    async fn round(&self, desk: &Desk, hand: &mut Hand<'_>, open: Vec<Received>) -> Vec<Received> {
        let read = hand.during(&open, join_all(open.iter().map(|it| desk.read(&it.message)))).await;
        let (mut messages, mut ready, mut left) = (Vec::new(), Vec::new(), Vec::new());
        let mut trouble = None;
        for (message, read) in open.into_iter().zip(read) {
            match read {
                Ok(it) => {
                    messages.push(message);
                    ready.push(it);
                }
                // Its time runs out by itself, and its queue counts how often.
                Err(Unread::Refused(why)) => desk.refused(&message.message.id, &why),
                Err(Unread::Later(why)) => {
                    trouble = Some(why);
                    left.push(message);
                }
            }
        }
        let mut done = Vec::new();
        match hand.during(&messages, self.store(desk, &messages, &ready)).await {
            Ok(all) => {
                for (message, came) in messages.into_iter().zip(all) {
                    match came {
                        Came::Done => done.push(message),
                        Came::Held => {}
                        Came::Refused(why) => desk.refused(&message.message.id, &why),
                        Came::NoRoom => left.push(message),
                    }
                }
            }
            Err(err) => {
                trouble = Some(chain(&err));
                left.append(&mut messages);
            }
        }
        if let Some(error) = trouble {
            let source = &desk.name;
            tracing::warn!(source, error, messages = left.len(), "messages are kept until they can be stored");
            desk.tally.failed(&error);
        }
        if !done.is_empty() {
            let deleted = hand.during(&left, self.queue.delete(&handles(&done))).await;
            tell(desk, deleted, &done, "a message was not deleted; it comes again and finds its job");
        }
        left
    }

    /// Stores the jobs of messages; says of each what became of it.
    async fn store(&self, desk: &Desk, messages: &[Received], ready: &[Ready]) -> Result<Vec<Came>, store::Error> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let hold = self.config.delete == Delete::OnSuccess;
        let submitted = match hold {
            true => self.submit_and_hold(desk, messages, ready).await?,
            false => desk.submit(ready).await?,
        };
        let mut came = Vec::with_capacity(messages.len());
        for (message, submitted) in messages.iter().zip(submitted) {
            came.push(match submitted {
                Submitted::New { .. } => {
                    desk.tally.submitted(1);
                    if let Some(age) = message.age() {
                        desk.tally.lag(age);
                    }
                    if hold { Came::Held } else { Came::Done }
                }
                Submitted::Before { id } | Submitted::KeyTaken { id } => {
                    desk.tally.duplicates(1);
                    if hold { self.came_again(desk, message, id).await? } else { Came::Done }
                }
                Submitted::QueueFull { .. } => Came::NoRoom,
                Submitted::TooManyQueues => {
                    Came::Refused(format!("its queue would be one more than the {QUEUES} that there may be"))
                }
            });
        }
        Ok(came)
    }

    /// What this replica will not store any more, another one may at once.
    async fn give_back(&self, desk: &Desk, messages: &[Received]) {
        let given = tokio::time::timeout(GIVE_BACK, self.queue.keep(&handles(messages), Duration::ZERO)).await;
        let given = given.unwrap_or_else(|_| Err(anyhow::anyhow!("SQS does not answer")));
        tell(desk, given, messages, "a message could not be given back; it comes again when its time is over");
    }
}

fn handles(messages: &[Received]) -> Vec<&str> {
    messages.iter().map(|it| it.handle.as_str()).collect()
}

/// Tells what SQS did not do of what it was asked.
fn tell(desk: &Desk, answer: anyhow::Result<Vec<Failure>>, messages: &[Received], what: &str) {
    let source = &desk.name;
    match answer {
        Ok(failures) => {
            for it in failures {
                let message_id = messages.get(it.at).map(|it| it.message.id.as_str());
                tracing::warn!(source, message_id, error = it.why, "{what}");
            }
        }
        Err(err) => {
            let error = desk::told(&err);
            tracing::warn!(source, error, messages = messages.len(), "{what}");
            desk.tally.failed(&error);
        }
    }
}
