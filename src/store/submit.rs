//! Accepting jobs. What [`Intake::submit`] answered with [`Submitted::New`] is committed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff_sqlx::ToSqlx;
use sqlx::Connection;
use uuid::Uuid;

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    metrics::{Metrics, Statement},
    spec::{Start, Submission},
    traces,
};

use super::{Conn, Error, notices};

/// Positions are counted up to here: beyond it nobody waits for a number, and a long backlog costs a submission no more
/// than a short one.
pub const POSITION_LIMIT: i64 = 1_000;
/// For how long a crowd that was counted is taken for there: in that time a cluster starts a few dozen jobs.
const CROWD_STAYS: Duration = Duration::from_millis(100);
/// The most queues. Each costs every claim a look at its head.
pub const QUEUES: i64 = 1_000;

/// The most jobs of one statement, whose length bounds its memory here and there.
pub const STATEMENT_JOBS: usize = 1_000;

/// How a submission ended.
#[derive(Debug, Clone, Copy)]
pub enum Submitted {
    New {
        id: JobId,
        /// How many jobs would start before it, up to [`POSITION_LIMIT`].
        position: i64,
    },
    /// The same request was accepted before under this idempotency key.
    Before {
        id: JobId,
    },
    /// Another request was accepted before under this idempotency key.
    KeyTaken {
        id: JobId,
    },
    TooManyQueues,
    /// As many jobs wait in its queue as may.
    QueueFull {
        max_pending: i32,
    },
}

impl Submitted {
    /// Whether there is a job of it.
    pub const fn is_accepted(&self) -> bool {
        matches!(self, Self::New { .. } | Self::Before { .. })
    }
}

/// A submission made ready to be stored.
pub struct Ready {
    id: JobId,
    submission: Submission,
    spec: String,
    spec_hash: String,
    /// Of what came with an idempotency key.
    request_hash: Option<String>,
    templated: bool,
    /// Of the trace in which it was asked for.
    traceparent: Option<String>,
}

impl Ready {
    /// Its id is made here, so that ids are in the order in which submissions were read.
    pub fn new(submission: Submission) -> Self {
        let request_hash = submission.request_hash();
        Self::as_asked(submission, request_hash)
    }

    /// The same, for a submission that was made from something else: another that made the same hash of what was asked is
    /// the same request, whatever came of it.
    pub fn as_asked(submission: Submission, request_hash: Option<String>) -> Self {
        let (spec, spec_hash) = submission.spec.text_and_hash();
        Self {
            id: JobId::new(),
            submission,
            spec,
            spec_hash,
            request_hash,
            templated: false,
            traceparent: traces::current(),
        }
    }

    /// The same under an id that somebody was told already.
    pub fn known_as(self, id: JobId) -> Self {
        Self { id, ..self }
    }

    /// The same, made from a template.
    pub fn templated(self) -> Self {
        Self { templated: true, ..self }
    }

    pub fn is_templated(&self) -> bool {
        self.templated
    }

    pub fn id(&self) -> JobId {
        self.id
    }

    /// About how much of memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.spec.len()
    }

    pub fn submission(&self) -> &Submission {
        &self.submission
    }
}

/// Where one replica accepts jobs.
pub struct Intake {
    by: ReplicaId,
    metrics: Arc<Metrics>,
    /// When more jobs than anybody counts were last seen to be ahead, and of which priority or better.
    crowd: Mutex<Option<(Instant, i32)>>,
}

impl Intake {
    pub fn new(by: ReplicaId) -> Self {
        Self::measured(by, Metrics::new())
    }

    /// The same, its statements measured.
    pub fn measured(by: ReplicaId, metrics: Arc<Metrics>) -> Self {
        Self { by, metrics, crowd: Mutex::default() }
    }

    /// Accepts jobs, in their order, and says of each how that ended: in one transaction, but for those whose queue comes into
    /// being with them.
    pub async fn submit(&self, conn: &mut Conn, ready: &[Ready]) -> Result<Vec<Submitted>, Error> {
        self.metrics.timed(Statement::Submit, submit(conn, self, ready)).await
    }

    /// The same in one transaction whatever comes, and only if every one is accepted, or was before.
    pub async fn submit_whole(&self, conn: &mut Conn, ready: &[Ready]) -> Result<Vec<Submitted>, Error> {
        self.metrics.timed(Statement::Submit, self.submit_all_or_none(conn, ready)).await
    }

