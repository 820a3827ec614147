//! What must be true of every world, whatever was done to it.
//!
//! While it runs, at every committed instant that is looked at: no more jobs hold a slot than the cap allows. When it is
//! over: every accepted job is there; its history is one unbroken chain of legal moves that ends where the row is; jobs
//! were claimed in the order of priority and submission; what is finished has a reason.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use longshore::lifecycle::EDGES;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

/// How soon the number of holders is looked at again.
const LOOK: Duration = Duration::from_millis(5);
/// It looks for one in so many parts of the time: a machine that is slow is not kept busy by being watched.
const PART_OF_TIME: u32 = 10;

/// Looks at the number of holders all the time, from outside.
pub struct CapWatcher {
    allowed: Arc<AtomicI32>,
    /// Caps of queues, by name.
    of_queues: Arc<Mutex<HashMap<String, i32>>>,
    looks: Arc<AtomicU64>,
    url: Arc<Mutex<String>>,
    /// Held, the cap, and whose.
    worst: Arc<Mutex<Option<(i64, i32, String)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl CapWatcher {
    pub async fn start(url: &str) -> Self {
        let (allowed, looks) = (Arc::new(AtomicI32::new(i32::MAX)), Arc::new(AtomicU64::new(0)));
        let (worst, of_queues) = (Arc::new(Mutex::new(None)), Arc::<Mutex<HashMap<String, i32>>>::default());
        let watcher = (Arc::clone(&allowed), Arc::clone(&looks), Arc::clone(&worst), Arc::clone(&of_queues));
        let url = Arc::new(Mutex::new(url.to_owned()));
        let place = Arc::clone(&url);
        let task = tokio::spawn(async move {
            let mut next = tokio::time::interval(LOOK);
            loop {
                // The database may be away: that is some tests' point.
                let at = place.lock().unwrap().clone();
                let Ok(mut conn) = PgConnection::connect(&at).await else {
                    next.reset();
                    next.tick().await;
                    continue;
                };
                let sql = "select queue, count(*) from longshore.jobs_live
                            where state in ('starting', 'running', 'stopping') group by queue";
                let mut asked = Instant::now();
                while let Ok(rows) = sqlx::query_as::<_, (String, i64)>(sql).fetch_all(&mut conn).await {
                    let took = asked.elapsed();
                    let (held, cap) = (rows.iter().map(|it| it.1).sum(), watcher.0.load(Ordering::SeqCst));
                    if held > i64::from(cap) {
                        *watcher.2.lock().unwrap() = Some((held, cap, "all".to_owned()));
                    }
                    for (queue, held) in rows {
                        if let Some(cap) = watcher.3.lock().unwrap().get(&queue)
                            && held > i64::from(*cap)
                        {
                            *watcher.2.lock().unwrap() = Some((held, *cap, queue));
                        }
                    }
                    watcher.1.fetch_add(1, Ordering::SeqCst);
                    next.reset_after(LOOK.max(took * PART_OF_TIME));
                    next.tick().await;
                    asked = Instant::now();
                }
            }
        });
        Self { allowed, of_queues, looks, url, worst, task }
    }

    /// Where to look as soon as the database is away from where it was.
    pub fn look_at(&self, url: &str) {
        url.clone_into(&mut self.url.lock().unwrap());
    }

    pub fn allow(&self, cap: i32) {
        self.allowed.store(cap, Ordering::SeqCst);
    }

    pub fn allow_queue(&self, queue: &str, cap: i32) {
        self.of_queues.lock().unwrap().insert(queue.to_owned(), cap);
    }

    /// What a queue is allowed; one without a cap of its own, any number.
    pub fn allowed_of(&self, queue: &str) -> i32 {
        self.of_queues.lock().unwrap().get(queue).copied().unwrap_or(i32::MAX)
    }

    pub fn allowed(&self) -> i32 {
        self.allowed.load(Ordering::SeqCst)
    }

    pub fn check(&self) {
        let worst = self.worst.lock().unwrap().clone();
        assert_eq!(worst, None, "(held, cap, whose): more jobs held a slot than the cap allows");
        assert!(self.looks.load(Ordering::SeqCst) > 0, "the cap was never looked at");
    }
}

impl Drop for CapWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Holds the rows to what is said above.
pub async fn check_rows(conn: &mut PgConnection, accepted: &[String]) {
    let rows =
        sqlx::query("select id, state, reason, priority, seq from longshore.jobs").fetch_all(&mut *conn).await.unwrap();
    let jobs: HashMap<Uuid, (String, i32, i64)> = rows
        .iter()
        .map(|row| {
            let (state, reason): (String, Option<String>) = (row.get("state"), row.get("reason"));
            let over = ["succeeded", "failed", "cancelled"].contains(&state.as_str());
            assert!(!over || reason.is_some(), "{:?} ended without a reason", row.get::<Uuid, _>("id"));
            (row.get("id"), (state, row.get("priority"), row.get("seq")))
        })
        .collect();
    for id in accepted {
        assert!(jobs.contains_key(&id.parse().unwrap()), "job {id} was accepted, and is lost");
    }
    check_history(conn, &jobs).await;
    check_order(conn, &jobs).await;
    let too_high: i64 = super::scalar(conn, "select longshore.check_held()").await;
    assert_eq!(too_high, 0, "the number of held slots differs from the rows");
}

async fn check_history(conn: &mut PgConnection, jobs: &HashMap<Uuid, (String, i32, i64)>) {
    let sql = "select job_id, from_state, to_state, attempt from longshore.job_events order by job_id, id";
    let events = sqlx::query(sql).fetch_all(&mut *conn).await.unwrap();
    let mut last: HashMap<Uuid, String> = HashMap::new();
    for event in &events {
        let id: Uuid = event.get("job_id");
        let (from, to): (Option<String>, String) = (event.get("from_state"), event.get("to_state"));
        let before = last.insert(id, to.clone());
        assert_eq!(before, from, "the history of {id} is broken before its move to {to}");
        if let Some(from) = from
            && from != to
        {
            let legal = EDGES.iter().any(|(a, b)| a.name() == from && b.name() == to);
            assert!(legal, "{id} went from {from} to {to}");
        }
    }
    for (id, (state, ..)) in jobs {
        assert_eq!(last.get(id), Some(state), "the history of {id} does not end where its row is");
    }
    // Only what is over ages out, rows before events.
    for (id, state) in last.iter().filter(|it| !jobs.contains_key(it.0)) {
        let over = ["succeeded", "failed", "cancelled"].contains(&state.as_str());
        assert!(over, "the row of {id} is lost: its history ends at {state}");
    }
}

/// No job was claimed while a better one had been waiting for a while. (A while, because a submission's time is taken
/// before its commit, which a claim may just have missed.) A queue of which somebody set something may wait longer than others; within it the order holds.
async fn check_order(conn: &mut PgConnection, jobs: &HashMap<Uuid, (String, i32, i64)>) {
    let sql = "select id, queue from longshore.jobs
                where queue in (select name from longshore.queues where updated_at is not null)";
    let apart: Vec<(Uuid, String)> = sqlx::query_as(sql).fetch_all(&mut *conn).await.unwrap();
    let apart: HashMap<Uuid, String> = apart.into_iter().collect();
    let sql = "select job_id, extract(epoch from at)::float8 as at,
                      coalesce(from_state = 'pending' and to_state = 'starting', false) as claimed,
                      to_state = 'pending' as waits,
                      from_state = 'pending' as leaves
                 from longshore.job_events order by id";
    let events = sqlx::query(sql).fetch_all(&mut *conn).await.unwrap();
    let mut waiting: HashMap<Uuid, f64> = HashMap::new();
    // What has aged out has events for a while after its row is gone; a row that is lost is noticed above.
    for event in events.iter().filter(|it| jobs.contains_key(&it.get("job_id"))) {
        let (id, at): (Uuid, f64) = (event.get("job_id"), event.get("at"));
        if event.get::<Option<bool>, _>("leaves") == Some(true) {
            waiting.remove(&id);
        }
        if event.get("waits") {
            waiting.insert(id, at);
        }
        if event.get("claimed") {
            let (_, priority, seq) = jobs[&id];
            let passed_over = waiting.iter().find(|(other, since)| {
                let (_, its_priority, its_seq) = jobs[other];
                let may_go_first = apart.get(other).is_none_or(|queue| apart.get(&id) == Some(queue));
                may_go_first
                    && at - **since > 1.0
                    && (its_priority > priority || (its_priority == priority && its_seq < seq))
            });
            assert_eq!(passed_over, None, "job {id} of priority {priority} was claimed before a better one");
        }
    }
}
