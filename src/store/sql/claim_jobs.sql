-- Claims the best pending jobs, for a caller that holds the cap's lock and knows how many slots are free.
--
-- Index: jobs_pending, whose order is the claim's. Each queue gives its best $2 from the head of its own stretch, and the
-- best $2 of those are taken; a cap of a queue will narrow the limit of its stretch and nothing else. A queue that was
-- idle lets a burst arrive whole: none of its jobs is taken until one of them has waited for $3 seconds (the probe looks
-- at the head only, so that no stream of arrivals can hold it up). A row that someone has locked is left for next time.
-- `pick` asks for the state in words that the partial index does not know: with stale statistics the planner would walk
-- the whole backlog through that index instead of looking up the ids. What it locked cannot change before it is claimed.
with best as (
    select head.id
    from longshore.queues q
    cross join lateral (
        select id, priority, seq
        from longshore.jobs_live
        where queue = q.name and state = 'pending'
        order by priority desc, seq
        limit $2
    ) head
    where exists (
        select from (
            select pending_at
            from longshore.jobs_live
            where queue = q.name and state = 'pending'
            order by priority desc, seq
            limit 1000
        ) waiting
        where waiting.pending_at <= clock_timestamp() - make_interval(secs => $3)
    )
    order by head.priority desc, head.seq
    limit $2
), pick as materialized (
    select id
    from longshore.jobs_live
    where id = any(array(select id from best)) and state || '' = 'pending'
    order by id
    for update skip locked
), claimed as (
    update longshore.jobs_live
    set state = 'starting', version = version + 1, attempt = attempt + 1,
        replica = $1, nonce = gen_random_uuid(), claimed_at = clock_timestamp(), start_clock_at = null, started_at = null
    where id = any(array(select id from pick))
    returning id, attempt, nonce, pending_at, claimed_at, priority, seq
), facts as (
    insert into longshore.attempts (job_id, attempt, nonce, pending_at, claimed_at, claimed_by)
    select id, attempt, nonce, pending_at, claimed_at, $1 from claimed
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
    select id, attempt, 'pending', 'starting', 'claimed', $1 from claimed order by priority desc, seq
)
select count(*) as "claimed!" from claimed
