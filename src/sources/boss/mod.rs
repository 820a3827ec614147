//! pg-boss as a source: a Job for each item of a queue.
//!
//! Items are taken, their jobs stored and both kept in mind in one transaction where the tables are in Longshore's own
//! database: each item is a job exactly once. Where they are in another one there are two transactions, and what is taken
//! there is committed last. So a replica that dies in between leaves an item that waits there as it did before, and whose
//! job is found by its key when it is taken again. To commit there first would leave it active and without a job, until
//! pg-boss lets it expire; and one that has no try left, as every one of pg-boss 9 unless it was sent with some, would be
//! lost.
//!
//! Messages are read inside the transaction, filter and all. Nobody waits for the rows that it has locked: whoever takes
//! items passes over them. And it is bounded, by the database's own time-outs and by [`Db::within`].

mod config;
mod settle;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};

use crate::{
    api::accepted,
    effects::Effect,
    id::JobId,
    metrics::Accepted,
    store::{
        Conn, Db,
        boss::{Boss, Hand, Taken},
        sources::{self as rows, Held, Item},
        submit::{Ready, Submitted},
        tx::Tx,
    },
};

use super::{
    Backlog, Body, Configured, Message, Source,
    config::{Entry, Unusable},
    desk::{Desk, Unread},
};

use config::{Complete, Elsewhere, Own};

/// Beyond so many it is enough to know that there are more.
const COUNTED: i64 = 100_000;
/// How soon an item is tended again whose keeping could not be recorded: see [`Source::holds`]. Each is kept for as long as
/// pg-boss says of it, a quarter of an hour by default.
const KEPT_AT_LEAST: Duration = Duration::from_secs(30);

/// A source for an entry of the file.
pub(super) fn configured(entry: &Entry) -> Result<Configured, Unusable> {
    let own = Own::of(entry)?;
    let elsewhere = config::database(entry, own.database_url_env.as_deref(), own.database_url_file.as_deref())?;
    let (place, named, db) = match elsewhere {
        None => ("own".to_owned(), "Longshore's own database".to_owned(), None),
        Some(Elsewhere { db, place, named }) => (place, named, Some(db)),
    };
    let space = format!("pg-boss/{place}/{}/{}", own.schema, own.queue);
    let reads = format!("queue {} of schema {} in {named}", own.queue, own.schema);
    let source = Queue {
        boss: Boss::new(&own.schema),
        queue: own.queue,
        complete: own.complete,
        priority: own.priority.is_some(),
        batch: own.batch,
        poll: own.poll,
        elsewhere: db,
        next: AtomicU32::new(own.batch),
    };
    Ok(Configured {
        name: entry.name.clone(),
        kind: "pg-boss",
        reads,
        space,
        source: Box::new(source),
        entry: entry.clone(),
    })
}

/// A queue of pg-boss.
struct Queue {
    boss: Boss,
    queue: String,
    complete: Complete,
    /// Whether an item's priority is its job's.
    priority: bool,
    batch: u32,
    poll: Duration,
    /// None: Longshore's own database.
    elsewhere: Option<Arc<Db>>,
    /// How many to take next: fewer after a pass that came to nothing, so that one item does not keep others back for ever.
    next: AtomicU32,
}

/// What a pass came to.
enum Passed {
    /// Nothing is due.
    Idle,
    /// The queue here is full, or another replica was faster: nothing was taken.
    Nothing,
    Took(Tally),
}

/// What became of items.
#[derive(Default)]
struct Tally {
    received: usize,
    submitted: usize,
    duplicates: usize,
    refused: Vec<(String, String)>,
    lag: Duration,
    /// Whether there is a job that waits for a slot since now.
    stored: bool,
    /// Into which queue, and what came of it.
    counted: Vec<(String, Accepted)>,
}

