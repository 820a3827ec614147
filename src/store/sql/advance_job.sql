-- Moves one job along one edge, if nobody moved it since it was read; keeps the attempt's facts; tells it. Index: jobs_pkey.
with moved as (
    update longshore.jobs
    set state = $4, version = version + 1, replica = $5, nonce = $6, kube_uid = $7, reason = $8, message = $9,
        started_at = case when $4 = 'running' then coalesce(started_at, clock_timestamp()) else started_at end,
        finished_at = case when $4 in ('succeeded', 'failed', 'cancelled') then clock_timestamp() end
    where id = $1 and version = $2 and state = $3
    returning id, attempt, version
), facts as (
    update longshore.attempts a
    set kube_name = coalesce($10, a.kube_name), kube_uid = coalesce($7, a.kube_uid),
        node = coalesce($11, a.node), pod = coalesce($12, a.pod), exit_code = coalesce($13, a.exit_code),
        reason = coalesce($8, a.reason), message = coalesce($9, a.message),
        created_at = case when $7::text is null then a.created_at else coalesce(a.created_at, clock_timestamp()) end,
        started_at = coalesce($14::timestamptz, a.started_at),
        finished_at = case when $4 in ('succeeded', 'failed', 'cancelled') then clock_timestamp() end
    from moved m
    where a.job_id = m.id and a.attempt = m.attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt, $3, $4, coalesce($8, case when $3 = $4 then 'created' end), $9, $15 from moved
)
select version from moved
