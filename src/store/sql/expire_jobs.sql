-- Ends jobs that have waited for longer than their queue_timeout. Index: jobs_expiring.
with clock as materialized (
    select clock_timestamp() as now
), late as materialized (
    select l.id, l.state, l.wait_message,
           format('it waited for longer than its queue_timeout of %s s', (l.policy ->> 'queue_timeout_secs')::float8)
           || coalesce('; the last that was known: ' || l.wait_message, '') as message
    from longshore.jobs_live l
    where l.expires_at <= (select clock_timestamp()) and l.expires_at is not null and l.state in ('scheduled', 'pending')
    order by l.expires_at
    limit $2
    for update skip locked
), ended as (
    update longshore.jobs j
    set state = 'failed', version = version + 1, reason = 'queue_timeout', message = late.message,
        due_at = null, wait_code = null, wait_message = null, wait_since = null,
        finished_at = clock.now, part = clock.now
    from clock, late
    where j.id = any(array(select id from late)) and j.part = 'infinity' and j.id = late.id
      and j.state in ('scheduled', 'pending')
    returning j.id, j.queue, j.attempt, late.state as before, late.message
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt, before, 'failed', 'queue_timeout', message, $1 from ended
)
select queue as "queue!", count(*) as "ended!" from ended group by queue
