-- How many events the snapshot $1 did not show and $2 (none: the one of now) does, counted up to $3, and the least id among
-- those of transactions that began after $1. Index: job_events_by_tx.
with span as materialized (
    select $1::text::pg_snapshot as since, coalesce($2::text::pg_snapshot, pg_current_snapshot()) as till
), fresh as materialized (
    select count(*) as events, min(id) as least
    from (select id from longshore.job_events
           where tx >= (select pg_snapshot_xmax(since) from span) and tx < (select pg_snapshot_xmax(till) from span)
           limit $3) f
), late as materialized (
    select count(*) as events
    from longshore.job_events
    where tx = any(array(select pg_snapshot_xip(since) from span))
      and pg_visible_in_snapshot(tx, (select till from span))
)
select span.till::text as "till!", longshore.event_epoch() as "epoch!",
       (extract(epoch from clock_timestamp()) * 1000)::bigint as "millis!",
       fresh.events + late.events as "events!", coalesce(fresh.least, 0) as "least!"
from span, fresh, late
