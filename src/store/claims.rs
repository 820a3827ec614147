//! Claiming: taking slots for the best pending jobs, exactly as many as the cap has left.
//!
//! Why it is exact. Two rows are locked, each in a statement of its own: the cap's, which keeps other claimers and changes
//! of the cap away, and the one that says how many slots are held, which every statement that takes or frees slots changes
//! in its own transaction. A third statement then claims what fits. Under READ COMMITTED a locked row is read as it was
//! committed last, so the claim knows of every other one. Read before the lock, or under REPEATABLE READ, the number could
//! be older than the lock, and two claimers could spend one slot.
//!
//! The number cannot leak: triggers on the jobs keep it, by as many as their statement moved, and commit or roll back with
//! them (migrations/0004_the_claim.sql). Counting the holders for each claim was exact as well; it took 6 ms under the lock
//! at 100,000, and a hundred times as long while somebody's old snapshot kept dead rows alive.
//!
//! The lock is tried, not waited for: one claimer at a time is enough, and the others look again when next woken.
//!
//! A claim only marks rows. What this replica has to create is then read from the rows ([`mine`]), so that a claim whose
//! answer got lost, a take-over, and a claim that went well are one and the same to what follows.

use rand::RngExt;

use crate::{
    effects::{self, Effect},
    id::{JobId, ReplicaId},
    lifecycle::{Claimed, Edge, Failed, Pending, Scheduled, Wait},
    spec::Spec,
    traces,
};

use super::{
    Conn, Error,
    jobs::{Job, Row},
};

/// The most jobs one transaction claims: it bounds how long the cap stays locked, a few milliseconds.
pub const CLAIM_BATCH: i64 = 100;
/// The most waiting jobs that one statement makes pending, or ends.
const SWEEP_BATCH: i64 = 1000;
/// The longest that a job is put aside at a time, in seconds.
const LONGEST_ASIDE_SECS: f64 = 60.0;
/// The replica of a claim that its own let go of. It gives no signs of life.
pub(super) const NOBODY: uuid::Uuid = uuid::Uuid::nil();

/// How a pass of claiming ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Jobs are due, or too late, or were left by a dead replica: [`promote`], [`expire`] and [`take_over`] come first.
    Chores,
    /// Another replica is claiming.
    Busy,
    /// This replica's own heartbeat is too old for it to claim anything.
    Expired,
    /// Every slot is held.
    Full,
    /// So many jobs were claimed.
    Claimed {
        jobs: usize,
        /// Whether slots are left, and jobs wait that may start as soon as their burst is complete.
        gathering: bool,
    },
}

/// How the global cap was just before a pass of claiming, in one snapshot.
#[derive(Debug)]
pub struct Look {
    /// Changes whenever somebody writes the cap.
    pub version: String,
    pub cap: i32,
    pub held: i64,
    /// Whether jobs were waiting, where every slot was held.
    pub refused: bool,
    /// Which line of the database it was in.
    pub line: String,
}

/// Claims up to `most` of the best pending jobs, never more than the cap has slots left. A queue that was idle is first
/// given `gather_secs` for a burst to arrive whole. Does nothing as long as there are chores, unless `chores_done`.
pub async fn claim(
    conn: &mut Conn,
    replica: ReplicaId,
    most: i64,
    gather_secs: f64,
    chores_done: bool,
) -> Result<Claim, Error> {
    Ok(claim_and_look(conn, replica, most, gather_secs, chores_done, None).await?.0)
}

