-- History ages out by dropping partitions. One function makes those that will be needed and drops those past retention;
-- replicas call it, and so may anyone with a psql.

-- The partitions that were made, and for which span of time.
create table longshore.partitions (
    of_table text not null,
    name text not null,
    from_at timestamptz not null,
    to_at timestamptz not null,
    primary key (of_table, from_at)
);

-- Each of these takes what has no partition of its own: ids made by a clock that is far off, or more than the sweep
-- foresaw. Nothing is refused because the sweep did not run.
create table longshore.job_specs_other partition of longshore.job_specs default;
create table longshore.attempts_other partition of longshore.attempts default with (fillfactor = 70);
create table longshore.attempt_logs_other partition of longshore.attempt_logs default;
create table longshore.job_events_other partition of longshore.job_events default;

-- The smallest id that a job submitted at that time can have: UUIDv7 begins with milliseconds (RFC 9562, 5.7).
create function longshore.first_id(at timestamptz) returns uuid language sql immutable parallel safe as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes one partition. Where rows of its span lie in the default partition already, the span is left to that one.
create function longshore.make_partition(tab text, from_at timestamptz, to_at timestamptz) returns text
language plpgsql as $$
declare
    made text := tab || to_char(from_at at time zone 'UTC', '_YYYYMMDD_HH24MISSMS');
    by_id boolean := tab <> 'jobs';
    -- Rows of attempts are rewritten a few times; all others are written once.
    storage text := case when tab = 'attempts' then ' with (fillfactor = 70)' else '' end;
begin
    execute format('create table longshore.%I (like longshore.%I including defaults including constraints)%s',
                   made, tab, storage);
    execute format('alter table longshore.%I attach partition longshore.%I for values from (%L) to (%L)', tab, made,
                   case when by_id then longshore.first_id(from_at)::text else from_at::text end,
                   case when by_id then longshore.first_id(to_at)::text else to_at::text end);
    insert into longshore.partitions values (tab, made, from_at, to_at);
    return made;
exception when check_violation then
    insert into longshore.partitions values (tab, tab || '_other', from_at, to_at);
    return tab || '_other';
end
$$;

-- Does one thing that is to be done about history, and says what: makes a partition of the next while, drops one that is
-- past retention, or deletes some rows that no partition of their own can take along. A caller calls again until nothing
-- is said. One thing at a time, because each lock is held to the end of the transaction and none is to be waited for while
-- holding another; and none is waited for longer than 200 ms.
--
-- Retention is counted from a job's end; 0 keeps everything. What belongs to a job goes when no job of its span of
-- submissions is left.
create function longshore.sweep(retention_secs double precision) returns table (did text, what text)
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

    foreach tab in array array['jobs', 'job_specs', 'attempts', 'attempt_logs', 'job_events'] loop
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
    foreach tab in array array['job_specs', 'attempts', 'attempt_logs', 'job_events'] loop
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
