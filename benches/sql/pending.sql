-- So many jobs that wait, all alike.
with made as materialized (
    select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid as id, i
    from generate_series(1, :jobs) i
), jobs as (
    insert into longshore.jobs_live (id, priority, queue, name, namespace, pending_at, state)
    select id, 0, 'default', 'job-' || i, 'default', clock_timestamp(), 'pending' from made order by i
)
insert into longshore.job_specs (job_id, spec, spec_hash)
select id, '{"args": ["--tenant", "acme"], "image": "busybox:latest", "labels": {"app": "bench"}, "command": ["sh", "-c", "sleep 60"], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}',
       '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'
from made;
