//! pg-boss, a worker while there is work: what job-chief did. The items stay pg-boss's; here it is only seen to that pods run
//! that work them off, one worker job for each queue at a time.
//!
//! A worker job is a Longshore job like others, so that most of what there is to do is done elsewhere: it waits for a slot by
//! its priority, is stopped and confirmed gone when it does not start in time, and is on record. What is here is when to
//! submit the next one ([`decide()`]), which [`Turn`] keeps two replicas from doing at once.

mod config;
mod decide;
mod jobs_json;
mod pod;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    api::{self, Served},
    error::chain,
    lifecycle::Reason,
    spec::{Fault, LABEL_CHARS, check_dns_label},
    store::{
        self, Db,
        boss::{self, Boss, Waiting},
        submit::Submitted,
        workers::{self, Standing, Turn},
    },
};

use super::{
    Backlog, Configured, Source, certificates,
    config::{Entry, Unusable},
    desk::{Desk, Unread},
};
use config::{From, Own, Wrong};
use decide::{How, Last, Plan, Step, decide};
use jobs_json::Job;
use pod::Common;

/// The name of the type.
pub const KIND: &str = "pg-boss-workers";
/// Where a worker job's request has its Kubernetes Job, and that its pods.
const OF_JOB: &str = "/manifest";
const OF_POD: &str = "/spec/template/spec";
/// Connections of one replica to one pg-boss: looks at queues take milliseconds, and their turns.
const CONNECTIONS: u32 = 4;
/// How far what waits is counted to be shown: a longer backlog is long enough.
const SHOWN: i64 = 100_000;

/// The sources of one entry: one for each job of its file.
pub fn sources(entry: &Entry) -> Result<Vec<Configured>, Unusable> {
    let wrong = |(field, cause): Wrong| entry.wrong(&field, cause);
    let Some(job) = entry.shape.plain() else {
        let cause = "is for messages, and here is none: pods take the items from pg-boss themselves; leave out `body` and filters";
        return Err(entry.wrong("body", cause));
    };
    let own = entry.own::<Own>()?.placed(|it| entry.path(it));
    let settings = own.settle(job.clone(), &|name| std::env::var(name).ok()).map_err(wrong)?;
    let such = "it must be such as postgres://user:password@host:5432/database?sslmode=verify-full";
    let db = settings.database.url.as_deref().map(|url| Db::elsewhere(url, CONNECTIONS)).transpose();
    let db = db.map_err(|err| entry.wrong(settings.database.named, format!("the URL: {}; {such}", chain(&err))))?;
    if let Some(fault) = settings.database.url.as_deref().and_then(certificates::fault_of) {
        return Err(entry.wrong(settings.database.named, fault));
    }
    let place = db.as_ref().map_or_else(|| "own".to_owned(), Db::place);
    let schema = &settings.database.schema;
    let there = Arc::new(There { db, boss: Boss::new(schema) });
    let common = Arc::new(settings.common.clone());
    let mut names = HashSet::new();
    let mut all = Vec::with_capacity(settings.jobs.len());
    for (nth, job) in settings.jobs.iter().enumerate() {
        let name = name(&settings.prefix, &job.queue_name, &names);
        if check_dns_label(&name).is_err() {
            let cause = format!("must make a name of {name:?}: lower-case letters, digits and `-`");
            return Err(entry.wrong("prefix", cause));
        }
        names.insert(name.clone());
        let space = format!("{KIND}/{place}/{schema}/{}", job.queue_name);
        let workers = Workers {
            job: job.clone(),
            plan: settings.plan(job),
            common: common.clone(),
            there: there.clone(),
            space: space.clone(),
            failed_at: Mutex::default(),
            from: settings.from.clone(),
            nth: nth + 1,
            namespace_of: settings.namespace_of,
        };
        workers.check().map_err(wrong)?;
        let reads = format!(
            "queue {} of schema {schema} in {}",
            job.queue_name,
            if place == "own" { "its own database" } else { &place }
        );
        all.push(Configured { name, kind: KIND, reads, space, source: Box::new(workers), entry: entry.bare() });
    }
    Ok(all)
}

/// A queue's name as a source's, which is a DNS label. Of two that come to the same, the second has some of its hash.
fn name(prefix: &str, queue: &str, taken: &HashSet<String>) -> String {
    let mut name = prefix.to_owned();
    for c in queue.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let cut = |name: &str, chars: usize| name.chars().take(chars).collect::<String>().trim_end_matches('-').to_owned();
    let short = cut(&name, LABEL_CHARS);
    let hash: String = Sha256::digest(queue.as_bytes()).iter().take(3).map(|it| format!("{it:02x}")).collect();
    match short.as_str() {
        "" => format!("queue-{hash}"),
        it if taken.contains(it) => format!("{}-{hash}", cut(&name, LABEL_CHARS - 1 - hash.len())),
        it => it.to_owned(),
    }
}

