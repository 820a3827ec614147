-- The same as touch_11.sql, where an item may have to be told to be alive more often than it expires.
with held as (
    select j.id, j.started_on + j.expire_seconds * interval '1 second' / 4 < now() as due,
           least(j.expire_seconds, j.heartbeat_seconds)::float8 as kept_secs
      from unnest($2::uuid[], $3::int4[]) h (id, tries)
      join job j on j.name = $1 and j.id = h.id and j.state = 'active' and j.retry_count = h.tries
       for update of j
), touched as (
    update job j
       set heartbeat_on = now(), started_on = case when held.due then now() else j.started_on end
      from held
     where j.name = $1 and j.id = held.id
)
select id, kept_secs from held