/// The same, and how full the cap was before. Claims nothing where the database is not in the line that is named
/// (`longshore.event_epoch()`): it was restored, or failed over, since the rows were matched to the cluster.
pub async fn claim_and_look(
    conn: &mut Conn,
    replica: ReplicaId,
    most: i64,
    gather_secs: f64,
    chores_done: bool,
    line: Option<&str>,
) -> Result<(Claim, Look), Error> {
    const _: Edge<Pending, Claimed> = Edge::EXISTS;
    let row = effects::at(Effect::Claim, async {
        let most = i32::try_from(most.min(CLAIM_BATCH)).unwrap_or_default();
        let claimed = sqlx::query!(
            r#"select c.outcome as "outcome!", c.jobs as "jobs!", c.gathering as "gathering!", l.xmin::text as "version!",
                      l.cap, h.jobs as held, longshore.event_epoch() as "line!",
                      case when c.outcome = 'full' then exists (select from longshore.jobs_live where state = 'pending')
                           else false end as "refused!"
                 from longshore.held h, longshore.limits l, 
                      longshore.claim($1, case when $5::text is null or longshore.event_epoch() = $5 then $2 else 0 end, $3, $4) c
                where l.name = 'global'"#,
            replica.0,
            most,
            gather_secs,
            chores_done,
            line
        );
        Ok::<_, Error>(claimed.fetch_one(conn).await?)
    });
    let row = row.await?;
    let claim = match row.outcome.as_str() {
        "chores" => Claim::Chores,
        "busy" => Claim::Busy,
        "expired" => Claim::Expired,
        "full" => Claim::Full,
        "claimed" => Claim::Claimed { jobs: usize::try_from(row.jobs).unwrap_or(0), gathering: row.gathering },
        other => return Err(Error::Unknown { table: "claim()", what: format!("outcome {other:?}") }),
    };
    Ok((claim, Look { version: row.version, cap: row.cap, held: row.held, refused: row.refused, line: row.line }))
}

/// The queues in which jobs wait while every slot of their own cap is held.
pub async fn refused_queues(conn: &mut Conn) -> Result<Vec<String>, Error> {
    let names = sqlx::query_scalar!(
        "select q.name
           from longshore.queues q join longshore.held_of_queue h on h.queue = q.name
          where q.cap is not null and q.paused_at is null and h.jobs >= q.cap
            and exists (select from longshore.jobs_live where queue = q.name and state = 'pending')"
    );
    Ok(names.fetch_all(conn).await?)
}

/// Compares the number of held slots with the rows, and puts it right if it differs; answers by how much it was too high.
/// Anything but 0 is a fault of ours, or of a hand that switched triggers off.
pub async fn check_held(conn: &mut Conn) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(r#"select longshore.check_held() as "it!""#).fetch_one(conn).await?)
}

/// Takes over up to `most` claimed jobs of dead replicas, with their nonces: a create that the dead one sent is met, and
/// recognised, by the survivor's own. Returns how many.
pub async fn take_over(conn: &mut Conn, replica: ReplicaId, most: i64) -> Result<i64, Error> {
    const _: Edge<Claimed, Claimed> = Edge::EXISTS;
    effects::at(Effect::TakeOver, async {
        let taken =
            sqlx::query_file_scalar!("src/store/sql/take_over_jobs.sql", replica.0, most, NOBODY).fetch_one(conn).await;
        none_if_moved_away(taken)
    })
    .await
}

/// A job to be created, with what it is to do.
pub struct Work {
    pub job: Job<Claimed>,
    /// Or why it cannot be read: a later version wrote it.
    pub spec: Result<Spec, serde_json::Error>,
    pub spec_hash: String,
    /// Whether another replica ever answered for it, and may have sent something: for good, even if it came back to the
    /// one that claimed it.
    pub inherited: bool,
    /// Whether it was put aside for a quota before.
    pub was_aside: bool,
    /// The trace that it goes on with, where one was kept.
    pub trace: Option<traces::Claim>,
}

