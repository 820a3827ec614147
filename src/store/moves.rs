//! Moving jobs along their lifecycle: each move guarded by the row it was read from, those of many jobs in one statement.

use std::sync::Arc;

use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::{
    effects::{self, Effect},
    id::ReplicaId,
    lifecycle::{AttemptEnd, Facts, LeadsTo, Log, State, StateName},
    metrics::{AttemptOutcome, Exit, Metrics, Statement},
};

use super::{Conn, Db, Error, gather::Gather, jobs::Job};

/// How many statements that move jobs are under way at a time. With one, the moves of a busy replica share it; with two,
/// there were twice as many statements of half the size.
const AT_ONCE: usize = 1;

/// How a move ended.
#[must_use]
#[derive(Debug)]
pub enum Moved<To> {
    Done(Job<To>),
    /// Someone else moved the job first; read it again.
    Lost,
}

/// The moves of one replica. What is asked while a statement is under way shares the next one, and its commit.
pub struct Moves(Arc<Gather<Move, Option<i64>>>);

impl Moves {
    pub fn new(db: Arc<Db>, by: ReplicaId) -> Self {
        Self::measured(db, by, Metrics::new())
    }

    /// The same, each move counted by whoever commits it.
    pub fn measured(db: Arc<Db>, by: ReplicaId, metrics: Arc<Metrics>) -> Self {
        Self(Gather::new(db, AT_ONCE, move |conn, moves| {
            let metrics = metrics.clone();
            Box::pin(async move { metrics.timed(Statement::Move, make(conn, by, moves, &metrics)).await })
        }))
    }

    /// Moves `job` along one edge that keeps its slot, if its row has not moved since it was read.
    pub async fn advance<From, To>(&self, job: Job<From>, to: To, facts: &Facts) -> Result<Moved<To>, Error>
    where
        From: LeadsTo<To>,
        To: State,
    {
        self.make(job, to, facts, None).await
    }

    /// Moves `job` along one edge that ends its attempt, and with that gives its slot up.
    pub async fn end<From, To>(
        &self,
        job: Job<From>,
        to: To,
        facts: &Facts,
        end: &AttemptEnd,
    ) -> Result<Moved<To>, Error>
    where
        From: LeadsTo<To>,
        To: State,
    {
        self.make(job, to, facts, Some(end)).await
    }

    async fn make<From, To>(
        &self,
        job: Job<From>,
        to: To,
        facts: &Facts,
        end: Option<&AttemptEnd>,
    ) -> Result<Moved<To>, Error>
    where
        From: LeadsTo<To>,
        To: State,
    {
        match self.0.ask(Move::new::<From, To>(&job, &to, facts, end)).await {
            Ok(Some(version)) => Ok(Moved::Done(job.moved(to, version))),
            Ok(None) => Ok(Moved::Lost),
            // The row left the partition of what is not over while the statement waited for it: somebody ended the job.
            Err(err) if err.is_moved_away() => Ok(Moved::Lost),
            Err(err) => Err(err),
        }
    }
}

/// One move, as the statement takes it.
struct Move {
    effect: Effect,
    id: Uuid,
    version: i64,
    /// Whether it was claimed, and no more.
    is_first: bool,
    from: &'static str,
    to: &'static str,
    replica: Option<Uuid>,
    nonce: Option<Uuid>,
    uid: Option<String>,
    kube_name: Option<String>,
    reason: Option<&'static str>,
    message: Option<String>,
    wait_code: Option<&'static str>,
    wait_message: Option<String>,
    due_in_secs: Option<f64>,
    facts: Facts,
    end: Option<AttemptEnd>,
}

impl Move {
    fn new<From: LeadsTo<To>, To: State>(job: &Job<From>, to: &To, facts: &Facts, end: Option<&AttemptEnd>) -> Self {
        let columns = to.columns();
        let effect = match To::NAME {
            StateName::Starting => Effect::RecordCreated,
            StateName::Running => Effect::RecordRunning,
            StateName::Stopping => Effect::RecordStopping,
            StateName::Scheduled => Effect::RecordRetry,
            StateName::Pending | StateName::Succeeded | StateName::Failed | StateName::Cancelled => {
                Effect::RecordEnding
            }
        };
        Self {
            effect,
            id: job.id().0,
            version: job.version(),
            is_first: From::NAME == StateName::Starting && job.state().columns().uid.is_none(),
            from: From::NAME.name(),
            to: To::NAME.name(),
            replica: columns.replica.map(|it| it.0),
            nonce: columns.nonce.map(|it| it.0),
            uid: columns.uid.map(|it| it.0.clone()),
            kube_name: columns.uid.map(|_| job.head().kube_name()),
            reason: columns.ending.map(|it| it.reason.name()),
            message: columns.ending.map(|it| it.message.clone()),
            wait_code: columns.wait.map(|it| it.code.name()),
            wait_message: columns.wait.map(|it| it.message.clone()),
            due_in_secs: columns.due_in_secs,
            facts: facts.clone(),
            end: end.cloned(),
        }
    }
}

