-- Ends a job that waits because what was asked of it cannot be accepted: $2 says why.
with ended as (
    update longshore.jobs j
    set state = 'failed', version = version + 1, reason = 'refused', message = $2::text,
        finished_at = clock_timestamp(), part = clock_timestamp()
    where j.id = $1 and j.part = 'infinity' and j.state = 'pending'
    returning j.id, j.attempt
)
insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
select id, attempt, 'pending', 'failed', 'refused', $2::text, $3::uuid from ended
