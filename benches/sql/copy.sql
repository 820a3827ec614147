-- Files with what so many submissions leave behind.
create temporary table made as
select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
        || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid as id, i
from generate_series(1, :jobs) i;
copy (select id, 0, 'default', 'job-' || i, 'default', clock_timestamp(), 'pending' from made order by i) to ':jobs_file';
copy (select id, '{"args": ["--tenant", "acme"], "image": "busybox_latest", "labels": {"app": "bench"}, "command": ["sh", "-c", "sleep 60"], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}',
             '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08' from made order by i) to ':specs_file';
copy (select id, 0, 'pending', 'submitted', '00000000-0000-0000-0000-000000000000' from made order by i) to ':events_file';
-- load
begin;
copy longshore.jobs_live (id, priority, queue, name, namespace, pending_at, state) from ':jobs_file';
copy longshore.job_specs (job_id, spec, spec_hash) from ':specs_file';
copy longshore.job_events (job_id, attempt, to_state, reason, replica) from ':events_file';
commit;
