-- A position counts what would start before a job: not what waits in a queue that is paused or whose cap is 0. And three
-- things that nobody may do to the rows by hand.

create index queues_stopped on longshore.queues (name) where paused_at is not null or cap = 0;

-- How many pending jobs would start before one of this queue, priority and place, up to `most`. Of its own queue all count,
-- for it starts after them whenever that one goes on. Where no queue stands still, the best of all are counted in one walk;
-- else those of each queue that does not, so that a million of one that does are never looked at. Each walk names its
-- order: without, any index whose rows could be filtered looks as good, and the whole backlog would be read.
create function longshore.pending_ahead(of_queue text, of_priority integer, before_seq bigint, most bigint) returns bigint
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
    ahead bigint;
begin
    if exists (select from longshore.queues q where (q.paused_at is not null or q.cap = 0) and q.name <> of_queue) then
        select count(*) into ahead
        from (select from longshore.queues q cross join lateral (
                  (select from longshore.jobs_live l
                    where l.queue = q.name and l.state = 'pending' and l.priority > of_priority
                    order by l.priority desc, l.seq limit most)
                  union all
                  (select from longshore.jobs_live l
                    where l.queue = q.name and l.state = 'pending' and l.priority = of_priority and l.seq < before_seq
                    order by l.seq limit most)) better
               where q.name = of_queue or not (q.paused_at is not null or coalesce(q.cap = 0, false))
               limit most) a;
    else
        select count(*) into ahead
        from ((select from longshore.jobs_live l where l.state = 'pending' and l.priority > of_priority
                    order by l.priority desc, l.seq limit most)
              union all
              (select from longshore.jobs_live l
                where l.state = 'pending' and l.priority = of_priority and l.seq < before_seq
                order by l.seq limit most)
              limit most) a;
    end if;
    return ahead;
end
$$;

-- Why a job is not running, now with its queue's part in it (`limited_by`: whose cap `cap` and `held` are), and whether anyone
-- is alive who would start it: a replica with the role scheduler.
drop function longshore.why(uuid);
create function longshore.why(job uuid)
returns table (state text, code text, message text, since timestamptz, until timestamptz, queue_position bigint,
               limited_by text, cap integer, held bigint)
language plpgsql stable as $$
declare
    j record;
    q record;
    alive record;
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
        limited_by := 'global';
        select o.name, o.cap, o.paused_at, coalesce(h.jobs, 0) as held into q
        from longshore.queues o left join longshore.held_of_queue h on h.queue = o.name where o.name = j.queue;
        queue_position := longshore.pending_ahead(j.queue, j.priority, j.seq, counted);
        ahead := longshore.jobs_ahead(queue_position, counted, 'of it');
        select count(*) as replicas, count(*) filter (where 'scheduler' = any(r.roles)) as schedulers into alive
        from longshore.replicas r where r.heartbeat_at > clock_timestamp() - make_interval(secs => r.lease_secs);
        if alive.schedulers = 0 then
            code := 'no_replica';
            message := case when alive.replicas = 0 then 'no replica of Longshore is alive to start it; '
                            else 'no replica that is alive has the role scheduler, so that none starts it; ' end || ahead;
        elsif q.paused_at is not null then
            code := 'queue_paused';
            message := format('its queue %s is paused; %s', j.queue, ahead);
            since := greatest(j.pending_at, q.paused_at);
        elsif cap = 0 then
            code := 'global_cap'; message := 'the global cap is 0: nothing starts until it is raised; ' || ahead;
        elsif q.held >= q.cap then
            code := 'queue_cap';
            limited_by := 'queue'; cap := q.cap; held := q.held;
            select count(*) into queue_position
              from ((select from longshore.jobs_live l
                      where l.queue = j.queue and l.state = 'pending' and l.priority > j.priority
                      order by l.priority desc, l.seq limit counted)
                    union all
                    (select from longshore.jobs_live l
                      where l.queue = j.queue and l.state = 'pending' and l.priority = j.priority and l.seq < j.seq
                      order by l.seq limit counted)
                    limit counted) a;
            message := case when q.cap = 0 then format('the cap of its queue %s is 0: nothing of it starts until it is raised; ', j.queue)
                            else format('every slot of the cap of its queue %s is held (%s of %s); ', j.queue, held, cap) end
                       || longshore.jobs_ahead(queue_position, counted, 'of it in this queue');
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

-- A holder's attempt and nonce are those of the Kubernetes Job that was made for it: with others, nobody would know that Job
-- for its own, and its slot would be free while it runs.
create function longshore.refuse_another_attempt() returns trigger language plpgsql as $$
begin
    raise exception 'job % holds a slot for its attempt %', old.id, old.attempt
        using errcode = 'check_violation', constraint = 'attempt_stays', schema = 'longshore', table = 'jobs',
              hint = 'Cancel the job, or let its attempt end; docs/lifecycle.md tells how.';
end
$$;

create trigger attempt_stays before update on longshore.jobs
    for each row when (old.nonce is not null and new.nonce is not null
                       and (old.nonce is distinct from new.nonce or old.attempt is distinct from new.attempt))
    execute function longshore.refuse_another_attempt();

-- History is not emptied either: it goes by partition, which asks for no leave.
create trigger history_is_not_emptied before truncate on longshore.job_events
    for each statement execute function longshore.refuse_rewriting_history();

-- The cap that a replica was started with. One that another replica which is alive was started with as well is nothing new:
-- where replicas have different flags, their restarts do not send the cap to and fro.
alter table longshore.replicas add column cap_from_flag integer;

-- What jobs of a queue take where their submission leaves it out: fields of a request, as they were written.
alter table longshore.queues add column defaults jsonb not null default '{}'
    constraint queue_defaults_are_fields check (jsonb_typeof(defaults) = 'object');
