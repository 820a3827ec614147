-- Accepts one job: its row, what it is to do, and the event that tells it. Nothing comes back when its queue does not
-- exist yet, or its idempotency key has been used. The position is counted in the snapshot before the insertion, so
-- every pending job of equal priority that it sees came first; up to $13. Index: jobs_pending.
-- A key is taken only together with its job: not while the queue is missing.
with key as (
    insert into longshore.idempotency_keys (key, job_id, request_hash)
    select $10, $1, $11 from longshore.queues where name = $3 and $10::text is not null
    on conflict (key) do nothing
    returning key
), job as (
    insert into longshore.jobs_live (id, priority, queue, name, namespace, policy, run_at, due_at, expires_at, pending_at, state)
    select $1, $2, q.name, $4, $5, $14, due.run_at,
           case when due.waits then due.run_at end,
           greatest(due.run_at, clock_timestamp()) + make_interval(secs => ($14::jsonb ->> 'queue_timeout_secs')::double precision),
           case when due.waits then null else clock_timestamp() end,
           case when due.waits then 'scheduled' else 'pending' end
    from longshore.queues q,
         (select run_at, coalesce(run_at > clock_timestamp(), false) as waits
            from (select coalesce($6::timestamptz, clock_timestamp() + make_interval(secs => $7)) as run_at) at) due
    where q.name = $3 and ($10::text is null or exists (select from key))
    returning id, state
), spec as (
    insert into longshore.job_specs (job_id, spec, spec_hash)
    select id, $8, $9 from job
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
    select id, 0, null, state, 'submitted', $12 from job
)
select state, (
    select count(*)
    from (
        select
        from longshore.queues q
        cross join lateral (
            select from longshore.jobs_live
            where queue = q.name and state = 'pending' and priority >= $2
            limit $13
        ) ahead
        limit $13
    ) ahead
) as "position!"
from job
