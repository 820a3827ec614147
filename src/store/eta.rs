//! What is measured of slots, for the estimate of when a job starts: see `eta.rs` beside this room. Bounded reads, done for one
//! job at a time.

use crate::{
    eta::{self, Eta, FEWEST_SAMPLES, Facts},
    id::JobId,
};

use super::{Conn, Error, lists};

/// So many attempts that ended last are measured: enough for a ninetieth percentile, and few enough to follow a change.
const MEASURED: i64 = 300;
/// The most holders that are looked at. Of more, these stand for all.
const HOLDERS: i64 = 1_000;
/// The jobs ahead are counted up to here, and estimated beyond.
const COUNTED: i64 = 5_000;

/// What an estimate rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The job's own time is that of jobs of its name.
    Name,
    /// Of its queue.
    Queue,
    /// Of all jobs.
    All,
    TooFewSamples,
    /// A cap is 0, or the queue is paused.
    NothingStarts,
    /// So many jobs of higher priority are ahead that they were not counted.
    TooFar,
}

/// When a job that is pending will start, and on how many measurements that rests.
#[derive(Debug)]
pub struct Estimate {
    pub eta: Option<Eta>,
    pub samples: usize,
    pub basis: Basis,
    pub now: jiff_sqlx::Timestamp,
}

/// Of a pending job; none when it is anything else.
pub async fn estimate(conn: &mut Conn, id: JobId) -> Result<Option<Estimate>, Error> {
    let job = sqlx::query!(
        r#"select j.name, j.queue, j.priority, j.seq, l.cap, h.jobs as held, q.cap as queue_cap,
                  q.paused_at is not null as "paused!", clock_timestamp() as "now!"
             from longshore.jobs_live j
             join longshore.queues q on q.name = j.queue, longshore.limits l, longshore.held h
            where j.id = $1 and j.state || '' = 'pending' and l.name = 'global'"#,
        id.0
    );
    let Some(job) = job.fetch_optional(&mut *conn).await? else { return Ok(None) };
    let nothing = |samples, basis| Ok(Some(Estimate { eta: None, samples, basis, now: job.now }));
    let times = measured(conn, &job.name, &job.queue).await?;
    if times.len() < FEWEST_SAMPLES {
        return nothing(times.len(), Basis::TooFewSamples);
    }
    if job.cap == 0 || job.queue_cap == Some(0) || job.paused {
        return nothing(times.len(), Basis::NothingStarts);
    }
    let Some(ahead) = ahead(conn, &job.queue, job.priority, job.seq).await? else {
        return nothing(times.len(), Basis::TooFar);
    };
    let all: Vec<f64> = times.iter().map(|it| it.secs).collect();
    let of_name: Vec<f64> = times.iter().filter(|it| it.same_name).map(|it| it.secs).collect();
    let of_queue: Vec<f64> = times.iter().filter(|it| it.same_queue).map(|it| it.secs).collect();
    let (alike, basis) = if of_name.len() >= FEWEST_SAMPLES {
        (&of_name, Basis::Name)
    } else if of_queue.len() >= FEWEST_SAMPLES {
        (&of_queue, Basis::Queue)
    } else {
        (&all, Basis::All)
    };
    let seen = holders(conn, &job.queue).await?;
    let (slots, held) = (usize::try_from(job.cap).unwrap_or(0), usize::try_from(job.held).unwrap_or(0));
    // Those that were not looked at are like those that were.
    let holders: Vec<f64> =
        seen.iter().map(|it| it.secs).cycle().take(if seen.is_empty() { 0 } else { held }).collect();
    let seed = id.0.as_u64_pair().1;
    let facts = Facts { slots, holders: &holders, ahead, of_all: &all, of_alike: alike };
    let mut eta = eta::estimate(&facts, seed);
    // Whichever of the two caps lets it start later. Others of its queue run for as long as those of its queue do.
    if let Some(slots) = job.queue_cap.filter(|it| *it < job.cap).and_then(|it| usize::try_from(it).ok()) {
        let ahead = ahead_in_queue(conn, &job.queue, job.priority, job.seq).await?;
        if ahead >= COUNTED {
            return nothing(times.len(), Basis::TooFar);
        }
        let holders: Vec<f64> = seen.iter().filter(|it| it.same_queue).map(|it| it.secs).collect();
        let of_all = if of_queue.len() >= FEWEST_SAMPLES { &of_queue } else { &all };
        let ahead = usize::try_from(ahead).unwrap_or(0);
        let facts = Facts { slots, holders: &holders, ahead, of_all, of_alike: alike };
        eta = eta.zip(eta::estimate(&facts, seed)).map(|(one, other)| one.later(other));
    }
    Ok(Some(Estimate { eta, samples: alike.len(), basis, now: job.now }))
}

