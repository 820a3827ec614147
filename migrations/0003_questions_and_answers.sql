-- What auditors and operators ask, as views and functions that they may rely on: docs/sql.md shows each with its output.
-- None of them counts or sorts a history; each is fast for one job, and for a span of time that its index bounds.

-- What waits, in the order in which it will start, whatever its queue: pages of it and positions in it cost the same with a
-- thousand queues as with one.
create index jobs_in_order on longshore.jobs_live (priority desc, seq) where state = 'pending';

-- Why a job is not running, or what became of it: the same answer as `longshore why` and GET /jobs/{id}. No row: there is
-- no such job.
create function longshore.why(job uuid)
returns table (state text, code text, message text, since timestamptz, until timestamptz, queue_position bigint,
               cap integer, held bigint)
language plpgsql stable as $$
declare
    j record;
    ahead text;
    counted constant integer := 1000; -- nobody waits for a number beyond it
begin
    select * into j from longshore.jobs where id = job;
    if not found then
        return;
    end if;
    state := j.state;
    case j.state
    when 'succeeded', 'failed', 'cancelled' then
        code := j.reason; message := j.message; since := j.finished_at;
    when 'stopping' then
        code := 'stopping';
        message := format('it is being stopped (%s); its slot is held until its pods are gone', j.reason);
        since := (select e.at from longshore.job_events e where e.job_id = job and e.to_state = 'stopping'
                   order by e.id desc limit 1);
    when 'running' then
        code := 'running'; message := 'its containers run'; since := j.started_at;
        until := j.started_at + make_interval(secs => (j.policy ->> 'timeout_secs')::double precision);
    when 'starting' then
        code := coalesce(j.wait_code, case when j.replica is null then 'starting' else 'creating' end);
        message := coalesce(j.wait_message, case when j.replica is null
            then 'its Kubernetes Job exists, and no container of it has started yet'
            else 'its Kubernetes Job is being created' end);
        since := coalesce(j.wait_since, j.start_clock_at, j.claimed_at);
    when 'scheduled' then
        code := coalesce(j.wait_code, 'not_yet_due');
        message := coalesce(j.wait_message, 'it is not to be started before its time');
        since := coalesce(j.wait_since, j.created_at);
        until := j.due_at;
    when 'pending' then
        since := j.pending_at;
        until := j.expires_at;
        select l.cap into cap from longshore.limits l where l.name = 'global';
        select h.jobs into held from longshore.held h;
        select count(*) into queue_position
          from ((select from longshore.jobs_live l where l.state = 'pending' and l.priority > j.priority limit counted)
                union all
                (select from longshore.jobs_live l
                  where l.state = 'pending' and l.priority = j.priority and l.seq < j.seq limit counted)
                limit counted) a;
        ahead := case when queue_position = 0 then 'it is next'
                      when queue_position = 1 then '1 job is ahead of it'
                      when queue_position = counted then counted || ' or more jobs are ahead of it'
                      else queue_position || ' jobs are ahead of it' end;
        if not exists (select from longshore.replicas r
                        where r.heartbeat_at > clock_timestamp() - make_interval(secs => r.lease_secs)) then
            code := 'no_replica'; message := 'no replica of Longshore is alive to start it; ' || ahead;
        elsif cap = 0 then
            code := 'global_cap'; message := 'the global cap is 0: nothing starts until it is raised; ' || ahead;
        elsif held >= cap then
            code := 'global_cap';
            message := format('every slot of the global cap is held (%s of %s); %s', held, cap, ahead);
        else
            code := 'next';
            message := format('slots are free (%s of %s are held); %s', held, cap, ahead);
        end if;
    end case;
    return next;
end
$$;

-- What holds the slots, longest first: exactly the rows that the claim counts against the cap. Its order has an index, so
-- that a page of it costs the same however many there are.
create index jobs_holding_longest on longshore.jobs_live (claimed_at, seq) where state in ('starting', 'running', 'stopping');
create view longshore.slots as
select l.id as job_id, l.name, l.queue, l.namespace, l.priority, l.state, l.attempt, l.claimed_at as since,
       extract(epoch from clock_timestamp() - l.claimed_at)::double precision as held_secs,
       coalesce(l.wait_code, l.reason, l.state) as code, coalesce(l.wait_message, l.message) as message
from longshore.jobs_live l
where l.state in ('starting', 'running', 'stopping')
order by l.claimed_at, l.seq;

