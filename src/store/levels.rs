//! How things are by the rows, for metrics: bounded reads, in one transaction that gives up soon.
//!
//! Only what is not over is counted, and of what waits no more than a bound: a long backlog is read up to it and no further.

use sqlx::Connection;

use crate::{
    lifecycle::{StateName, WaitCode},
    metrics::{
        OTHER,
        levels::{Levels, QueueLevel},
    },
};

use super::{Conn, Error};

/// How many pending jobs are counted of all queues together, some tenth of a second. Each queue has an equal share of it.
const COUNTED: i64 = 200_000;
/// The smallest share of a queue.
const LEAST: i64 = 1_000;
/// How many jobs that are scheduled, or hold a slot, are counted.
const COUNTED_OTHERS: i64 = 100_000;
/// How many deliveries are counted that wait.
const DELIVERIES: i64 = 10_001;

/// Reads all of it, or fails after two seconds a statement.
pub async fn read(conn: &mut Conn) -> Result<Levels, Error> {
    let mut tx = conn.begin().await?;
    sqlx::query!("set local statement_timeout = '2s'").execute(&mut *tx).await?;
    let mut levels = of_all(&mut tx).await?;
    queues(&mut tx, &mut levels).await?;
    others(&mut tx, &mut levels).await?;
    tx.commit().await?;
    Ok(levels)
}

async fn of_all(conn: &mut Conn) -> Result<Levels, Error> {
    let row = sqlx::query!(
        r#"select l.cap, h.jobs as held,
                  (select count(*) from (select from longshore.webhooks w
                                          cross join lateral (select from longshore.webhook_deliveries d
                                                               where d.webhook_id = w.id and d.state = 'pending' limit $1) d
                                          limit $1) b) as "backlog!",
                  (select count(*) from longshore.partitions) as "partitions!",
                  (select coalesce(sum(greatest(c.reltuples, 0)), 0)::float8
                     from pg_inherits i join pg_class c on c.oid = i.inhrelid
                    where i.inhparent = 'longshore.jobs'::regclass and c.oid <> 'longshore.jobs_live'::regclass) as "finished!"
             from longshore.limits l, longshore.held h where l.name = 'global'"#,
        DELIVERIES
    )
    .fetch_one(conn)
    .await?;
    Ok(Levels {
        cap: row.cap.into(),
        held: row.held,
        webhook_backlog: row.backlog,
        partitions: row.partitions,
        finished_rows: row.finished,
        ..Levels::default()
    })
}

/// The queues, and what is pending in each. Index: jobs_pending.
async fn queues(conn: &mut Conn, levels: &mut Levels) -> Result<(), Error> {
    let rows = sqlx::query!(
        r#"with share as materialized (
               select greatest($1, $2 / greatest(count(*), 1)) as jobs from longshore.queues
           )
           select q.name, q.xmin::text as "version!", q.cap, q.max_pending, q.paused_at is not null as "paused!",
                  coalesce((select h.jobs from longshore.held_of_queue h where h.queue = q.name), 0) as "held!",
                  p.jobs as "pending!", coalesce(extract(epoch from clock_timestamp() - p.oldest), 0)::float8 as "oldest!"
             from share, longshore.queues q
             cross join lateral (
                 select count(*) as jobs, min(pending_at) as oldest
                 from (select pending_at from longshore.jobs_live where queue = q.name and state = 'pending'
                        order by priority desc, seq
                        limit greatest(share.jobs, least(q.max_pending, $2))) w) p"#,
        LEAST,
        COUNTED
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let queue = QueueLevel {
            version: row.version,
            cap: row.cap.map(i64::from),
            held: row.held,
            max_pending: row.max_pending.map(i64::from),
            paused: row.paused,
            oldest_secs: row.oldest.max(0.0),
            name: row.name,
        };
        // The same words, in the same order, as `longshore.why` has.
        let reason = match () {
            () if queue.paused => "queue_paused",
            () if levels.cap == 0 => "global_cap",
            () if queue.cap.is_some_and(|cap| queue.held >= cap) => "queue_cap",
            () if levels.held >= levels.cap => "global_cap",
            () => "next",
        };
        // A queue without a series cannot be told from one whose series went missing, so that it has one at all times.
        levels.jobs.push((queue.name.clone(), StateName::Pending.name(), reason, row.pending));
        levels.queues.push(queue);
    }
    Ok(())
}

/// What is scheduled or holds a slot, by what it waits for. Indexes: jobs_due, jobs_holding.
async fn others(conn: &mut Conn, levels: &mut Levels) -> Result<(), Error> {
    let rows = sqlx::query!(
        r#"select queue as "queue!", state as "state!", wait_code, count(*) as "jobs!"
             from ((select queue, state, wait_code from longshore.jobs_live where state = 'scheduled'
                     order by due_at limit $1)
                   union all
                   (select queue, state, wait_code from longshore.jobs_live
                     where state in ('starting', 'running', 'stopping') limit $1)) j
            group by queue, state, wait_code"#,
        COUNTED_OTHERS
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let Some(state) = StateName::from_name(&row.state) else { continue };
        let reason = match row.wait_code {
            None if state == StateName::Scheduled => "not_yet_due",
            None => "",
            Some(code) => WaitCode::from_name(&code).map_or(OTHER, WaitCode::name),
        };
        levels.jobs.push((row.queue, state.name(), reason, row.jobs));
    }
    Ok(())
}