impl Move {
    /// What is measured of it, now that it is committed.
    fn measure<'a>(&self, queue: &'a str, waited: Option<f64>, began: Option<f64>, ran: Option<f64>) -> Exit<'a> {
        let to = StateName::from_name(self.to);
        let ends = self.end.as_ref();
        let outcome = match to {
            Some(StateName::Succeeded) => AttemptOutcome::Succeeded,
            Some(StateName::Cancelled) => AttemptOutcome::Cancelled,
            _ if ends.is_some_and(|it| it.counts == Some(false)) => AttemptOutcome::Interrupted,
            _ => AttemptOutcome::Failed,
        };
        // A job may have run and ended between two looks: then it tells only at its end when it began.
        let began_now = to == Some(StateName::Running) || (ends.is_some() && self.from == StateName::Starting.name());
        Exit {
            queue,
            waited: waited.filter(|_| self.is_first).map(|it| it.max(0.0)),
            // It may be the pod's own time, whose clock is another.
            started: began.filter(|_| began_now).map(|it| it.max(0.0)),
            attempt: ends.map(|_| (outcome, ran.map(|it| it.max(0.0)))),
            finished: to.filter(|it| it.is_finished()).map(|it| (it.name(), self.reason.unwrap_or_default())),
        }
    }
}

/// Makes `moves` in one transaction; answers for each the row's new version, or nothing where the row had moved.
async fn make(conn: &mut Conn, by: ReplicaId, moves: &[Move], metrics: &Metrics) -> Result<Vec<Option<i64>>, Error> {
    // In one order, so that two statements that move the same jobs do not wait for each other in a circle.
    let mut order: Vec<usize> = (0..moves.len()).collect();
    order.sort_by_key(|it| moves[*it].id);
    let all = Ordered { moves, order: &order };
    let mut effects: Vec<Effect> = moves.iter().map(|it| it.effect).collect();
    effects.sort();
    effects.dedup();
    let rows = effects::at_all(&effects, async {
        let rows = sqlx::query_file!(
            "src/store/sql/advance_jobs.sql",
            &all.column(|it| it.id),
            &all.column(|it| it.version),
            &all.column(|it| it.from) as _,
            &all.column(|it| it.to) as _,
            &all.column(|it| it.replica) as _,
            &all.column(|it| it.nonce) as _,
            &all.column(|it| it.uid.as_deref()) as _,
            &all.column(|it| it.reason) as _,
            &all.column(|it| it.message.as_deref()) as _,
            &all.column(|it| it.wait_code) as _,
            &all.column(|it| it.wait_message.as_deref()) as _,
            &all.column(|it| it.due_in_secs) as _,
            &all.column(|it| it.end.as_ref().and_then(|it| it.counts)) as _,
            &all.column(|it| it.kube_name.as_deref()) as _,
            &all.column(|it| it.facts.node.as_deref()) as _,
            &all.column(|it| it.facts.pod.as_deref()) as _,
            &all.column(|it| it.facts.container.as_deref()) as _,
            &all.column(|it| it.facts.exit_code) as _,
            &all.column(|it| it.facts.termination_message.as_deref()) as _,
            &all.column(|it| it.end.as_ref().map(|it| it.ending.reason.name())) as _,
            &all.column(|it| it.end.as_ref().map(|it| it.ending.message.as_str())) as _,
            &all.column(|it| it.end.as_ref().and_then(|it| it.log).map(Log::name)) as _,
            &all.column(|it| it.facts.started_at.map(|it| it.to_sqlx())) as _,
            by.0,
        )
        .fetch_all(conn)
        .await?;
        Ok::<_, Error>(rows)
    })
    .await?;
    let mut versions = vec![None; moves.len()];
    for row in rows {
        // Rows are numbered from one.
        let place = usize::try_from(row.nth - 1).ok().and_then(|nth| order.get(nth));
        let Some((it, version)) = place.and_then(|it| Some((moves.get(*it)?, versions.get_mut(*it)?))) else {
            continue;
        };
        *version = Some(row.version);
        metrics.moved(&it.measure(&row.queue, row.waited, row.began, row.ran));
    }
    Ok(versions)
}

/// Moves in the order in which the statement takes them.
struct Ordered<'a> {
    moves: &'a [Move],
    order: &'a [usize],
}

impl<'a> Ordered<'a> {
    fn column<T>(&self, of: impl Fn(&'a Move) -> T) -> Vec<T> {
        self.order.iter().filter_map(|it| self.moves.get(*it)).map(of).collect()
    }
}