-- What ran when: a row per attempt.
create view longshore.runs as
select a.job_id, j.name, j.queue, j.namespace, j.priority, a.attempt,
       case when a.finished_at is null then j.state
            when a.reason = 'completed' then 'succeeded'
            when a.reason = 'cancelled' then 'cancelled'
            else 'failed' end as state,
       a.reason, a.exit_code, a.claimed_at, a.started_at, a.finished_at,
       extract(epoch from a.started_at - a.claimed_at)::double precision as start_secs,
       extract(epoch from a.finished_at - a.started_at)::double precision as run_secs,
       a.node, a.pod, a.kube_name
from longshore.attempts a
join longshore.jobs j on j.id = a.job_id;

-- Who waited how long for a slot: a row per attempt, and one per job that waits now (claimed_at is null then).
create view longshore.waits as
select a.job_id, j.name, j.queue, j.priority, a.attempt, a.pending_at, a.claimed_at,
       extract(epoch from a.claimed_at - a.pending_at)::double precision as waited_secs
from longshore.attempts a
join longshore.jobs j on j.id = a.job_id
union all
select l.id, l.name, l.queue, l.priority, l.attempt + 1, l.pending_at, null,
       extract(epoch from clock_timestamp() - l.pending_at)::double precision
from longshore.jobs_live l
where l.state = 'pending';

-- What failed, and why: a row per attempt that ended badly. `final` tells those that ended their job.
create view longshore.failures as
select a.finished_at, a.job_id, j.name, j.queue, a.attempt, a.reason, a.message, a.exit_code, a.termination_message,
       a.node, a.pod, a.container, a.log, j.state = 'failed' and j.attempt = a.attempt as final
from longshore.attempts a
join longshore.jobs j on j.id = a.job_id
where a.finished_at is not null and a.reason not in ('completed', 'cancelled');

-- How often each job was tried: jobs of more than one attempt.
create view longshore.retries as
select j.id as job_id, j.name, j.queue, j.state, j.reason, j.attempt as attempts, j.failed_attempts, j.interruptions,
       coalesce((j.policy ->> 'max_attempts')::integer, 1) as max_attempts, j.created_at, j.finished_at
from longshore.jobs j
where j.attempt > 1;

-- How full the cap was: per step, the cap (the highest, if it changed), the most slots held at once, and the share of the
-- cap that was held on average.
create function longshore.slot_use(from_at timestamptz, to_at timestamptz, step interval)
returns table (at timestamptz, cap integer, held_most bigint, held_avg double precision, used double precision)
language sql stable as $$
    with spans as materialized (
        select a.claimed_at as b, coalesce(a.finished_at, 'infinity') as e
        from longshore.attempts a where a.finished_at > from_at and a.claimed_at < to_at
        union all
        select a.claimed_at, 'infinity' from longshore.attempts a where a.finished_at is null and a.claimed_at < to_at
    ), steps as materialized (
        select row_number() over (order by s) as n, s as b, least(s + step, to_at) as e
        from generate_series(from_at, to_at - interval '1 microsecond', step) s
    ), edges as materialized (
        select array(select b from steps order by n) as begins
    ), pieces as (
        -- So many were held from one change to the next. What ends and what begins at one moment did not meet.
        select x.at as b, lead(x.at, 1, to_at) over (order by x.at) as e, sum(sum(x.d)) over (order by x.at)::bigint as held
        from (select from_at as at, 0 as d
              union all
              select greatest(b, from_at), 1 from spans
              union all
              select e, -1 from spans where e < to_at) x
        group by x.at
    ), shares as (
        -- Each piece in the steps that it touches, which are found by bisection: no step looks at all the pieces.
        select s.n, p.held, extract(epoch from least(p.e, s.e) - greatest(p.b, s.b))::double precision as secs
        from pieces p
        cross join edges
        cross join lateral generate_series(width_bucket(p.b, edges.begins),
                                           width_bucket(p.e - interval '1 microsecond', edges.begins)) touched
        join steps s on s.n = touched
        where p.e > p.b
    ), sums as (
        select n, max(held) as most, sum(held * secs) as slot_secs from shares group by n
    )
    select s.b, c.cap, h.most, h.average, h.average / nullif(c.cap, 0)
    from (select s.n, s.b, s.e, coalesce(t.most, 0) as most,
                 coalesce(t.slot_secs, 0) / extract(epoch from s.e - s.b)::double precision as average
          from steps s left join sums t on t.n = s.n) h
    join steps s on s.n = h.n
    cross join lateral (
        select max(l.cap) as cap from (
            (select cap from longshore.limit_changes where name = 'global' and at <= s.b order by at desc limit 1)
            union all
            select cap from longshore.limit_changes where name = 'global' and at > s.b and at < s.e) l
    ) c
    order by s.n
$$;