/// How long one attempt held its slot.
struct Time {
    secs: f64,
    same_name: bool,
    same_queue: bool,
}

/// Those that ended last.
async fn measured(conn: &mut Conn, name: &str, queue: &str) -> Result<Vec<Time>, Error> {
    Ok(sqlx::query_as!(
        Time,
        r#"select extract(epoch from a.finished_at - a.claimed_at)::float8 as "secs!",
                  coalesce(s.name = $1, false) as "same_name!", coalesce(s.queue = $2, false) as "same_queue!"
             from (select job_id, claimed_at, finished_at from longshore.attempts
                    where finished_at is not null order by finished_at desc limit $3) a
             join longshore.job_specs s on s.job_id = a.job_id"#,
        name,
        queue,
        MEASURED
    )
    .fetch_all(conn)
    .await?)
}

/// For how long a holder has had its slot.
struct Holder {
    secs: f64,
    same_queue: bool,
}

/// The longest first.
async fn holders(conn: &mut Conn, queue: &str) -> Result<Vec<Holder>, Error> {
    Ok(sqlx::query_as!(
        Holder,
        r#"select extract(epoch from clock_timestamp() - claimed_at)::float8 as "secs!", queue = $1 as "same_queue!"
             from longshore.jobs_live
            where state in ('starting', 'running', 'stopping') order by claimed_at, seq limit $2"#,
        queue,
        HOLDERS
    )
    .fetch_all(conn)
    .await?)
}

/// How many jobs of its queue would start before it, up to [`COUNTED`]. Index: jobs_pending.
async fn ahead_in_queue(conn: &mut Conn, queue: &str, priority: i32, seq: i64) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "ahead!"
             from ((select from longshore.jobs_live
                     where queue = $1 and state = 'pending' and priority > $2
                     order by priority desc, seq limit $4)
                   union all
                   (select from longshore.jobs_live
                     where queue = $1 and state = 'pending' and priority = $2 and seq < $3
                     order by seq limit $4)
                   limit $4) ahead"#,
        queue,
        priority,
        seq,
        COUNTED
    )
    .fetch_one(conn)
    .await?)
}

/// How many jobs would start before it: counted, and beyond that as many as their places in the order of submission let
/// expect, if all those that were not counted have its priority. None if they do not.
async fn ahead(conn: &mut Conn, queue: &str, priority: i32, seq: i64) -> Result<Option<usize>, Error> {
    let counted = lists::ahead(conn, queue, priority, seq, COUNTED).await?;
    if counted < COUNTED {
        return Ok(usize::try_from(counted).ok());
    }
    let last = sqlx::query!(
        "select priority, seq from longshore.jobs_live where state = 'pending'
          order by priority desc, seq offset $1::bigint - 1 limit 1",
        COUNTED
    );
    let Some(last) = last.fetch_optional(&mut *conn).await?.filter(|it| it.priority == priority) else {
        return Ok(None);
    };
    let equals = sqlx::query!(
        r#"select min(seq) as "first!", count(*) as "jobs!"
             from (select priority, seq from longshore.jobs_live where state = 'pending'
                    order by priority desc, seq limit $2) counted
            where priority = $1"#,
        priority,
        COUNTED
    );
    let equals = equals.fetch_one(conn).await?;
    let density = equals.jobs as f64 / (last.seq - equals.first + 1).max(1) as f64;
    Ok(Some(counted as usize + ((seq - last.seq).max(0) as f64 * density.min(1.0)) as usize))
}
