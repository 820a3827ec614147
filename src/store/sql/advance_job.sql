-- Moves one job along one edge, if nobody moved it since it was read; keeps what its attempt came to; tells it.
-- What is not over lies in the one partition that `part` names. Index: jobs_live_pkey.
with clock as materialized (
    select clock_timestamp() as now
), moved as (
    update longshore.jobs j
    set state = $4, version = version + 1, replica = $5, nonce = $6, kube_uid = $7, reason = $8, message = $9,
        wait_code = $10, wait_message = $11, wait_since = case when $10::text is not null then clock.now end,
        due_at = clock.now + make_interval(secs => $12),
        -- A new attempt may wait as long as the first. One that only made room waits on, as it did before.
        expires_at = case
            when $4 = 'scheduled' and $10 not in ('quota', 'pod_quota')
            then clock.now + make_interval(secs => $12 + (j.policy ->> 'queue_timeout_secs')::double precision)
            else j.expires_at end,
        failed_attempts = j.failed_attempts + coalesce($13::boolean, false)::integer,
        interruptions = j.interruptions + coalesce(not $13::boolean, false)::integer,
        start_clock_at = case when $4 = 'starting' then coalesce(j.start_clock_at, clock.now) else j.start_clock_at end,
        started_at = case when $4 = 'running' then coalesce(j.started_at, clock.now) else j.started_at end,
        finished_at = case when $4 in ('succeeded', 'failed', 'cancelled') then clock.now end,
        part = case when $4 in ('succeeded', 'failed', 'cancelled') then clock.now else 'infinity' end
    from clock
    where j.id = $1 and j.part = 'infinity' and j.version = $2 and j.state = $3
      -- A cancel that was wished meanwhile forbids another attempt.
      and ($4 <> 'scheduled' or j.cancel_requested_at is null)
    returning j.id, j.attempt, j.version
), facts as (
    update longshore.attempts a
    set kube_name = coalesce($14, a.kube_name), kube_uid = coalesce($7, a.kube_uid),
        node = coalesce($15, a.node), pod = coalesce($16, a.pod), container = coalesce($17, a.container),
        exit_code = coalesce($18, a.exit_code), termination_message = coalesce($19, a.termination_message),
        reason = coalesce($20, $8, a.reason), message = coalesce($21, $9, a.message),
        counts = coalesce($13, a.counts), log = coalesce(a.log, $22),
        created_at = case when $7::text is null then a.created_at else coalesce(a.created_at, clock.now) end,
        started_at = coalesce($23::timestamptz, a.started_at),
        finished_at = case when $20::text is not null then clock.now end
    from moved m, clock
    where a.job_id = $1 and a.attempt = m.attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt, $3, $4,
           coalesce($20, $8, case when $3 = $4 then 'created' else 'started' end), coalesce($21, $9), $24
    from moved
)
select version from moved
