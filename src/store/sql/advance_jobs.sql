-- Moves jobs, each along one edge, if nobody moved it since it was read; keeps what its attempt came to; tells it. Of two
-- moves of one row, one is made. What is not over lies in the one partition that `part` names. Index: jobs_live_pkey.
with asked as materialized (
    select *
    from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
                $9::text[], $10::text[], $11::text[], $12::double precision[], $13::boolean[], $14::text[], $15::text[],
                $16::text[], $17::text[], $18::integer[], $19::text[], $20::text[], $21::text[], $22::text[],
                $23::timestamptz[])
         with ordinality asked (id, version, from_state, to_state, replica, nonce, kube_uid, reason, message, wait_code,
                                wait_message, due_in_secs, counts, kube_name, node, pod, container, exit_code,
                                termination_message, end_reason, end_message, log, started_at, nth)
), clock as materialized (
    select clock_timestamp() as now
), moved as (
    update longshore.jobs j
    set state = a.to_state, version = j.version + 1, replica = a.replica, nonce = a.nonce, kube_uid = a.kube_uid,
        reason = a.reason, message = a.message,
        wait_code = a.wait_code, wait_message = a.wait_message,
        wait_since = case when a.wait_code is not null then clock.now end,
        due_at = clock.now + make_interval(secs => a.due_in_secs),
        -- A new attempt may wait as long as the first. One that only made room waits on, as it did before.
        expires_at = case
            when a.to_state = 'scheduled' and a.wait_code not in ('quota', 'pod_quota')
            then clock.now + make_interval(secs => a.due_in_secs + (j.policy ->> 'queue_timeout_secs')::double precision)
            else j.expires_at end,
        failed_attempts = j.failed_attempts + coalesce(a.counts, false)::integer,
        interruptions = j.interruptions + coalesce(not a.counts, false)::integer,
        start_clock_at = case when a.to_state = 'starting' then coalesce(j.start_clock_at, clock.now) else j.start_clock_at end,
        started_at = case when a.to_state = 'running' then coalesce(j.started_at, clock.now) else j.started_at end,
        finished_at = case when a.to_state in ('succeeded', 'failed', 'cancelled') then clock.now end,
        part = case when a.to_state in ('succeeded', 'failed', 'cancelled') then clock.now else 'infinity' end
    from asked a, clock
    where j.id = a.id and j.part = 'infinity' and j.version = a.version and j.state = a.from_state collate "C"
      -- A cancel that was wished meanwhile forbids another attempt.
      and (a.to_state <> 'scheduled' or j.cancel_requested_at is null)
    -- All that the rest needs, so that nothing is joined with `asked` again, which would take its length squared.
    returning j.id as job_id, j.attempt, j.version as new_version, j.queue, j.pending_at, j.claimed_at,
              coalesce(j.started_at, a.started_at) as ran_at, a.*, clock.now
), facts as (
    update longshore.attempts t
    set kube_name = coalesce(m.kube_name, t.kube_name), kube_uid = coalesce(m.kube_uid, t.kube_uid),
        node = coalesce(m.node, t.node), pod = coalesce(m.pod, t.pod), container = coalesce(m.container, t.container),
        exit_code = coalesce(m.exit_code, t.exit_code),
        termination_message = coalesce(m.termination_message, t.termination_message),
        reason = coalesce(m.end_reason, m.reason, t.reason), message = coalesce(m.end_message, m.message, t.message),
        counts = coalesce(m.counts, t.counts), log = coalesce(t.log, m.log),
        created_at = case when m.kube_uid is null then t.created_at else coalesce(t.created_at, m.now) end,
        started_at = coalesce(m.started_at, t.started_at),
        finished_at = case when m.end_reason is not null then m.now end
    from moved m
    where t.job_id = m.job_id and t.attempt = m.attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select job_id, attempt, from_state, to_state,
           coalesce(end_reason, reason, case when from_state = to_state then 'created' else 'started' end),
           coalesce(end_message, message), $24
    from moved
    order by nth
)
select nth as "nth!", new_version as "version!", queue as "queue!",
       extract(epoch from claimed_at - pending_at)::float8 as waited, extract(epoch from ran_at - claimed_at)::float8 as began,
       extract(epoch from now - ran_at)::float8 as ran
from moved
