-- What lists go by, and what may be changed of a job that waits.

-- A job's name and queue never change, and its row in longshore.jobs is rewritten about five times: so the indexes that
-- lists of one queue or one name walk, newest first, are here, where each job is written once. Null on rows of replicas
-- that do not know the columns yet.
alter table longshore.job_specs add column name text collate "C", add column queue text collate "C";

-- The labels, which may be changed while the job waits. `spec` has them as well, for its Kubernetes Job is built from that;
-- both are written by the same statement.
create table longshore.job_labels (
    job_id uuid not null,
    key text collate "C" not null,
    value text collate "C" not null,
    primary key (job_id, key)
) partition by range (job_id);
create table longshore.job_labels_other partition of longshore.job_labels default;

update longshore.job_specs s set name = j.name, queue = j.queue from longshore.jobs j where j.id = s.job_id;
insert into longshore.job_labels (job_id, key, value)
select s.job_id, l.key, l.value from longshore.job_specs s, jsonb_each_text(s.spec -> 'labels') l;

create index job_specs_by_name on longshore.job_specs (name, job_id);
create index job_specs_by_queue on longshore.job_specs (queue, job_id);
create index job_labels_by_value on longshore.job_labels (key, value, job_id);

-- A job that waits for a slot may be put off to a later time: pending, scheduled.
create or replace function longshore.job_state_may_follow(before text, after text) returns boolean
language sql immutable parallel safe as $$
    select (before, after) in (
        ('scheduled', 'pending'), ('scheduled', 'failed'), ('scheduled', 'cancelled'),
        ('pending', 'scheduled'), ('pending', 'starting'), ('pending', 'failed'), ('pending', 'cancelled'),
        ('starting', 'starting'), ('starting', 'pending'), ('starting', 'scheduled'), ('starting', 'running'),
        ('starting', 'stopping'), ('starting', 'succeeded'), ('starting', 'failed'), ('starting', 'cancelled'),
        ('running', 'stopping'), ('running', 'scheduled'), ('running', 'succeeded'), ('running', 'failed'),
        ('stopping', 'scheduled'), ('stopping', 'succeeded'), ('stopping', 'failed'), ('stopping', 'cancelled'),
        ('failed', 'pending'), ('cancelled', 'pending')
    )
$$;

-- As before (0002), with the labels among what belongs to a job.
create or replace function longshore.sweep(retention_secs double precision) returns table (did text, what text)
language plpgsql as $$
declare
    -- A tenth of the retention, so that there are about a dozen partitions however long it is.
    width interval := case when retention_secs > 0 then make_interval(secs => greatest(retention_secs / 10, 5))
                           else interval '30 days' end;
    oldest timestamptz := case when retention_secs > 0 then clock_timestamp() - make_interval(secs => retention_secs)
                               else '-infinity' end;
    tab text;
    edge timestamptz;
    second timestamptz := date_trunc('second', clock_timestamp());
    old record;
    deleted bigint;
begin
    if not pg_try_advisory_xact_lock(5495110461) then
        return;
    end if;
    perform set_config('lock_timeout', '200ms', true), set_config('longshore.sweeping', 'on', true);

    foreach tab in array array['jobs', 'job_specs', 'attempts', 'attempt_logs', 'job_events', 'job_labels'] loop
        select max(p.to_at) into edge from longshore.partitions p where p.of_table = tab;
        if edge is null or edge < clock_timestamp() + 2 * width then
            -- The very first begins a day ago, for clocks that are behind. After a lapse they begin in a moment, because what
            -- is written now has gone to the default partition.
            edge := case when edge is null then second - interval '1 day'
                         else greatest(edge, second + interval '2 seconds') end;
            did := 'made';
            what := longshore.make_partition(tab, edge, greatest(edge, second) + width);
            return next;
            return;
        end if;
    end loop;

    select p.of_table, p.name, p.from_at into old
    from longshore.partitions p
    where p.to_at < oldest
      and (p.of_table = 'jobs' or not exists (
            select from longshore.jobs j
            where j.id >= longshore.first_id(p.from_at) and j.id < longshore.first_id(p.to_at)))
    order by p.to_at
    limit 1;
    if found then
        if old.name not like '%\_other' then
            execute format('drop table longshore.%I', old.name);
        end if;
        delete from longshore.partitions p where p.of_table = old.of_table and p.from_at = old.from_at;
        did := 'dropped';
        what := old.name;
        return next;
        return;
    end if;

    delete from longshore.jobs_other o using (select id, part from longshore.jobs_other where part < oldest limit 1000) d
    where o.id = d.id and o.part = d.part;
    get diagnostics deleted = row_count;
    what := 'jobs_other';
    foreach tab in array array['job_specs', 'attempts', 'attempt_logs', 'job_events', 'job_labels'] loop
        exit when deleted > 0 or retention_secs = 0;
        what := tab || '_other';
        execute format(
            'delete from longshore.%I where ctid = any(array(
                 select o.ctid from longshore.%I o
                 where o.job_id < longshore.first_id(%L)
                   and not exists (select from longshore.jobs j where j.id = o.job_id) limit 1000))',
            what, what, oldest);
        get diagnostics deleted = row_count;
    end loop;
    if deleted = 0 then
        what := 'idempotency_keys';
        delete from longshore.idempotency_keys k using (
            select i.key from longshore.idempotency_keys i
            where i.created_at < oldest and not exists (select from longshore.jobs j where j.id = i.job_id)
            order by i.created_at limit 1000) d
        where k.key = d.key;
        get diagnostics deleted = row_count;
    end if;
    if deleted > 0 then
        did := 'deleted';
        return next;
    end if;
exception when lock_not_available or deadlock_detected then
    -- Somebody uses it. The next call tries again.
    return;
end
$$;
