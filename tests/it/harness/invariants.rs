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
    time::Duration,
};

use longshore::lifecycle::EDGES;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

/// Looks at the number of holders all the time, from outside.
pub struct CapWatcher {
    allowed: Arc<AtomicI32>,
    looks: Arc<AtomicU64>,
    worst: Arc<Mutex<Option<(i64, i32)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl CapWatcher {
    pub async fn start(url: &str) -> Self {
        let (allowed, looks) = (Arc::new(AtomicI32::new(i32::MAX)), Arc::new(AtomicU64::new(0)));
        let worst = Arc::new(Mutex::new(None));
        let watcher = (Arc::clone(&allowed), Arc::clone(&looks), Arc::clone(&worst));
        let url = url.to_owned();
        let task = tokio::spawn(async move {
            let mut pause = tokio::time::interval(Duration::from_millis(5));
            loop {
                // The database may be away: that is some tests' point.
                let Ok(mut conn) = PgConnection::connect(&url).await else {
                    pause.tick().await;
                    continue;
                };
                let sql = "select count(*) from longshore.jobs_live where state in ('starting', 'running', 'stopping')";
                while let Ok(held) = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut conn).await {
                    let cap = watcher.0.load(Ordering::SeqCst);
                    if held > i64::from(cap) {
                        *watcher.2.lock().unwrap() = Some((held, cap));
                    }
                    watcher.1.fetch_add(1, Ordering::SeqCst);
                    pause.tick().await;
                }
            }
        });
        Self { allowed, looks, worst, task }
    }

    pub fn allow(&self, cap: i32) {
        self.allowed.store(cap, Ordering::SeqCst);
    }

    pub fn allowed(&self) -> i32 {
        self.allowed.load(Ordering::SeqCst)
    }

    pub fn check(&self) {
        let worst = *self.worst.lock().unwrap();
        assert_eq!(worst, None, "(held, cap): more jobs held a slot than the cap allows");
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
}

/// No job was claimed while a better one had been waiting for a while. (A while, because a submission's time is taken
/// before its commit, which a claim may just have missed.)
async fn check_order(conn: &mut PgConnection, jobs: &HashMap<Uuid, (String, i32, i64)>) {
    let sql = "select job_id, extract(epoch from at)::float8 as at,
                      coalesce(from_state = 'pending' and to_state = 'starting', false) as claimed,
                      to_state = 'pending' as waits,
                      from_state = 'pending' as leaves
                 from longshore.job_events order by id";
    let events = sqlx::query(sql).fetch_all(&mut *conn).await.unwrap();
    let mut waiting: HashMap<Uuid, f64> = HashMap::new();
    for event in &events {
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
                at - **since > 1.0 && (its_priority > priority || (its_priority == priority && its_seq < seq))
            });
            assert_eq!(passed_over, None, "job {id} of priority {priority} was claimed before a better one");
        }
    }
}
