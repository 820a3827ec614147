-- The same as touch_9.sql, from 10 on.
with held as (
    select j.id, j.started_on + j.expire_in / 4 < now() as due, extract(epoch from j.expire_in)::float8 as kept_secs
      from unnest($2::uuid[], $3::int4[]) h (id, tries)
      join job j on j.name = $1 and j.id = h.id and j.state = 'active' and j.retry_count = h.tries
       for update of j
), touched as (
    update job j set started_on = now() from held where j.name = $1 and j.id = held.id and held.due
)
select id, kept_secs from held
