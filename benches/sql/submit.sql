-- What a submission leaves behind, written as cheaply as Postgres can: the row, what it is to do, and the event.
with job as (
    insert into longshore.jobs_live (id, priority, queue, name, namespace, pending_at, state)
    select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid,
           0, 'default', 'job-' || :client_id, 'default', clock_timestamp(), 'pending'
    returning id
), spec as (
    insert into longshore.job_specs (job_id, spec, spec_hash)
    select id, '{"args": ["--tenant", "acme"], "image": "busybox_latest", "labels": {"app": "bench"}, "command": ["sh", "-c", "sleep 60"], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}',
           '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08' from job
)
insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
select id, 0, null, 'pending', 'submitted', '00000000-0000-0000-0000-000000000000' from job;