/// Where pg-boss keeps its queues.
struct There {
    /// None: in Longshore's own database.
    db: Option<Db>,
    boss: Boss,
}

impl There {
    fn db<'a>(&'a self, desk: &'a Desk) -> &'a Db {
        self.db.as_ref().unwrap_or(&desk.db)
    }
}

/// One queue, and what works it off.
struct Workers {
    job: Job,
    plan: Plan,
    common: Arc<Common>,
    there: Arc<There>,
    /// Names the queue, whatever its source is called.
    space: String,
    /// When a pass went wrong last.
    failed_at: Mutex<Option<Instant>>,
    /// Where its job is from and which one there it is, for errors.
    from: From,
    nth: usize,
    namespace_of: &'static str,
}

impl Source for Workers {
    fn pass<'a>(&'a self, desk: &'a Desk) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async {
            let failed_at = self.failed_at().take();
            if let Some(at) = failed_at {
                desk.idle(self.plan.after_error.saturating_sub(at.elapsed())).await;
            }
            if desk.stop.is_cancelled() {
                return Ok(());
            }
            let done = self.follow(desk).await;
            if done.is_err() {
                *self.failed_at() = Some(Instant::now());
            }
            done
        })
    }

    fn backlog<'a>(&'a self, desk: &'a Desk) -> BoxFuture<'a, anyhow::Result<Backlog>> {
        Box::pin(async move {
            let db = self.there.db(desk);
            let looked = async {
                let mut conn = db.conn().await?;
                let mut tables = self.there.boss.enter(&mut conn).await?;
                let due = tables.waiting(&self.job.queue_name, SHOWN).await?;
                let states = tables.states(&self.job.queue_name).await?;
                tables.rollback().await?;
                Ok::<_, boss::Error>(Backlog { waiting: Some(due.items), oldest_secs: due.oldest_secs, states })
            };
            db.within(looked).await.context("cannot count what is in the queue")
        })
    }

    fn refused(&self, served: &Served<'_>) -> Option<Wrong> {
        served.faults_of(&self.most()).into_iter().next().map(|it| self.told(it))
    }
}

impl Workers {
    /// What would be wrong with its worker job wherever it is submitted.
    fn check(&self) -> Result<(), Wrong> {
        let fault = api::faults_of(self.most().into()).into_iter().next();
        fault.map_or(Ok(()), |fault| Err(self.told(fault)))
    }

    /// The most that its worker job may come to: fewer pods are no less right.
    fn most(&self) -> Map<String, Value> {
        pod::request(&self.job, self.plan.pods.most, &self.common)
    }

    /// A fault of its worker job, told of where the file says it.
    fn told(&self, fault: Fault) -> Wrong {
        if fault.field() == "namespace" {
            return (self.namespace_of.to_owned(), fault.detail);
        }
        let dotted = |pointer: &str| pointer.trim_start_matches('/').replace('/', ".");
        if self.common.job.contains_key(fault.field()) {
            return (format!("job.{}", dotted(&fault.pointer)), fault.detail);
        }
        let own = match fault.pointer.strip_prefix(OF_JOB).unwrap_or(&fault.pointer) {
            "/spec/parallelism" => "podConfig.parallelism".to_owned(),
            it => match it.strip_prefix(OF_POD).map(|it| (it, it.strip_prefix("/containers/0"))) {
                Some((_, Some(of_container))) => format!("podConfig.{}", dotted(of_container)),
                Some((of_pod, None)) => return (format!("pod.{}", dotted(of_pod)), fault.detail),
                None if fault.field() == "annotations" => format!("podConfig.{}", dotted(it)),
                None => dotted(it),
            },
        };
        let From { field, place } = &self.from;
        let (queue, own) = (&self.job.queue_name, if own.is_empty() { own } else { format!("{own}: ") });
        ((*field).to_owned(), format!("{place}, job {} ({queue:?}): {own}{}", self.nth, fault.detail))
    }

    /// Does what follows now, and waits until something may follow next.
    async fn follow(&self, desk: &Desk) -> anyhow::Result<()> {
        let standing = async { workers::standing(&mut *desk.db.conn().await?, &self.space).await };
        let standing = desk.db.within(standing).await?;
        let mut due = None;
        loop {
            match decide(&self.plan, &last(&standing), due.map(|it: Waiting| it.items)) {
                Step::Count => due = Some(self.due(desk).await?),
                Step::Submit { pods } => return self.submit(desk, &standing, pods, due).await,
                Step::Wait(time) => {
                    desk.tally.worked();
                    desk.idle(time).await;
                    return Ok(());
                }
            }
        }
    }

