-- Events that the snapshot $1 did not show and $2 does, in the order of their ids, after event $3. Those of transactions that
-- were under way at $1 are few, and found by transaction (index: job_events_by_tx); the others by their id, from $4 on, which
-- none of them is below (index: job_events_pkey). `is true` keeps the planner from finding each
-- by the other's index, where it would read all there are for each page.
with late as materialized (
    select id, at, job_id, attempt, from_state, to_state, reason, message, replica
    from longshore.job_events
    where tx = any(array(select pg_snapshot_xip($1::text::pg_snapshot)))
      and (id > $3) is true and pg_visible_in_snapshot(tx, $2::text::pg_snapshot)
), page as (
    (select * from late order by id limit 1000)
    union all
    (select id, at, job_id, attempt, from_state, to_state, reason, message, replica
     from longshore.job_events
     where id > $3 and id >= $4
       and (tx >= pg_snapshot_xmax($1::text::pg_snapshot)) is true
       and pg_visible_in_snapshot(tx, $2::text::pg_snapshot)
     order by id
     limit 1000)
)
select e.id as "id!", e.at as "at!: _", e.job_id as "job_id!", e.attempt as "attempt!", e.from_state,
       e.to_state as "to_state!", e.reason as "reason!", e.message, e.replica,
       j.name as "name?", j.queue as "queue?", j.priority as "priority?"
from (select * from page order by id limit 1000) e
left join longshore.jobs j on j.id = e.job_id
order by e.id
