-- A database of a certain size: :pending jobs that wait in :queues queues, :running that hold a slot, and :finished that
-- ended within the last 29 days. Ids begin with the time of submission, as the product's do. Events are left out: nothing
-- that is measured reads them but by job.
create function pg_temp.made(at timestamptz, number bigint) returns uuid language sql immutable as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || substr(md5(number::text), 13))::uuid
$$;
select longshore.make_partition(tab, begins, begins + interval '3 days')
from unnest(array['jobs', 'job_specs', 'attempts', 'attempt_logs', 'job_events', 'job_labels']) tab,
     generate_series(date_trunc('day', now()) - interval '30 days', now() + interval '5 days', '3 days') begins;
insert into longshore.queues (name) select 'queue-' || q from generate_series(0, :queues - 1) q;
insert into longshore.queues (name) values ('aside');
update longshore.limits set cap = :running + 1000 where name = 'global';

-- The number of held slots is counted once, below: row by row it would leave 100,000 dead versions of itself.
set local session_replication_role = replica;
create temporary table made as
select pg_temp.made(at, i) as id, i, at, state, row_number() over (order by at, i) as seq
from (
    select i, now() - interval '29 days' * (:finished - i) / :finished - interval '1 minute' as at,
           case when i % 100 = 0 then 'failed' else 'succeeded' end as state
    from generate_series(1, :finished) i
    union all
    select :finished + i, now() - interval '1 hour' * (:running - i + 1) / :running - interval '20 minutes', 'running'
    from generate_series(1, :running) i
    union all
    select :finished + :running + i, now() - interval '20 minutes' * (:pending - i + 1) / :pending, 'pending'
    from generate_series(1, :pending) i
) jobs;

insert into longshore.jobs (id, seq, priority, queue, name, namespace, state, attempt, pending_at, created_at, claimed_at,
                            start_clock_at, started_at, nonce, kube_uid, reason, message, finished_at, part)
select id, seq, i % 10, 'queue-' || i % :queues, 'job-' || i, 'default', state, case state when 'pending' then 0 else 1 end, at, at,
       ran, ran, ran, case state when 'running' then id end, case state when 'running' then id::text end,
       case state when 'failed' then 'job_failed' when 'succeeded' then 'completed' end,
       case state when 'failed' then 'container job ended with exit code 1' when 'succeeded' then 'it completed' end, ended,
       coalesce(ended, 'infinity')
from made, lateral (select case when state <> 'pending' then at + interval '1 second' end as ran,
                           case when state in ('failed', 'succeeded') then at + interval '20 seconds' end as ended) times
order by seq;
select setval('longshore.jobs_seq', (select max(seq) from longshore.jobs));

insert into longshore.job_specs (job_id, name, queue, spec, spec_hash)
select id, 'job-' || i, 'queue-' || i % :queues, '{"args": ["--tenant", "acme"], "image": "busybox:latest", "labels": {"app": "bench"}, "command": ["sh", "-c", "sleep 60"], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}',
       '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'
from made order by seq;
insert into longshore.job_labels (job_id, key, value) select id, 'app', 'bench' from made order by seq;
insert into longshore.job_labels (job_id, key, value) select id, 'rare', 'one' from made where i % 20000 = 7 order by seq;
insert into longshore.attempts (job_id, attempt, nonce, kube_uid, reason, claimed_by, pending_at, claimed_at, created_at,
                                started_at, finished_at)
select id, 1, id, id::text, case state when 'failed' then 'job_failed' when 'succeeded' then 'completed' end, id, at,
       at + interval '1 second', at + interval '1 second', at + interval '1 second',
       case when state <> 'running' then at + interval '20 seconds' end
from made where state <> 'pending' order by seq;

-- A few of the highest priority in a queue beside the others.
with aside as (
    insert into longshore.jobs_live (id, priority, queue, name, namespace, state, pending_at)
    select pg_temp.made(now(), -i), 1000, 'aside', 'job-aside-' || i, 'default', 'pending', now() - interval '1 minute'
    from generate_series(1, 10) i
    returning id, name, queue
)
insert into longshore.job_specs (job_id, name, queue, spec, spec_hash) select id, name, queue, '{}', repeat('0', 64) from aside;
set local session_replication_role = origin;
select longshore.check_held();
drop table made;
