-- The same as claim_10.sql, where an item may wait for others, and may have to be told to be alive. By job_i11, whose order
-- is all that pg-boss asks for here.
with next as (
    select j.id, j.priority, j.created_on,
           case when j.policy in ('singleton', 'stately') then coalesce(j.singleton_key, '') else j.id::text end as apart
      from job j
     where j.name = $1 and j.state < 'active' and not j.blocked and j.start_after <= now()
       and (j.policy is null or j.policy not in ('singleton', 'stately') or not exists (
               select from job a
                where a.name = $1 and a.state = 'active' and a.policy = j.policy
                  and coalesce(a.singleton_key, '') = coalesce(j.singleton_key, '')))
       and (j.policy is null or j.policy <> 'key_strict_fifo' or not exists (
               select from job e
                where e.name = $1 and e.policy = 'key_strict_fifo' and e.singleton_key = j.singleton_key and e.id <> j.id
                  and (e.state in ('active', 'retry', 'failed')
                       or (e.state = 'created' and not e.blocked and e.start_after <= now() and j.state = 'created'
                           and (e.created_on, e.id) < (j.created_on, j.id)))))
     order by j.priority desc, j.created_on
     limit $2
     for update of j skip locked
), first as (
    select id, row_number() over (partition by apart order by priority desc, created_on, id) as nth from next
), claimed as (
    update job j
       set state = 'active', started_on = now(), heartbeat_on = now(),
           retry_count = case when j.started_on is not null then j.retry_count + 1 else j.retry_count end
      from first
     where j.name = $1 and j.id = first.id and first.nth = 1
    returning j.*
)
select id, case when octet_length(data::text) <= $3 then data::text end as data, octet_length(data::text)::bigint as bytes,
       retry_count as tries, priority, extract(epoch from now() - greatest(start_after, 'epoch'))::float8 as due_secs,
       least(expire_seconds, heartbeat_seconds)::float8 as kept_secs
  from claimed
 order by priority desc, created_on, id
