-- Cancels a job that waits, or notes the wish for one that holds a slot. Index: jobs_live_pkey.
-- Locking the row first makes the state that `before` reads the state that is moved.
with clock as materialized (
    select clock_timestamp() as now
), before as materialized (
    select id, queue, state, attempt, cancel_requested_at from longshore.jobs_live where id = $1 for update
), cancelled as (
    update longshore.jobs j
    set state = 'cancelled', version = version + 1, reason = 'cancelled', message = 'cancelled while it waited',
        due_at = null, wait_code = null, wait_message = null, wait_since = null,
        cancel_requested_at = clock.now, finished_at = clock.now, part = clock.now
    from before b, clock
    where j.id = $1 and j.part = 'infinity' and b.state in ('pending', 'scheduled')
    returning j.id
), requested as (
    update longshore.jobs_live j
    set cancel_requested_at = clock.now
    from before b, clock
    where j.id = $1 and b.state in ('starting', 'running', 'stopping') and b.cancel_requested_at is null
    returning j.id
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt, state, 'cancelled', 'cancelled', 'cancelled while it waited', $2::uuid
    from before where id in (select id from cancelled)
    union all
    select id, attempt, state, state, 'cancel_requested', null, $2::uuid
    from before where id in (select id from requested)
)
select state, queue from before
