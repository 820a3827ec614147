-- Makes scheduled jobs whose time has come pending. Index: jobs_due.
-- A job that was put aside keeps since when, so that its next pause is longer if it comes to that.
with due as materialized (
    select id from longshore.jobs_live
    where state = 'scheduled' and due_at <= clock_timestamp()
    order by due_at
    limit $2
    for update skip locked
), promoted as (
    update longshore.jobs_live
    set state = 'pending', version = version + 1, due_at = null, pending_at = clock_timestamp(),
        wait_code = case when wait_code <> 'backoff' then wait_code end,
        wait_message = case when wait_code <> 'backoff' then wait_message end,
        wait_since = case when wait_code <> 'backoff' then wait_since end
    where id = any(array(select id from due)) and state = 'scheduled'
    returning id, attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
    select id, attempt, 'scheduled', 'pending', 'due', $1 from promoted
)
select count(*) as "promoted!" from promoted
