-- What each replica runs, for those that run a part only (`serve --roles`): who follows a job at once is one that watches,
-- and a job that waits is told when nobody is alive who would start it.

-- One of a version that knows no roles runs all.
alter table longshore.replicas
    add column roles text[] not null default '{api,scheduler,watcher,sources}',
    add constraint roles_are_known check (roles <@ '{api,scheduler,watcher,sources}' and roles <> '{}');

-- Why a job is not running, as before, but that only a replica with the role scheduler starts it.
create or replace function longshore.why(job uuid)
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
        select count(*) into queue_position
          from ((select from longshore.jobs_live l where l.state = 'pending' and l.priority > j.priority limit counted)
                union all
                (select from longshore.jobs_live l
                  where l.state = 'pending' and l.priority = j.priority and l.seq < j.seq limit counted)
                limit counted) a;
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
                      where l.queue = j.queue and l.state = 'pending' and l.priority > j.priority limit counted)
                    union all
                    (select from longshore.jobs_live l
                      where l.queue = j.queue and l.state = 'pending' and l.priority = j.priority and l.seq < j.seq
                      limit counted)
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
