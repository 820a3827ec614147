-- Lets a scheduled job be due. Answers by how much its version went up.
with moved as (
    update longshore.jobs_live
    set state = 'pending', version = version + 1, due_at = null, pending_at = clock_timestamp(),
        wait_code = null, wait_message = null, wait_since = null
    where id = $1 and version = $2 and state = 'scheduled'
    returning id, attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason)
    select id, attempt, 'scheduled', 'pending', 'recovered' from moved
)
select count(*) as "moved!" from moved