impl Source for Queue {
    fn pass<'a>(&'a self, desk: &'a Desk) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let next = self.next.load(Ordering::Relaxed).clamp(1, self.batch);
            let room = desk.room().await?.unwrap_or(i64::MAX);
            if room <= 0 {
                desk.idle(self.poll).await;
                return Ok(());
            }
            let most = room.min(next.into());
            let passed = self.db(desk).within(self.take(desk, most)).await;
            let fewer = || self.next.store((next / 2).max(1), Ordering::Relaxed);
            match passed {
                Ok(Passed::Took(tally)) => {
                    self.next.store(next.saturating_mul(2).min(self.batch), Ordering::Relaxed);
                    let full = tally.received as i64 >= most;
                    tally.tell(desk);
                    if !full {
                        desk.idle(self.poll).await;
                    }
                    Ok(())
                }
                Ok(Passed::Idle) => {
                    desk.idle(self.poll).await;
                    Ok(())
                }
                Ok(Passed::Nothing) => {
                    fewer();
                    desk.idle(self.poll).await;
                    Ok(())
                }
                Err(err) => {
                    fewer();
                    Err(err)
                }
            }
        })
    }

    fn backlog<'a>(&'a self, desk: &'a Desk) -> BoxFuture<'a, anyhow::Result<Backlog>> {
        Box::pin(async move {
            let db = self.db(desk);
            let looked = async {
                let mut conn = db.conn().await?;
                let mut tables = self.boss.enter(&mut conn).await?;
                let waiting = tables.waiting(&self.queue, COUNTED).await?;
                Ok::<_, anyhow::Error>(waiting)
            };
            let waiting = db.within(looked).await?;
            Ok(Backlog { waiting: Some(waiting.items), oldest_secs: waiting.oldest_secs, states: BTreeMap::new() })
        })
    }

    fn holds(&self) -> Option<Duration> {
        (self.complete == Complete::OnSuccess).then_some(KEPT_AT_LEAST)
    }

    fn settle<'a>(&'a self, desk: &'a Desk, held: &'a [Held]) -> BoxFuture<'a, anyhow::Result<Vec<Held>>> {
        Box::pin(settle::settle(self, desk, held))
    }
}

impl Queue {
    /// Where the tables of pg-boss are.
    fn db<'a>(&'a self, desk: &'a Desk) -> &'a Db {
        self.elsewhere.as_ref().unwrap_or(&desk.db)
    }