/// Up to `most` jobs that `replica` has claimed and not created, best first, except those `in_flight`.
pub async fn mine(conn: &mut Conn, replica: ReplicaId, in_flight: &[JobId], most: i64) -> Result<Vec<Work>, Error> {
    let in_flight: Vec<uuid::Uuid> = in_flight.iter().map(|it| it.0).collect();
    let rows = sqlx::query!(
        r#"select j.id, j.version, j.attempt, j.name, j.namespace, j.queue, j.state, j.nonce as "nonce!", j.replica,
                  j.cancel_requested_at is not null as "cancel_requested!", j.policy, j.failed_attempts, j.interruptions,
                  coalesce(j.wait_code = 'quota', false) as "was_aside!",
                  extract(epoch from clock_timestamp() - j.claimed_at)::float8 as "held_secs!",
                  s.spec, s.spec_hash, a.taken_over, s.traceparent, a.pending_at, a.claimed_at
             from longshore.jobs_live j
             join longshore.job_specs s on s.job_id = j.id
             join longshore.attempts a on a.job_id = j.id and a.attempt = j.attempt
            where j.replica = $1 and not j.id = any($2)
            order by j.priority desc, j.seq
            limit $3"#,
        replica.0,
        &in_flight,
        most
    )
    .fetch_all(conn)
    .await?;
    let mut work = Vec::with_capacity(rows.len());
    for row in rows {
        let claimed = Row {
            id: row.id,
            version: row.version,
            attempt: row.attempt,
            name: row.name,
            namespace: row.namespace,
            queue: row.queue,
            state: row.state,
            nonce: row.nonce,
            replica: row.replica,
            kube_uid: None,
            reason: None,
            message: None,
            cancel_requested: row.cancel_requested,
            policy: row.policy,
            failed_attempts: row.failed_attempts,
            interruptions: row.interruptions,
            wait_code: None,
            held_secs: row.held_secs,
            start_secs: None,
            run_secs: None,
            wait_secs: None,
        };
        let id = JobId(claimed.id);
        match claimed.into_claimed() {
            Ok(job) => work.push(Work {
                job,
                spec: serde_json::from_value(row.spec),
                spec_hash: row.spec_hash,
                inherited: row.taken_over,
                was_aside: row.was_aside,
                trace: row.traceparent.map(|traceparent| traces::Claim {
                    traceparent,
                    waited: (row.pending_at.to_jiff().into(), row.claimed_at.to_jiff().into()),
                }),
            }),
            // One row that this version cannot read must not keep the others from being created.
            Err(err) => tracing::error!(job = %id, error = %err, "left a claimed job alone"),
        }
    }
    Ok(work)
}

/// Whether a claim that was read a while ago still stands as it was, and whether its job is to be cancelled; none when
/// someone else moved it.
pub async fn stands(conn: &mut Conn, replica: ReplicaId, job: &Job<Claimed>) -> Result<Option<bool>, Error> {
    let cancel_requested = sqlx::query_scalar!(
        r#"select cancel_requested_at is not null as "asked!" from longshore.jobs_live
            where id = $1 and version = $2 and replica = $3"#,
        job.id().0,
        job.version(),
        replica.0
    );
    Ok(cancel_requested.fetch_optional(conn).await?)
}

/// How giving a claim back ended.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum HandBack {
    Done,
    /// Someone else has the job by now.
    Lost,
}

/// Proof that no request made the Kubernetes Job of a claim, nor will: none was ever sent, by anyone, or each was refused in
/// so many words.
pub struct NeverMade(());

impl Work {
    /// For the one caller that sends the requests, before it sends the first, and who gives it up at the first of them
    /// that may have been carried out. None for a job that was taken over.
    pub fn never_made(&self) -> Option<NeverMade> {
        (!self.inherited).then_some(NeverMade(()))
    }
}

/// Gives a claim back as if it had never been made: the job is pending again in its old place, and the attempt's number
/// is free, which is safe only because nothing was ever made under it.
pub async fn hand_back(
    conn: &mut Conn,
    replica: ReplicaId,
    job: &Job<Claimed>,
    why: &str,
    proof: NeverMade,
) -> Result<HandBack, Error> {
    const _: Edge<Claimed, Pending> = Edge::EXISTS;
    give_back(conn, replica, job, None, why, proof).await
}

/// Lets go of a claim whatever was sent under it: whoever can create takes it over ([`take_over`]) as it takes over what the
/// dead left, with its nonce. For who will send nothing more under it, and whose last request was given up long ago.
///
/// One guarded statement, so a crash before it leaves the claim with this replica, and one after it leaves it as a crash of
/// the replica would have. In between there is nobody who answers for it, and nobody who would create for it.
pub async fn let_go(conn: &mut Conn, replica: ReplicaId, job: &Job<Claimed>, why: &str) -> Result<HandBack, Error> {
    const _: Edge<Claimed, Claimed> = Edge::EXISTS;
    let done = effects::at(Effect::HandBack, async {
        let (id, version) = (job.id().0, job.version());
        let let_go = sqlx::query_file_scalar!("src/store/sql/let_go_claim.sql", id, replica.0, version, NOBODY, why);
        Ok::<_, Error>(let_go.fetch_one(conn).await?)
    })
    .await?;
    Ok(if done == 1 { HandBack::Done } else { HandBack::Lost })
}

