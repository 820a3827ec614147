-- Makes scheduled jobs whose time has come pending. Indexes: jobs_due, jobs_out_of_quota.
--
-- Jobs that wait for a quota of their namespace all need the same of it: one Kubernetes Job. When the time of any of them
-- has come, the best of them is let go in its stead, one per namespace at a time, so that what frees of the quota goes by
-- priority and not by whose pause happens to end; the others pause again. A job that was put aside keeps since when, so
-- that its next pause is longer.
--
-- The clock is asked in a statement of its own, whose answer an index can be searched for; as it is, it would be compared
-- with all that is scheduled. So it is wherever something is due.
with due as materialized (
    select id, namespace, coalesce(wait_code = 'quota', false) as asks from longshore.jobs_live
    where state = 'scheduled' and due_at <= (select clock_timestamp())
    order by due_at
    limit $2
    for update skip locked
), best as (
    select head.id
    from (select distinct namespace from due where asks) n
    cross join lateral (
        select id from longshore.jobs_live
        where state = 'scheduled' and wait_code = 'quota' and namespace = n.namespace
        order by priority desc, seq
        limit 1
    ) head
), chosen as materialized (
    select id from longshore.jobs_live
    where id = any(array(select id from due where not asks union all select id from best)) and state || '' = 'scheduled'
    order by id
    for update skip locked
), pausing as (
    update longshore.jobs_live
    set due_at = clock_timestamp() + make_interval(secs =>
            least($3::double precision, greatest(1, extract(epoch from clock_timestamp() - wait_since)::double precision)))
    where id = any(array(select id from due where asks and id not in (select id from best)))
), promoted as (
    update longshore.jobs_live
    set state = 'pending', version = version + 1, due_at = null, pending_at = clock_timestamp(),
        wait_code = case when wait_code <> 'backoff' then wait_code end,
        wait_message = case when wait_code <> 'backoff' then wait_message end,
        wait_since = case when wait_code <> 'backoff' then wait_since end
    where id = any(array(select id from chosen)) and state = 'scheduled'
    returning id, attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
    select id, attempt, 'scheduled', 'pending', 'due', $1 from promoted
)
select count(*) as "promoted!" from promoted
