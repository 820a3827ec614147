-- The claim: taking slots for the best pending jobs, exactly as many as the cap has left; and what it rests on, the number
-- of jobs that hold a slot, which is kept beside the rows and cannot differ from them.

-- How many jobs hold a slot. Counting them for each claim took 6 ms at 100,000, a hundred when their rows had just been
-- rewritten, and the longer the longer somebody else's transaction was open. So the statement that moves jobs changes this
-- number by as many, in triggers, whoever made it: they commit together or not at all, and no path leads round them. The
-- sweep compares the two all the same: longshore.check_held.
create table longshore.held (
    only_row boolean primary key default true constraint held_is_one_row check (only_row),
    jobs bigint not null constraint held_is_not_negative check (jobs >= 0)
) with (
    -- Rewritten by each claim and each ending, in place.
    fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0
);
insert into longshore.held (jobs) values (0);

create function longshore.holds_slot(state text) returns boolean language sql immutable parallel safe as $$
    select state in ('starting', 'running', 'stopping')
$$;

-- A row moves its statement's jobs between partitions as an update of the table that the statement names, so both have
-- the trigger.
create function longshore.count_moved() returns trigger language plpgsql as $$
declare
    more bigint;
begin
    select (select count(*) from after_it where longshore.holds_slot(state))
         - (select count(*) from before_it where longshore.holds_slot(state)) into more;
    if more <> 0 then
        update longshore.held set jobs = jobs + more;
    end if;
    return null;
end
$$;
create trigger moved_are_counted after update on longshore.jobs
    referencing old table as before_it new table as after_it for each statement execute function longshore.count_moved();
create trigger moved_are_counted after update on longshore.jobs_live
    referencing old table as before_it new table as after_it for each statement execute function longshore.count_moved();

-- Jobs are submitted waiting, and leave when they are over. What a hand at a psql does is counted as well.
create function longshore.count_inserted() returns trigger language plpgsql as $$
begin
    update longshore.held set jobs = jobs + 1;
    return null;
end
$$;
create trigger inserted_are_counted after insert on longshore.jobs
    for each row when (new.state in ('starting', 'running', 'stopping')) execute function longshore.count_inserted();

create function longshore.count_deleted() returns trigger language plpgsql as $$
declare
    fewer bigint;
begin
    select count(*) into fewer from before_it where longshore.holds_slot(state);
    if fewer <> 0 then
        update longshore.held set jobs = jobs - fewer;
    end if;
    return null;
end
$$;
create trigger deleted_are_counted after delete on longshore.jobs
    referencing old table as before_it for each statement execute function longshore.count_deleted();
create trigger deleted_are_counted after delete on longshore.jobs_live
    referencing old table as before_it for each statement execute function longshore.count_deleted();

-- Counts the rows, and puts the number right if it differs, which it never should: answers by how much it was too high.
create function longshore.check_held() returns bigint language plpgsql as $$
declare
    said bigint;
    counted bigint;
begin
    select jobs into said from longshore.held for update;
    select count(*) into counted from longshore.jobs_live where state in ('starting', 'running', 'stopping');
    if said <> counted then
        update longshore.held set jobs = counted;
    end if;
    return said - counted;
end
$$;

create function longshore.count_anew() returns trigger language plpgsql as $$
begin
    perform longshore.check_held();
    return null;
end
$$;
create trigger truncated_are_counted after truncate on longshore.jobs for each statement execute function longshore.count_anew();
create trigger truncated_are_counted after truncate on longshore.jobs_live for each statement execute function longshore.count_anew();

-- The claim. src/store/claims.rs says why it is exact.
--
-- Outcomes: 'chores', jobs that are due or too late, or left by the dead, are to be seen to first, unless `chores_done`;
-- 'busy', another replica is claiming; 'expired', the claimant's own heartbeat is too old; 'full'; 'claimed'.
-- `gathering`: slots are left, and jobs wait that may start as soon as their burst is complete.
create function longshore.claim(claimant uuid, most integer, gather_secs double precision, chores_done boolean)
returns table (outcome text, jobs integer, gathering boolean)
-- With a long backlog the planner takes any limit that it does not know for a tenth of it, thinks that a plan of its own
-- would be better each time, and makes the same one each time.
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
        select exists (select from longshore.jobs_live where state = 'scheduled' and due_at <= clock_timestamp())
            or exists (select from longshore.jobs_live
                        where expires_at <= clock_timestamp() and state in ('scheduled', 'pending'))
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

    -- Index: jobs_pending, whose order is the claim's. The queues with the best heads give their best from there, and the
    -- best of those are taken; a queue whose head is not among so many heads has nothing that is. A cap of a queue will
    -- narrow the limit of its stretch and nothing else. A queue that was idle lets a burst arrive whole: none of its jobs
    -- is taken until one of them has waited for `gather_secs` (the probe looks at the head only, so that no stream of
    -- arrivals can hold it up). A row that someone has locked is left for next time. `pick` asks for the state in words
    -- that the partial index does not know: with stale statistics the planner would walk the whole backlog through that
    -- index instead of looking up the ids. What it locked cannot change before it is claimed.
    with foremost as (
        select head.queue
        from (
            select q.name as queue, first.priority, first.seq
            from longshore.queues q
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
            limit most
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
            select from longshore.queues q
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

-- A cap that someone changed counts at once: replicas that found it full wait for a slot to become free.
create function longshore.tell_of_cap() returns trigger language plpgsql as $$
begin
    perform pg_notify('longshore', '1');
    return null;
end
$$;

create trigger cap_is_told after update of cap on longshore.limits
    for each row when (old.cap is distinct from new.cap) execute function longshore.tell_of_cap();
