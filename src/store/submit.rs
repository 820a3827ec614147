//! Accepting jobs. What [`Intake::submit`] answered with [`Submitted::New`] is committed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    spec::{Start, Submission},
};

use super::{Conn, Error, notices};

/// Positions are counted up to here: beyond it nobody waits for a number, and a long backlog costs a submission no more
/// than a short one.
pub const POSITION_LIMIT: i64 = 1_000;
/// For how long a crowd that was counted is taken for there: in that time a cluster starts a few dozen jobs.
const CROWD_STAYS: Duration = Duration::from_millis(100);
/// The most queues. Each costs every claim a look at its head.
pub const QUEUES: i64 = 1_000;

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
}

/// A submission made ready to be stored.
pub struct Ready {
    id: JobId,
    submission: Submission,
    spec: String,
    spec_hash: String,
    /// Of what came with an idempotency key.
    request_hash: Option<String>,
}

impl Ready {
    /// Its id is made here, so that ids are in the order in which submissions were read.
    pub fn new(submission: Submission) -> Self {
        let (spec, spec_hash) = submission.spec.text_and_hash();
        let request_hash = submission.idempotency_key.as_ref().map(|_| submission.request_hash(&spec_hash));
        Self { id: JobId::new(), submission, spec, spec_hash, request_hash }
    }

    pub fn submission(&self) -> &Submission {
        &self.submission
    }
}

/// Where one replica accepts jobs.
pub struct Intake {
    by: ReplicaId,
    /// When more jobs than anybody counts were last seen to be ahead, and of which priority or better.
    crowd: Mutex<Option<(Instant, i32)>>,
}

impl Intake {
    pub fn new(by: ReplicaId) -> Self {
        Self { by, crowd: Mutex::default() }
    }

    /// Accepts jobs, in their order, and says of each how that ended: in one transaction, but for those whose queue comes into
    /// being with them.
    pub async fn submit(&self, conn: &mut Conn, ready: &[Ready]) -> Result<Vec<Submitted>, Error> {
        submit(conn, self, ready).await
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
            if !create_queue(conn, queue).await? {
                let refused = left.iter().filter(|it| it.submission.queue == queue);
                ended.extend(refused.map(|it| (it.id, Submitted::TooManyQueues)));
            }
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
            limit
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
            let same = it.request_hash.as_deref() == Some(hash);
            let id = JobId(*job);
            ended.insert(it.id, if same { Submitted::Before { id } } else { Submitted::KeyTaken { id } });
        }
    }
    Ok(())
}

async fn create_queue(conn: &mut Conn, name: &str) -> Result<bool, Error> {
    sqlx::query!(
        "insert into longshore.queues (name) select $1 where (select count(*) from longshore.queues) < $2
         on conflict do nothing",
        name,
        QUEUES
    )
    .execute(&mut *conn)
    .await?;
    let exists = sqlx::query_scalar!(r#"select exists (select from longshore.queues where name = $1) as "it!""#, name);
    Ok(exists.fetch_one(conn).await?)
}
