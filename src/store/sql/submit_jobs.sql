-- Accepts jobs: of each its row, what it is to do, and the event that tells it; in the order in which they are given. One
-- comes back for each that was accepted: not for one whose queue does not exist yet or is full, or whose idempotency key has
-- been used. A key is taken only together with its job: not while the queue is missing or full.
--
-- Besides, with no id: how many pending jobs of which priority would start before the least of them, best first, up to $14
-- in all, in the snapshot before the insertion. Index: jobs_in_order. Where a queue stands still, to which none of them goes:
-- up to $14 of each queue that does not. Index: jobs_pending. No two lists of a statement's length are joined: that
-- would take its length squared.
with asked as materialized (
    select *
    from unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                $8::double precision[], $9::text[], $10::text[], $11::text[], $12::text[], $15::text[])
         with ordinality asked (id, priority, queue, name, namespace, policy, run_at, delay_secs, spec, spec_hash, key,
                                request_hash, traceparent, nth)
), known as materialized (
    select a.*, due.run_at as starts_at, case when due.waits then 'scheduled' else 'pending' end as state
    from asked a
    join longshore.queues q on q.name = a.queue collate "C",
    lateral (select run_at, coalesce(run_at > clock_timestamp(), false) as waits
               from (select coalesce(a.run_at, clock_timestamp() + make_interval(secs => a.delay_secs)) as run_at) at) due
), bounded as materialized (
    -- In one order, for each is locked.
    select name, longshore.room_to_wait(name) as room
    from (select q.name from longshore.queues q
           where q.max_pending is not null and q.name in (select a.queue collate "C" from asked a)
           order by q.name) q
), turned_away as materialized (
    -- What was accepted before under its key takes up no room.
    select w.id
    from (select k.id, k.queue, row_number() over (partition by k.queue order by k.nth) as place
            from known k
           where k.queue in (select name from bounded)
             and (k.key is null or not exists (select from longshore.idempotency_keys i where i.key = k.key))) w
    join bounded b on b.name = w.queue collate "C"
    where w.place > b.room
), fits as materialized (
    select * from known where not exists (select from bounded) or id not in (select id from turned_away)
), keyed as (
    insert into longshore.idempotency_keys (key, job_id, request_hash)
    -- In one order, so that two statements with the same keys do not wait for each other in a circle.
    select key, id, request_hash from fits where key is not null order by key, nth
    on conflict (key) do nothing
    returning job_id
), accepted as materialized (
    select * from fits where key is null or id in (select job_id from keyed) order by nth
), job as (
    insert into longshore.jobs_live (id, priority, queue, name, namespace, policy, run_at, due_at, expires_at, pending_at, state)
    select id, priority, queue, name, namespace, policy::jsonb, starts_at,
           case when state = 'scheduled' then starts_at end,
           greatest(starts_at, clock_timestamp())
               + make_interval(secs => (policy::jsonb ->> 'queue_timeout_secs')::double precision),
           case when state = 'pending' then clock_timestamp() end, state
    from accepted
    order by nth
), spec as (
    insert into longshore.job_specs (job_id, spec, spec_hash, name, queue, traceparent)
    select id, spec::jsonb, spec_hash, name, queue, traceparent from accepted
    returning job_id, spec
), labelled as (
    insert into longshore.job_labels (job_id, key, value)
    select s.job_id, l.key, l.value from spec s, jsonb_each_text(s.spec -> 'labels') l
), stopped as materialized (
    select name from longshore.queues
     where (paused_at is not null or cap = 0) and name not in (select queue collate "C" from asked)
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
    select id, 0, null, state, 'submitted', $13 from accepted order by nth
)
select id, state = 'pending' as "waits!", null::integer as priority, null::bigint as jobs from accepted
union all
select null, false, ahead.priority, count(*)
from (
    (select priority
       from longshore.jobs_live
      where state = 'pending' and priority >= (select min(priority) from asked) and not exists (select from stopped)
      order by priority desc, seq
      limit $14)
    union all
    (select best.priority
       from longshore.queues q
       cross join lateral (
           select priority
             from longshore.jobs_live
            where queue = q.name and state = 'pending' and priority >= (select min(priority) from asked)
            order by priority desc, seq
            limit $14
       ) best
      where exists (select from stopped) and q.name not in (select name from stopped))
) ahead
group by ahead.priority