    async fn submit_all_or_none(&self, conn: &mut Conn, ready: &[Ready]) -> Result<Vec<Submitted>, Error> {
        let mut tx = conn.begin().await?;
        let mut ended = Vec::with_capacity(ready.len());
        for some in ready.chunks(STATEMENT_JOBS) {
            ended.extend(submit(&mut tx, self, some).await?);
        }
        if ended.iter().any(|it| !it.is_accepted()) {
            tx.rollback().await?;
            return Ok(ended);
        }
        let committed = effects::at(Effect::Submit, async { Ok::<_, Error>(tx.commit().await?) });
        match notices::listen(committed).await {
            (Ok(()), true) => Err(Error::NotReplicated),
            (committed, _) => committed.map(|()| ended),
        }
    }

    /// How many to count that are ahead of jobs of at most this priority.
    fn limit(&self, priority: i32) -> i64 {
        let known = self.crowd().is_some_and(|(at, of)| priority <= of && at.elapsed() < CROWD_STAYS);
        if known { 0 } else { POSITION_LIMIT }
    }

    fn crowd(&self) -> MutexGuard<'_, Option<(Instant, i32)>> {
        // It is whole after every statement.
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn submit(conn: &mut Conn, intake: &Intake, ready: &[Ready]) -> Result<Vec<Submitted>, Error> {
    let mut ended: HashMap<JobId, Submitted> = insert(conn, intake, &ready.iter().collect::<Vec<_>>()).await?;
    used(conn, ready, &mut ended).await?;
    let left: Vec<&Ready> = ready.iter().filter(|it| !ended.contains_key(&it.id)).collect();
    if !left.is_empty() {
        let queues: HashSet<&str> = left.iter().map(|it| it.submission.queue.as_str()).collect();
        for queue in queues {
            let why_not = match create_queue(conn, queue).await? {
                None => Submitted::TooManyQueues,
                Some(Some(max_pending)) => Submitted::QueueFull { max_pending },
                Some(None) => continue,
            };
            ended.extend(left.iter().filter(|it| it.submission.queue == queue).map(|it| (it.id, why_not)));
        }
        let left: Vec<&Ready> = left.into_iter().filter(|it| !ended.contains_key(&it.id)).collect();
        ended.extend(insert(conn, intake, &left).await?);
        used(conn, ready, &mut ended).await?;
    }
    let nothing_of =
        |it: &Ready| Error::Unknown { table: "queues", what: format!("nothing of queue {:?}", it.submission.queue) };
    ready.iter().map(|it| ended.get(&it.id).copied().ok_or_else(|| nothing_of(it))).collect()
}

/// Tries to insert all of `ready`; answers those that were.
async fn insert(conn: &mut Conn, intake: &Intake, ready: &[&Ready]) -> Result<HashMap<JobId, Submitted>, Error> {
    if ready.is_empty() {
        return Ok(HashMap::new());
    }
    let mut columns = Columns::default();
    ready.iter().for_each(|it| columns.add(it));
    let (least, most) = columns.priorities.iter().fold((i32::MAX, i32::MIN), |it, p| (it.0.min(*p), it.1.max(*p)));
    let limit = intake.limit(most);
    let inserted = effects::at(Effect::Submit, async {
        let rows = sqlx::query_file!(
            "src/store/sql/submit_jobs.sql",
            &columns.ids,
            &columns.priorities,
            &columns.queues as _,
            &columns.names as _,
            &columns.namespaces as _,
            &columns.policies as _,
            &columns.run_ats as _,
            &columns.delays as _,
            &columns.specs as _,
            &columns.spec_hashes as _,
            &columns.keys as _,
            &columns.request_hashes as _,
            intake.by.0,
            limit,
            &columns.traceparents as _
        )
        .fetch_all(conn)
        .await?;
        Ok::<_, Error>(rows)
    });
    let rows = match notices::listen(inserted).await {
        (Ok(rows), true) if rows.iter().any(|row| row.id.is_some()) => return Err(Error::NotReplicated),
        (inserted, _) => inserted?,
    };
    let mut ahead: BTreeMap<i32, i64> = BTreeMap::new();
    for row in &rows {
        if let (Some(priority), Some(jobs)) = (row.priority, row.jobs) {
            ahead.insert(priority, jobs);
        }
    }
    if ahead.values().sum::<i64>() >= POSITION_LIMIT {
        *intake.crowd() = Some((Instant::now(), least));
    }
    if limit == 0 {
        ahead.insert(i32::MAX, POSITION_LIMIT);
    }
    let accepted: HashMap<Uuid, bool> = rows.into_iter().filter_map(|row| Some((row.id?, row.waits))).collect();
    let mut ended = HashMap::with_capacity(ready.len());
    for it in ready {
        let Some(waits) = accepted.get(&it.id.0) else { continue };
        let priority = it.submission.priority;
        let position: i64 = if *waits { ahead.range(priority..).map(|(_, jobs)| jobs).sum() } else { 0 };
        ended.insert(it.id, Submitted::New { id: it.id, position: position.min(POSITION_LIMIT) });
        // Those that come after it in the same statement come after it in the queue, too.
        if *waits {
            *ahead.entry(priority).or_default() += 1;
        }
    }
    Ok(ended)
}

/// What one statement is given, a column each.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    priorities: Vec<i32>,
    queues: Vec<&'a str>,
    names: Vec<&'a str>,
    namespaces: Vec<&'a str>,
    policies: Vec<Option<String>>,
    run_ats: Vec<Option<jiff_sqlx::Timestamp>>,
    delays: Vec<Option<f64>>,
    specs: Vec<&'a str>,
    spec_hashes: Vec<&'a str>,
    keys: Vec<Option<&'a str>>,
    request_hashes: Vec<Option<&'a str>>,
    traceparents: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn add(&mut self, ready: &'a Ready) {
        let submission = &ready.submission;
        let (run_at, delay_secs) = match submission.start {
            Start::Now => (None, None),
            Start::At(at) => (Some(at.to_sqlx()), None),
            Start::In(secs) => (None, Some(secs)),
        };
        self.ids.push(ready.id.0);
        self.priorities.push(submission.priority);
        self.queues.push(&submission.queue);
        self.names.push(&submission.name);
        self.namespaces.push(&submission.namespace);
        self.policies.push(submission.stored_policy().map(|it| it.to_string()));
        self.run_ats.push(run_at);
        self.delays.push(delay_secs);
        self.specs.push(&ready.spec);
        self.spec_hashes.push(&ready.spec_hash);
        self.keys.push(submission.idempotency_key.as_deref());
        self.request_hashes.push(ready.request_hash.as_deref());
        self.traceparents.push(ready.traceparent.as_deref());
    }
}

