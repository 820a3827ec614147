//! Backends that were left behind: what the server still does for connections that were given up here.
//!
//! A server notices that a client has gone when it reads from it or writes to it. One whose commit waits for a standby does
//! neither, and outlasts every time-out: each connection that is given up would take one of the server's for as long as the
//! standby is away, until nobody gets any more. So its wait is cut short. It is committed where it is then, which is what
//! `outcome_unknown` says. Nothing else is touched: whatever else a backend does is ended by time-outs of its own.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};

use crate::error::chain;

use super::{ACQUIRE_TIMEOUT, Conn, Error};

/// How many backends of a pool are remembered for each connection that it may have: it makes them anew every half hour, and
/// those that it made last are those that there are.
const REMEMBERED: usize = 4;
/// How often it is asked whether what was left behind is still there.
const PAUSE: Duration = Duration::from_secs(1);
/// How long that is asked of each. A network that was cut is whole again by then, or the server has noticed; and where a
/// pooler is between, its backends stay for others and never go.
const FOLLOWED: Duration = Duration::from_secs(300);

/// The process of a backend, and since when, in microseconds: the numbers of processes come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backend {
    pid: i32,
    since: i64,
}

/// The backends that the connections of one pool have.
#[derive(Debug, Clone)]
pub(super) struct Backends {
    known: Arc<Mutex<VecDeque<Backend>>>,
    most: usize,
}

impl Backends {
    pub(super) fn of_pool(connections: u32) -> Self {
        Self { known: Arc::default(), most: connections as usize * REMEMBERED }
    }

    /// Remembers that of a new connection.
    pub(super) async fn meet(&self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        let backend = sqlx::query_as!(
            Backend,
            r#"select pid as "pid!", (extract(epoch from backend_start) * 1000000)::bigint as "since!"
                 from pg_stat_get_activity(pg_backend_pid())"#
        )
        .fetch_one(conn)
        .await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_back(backend);
        if known.len() > self.most {
            known.pop_front();
        }
        Ok(())
    }
}

/// The backends of all pools that were given up, for as long as the server has them.
#[derive(Debug)]
pub(super) struct Left {
    options: PgConnectOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    backends: Vec<(Backend, Instant)>,
    /// Somebody asks for them already.
    looking: bool,
}

impl Left {
    pub(super) fn new(options: PgConnectOptions) -> Arc<Self> {
        Arc::new(Self { options, state: Mutex::default() })
    }

    pub(super) fn count(&self) -> usize {
        self.state().backends.len()
    }

    /// Sees to it that the server lets go of these.
    pub(super) fn add(self: &Arc<Self>, backends: &Backends) {
        let mut state = self.state();
        let now = Instant::now();
        let known = backends.known.lock().unwrap_or_else(PoisonError::into_inner);
        state.backends.extend(known.iter().map(|it| (*it, now)));
        if !state.looking && !state.backends.is_empty() {
            state.looking = true;
            tokio::spawn(self.clone().see_off());
        }
    }

    async fn see_off(self: Arc<Self>) {
        loop {
            let looked = tokio::time::timeout(ACQUIRE_TIMEOUT, self.look()).await;
            if let Ok(Err(err)) = looked {
                tracing::debug!(error = chain(&err), "could not ask for connections that were given up");
            }
            {
                let mut state = self.state();
                state.backends.retain(|(_, at)| at.elapsed() < FOLLOWED);
                if state.backends.is_empty() {
                    state.looking = false;
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Cuts short what waits for a standby, and forgets what is gone. By a connection of its own: the pool's may all wait.
    async fn look(&self) -> Result<(), Error> {
        let asked: Vec<Backend> = self.state().backends.iter().map(|it| it.0).collect();
        let (pids, since): (Vec<i32>, Vec<i64>) = asked.iter().map(|it| (it.pid, it.since)).unzip();
        let mut conn = self.options.connect().await?;
        let there = sqlx::query!(
            r#"with there as materialized (
                   select a.pid, it.since, coalesce(a.wait_event = 'SyncRep', false) as waits
                     from unnest($1::int[], $2::bigint[]) as it (pid, since)
                     join pg_stat_activity a on a.pid = it.pid
                                            and (extract(epoch from a.backend_start) * 1000000)::bigint = it.since)
               select pid as "pid!", since as "since!", case when waits then pg_cancel_backend(pid) end as cut_short from there"#,
            &pids,
            &since
        )
        .fetch_all(&mut conn)
        .await?;
        let cut_short = there.iter().filter(|it| it.cut_short == Some(true)).count();
        if cut_short > 0 {
            tracing::warn!(commits = cut_short, "given up, for no standby answers; they are committed without it");
        }
        let is_there = |one: &Backend| there.iter().any(|it| it.pid == one.pid && it.since == one.since);
        self.state().backends.retain(|(it, _)| is_there(it) || !asked.contains(it));
        Ok(conn.close().await?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