/// The same for a job that cannot be created for now and should not hold its slot meanwhile: it is scheduled for later,
/// and the longer it has been put aside, the longer.
pub async fn put_aside(
    conn: &mut Conn,
    replica: ReplicaId,
    job: &Job<Claimed>,
    wait: &Wait,
    proof: NeverMade,
) -> Result<HandBack, Error> {
    const _: Edge<Claimed, Scheduled> = Edge::EXISTS;
    give_back(conn, replica, job, Some(wait), &wait.message, proof).await
}

async fn give_back(
    conn: &mut Conn,
    replica: ReplicaId,
    job: &Job<Claimed>,
    wait: Option<&Wait>,
    told: &str,
    _: NeverMade,
) -> Result<HandBack, Error> {
    let effect = if wait.is_some() { Effect::PutAside } else { Effect::HandBack };
    let done = effects::at(effect, async {
        Ok::<_, Error>(
            sqlx::query_file_scalar!(
                "src/store/sql/hand_back_claim.sql",
                job.id().0,
                replica.0,
                job.version(),
                wait.map(|it| it.code.name()),
                wait.map(|it| it.message.as_str()),
                rand::rng().random_range(1.0..1.3),
                LONGEST_ASIDE_SECS,
                told
            )
            .fetch_one(conn)
            .await?,
        )
    })
    .await?;
    Ok(if done == 1 { HandBack::Done } else { HandBack::Lost })
}

/// The namespaces in which jobs are put aside because a quota is used up.
pub async fn out_of_quota(conn: &mut Conn) -> Result<Vec<String>, Error> {
    let names = sqlx::query_scalar!(
        "select distinct namespace from longshore.jobs_live where state = 'scheduled' and wait_code = 'quota'"
    );
    Ok(names.fetch_all(conn).await?)
}

/// Lets the best job of `namespace` that is put aside for a quota try again now; answers whether there is one.
pub async fn quota_freed(conn: &mut Conn, namespace: &str) -> Result<bool, Error> {
    let hastened = sqlx::query!(
        "update longshore.jobs_live set due_at = clock_timestamp()
          where id in (select id from longshore.jobs_live
                        where state = 'scheduled' and wait_code = 'quota' and namespace = $1
                        order by priority desc, seq limit 1
                        for update skip locked)
            and state = 'scheduled'",
        namespace
    );
    Ok(hastened.execute(conn).await?.rows_affected() > 0)
}

/// Makes scheduled jobs whose time has come pending; returns how many.
pub async fn promote(conn: &mut Conn, replica: ReplicaId) -> Result<i64, Error> {
    const _: Edge<Scheduled, Pending> = Edge::EXISTS;
    effects::at(Effect::Promote, async {
        let promoted =
            sqlx::query_file_scalar!("src/store/sql/promote_jobs.sql", replica.0, SWEEP_BATCH, LONGEST_ASIDE_SECS);
        none_if_moved_away(promoted.fetch_one(conn).await)
    })
    .await
}

/// Ends jobs that have waited for longer than their `queue_timeout`; returns how many of which queue.
pub async fn expire(conn: &mut Conn, replica: ReplicaId) -> Result<Vec<(String, u64)>, Error> {
    const _: (Edge<Pending, Failed>, Edge<Scheduled, Failed>) = (Edge::EXISTS, Edge::EXISTS);
    effects::at(Effect::Expire, async {
        let ended = sqlx::query_file!("src/store/sql/expire_jobs.sql", replica.0, SWEEP_BATCH);
        let ended = none_if_moved_away(ended.fetch_all(conn).await)?;
        Ok::<_, Error>(ended.into_iter().map(|it| (it.queue, it.ended as u64)).collect())
    })
    .await
}

/// How many rows a statement took; none when one of them was just moved among what is over, which undid it all. It finds
/// the others the next time it looks, and what comes after it in a pass of claiming is not kept waiting.
fn none_if_moved_away<T: Default>(taken: Result<T, sqlx::Error>) -> Result<T, Error> {
    match taken.map_err(Error::from) {
        Err(err) if err.is_moved_away() => Ok(T::default()),
        taken => taken,
    }
}