/// Finds, for those that did not end yet, what was accepted before under their keys.
async fn used(conn: &mut Conn, ready: &[Ready], ended: &mut HashMap<JobId, Submitted>) -> Result<(), Error> {
    let keyed: Vec<(&Ready, &str)> = ready
        .iter()
        .filter(|it| !ended.contains_key(&it.id))
        .filter_map(|it| Some((it, it.submission.idempotency_key.as_deref()?)))
        .collect();
    if keyed.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = keyed.iter().map(|it| it.1).collect();
    let rows = sqlx::query!(
        "select key, job_id, request_hash from longshore.idempotency_keys where key = any($1)",
        &keys as _
    )
    .fetch_all(conn)
    .await?;
    let taken: HashMap<String, (Uuid, String)> =
        rows.into_iter().map(|row| (row.key, (row.job_id, row.request_hash))).collect();
    for (it, key) in keyed {
        if let Some((job, hash)) = taken.get(key) {
            // One that was submitted in SQL a moment ago has none yet.
            let same = hash.is_empty() || it.request_hash.as_deref() == Some(hash);
            let id = JobId(*job);
            ended.insert(it.id, if same { Submitted::Before { id } } else { Submitted::KeyTaken { id } });
        }
    }
    Ok(())
}

/// Creates a queue if it is missing, and answers how many jobs may wait in it; none when there are too many queues.
async fn create_queue(conn: &mut Conn, name: &str) -> Result<Option<Option<i32>>, Error> {
    sqlx::query!(
        "insert into longshore.queues (name) select $1 where (select count(*) from longshore.queues) < $2
         on conflict do nothing",
        name,
        QUEUES
    )
    .execute(&mut *conn)
    .await?;
    let max_pending = sqlx::query_scalar!("select max_pending from longshore.queues where name = $1", name);
    Ok(max_pending.fetch_optional(conn).await?)
}
