-- The claim: taking slots for the best pending jobs, exactly as many as the cap has left. src/store/claims.rs says why it
-- is exact; here is what it rests on: the cap's row is locked in a statement of its own, what holds a slot is counted in
-- the next, and the claim comes last. In a volatile function each statement has a snapshot of its own, so the count sees
-- every claim that was committed before the lock was got, as it would in a transaction of several round trips; and no
-- network lies between the lock and its release but that of the commit.
--
-- Outcomes: 'chores', jobs that are due or too late, or left by the dead, are to be seen to first, unless `chores_done`;
-- 'busy', another replica is claiming; 'expired', the claimant's own heartbeat is too old; 'full'; 'claimed'.
-- `gathering`: slots are left, and jobs wait that may start as soon as their burst is complete.
create function longshore.claim(claimant uuid, most integer, gather_secs double precision, chores_done boolean)
returns table (outcome text, jobs integer, gathering boolean)
language plpgsql as $$
declare
    allowed integer;
    held bigint;
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

    select cap into allowed from longshore.limits where name = 'global' for update skip locked;
    if not found then
        outcome := 'busy';
        return next;
        return;
    end if;
    select (select count(*) from longshore.jobs_live where state in ('starting', 'running', 'stopping')),
           exists (select from longshore.replicas
                    where id = claimant and heartbeat_at > clock_timestamp() - make_interval(secs => lease_secs))
      into held, alive;
    if not alive or held >= allowed then
        outcome := case when alive then 'full' else 'expired' end;
        return next;
        return;
    end if;
    most := least(most, allowed - held);

    -- Index: jobs_pending, whose order is the claim's. Each queue gives its best from the head of its own stretch, and the
    -- best of those are taken; a cap of a queue will narrow the limit of its stretch and nothing else. A queue that was
    -- idle lets a burst arrive whole: none of its jobs is taken until one of them has waited for `gather_secs` (the probe
    -- looks at the head only, so that no stream of arrivals can hold it up). A row that someone has locked is left for next
    -- time. `pick` asks for the state in words that the partial index does not know: with stale statistics the planner would
    -- walk the whole backlog through that index instead of looking up the ids. What it locked cannot change before it is
    -- claimed.
    with best as (
        select head.id
        from longshore.queues q
        cross join lateral (
            select id, priority, seq
            from longshore.jobs_live
            where queue = q.name and state = 'pending'
            order by priority desc, seq
            limit most
        ) head
        where exists (
            select from (
                select pending_at
                from longshore.jobs_live
                where queue = q.name and state = 'pending'
                order by priority desc, seq
                limit 1000
            ) waiting
            where waiting.pending_at <= clock_timestamp() - make_interval(secs => gather_secs)
        )
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
