//! What a source is given to work with: reading messages, storing jobs, counting, and knowing when to stop.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{BODY_BYTES, Looked, Read, Reader, accepted},
    error::chain,
    id::{JobId, ReplicaId},
    metrics::{Accepted, Metrics, Via},
    spec::OWN_PREFIX,
    store::{
        self, Conn, Db,
        signals::{Signal, Signals},
        sources::{self, Item},
        submit::{Intake, Ready, Submitted},
    },
    templates::jq::{Filters, Refused},
};

use super::{
    shape::{Message, Shape},
    slow::Slow,
    tally::Tally,
};

/// The label that tells which source a job is from.
pub const SOURCE_LABEL: &str = "longshore.dev/source";

/// The largest request that a message may make, in bytes: the largest message of SQS, and what the file adds to it. etcd
/// refuses objects over 1.5 MiB.
const REQUEST_BYTES: usize = BODY_BYTES + 256 * 1024;

/// What the desks of all sources of a replica share.
pub struct Shared {
    pub replica: ReplicaId,
    pub db: Arc<Db>,
    pub reader: Arc<Reader>,
    pub intake: Arc<Intake>,
    pub signals: Arc<Signals>,
    pub metrics: Arc<Metrics>,
    /// How long finished jobs stay in the database; zero keeps them for ever.
    pub retention: Duration,
    pub stop: CancellationToken,
}

/// Why a message did not become a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// It never will.
    Refused(String),
    /// Something is away that it takes to tell, or the installation is not as the file of sources says.
    Later(String),
}

/// The desk of one source.
pub struct Desk {
    pub name: String,
    /// Longshore's own database.
    pub db: Arc<Db>,
    pub stop: CancellationToken,
    /// Names the queue elsewhere, so that ids of messages of two queues are never taken for each other's.
    space: String,
    shape: Shape,
    filter: Option<Filters>,
    slow: Slow,
    shared: Arc<Shared>,
    pub tally: Arc<Tally>,
}

impl Desk {
    /// `space`: names the queue elsewhere, whatever the source is called here.
    pub fn new(
        name: String,
        space: &str,
        shape: Shape,
        filter: Option<Filters>,
        shared: Arc<Shared>,
        tally: Arc<Tally>,
    ) -> Self {
        let space = Sha256::digest(space.as_bytes()).iter().take(16).map(|it| format!("{it:02x}")).collect();
        let (db, stop) = (shared.db.clone(), shared.stop.clone());
        Self { name, db, stop, space, shape, filter, slow: Slow::default(), shared, tally }
    }

    /// A message as a job that is ready to be stored, by the rules of `POST /jobs`. A message that brings an idempotency key
    /// is the same as any other with it; else it is the same as itself.
    pub async fn read(&self, message: &Message) -> Result<Ready, Unread> {
        let made = match &self.filter {
            Some(filter) => Some(self.filtered(filter, message).await?),
            None => None,
        };
        let request = self.shape.request(&self.name, message, made).map_err(Unread::Refused)?;
        self.request(request, &message.id).await
    }

    /// The job that a request of the source's own asks for; at most one comes of each `id`.
    pub async fn request(&self, request: Map<String, Value>, id: &str) -> Result<Ready, Unread> {
        let mut looked = Looked::default();
        if !(self.shape.leaves_template() && request.contains_key("template")) {
            let found = self.shared.reader.look_up(&mut looked, &request).await;
            found.map_err(|problem| Unread::Later(problem.detail().to_owned()))?;
        }
        let body = Value::Object(request).to_string();
        if body.len() > REQUEST_BYTES {
            return Err(Unread::Refused(format!(
                "makes a request of {} bytes; {REQUEST_BYTES} are the most",
                body.len()
            )));
        }
        let read = self.shared.reader.submission(&mut looked, body.as_bytes(), None).await;
        let Read { mut submission, mut request_hash, .. } = read.map_err(|problem| {
            let why = problem.detail().to_owned();
            let ours = problem.errors().iter().any(|it| self.shape.is_to_blame(it));
            if ours || problem.status() >= 500 { Unread::Later(why) } else { Unread::Refused(why) }
        })?;
        if submission.idempotency_key.is_none() {
            submission.idempotency_key = Some(self.key(id));
            request_hash = submission.request_hash();
        }
        submission.spec.labels.insert(SOURCE_LABEL.into(), self.name.clone());
        Ok(Ready::as_asked(submission, request_hash))
    }

