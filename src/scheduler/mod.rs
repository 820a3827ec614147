//! Claiming what fits under the cap, and creating what was claimed.
//!
//! A claim marks rows; what this replica has to create is then read from the rows. So a claim whose answer was lost, a job
//! that was taken over from a dead replica and a job that was claimed a moment ago are created by the same lines.

mod create;
mod cut_off;
mod record;
mod recover;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::RngExt;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::{Cluster, manifest::Defaults, view::View},
    error::chain,
    id::{JobId, Nonce, ReplicaId},
    lease::{Lease, Tenure},
    lifecycle::{Reason, StateName},
    metrics::{Loop, Metrics, Statement},
    recovery::Recovery,
    store::{
        Conn, Db, Error,
        claims::{self, Claim, HandBack},
        moves::Moves,
        replicas,
        signals::{Signal, Signals},
    },
};

/// How soon to try again when another replica held the cap: a claim takes a few milliseconds.
const BUSY: Duration = Duration::from_millis(15);
/// For how long a replica claims ahead of the rate at which it may create: what it holds back, another could create.
const AHEAD: Duration = Duration::from_millis(500);
/// How soon to look whether the cluster has been listed: a list takes a few hundred milliseconds.
const BLIND: Duration = Duration::from_millis(50);
/// How long a pass waits after the database failed it.
const PAUSE: Duration = Duration::from_secs(1);
/// How soon to look whether the cluster can be seen again.
const CUT_OFF: Duration = Duration::from_secs(1);
/// How soon to compare the cluster with the rows again where a Job is unexplained: it is a whole list.
const MATCH_AGAIN: Duration = Duration::from_secs(5);
/// Why a claim is handed back in the end.
const STOPPING: &str = "the replica is stopping";
/// The most claimed jobs that wait in this process for Kubernetes to accept them, so that memory is bounded.
const MOST_WAITING: usize = 10_000;

/// Settings of the scheduler.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long an idle queue's first job waits for the rest of its burst.
    pub dispatch_delay: Duration,
    /// How often to look for work that no signal told of.
    pub period: Duration,
    /// The most creates at a time.
    pub concurrency: usize,
    /// The most requests a second; 0 is no bound.
    pub per_sec: u32,
}

impl Config {
    /// How many jobs are claimed and not created yet at most: as many again as are being created, so that the next claim
    /// need not be made before this one's last create is sent, and one claim is for many.
    fn ahead(&self) -> usize {
        let of_rate = (f64::from(self.per_sec) * AHEAD.as_secs_f64()).ceil() as usize;
        if self.per_sec == 0 { 2 * self.concurrency } else { of_rate.clamp(1, 2 * self.concurrency) }
    }
}

/// One replica's scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    pub replica: ReplicaId,
    pub instance: Arc<str>,
    pub db: Arc<Db>,
    pub moves: Arc<Moves>,
    pub cluster: Arc<Cluster>,
    pub view: Arc<View>,
    pub signals: Arc<Signals>,
    pub lease: Arc<Lease>,
    pub defaults: Arc<Defaults>,
    pub config: Config,
    pub creating: Arc<Creating>,
    pub metrics: Arc<Metrics>,
    pub recovery: Arc<Recovery>,
}

/// The creates of this process that are under way.
pub struct Creating {
    jobs: Mutex<HashSet<JobId>>,
    /// Claims under which something was sent, and what became of it is not on record. They are never handed back.
    doubtful: Mutex<HashSet<Nonce>>,
    /// Those of them that talk to Kubernetes or wait for their turn to, not those that wait for a better moment.
    active: AtomicUsize,
    /// Whoever talks to Kubernetes has one of these.
    turns: Semaphore,
    /// Tells that there may be room for more.
    ended: Notify,
    tasks: TaskTracker,
}

/// What a pass leaves to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until something changes.
    Rest,
    /// Nothing, until a slot becomes free: whatever else becomes pending has none either.
    Full,
    /// Nothing, until some of what is claimed has been created.
    Room,
    /// Look again so soon.
    Soon(Duration),
}