    /// What is due in the queue; counted no further than makes a difference.
    async fn due(&self, desk: &Desk) -> anyhow::Result<Waiting> {
        let (db, queue) = (self.there.db(desk), &self.job.queue_name);
        let bound = self.plan.pods.items_each.map_or(1, |each| each.saturating_mul(self.plan.pods.most.into()));
        let counted = async {
            let mut conn = db.conn().await?;
            let mut tables = self.there.boss.enter(&mut conn).await?;
            let due = tables.waiting(queue, bound).await?;
            let known = due.items > 0 || tables.has_queue(queue).await?;
            tables.rollback().await?;
            Ok::<_, boss::Error>(known.then_some(due))
        };
        match db.within(counted).await.context("cannot see what is due in the queue")? {
            Some(due) => Ok(due),
            None => bail!("pg-boss has no queue {queue:?} there; it has one from its createQueue on"),
        }
    }

    /// Submits a worker job, unless another replica did since `seen`.
    async fn submit(&self, desk: &Desk, seen: &Standing, pods: i32, due: Option<Waiting>) -> anyhow::Result<()> {
        let request = pod::request(&self.job, pods, &self.common);
        let ready = match desk.request(request, &(seen.runs + 1).to_string()).await {
            Ok(ready) => ready,
            Err(Unread::Refused(why)) => bail!("its worker job is refused: {why}"),
            Err(Unread::Later(why)) => bail!("its worker job cannot be submitted now: {why}"),
        };
        let submitted = async {
            let mut conn = desk.db.conn().await?;
            let Some(mut turn) = Turn::take(&mut conn, &self.space).await? else { return Ok(None) };
            let still = decide(&self.plan, &last(&turn.standing), due.map(|it| it.items));
            if turn.standing.runs != seen.runs || still != (Step::Submit { pods }) {
                turn.give_up().await?;
                return Ok(None);
            }
            let submitted = desk.submit_within(turn.conn(), std::slice::from_ref(&ready)).await?.pop();
            match submitted {
                // Under the key of this run there can be a job already only if the row was lost; then it is its job.
                Some(Submitted::New { id, .. } | Submitted::Before { id } | Submitted::KeyTaken { id }) => {
                    turn.commit(id).await?;
                }
                Some(Submitted::TooManyQueues | Submitted::QueueFull { .. }) | None => turn.give_up().await?,
            }
            Ok::<_, store::Error>(submitted)
        };
        let submitted = desk.db.within(submitted).await?;
        desk.count(submitted.iter().map(|it| (&ready, it)));
        match submitted {
            // Another replica has, or had, its turn. What came of it is seen at once.
            None => desk.idle(decide::SHORTEST_CHECK).await,
            Some(Submitted::New { id, .. }) => {
                desk.stored();
                desk.tally.submitted(1);
                let oldest = due.and_then(|it| it.oldest_secs);
                oldest.into_iter().for_each(|it| desk.tally.lag(Duration::from_secs_f64(it.max(0.0))));
                tracing::info!(source = desk.name, queue = self.job.queue_name, job = %id, pods, "submitted a worker job");
            }
            Some(Submitted::Before { .. } | Submitted::KeyTaken { .. }) => desk.tally.duplicates(1),
            Some(Submitted::QueueFull { max_pending }) => {
                bail!("the queue here is full: no more than {max_pending} may wait in it")
            }
            Some(Submitted::TooManyQueues) => bail!("there are too many queues here for one more"),
        }
        Ok(())
    }

    fn failed_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // It is whole after every line.
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of the last worker job.
fn last(standing: &Standing) -> Last {
    match &standing.last {
        None => Last::None,
        Some(job) if !job.state.is_finished() => Last::GoesOn,
        Some(job) => {
            let how = How::of(job.reason.unwrap_or(Reason::Completed));
            Last::Ended { how, ago: job.ended_ago.unwrap_or(Duration::MAX) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_name_becomes_a_name_of_a_source_and_no_two_the_same() {
        let mut taken = HashSet::new();
        let mut named = |queue: &str| {
            let name = name("", queue, &taken);
            assert!(check_dns_label(&name).is_ok(), "{name}");
            assert!(taken.insert(name.clone()), "{name} is taken");
            name
        };
        assert_eq!(named("thumbnails"), "thumbnails");
        assert_eq!(named("Mails__high.priority"), "mails-high-priority");
        assert!(named("mails-high_priority").starts_with("mails-high-priority-"));
        assert!(named("日本").starts_with("queue-"));
        assert_eq!(named(&"a_".repeat(100)).len(), LABEL_CHARS);
        assert!(named(&format!("{}b", "a_".repeat(100))).len() <= LABEL_CHARS);
        assert_eq!(super::name("eu-", "thumbs", &HashSet::new()), "eu-thumbs");
    }
}
