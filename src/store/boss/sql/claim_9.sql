-- Takes what is due of queue $1, $2 items at most, in pg-boss's order. By job_fetch. An item that is larger than $3 bytes
-- comes without its data.
with next as (
    select id
      from job
     where name = $1 and state < 'active' and startafter <= now()
     order by priority desc, createdon, id
     limit $2
     for update skip locked
), claimed as (
    update job j
       set state = 'active', startedon = now(),
           retrycount = case when j.state = 'retry' then j.retrycount + 1 else j.retrycount end
      from next
     where j.name = $1 and j.id = next.id
    returning j.*
)
select id, case when octet_length(data::text) <= $3 then data::text end as data, octet_length(data::text)::bigint as bytes,
       retrycount as tries, priority, extract(epoch from now() - greatest(startafter, 'epoch'))::float8 as due_secs,
       extract(epoch from expirein)::float8 as kept_secs
  from claimed
 order by priority desc, createdon, id
