-- Makes a job that failed or was cancelled wait for a slot again; answers the state in which it was, and whether it does. Its row comes back to
-- the partition of what is not over. Index: the primary key of each partition.
-- Locking the row first makes the state that `before` reads the state that is moved.
with clock as materialized (
    select clock_timestamp() as now
), before as materialized (
    select id, part, state, attempt from longshore.jobs where id = $1 for update
), again as (
    update longshore.jobs j
    set state = 'pending', version = version + 1, reason = null, message = null, finished_at = null, part = 'infinity',
        cancel_requested_at = null, pending_at = clock.now,
        expires_at = clock.now + make_interval(secs => (j.policy ->> 'queue_timeout_secs')::double precision)
    from before b, clock
    where j.id = $1 and j.part = b.part and b.state in ('failed', 'cancelled')
      -- There is nothing to run.
      and j.reason is distinct from 'refused'
    returning j.id
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
    select id, attempt, state, 'pending', 'retried', $2::uuid from before where id in (select id from again)
)
select state, exists (select from again) as "again!" from before