    /// Ids may be longer than a key, and of any characters.
    fn key(&self, id: &str) -> String {
        let id: String = Sha256::digest(id.as_bytes()).iter().map(|it| format!("{it:02x}")).collect();
        format!("{OWN_PREFIX}source/{}/{id}", self.space)
    }

    async fn filtered(&self, filter: &Filters, message: &Message) -> Result<Value, Unread> {
        let seen = Shape::seen_by_filter(&self.name, message);
        let refused = match filter.run(&self.name, &seen).await {
            Ok(made) => {
                self.slow.forget(&message.id);
                return Ok(made);
            }
            Err(refused) => refused,
        };
        let again = match &refused {
            Refused::Busy | Refused::NotStarted(_) => true,
            Refused::TimedOut(_) => self.slow.again(&message.id),
            Refused::Failed(_) => false,
        };
        Err(if again { Unread::Later(refused.to_string()) } else { Unread::Refused(refused.to_string()) })
    }

    /// Stores jobs, in their order.
    pub async fn submit(&self, ready: &[Ready]) -> Result<Vec<Submitted>, store::Error> {
        let submitted = async {
            let mut conn = self.db.conn().await?;
            self.shared.intake.submit(&mut conn, ready).await
        };
        let submitted = self.db.within(submitted).await?;
        self.count(ready.iter().zip(&submitted));
        self.stored();
        Ok(submitted)
    }

    /// The same in the caller's transaction; [`Self::stored`] is for after its commit.
    pub async fn submit_within(&self, conn: &mut Conn, ready: &[Ready]) -> Result<Vec<Submitted>, store::Error> {
        self.shared.intake.submit(conn, ready).await
    }

    /// Counts what submissions came to, after their commit.
    pub fn count<'a>(&self, submitted: impl Iterator<Item = (&'a Ready, &'a Submitted)>) {
        for (ready, submitted) in submitted {
            self.counted(&ready.submission().queue, accepted(submitted));
        }
    }

    /// The same of one.
    pub fn counted(&self, queue: &str, accepted: Accepted) {
        self.shared.metrics.submitted(Via::Source, Some(queue), accepted);
    }

    /// Wakes whoever starts jobs.
    pub fn stored(&self) {
        self.shared.signals.raise(Signal::Pending);
    }

    /// How many more jobs the queue takes that all jobs of this source go into; none where that is not known, or not bounded.
    pub async fn room(&self) -> Result<Option<i64>, store::Error> {
        let Some(queue) = self.shape.queue() else { return Ok(None) };
        let room = async { sources::room(&mut *self.db.conn().await?, queue).await };
        self.db.within(room).await
    }

    /// Keeps messages in mind until their jobs have ended; see [`super::Source::settle`]. In the transaction that stores the
    /// jobs: what is stored and not held would never be told of. `kept`: for how long they are kept from others by now.
    pub async fn hold(&self, conn: &mut Conn, items: &[Item], kept: Duration) -> Result<(), store::Error> {
        sources::hold(conn, &self.name, items, extend_after(kept)).await
    }

    /// A message that can never become a job: told and counted.
    pub fn refused(&self, id: &str, why: &str) {
        tracing::warn!(source = self.name, message_id = id, why, "a message cannot become a job");
        self.shared.metrics.submitted(Via::Source, None, Accepted::No);
        self.tally.refused(&format!("{id}: {why}"));
    }

    /// How long a job that is over is known, and its key with it; zero is for ever.
    pub fn retention(&self) -> Duration {
        self.shared.retention
    }

    /// A wait that ends when this replica stops.
    pub async fn idle(&self, time: Duration) {
        self.stop.run_until_cancelled(tokio::time::sleep(time)).await;
    }

    /// Whether `job` failed or was cancelled and waits for a slot again now: for a message that comes again after it was given
    /// back.
    pub async fn try_again(&self, job: JobId) -> Result<bool, store::Error> {
        let retried = async { self.try_again_within(&mut *self.db.conn().await?, job).await };
        let retried = self.db.within(retried).await?;
        if retried {
            self.stored();
        }
        Ok(retried)
    }

    /// The same in the caller's transaction; [`Self::stored`] is for after its commit.
    pub async fn try_again_within(&self, conn: &mut Conn, job: JobId) -> Result<bool, store::Error> {
        let retried = store::intents::retry(conn, self.shared.replica, job).await?;
        Ok(retried == store::intents::Retry::Done)
    }
}

/// When a message must be kept from others anew that is kept from them for so long: in time for two tries.
pub fn extend_after(kept: Duration) -> Duration {
    kept / 3
}

/// What went wrong, and why, in one line.
pub fn told(err: &anyhow::Error) -> String {
    chain(err.as_ref())
}