impl Scheduler {
    /// Runs until `stop`; then lets the creates that are under way end, and hands back what was not begun.
    pub async fn run(self, stop: CancellationToken) {
        let (mut thorough_at, mut match_at) = (Instant::now(), Instant::now());
        self.metrics.nothing_to_do(Loop::Claim);
        while !stop.is_cancelled() {
            let thorough = Instant::now() >= thorough_at;
            if thorough {
                thorough_at = Instant::now() + self.config.period;
            }
            if self.recovery.line().is_none() && Instant::now() >= match_at {
                stop.run_until_cancelled(self.recover()).await;
                match_at = Instant::now() + MATCH_AGAIN;
            }
            let was_matched = self.recovery.line().is_some();
            let next = match self.db.within(self.tick(thorough, &stop)).await {
                Ok(next) => next,
                Err(err) => {
                    tracing::warn!(error = chain(&err), "a pass of claiming was cut short");
                    thorough_at = Instant::now();
                    Next::Soon(PAUSE)
                }
            };
            if was_matched && self.recovery.line().is_none() {
                // What was claimed in the line that is lost may still be being created.
                match_at = Instant::now() + self.lease.length();
            }
            let wait = match next {
                Next::Rest | Next::Full | Next::Room => self.config.period.mul_f64(rand::rng().random_range(0.8..1.2)),
                Next::Soon(wait) => wait,
            };
            tokio::select! {
                () = self.signals.pending(), if next == Next::Rest => {}
                () = self.signals.freed(), if matches!(next, Next::Rest | Next::Full) => {}
                () = self.creating.ended.notified(), if next == Next::Room => {}
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
        self.creating.tasks.close();
        self.creating.tasks.wait().await;
        if let Err(err) = self.db.within(self.hand_back_rest()).await {
            tracing::warn!(
                error = chain(&err),
                "could not hand back what was claimed last; the others will take it over"
            );
        }
    }

    /// Hands back what the last pass claimed and nobody began to create.
    async fn hand_back_rest(&self) -> Result<(), Error> {
        let mut conn = self.db.conn().await?;
        for work in claims::mine(&mut conn, self.replica, &[], MOST_WAITING as i64).await? {
            let proof = work.never_made().filter(|_| !self.creating.is_doubtful(work.job.state().nonce));
            if let Some(proof) = proof
                && claims::hand_back(&mut conn, self.replica, &work.job, STOPPING, proof).await? == HandBack::Done
            {
                tracing::info!(job = %work.job.id(), "handed a claim back");
            }
        }
        Ok(())
    }

    /// One pass: what is due, what the dead left, what fits under the cap, and the creating of all that is ours. A thorough one
    /// looks for what is ours also where nothing was claimed: a claim may have been made whose answer was lost.
    pub async fn tick(&self, thorough: bool, stop: &CancellationToken) -> Result<Next, Error> {
        let Some(tenure) = self.lease.tenure() else { return Ok(Next::Rest) };
        // A replica that cannot see the cluster claims nothing: what it claimed it could not follow, and the others can.
        if !self.view.is_complete(&self.cluster.namespaces) {
            return Ok(Next::Soon(BLIND));
        }
        let in_flight = self.creating.snapshot();
        if in_flight.is_empty() {
            self.metrics.nothing_to_do(Loop::Launch);
        }
        let line = self.recovery.line();
        let Some(line) = line.filter(|_| !self.is_cut_off() && self.cluster.reach.blind().is_none()) else {
            return self.tick_blind(thorough, &in_flight, tenure, stop).await;
        };
        let active = self.creating.active.load(Ordering::Relaxed);
        let ahead = self.config.ahead();
        let room = ahead.saturating_sub(active).min(MOST_WAITING.saturating_sub(in_flight.len()));
        // A claim for one costs as much as a claim for many.
        if room < ahead.div_ceil(4) {
            return Ok(Next::Room);
        }
        let pass = self.metrics.pass(Loop::Claim);
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        let delay = self.config.dispatch_delay.as_secs_f64();
        let mut conn = self.db.conn().await?;
        let mut claim = self.claim(&mut conn, room, delay, false, &line).await?;
        let mut inherited = 0;
        if claim == Claim::Chores {
            inherited = self.chores(&mut conn, room).await?;
            claim = self.claim(&mut conn, room, delay, true, &line).await?;
        }
        let claimed = matches!(claim, Claim::Claimed { jobs: 1.., .. });
        if thorough || inherited > 0 || claimed {
            let read_at = Instant::now();
            let mine = claims::mine(&mut conn, self.replica, &in_flight, room);
            for work in self.metrics.timed(Statement::ReadClaims, mine).await? {
                self.spawn(work, read_at, tenure, stop.clone());
            }
        }
        if thorough {
            for queue in claims::refused_queues(&mut conn).await? {
                self.metrics.refused_by_queue(&queue);
            }
        }
        if claim != Claim::Expired {
            pass.succeeded();
        }
        Ok(match claim {
            // The dead may have left more than there was room for.
            _ if inherited == room => Next::Soon(Duration::ZERO),
            Claim::Busy | Claim::Chores => Next::Soon(BUSY.mul_f64(rand::rng().random_range(0.5..1.5))),
            Claim::Full => Next::Full,
            Claim::Claimed { gathering: true, .. } => Next::Soon(self.config.dispatch_delay.max(BUSY) / 4),
            Claim::Expired | Claim::Claimed { jobs: 0, .. } => Next::Rest,
            // More may fit: what was claimed leaves this pass's room behind.
            Claim::Claimed { .. } => Next::Soon(Duration::ZERO),
        })
    }

    async fn claim(
        &self,
        conn: &mut Conn,
        room: i64,
        delay: f64,
        chores_done: bool,
        line: &str,
    ) -> Result<Claim, Error> {
        let claim = claims::claim_and_look(conn, self.replica, room, delay, chores_done, Some(line));
        let (claim, look) = match self.metrics.timed(Statement::Claim, claim).await {
            // A job was cancelled, or waited for too long, between the claim's look and its grasp.
            Err(err) if err.is_moved_away() => return Ok(Claim::Busy),
            claim => claim?,
        };
        if look.line != line {
            tracing::warn!("the database goes on in another line: the cluster is matched to the rows anew");
            self.recovery.begin();
        }
        self.metrics.saw_cap(&look.version, look.cap.into(), look.held);
        if look.refused {
            self.metrics.refused_by_cap();
        }
        if let Claim::Claimed { jobs, .. } = claim {
            self.metrics.claimed(jobs);
        }
        Ok(claim)
    }

    /// Sees to what is due, what waited for too long, and what the dead left; answers how much of that there was.
    async fn chores(&self, conn: &mut Conn, room: i64) -> Result<i64, Error> {
        self.due(conn).await?;
        let inherited = claims::take_over(conn, self.replica, room).await?;
        if inherited > 0 {
            tracing::info!(jobs = inherited, "took over what a dead replica had claimed");
            replicas::forget_dead(conn).await?;
        }
        Ok(inherited)
    }

    /// Sees to what is due, and what waited for too long.
    async fn due(&self, conn: &mut Conn) -> Result<(), Error> {
        for (queue, jobs) in claims::expire(conn, self.replica).await? {
            self.metrics.finished(&queue, jobs, StateName::Failed.name(), Reason::QueueTimeout.name());
            self.signals.raise(Signal::Ended);
        }
        claims::promote(conn, self.replica).await?;
        Ok(())
    }

    fn spawn(&self, work: claims::Work, read_at: Instant, tenure: Tenure, stop: CancellationToken) {
        let id = work.job.id();
        if !self.creating.begin(id) {
            return;
        }
        self.metrics.came_true(id, &work.job.head().queue);
        let scheduler = self.clone();
        self.creating.tasks.spawn(async move {
            let _ending = Ending { creating: &scheduler.creating, id };
            scheduler.create(work, read_at, tenure, stop).await;
        });
    }
}

impl Creating {
    /// `at_once`: the most that talk to Kubernetes at a time.
    pub fn new(at_once: usize) -> Self {
        Self {
            jobs: Mutex::default(),
            doubtful: Mutex::default(),
            active: AtomicUsize::new(0),
            turns: Semaphore::new(at_once),
            ended: Notify::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn snapshot(&self) -> Vec<JobId> {
        locked(&self.jobs).iter().copied().collect()
    }

    fn begin(&self, id: JobId) -> bool {
        locked(&self.jobs).insert(id)
    }

    fn doubt(&self, claim: Nonce) {
        locked(&self.doubtful).insert(claim);
    }

    fn trust(&self, claim: Nonce) {
        locked(&self.doubtful).remove(&claim);
    }

    fn is_doubtful(&self, claim: Nonce) -> bool {
        locked(&self.doubtful).contains(&claim)
    }
}

/// Sets of ids are whole after every statement, so a panic elsewhere leaves nothing half done in them.
fn locked<T>(set: &Mutex<HashSet<T>>) -> MutexGuard<'_, HashSet<T>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets a create when its task ends, even by a panic.
struct Ending<'a> {
    creating: &'a Creating,
    id: JobId,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        locked(&self.creating.jobs).remove(&self.id);
    }
}

/// Counts a create as active for as long as it lives, even if it ends by a panic.
struct Active<'a>(&'a Creating);

impl<'a> Active<'a> {
    fn count(creating: &'a Creating) -> Self {
        creating.active.fetch_add(1, Ordering::Relaxed);
        Self(creating)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.notify_one();
    }
}
