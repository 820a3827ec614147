-- Cancels jobs whose rows are locked by the transaction, as cancel_job.sql does one, if they are still in one of these states
-- and have these labels. Indexes: jobs_live_pkey, job_labels_pkey.
with clock as materialized (
    select clock_timestamp() as now
), before as materialized (
    select j.id, j.seq, j.state, j.attempt, j.cancel_requested_at
    from longshore.jobs_live j
    where j.id = any($1::uuid[]) and j.state || '' = any($2::text[])
      and not exists (
          select from unnest($3::text[], $4::text[]) wanted (key, value)
          where not exists (
              select from longshore.job_labels has
              where has.job_id = j.id and has.key = wanted.key and (wanted.value is null or has.value = wanted.value)))
), cancelled as (
    update longshore.jobs j
    set state = 'cancelled', version = version + 1, reason = 'cancelled', message = 'cancelled while it waited',
        due_at = null, wait_code = null, wait_message = null, wait_since = null,
        cancel_requested_at = clock.now, finished_at = clock.now, part = clock.now
    from clock
    where j.id = any(array(select id from before where state in ('pending', 'scheduled'))) and j.part = 'infinity'
    returning j.id, j.queue
), requested as (
    update longshore.jobs_live j
    set cancel_requested_at = clock.now
    from clock
    where j.id = any(array(select id from before
                            where state in ('starting', 'running', 'stopping') and cancel_requested_at is null))
    returning j.id
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt, state, 'cancelled', 'cancelled', 'cancelled while it waited', $5::uuid
    from before where id in (select id from cancelled)
    union all
    select id, attempt, state, state, 'cancel_requested', null, $5::uuid
    from before where id in (select id from requested)
)
select (select count(*) from requested) as "requested!",
       array(select queue from cancelled group by queue order by queue) as "queues!: Vec<String>",
       array(select count(*) from cancelled group by queue order by queue) as "cancelled!: Vec<i64>"
