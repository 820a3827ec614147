-- Queues that are more than a name: a cap of their own, a bound on what waits, a pause. And a finished job that someone
-- wants to be tried again.

alter table longshore.queues
    -- How many of its jobs may hold a slot at once; null: as many as the global cap allows.
    add column cap integer constraint queue_cap_is_not_negative check (cap >= 0),
    -- How many of its jobs may wait, for a slot or for their time; null: any number.
    add column max_pending integer constraint queue_max_pending_is_not_negative check (max_pending >= 0),
    -- Since when none of its jobs is started; null: it is not paused.
    add column paused_at timestamptz,
    -- When somebody last set any of that; null: nobody did.
    add column updated_at timestamptz;

-- How many jobs of each queue hold a slot, kept as longshore.held is, and by the same triggers: the two rows are changed
-- in that order, so that whoever has the first waits for nobody at the second.
create table longshore.held_of_queue (
    queue text collate "C" primary key,
    jobs bigint not null default 0 constraint held_of_queue_is_not_negative check (jobs >= 0)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
insert into longshore.held_of_queue
select q.name, (select count(*) from longshore.jobs_live l where l.queue = q.name and longshore.holds_slot(l.state))
from longshore.queues q;

-- The backlog of one queue, which is counted up to its max_pending.
create index jobs_waiting on longshore.jobs_live (queue) where state in ('scheduled', 'pending');

-- Adds to the number of held slots, and to those of the queues.
create function longshore.count_held(of_queues text[], changes bigint[]) returns void language plpgsql as $$
declare
    known integer;
begin
    update longshore.held set jobs = jobs + (select sum(c) from unnest(changes) c);
    update longshore.held_of_queue h set jobs = h.jobs + c.change
    from unnest(of_queues, changes) as c (queue, change) where h.queue = c.queue;
    get diagnostics known = row_count;
    if known < cardinality(of_queues) then
        insert into longshore.held_of_queue
        select c.queue, c.change from unnest(of_queues, changes) as c (queue, change)
        where not exists (select from longshore.held_of_queue h where h.queue = c.queue);
    end if;
end
$$;

create or replace function longshore.count_moved() returns trigger language plpgsql as $$
declare
    of_queues text[];
    changes bigint[];
begin
    select array_agg(queue), array_agg(change) into of_queues, changes
    from (select queue, sum(change)::bigint as change
            from (select queue, count(*) as change from after_it where longshore.holds_slot(state) group by queue
                  union all
                  select queue, -count(*) from before_it where longshore.holds_slot(state) group by queue) each
           group by queue
          having sum(change) <> 0) sums;
    if of_queues is not null then
        perform longshore.count_held(of_queues, changes);
    end if;
    return null;
end
$$;

create or replace function longshore.count_inserted() returns trigger language plpgsql as $$
begin
    perform longshore.count_held(array[new.queue], array[1::bigint]);
    return null;
end
$$;

create or replace function longshore.count_deleted() returns trigger language plpgsql as $$
declare
    of_queues text[];
    changes bigint[];
begin
    select array_agg(queue), array_agg(change) into of_queues, changes
    from (select queue, -count(*) as change from before_it where longshore.holds_slot(state) group by queue) each;
    if of_queues is not null then
        perform longshore.count_held(of_queues, changes);
    end if;
    return null;
end
$$;

-- Counts the rows, and puts the numbers right if they differ, which they never should: answers by how much they did.
create or replace function longshore.check_held() returns bigint language plpgsql as $$
declare
    differed bigint;
begin
    perform from longshore.held for update;
    with counted as materialized (
        select queue, count(*) as jobs from longshore.jobs_live
        where state in ('starting', 'running', 'stopping') group by queue
    ), wrong as (
        select h.queue, coalesce(c.jobs, 0) as counted, abs(h.jobs - coalesce(c.jobs, 0)) as by
        from longshore.held_of_queue h left join counted c on c.queue = h.queue
        where h.jobs <> coalesce(c.jobs, 0)
        union all
        select c.queue, c.jobs, c.jobs from counted c
        where not exists (select from longshore.held_of_queue h where h.queue = c.queue)
    ), righted as (
        insert into longshore.held_of_queue (queue, jobs) select queue, counted from wrong
        on conflict (queue) do update set jobs = excluded.jobs
    ), whole as (
        update longshore.held set jobs = (select coalesce(sum(jobs), 0) from counted)
        where jobs <> (select coalesce(sum(jobs), 0) from counted)
        returning jobs
    )
    select greatest((select coalesce(sum(by), 0) from wrong),
                    (select coalesce(max(abs(h.jobs - w.jobs)), 0) from longshore.held h, whole w))
      into differed;
    return differed;
end
$$;

-- Queues of which a job may be claimed now, and how many at most; null: as many as there are slots. Read under the lock of
-- longshore.held, it is exact.
create view longshore.open_queues as
select q.name, q.cap - h.jobs as room
from longshore.queues q
cross join lateral (
    select case when q.cap is null then 0
           else coalesce((select o.jobs from longshore.held_of_queue o where o.queue = q.name), 0) end as jobs
) h
where q.paused_at is null and (q.cap is null or h.jobs < q.cap);

-- A cap or a pause that someone sets waits for a claim that is under way, and the next one obeys it: before the queue's row
-- is touched, so that the claim never waits for it in turn.
create function longshore.wait_for_claim() returns trigger language plpgsql as $$
begin
    perform from longshore.limits where name = 'global' for update;
    return null;
end
$$;
create trigger claim_is_waited_for before update of cap, paused_at on longshore.queues
    for each statement execute function longshore.wait_for_claim();
create trigger queue_is_told after update of cap, paused_at on longshore.queues
    for each row when (old.cap is distinct from new.cap or old.paused_at is distinct from new.paused_at)
    execute function longshore.tell_of_cap();

-- How many more jobs may wait in a queue that has a bound; null where it has none. Whoever asks first has the queue to
-- itself until its commit. Its second statement sees what was committed before that, which the statement that calls this
-- function does not: hence a function.
create function longshore.room_to_wait(in_queue text) returns bigint
language plpgsql volatile set plan_cache_mode = force_generic_plan as $$
declare
    bound integer;
    waiting bigint;
begin
    select max_pending into bound from longshore.queues where name = in_queue and max_pending is not null for no key update;
    if bound is null then
        return null;
    end if;
    select count(*) into waiting
    from (select from longshore.jobs_live where queue = in_queue and state in ('scheduled', 'pending') limit bound) w;
    return bound - waiting;
end
$$;

-- The claim, as before, of queues that are open.
create or replace function longshore.claim(claimant uuid, most integer, gather_secs double precision, chores_done boolean)
returns table (outcome text, jobs integer, gathering boolean)
language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    allowed integer;
    taken bigint;
    alive boolean;
    chores boolean;
begin
    jobs := 0;
    gathering := false;
    if not chores_done then
        -- The clock is asked in a statement of its own, whose answer the indexes can be searched for: jobs_due, jobs_expiring.
        select exists (select from longshore.jobs_live where state = 'scheduled' and due_at <= (select clock_timestamp()))
            or exists (select from longshore.jobs_live
                        where expires_at <= (select clock_timestamp()) and state in ('scheduled', 'pending'))
            or exists (select from longshore.jobs_live j
                        where j.replica is not null and j.replica <> claimant
                          and not exists (select from longshore.replicas r
                                           where r.id = j.replica
                                             and r.heartbeat_at > clock_timestamp() - make_interval(secs => r.lease_secs)))
          into chores;
        if chores then
            outcome := 'chores';
            return next;
            return;
        end if;
    end if;

    -- A look without any lock: whoever frees a slot, or allows one more, tells it after the commit.
    if (select h.jobs >= l.cap from longshore.held h, longshore.limits l where l.name = 'global') then
        outcome := 'full';
        return next;
        return;
    end if;
    select cap into allowed from longshore.limits where name = 'global' for update skip locked;
    if not found then
        outcome := 'busy';
        return next;
        return;
    end if;
    -- Waits for endings that are being committed, and sees them.
    select h.jobs into taken from longshore.held h for update;
    alive := exists (select from longshore.replicas
                      where id = claimant and heartbeat_at > clock_timestamp() - make_interval(secs => lease_secs));
    if not alive or taken >= allowed then
        outcome := case when alive then 'full' else 'expired' end;
        return next;
        return;
    end if;
    most := least(most, allowed - taken);

    -- Index: jobs_pending, whose order is the claim's. The open queues with the best heads give their best from there, each
    -- no more than its own cap leaves, and the best of those are taken; a queue whose head is not among so many heads has
    -- nothing that is. A queue that is full or paused has no head, and so holds back no other. A queue that was idle lets a
    -- burst arrive whole: none of its jobs is taken until one of them has waited for `gather_secs` (the probe looks at the
    -- head only, so that no stream of arrivals can hold it up). A row that someone has locked is left for next time. `pick`
    -- asks for the state in words that the partial index does not know: with stale statistics the planner would walk the
    -- whole backlog through that index instead of looking up the ids. What it locked cannot change before it is claimed.
    with foremost as (
        select head.queue, head.room
        from (
            select q.name as queue, q.room, first.priority, first.seq
            from longshore.open_queues q
            cross join lateral (
                select priority, seq
                from longshore.jobs_live
                where queue = q.name and state = 'pending'
                order by priority desc, seq
                limit 1
            ) first
            order by first.priority desc, first.seq
            limit most
        ) head
        where exists (
            select from (
                select pending_at
                from longshore.jobs_live
                where queue = head.queue and state = 'pending'
                order by priority desc, seq
                limit 1000
            ) waiting
            where waiting.pending_at <= clock_timestamp() - make_interval(secs => gather_secs)
        )
    ), best as (
        select head.id
        from foremost
        cross join lateral (
            select id, priority, seq
            from longshore.jobs_live
            where queue = foremost.queue and state = 'pending'
            order by priority desc, seq
            limit least(most, foremost.room)
        ) head
        order by head.priority desc, head.seq
        limit most
    ), pick as materialized (
        select id
        from longshore.jobs_live
        where id = any(array(select id from best)) and state || '' = 'pending'
        order by id
        for update skip locked
    ), claimed as (
        update longshore.jobs_live
        set state = 'starting', version = version + 1, attempt = attempt + 1,
            replica = claimant, nonce = gen_random_uuid(), claimed_at = clock_timestamp(), start_clock_at = null, started_at = null
        where id = any(array(select id from pick))
        returning id, attempt, nonce, pending_at, claimed_at, priority, seq
    ), facts as (
        insert into longshore.attempts (job_id, attempt, nonce, pending_at, claimed_at, claimed_by)
        select id, attempt, nonce, pending_at, claimed_at, claimant from claimed
    ), told as (
        insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
        select id, attempt, 'pending', 'starting', 'claimed', claimant from claimed order by priority desc, seq
    )
    select count(*) into jobs from claimed;

    if jobs < most then
        select exists (
            select from longshore.open_queues q
            cross join lateral (
                select from longshore.jobs_live
                where queue = q.name and state = 'pending' order by priority desc, seq limit 1
            ) waiting)
          into gathering;
    end if;
    outcome := 'claimed';
    return next;
end
$$;

-- A job that failed or was cancelled may be tried again by hand: the one way back from what is over. One that succeeded
-- stays as it is.
create or replace function longshore.job_state_may_follow(before text, after text) returns boolean
language sql immutable parallel safe as $$
    select (before, after) in (
        ('scheduled', 'pending'), ('scheduled', 'failed'), ('scheduled', 'cancelled'),
        ('pending', 'starting'), ('pending', 'failed'), ('pending', 'cancelled'),
        ('starting', 'starting'), ('starting', 'pending'), ('starting', 'scheduled'), ('starting', 'running'),
        ('starting', 'stopping'), ('starting', 'succeeded'), ('starting', 'failed'), ('starting', 'cancelled'),
        ('running', 'stopping'), ('running', 'scheduled'), ('running', 'succeeded'), ('running', 'failed'),
        ('stopping', 'scheduled'), ('stopping', 'succeeded'), ('stopping', 'failed'), ('stopping', 'cancelled'),
        ('failed', 'pending'), ('cancelled', 'pending')
    )
$$;

create or replace function longshore.refuse_impossible_move() returns trigger language plpgsql as $$
begin
    if not longshore.job_state_may_follow(old.state, new.state) then
        raise exception 'job % cannot go from % to %', old.id, old.state, new.state
            using errcode = 'check_violation', constraint = 'move_is_an_edge', schema = 'longshore', table = 'jobs',
                  hint = 'The lifecycle is drawn in docs/lifecycle.md.';
    end if;
    return new;
end
$$;

-- In words, how many jobs are ahead, of whom nobody counted more than `counted`.
create function longshore.jobs_ahead(jobs bigint, counted integer, of_what text) returns text
language sql immutable parallel safe as $$
    select case when jobs = 0 then 'it is next'
                when jobs = 1 then '1 job is ahead ' || of_what
                when jobs = counted then counted || ' or more jobs are ahead ' || of_what
                else jobs || ' jobs are ahead ' || of_what end
$$;