    /// Takes items and makes jobs of them, all or none.
    async fn take(&self, desk: &Desk, most: i64) -> anyhow::Result<Passed> {
        let mut there = self.db(desk).conn().await?;
        let mut tables = self.boss.enter(&mut there).await?;
        let taken = match tables.take(&self.queue, most).await {
            Err(err) if err.is_race() => return Ok(Passed::Nothing),
            taken => taken?,
        };
        if taken.is_empty() {
            if !tables.has_queue(&self.queue).await? {
                bail!("there is no queue {:?}; boss.createQueue() makes it, or mend the name", self.queue);
            }
            return Ok(Passed::Idle);
        }
        let mut tally = Tally { received: taken.len(), ..Tally::default() };
        tally.lag = taken.iter().map(Taken::lag).max().unwrap_or_default();
        let (mut ready, mut of, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (item, read) in taken.iter().zip(join_all(taken.iter().map(|it| self.read(desk, it))).await) {
            match read {
                Ok(it) => {
                    ready.push(it);
                    of.push(item);
                }
                Err(Unread::Refused(why)) => refused.push((item, why)),
                Err(Unread::Later(why)) => bail!("item {} cannot be read now: {why}", item.id),
            }
        }
        let items = Items { ready: &ready, of: &of };
        let stored = match &self.elsewhere {
            None => self.store(desk, tables.conn(), &items, &mut tally).await?,
            Some(_) => {
                let mut here = desk.db.conn().await?;
                let mut tx = Tx::begin(&mut here).await?;
                let stored = self.store(desk, tx.conn(), &items, &mut tally).await?;
                if stored.is_some() {
                    tx.commit(&[Effect::Submit]).await?;
                }
                stored
            }
        };
        let Some(stored) = stored else { return Ok(Passed::Nothing) };
        refused.extend(stored.turned_away);
        let outputs: Vec<(Hand, Value)> = refused.iter().map(|(it, why)| (Hand::from(*it), output(why))).collect();
        if !outputs.is_empty() {
            tables.fail(&self.queue, &outputs).await?;
        }
        if self.complete == Complete::OnCommit {
            let outputs: Vec<(Hand, Value)> =
                stored.jobs.iter().map(|(it, job)| (Hand::from(*it), settle::output_of(*job))).collect();
            tables.complete(&self.queue, &outputs).await?;
        }
        tally.refused = refused.into_iter().map(|(it, why)| (it.id.to_string(), why)).collect();
        tables.commit(&[Effect::Submit]).await?;
        Ok(Passed::Took(tally))
    }

    async fn read(&self, desk: &Desk, item: &Taken) -> Result<Ready, Unread> {
        let data = item.data().map_err(Unread::Refused)?;
        // Deeper than anybody reads, say.
        let data: Value =
            serde_json::from_str(data).map_err(|err| Unread::Refused(format!("its data cannot be read: {err}")))?;
        let message = Message {
            id: item.id.to_string(),
            // Who sends an item without data has nothing to say.
            body: Body::Json(if data.is_null() { json!({}) } else { data }),
            attributes: BTreeMap::from([
                ("queue".to_owned(), self.queue.clone()),
                ("priority".to_owned(), item.priority.to_string()),
            ]),
            priority: self.priority.then_some(item.priority),
        };
        desk.read(&message).await
    }

    /// Stores the jobs of items, and keeps both in mind. None: there is no room for one of them, and nothing must be committed.
    async fn store<'a>(
        &self,
        desk: &Desk,
        conn: &mut Conn,
        items: &Items<'a>,
        tally: &mut Tally,
    ) -> anyhow::Result<Option<Stored<'a>>> {
        let submitted = desk.submit_within(conn, items.ready).await?;
        let counted = items.ready.iter().zip(&submitted);
        tally.counted = counted.map(|(it, how)| (it.submission().queue.clone(), accepted(how))).collect();
        let (mut jobs, mut before, mut turned_away) = (Vec::new(), Vec::new(), Vec::new());
        for (item, submitted) in items.of.iter().zip(submitted) {
            match submitted {
                Submitted::New { id, .. } => {
                    tally.submitted += 1;
                    tally.stored = true;
                    jobs.push((*item, id));
                }
                Submitted::Before { id } | Submitted::KeyTaken { id } => {
                    tally.duplicates += 1;
                    before.push((*item, id));
                }
                Submitted::QueueFull { .. } => return Ok(None),
                Submitted::TooManyQueues => {
                    turned_away
                        .push((*item, "there are as many queues as there may be, and its is not one".to_owned()));
                }
            }
        }
        let again = before.clone();
        jobs.extend(before);
        if self.complete == Complete::OnSuccess {
            tally.stored |= self.try_again(desk, conn, &again).await?;
            hold(desk, conn, jobs.iter().map(|(it, job)| (Hand::from(*it), it.kept(), *job))).await?;
        }
        Ok(Some(Stored { jobs, turned_away }))
    }

    /// Lets the jobs run again whose items came again because they had failed: those that are not held as they come now, for
    /// those came again because somebody died between two commits.
    async fn try_again(&self, desk: &Desk, conn: &mut Conn, before: &[(&Taken, JobId)]) -> anyhow::Result<bool> {
        if before.is_empty() {
            return Ok(false);
        }
        let known: Vec<(String, String)> =
            before.iter().map(|(it, _)| (it.id.to_string(), it.tries.to_string())).collect();
        let asked: Vec<(&str, &str)> = known.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
        let held = rows::held(conn, &desk.name, &asked).await?;
        let mut any = false;
        for ((_, job), known) in before.iter().zip(&known) {
            if !held.contains(known) {
                any |= desk.try_again_within(conn, *job).await.context("a job could not be tried again")?;
            }
        }
        Ok(any)
    }
}

/// Jobs that are ready to be stored, and what each is of.
struct Items<'a> {
    ready: &'a [Ready],
    of: &'a [&'a Taken],
}

/// What became of them.
struct Stored<'a> {
    jobs: Vec<(&'a Taken, JobId)>,
    /// Those that can never be one.
    turned_away: Vec<(&'a Taken, String)>,
}

impl Tally {
    fn tell(self, desk: &Desk) {
        desk.tally.received(self.received);
        desk.tally.submitted(self.submitted);
        desk.tally.duplicates(self.duplicates);
        desk.tally.lag(self.lag);
        self.counted.iter().for_each(|(queue, how)| desk.counted(queue, *how));
        self.refused.iter().for_each(|(id, why)| desk.refused(id, why));
        if self.stored {
            desk.stored();
        }
    }
}

/// Keeps items in mind until their jobs have ended. Each is kept anew before pg-boss would let it expire.
async fn hold(
    desk: &Desk,
    conn: &mut Conn,
    items: impl Iterator<Item = (Hand, Duration, JobId)>,
) -> anyhow::Result<()> {
    let mut alike: HashMap<Duration, Vec<Item>> = HashMap::new();
    for (hand, kept, job) in items {
        let item = Item { item: hand.id.to_string(), handle: hand.tries.to_string(), job };
        alike.entry(kept).or_default().push(item);
    }
    for (kept, items) in alike {
        desk.hold(conn, &items, kept).await?;
    }
    Ok(())
}

/// What an item puts out that failed.
fn output(why: &str) -> Value {
    json!({"message": why, "by": "longshore"})
}
