-- Ends the attempt of a job that holds a slot, for its attempt $3 was found in the cluster. Answers by how much its version
-- went up.
with was as materialized (
    select id, state from longshore.jobs_live
    where id = $1 and version = $2 and attempt < $3 and state in ('starting', 'running', 'stopping')
    for update
), moved as (
    update longshore.jobs_live j
    set state = 'scheduled', version = version + 1, due_at = clock_timestamp(), failed_attempts = failed_attempts + 1,
        nonce = null, replica = null, kube_uid = null, reason = null, message = null,
        wait_code = null, wait_message = null, wait_since = null
    from was
    where j.id = was.id
    returning j.id, j.attempt, was.state
), facts as (
    update longshore.attempts a
    set reason = 'lost', message = 'attempt ' || $3 || ' was found in the cluster', counts = true, finished_at = clock_timestamp()
    from moved m
    where a.job_id = m.id and a.attempt = m.attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message)
    select id, attempt, state, 'scheduled', 'lost', 'attempt ' || $3 || ' was found in the cluster' from moved
)
select count(*) as "moved!" from moved
