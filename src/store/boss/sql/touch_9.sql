-- Keeps items from expiring, under the conditions of complete_9.sql: pg-boss counts from when they were started. One that
-- is young yet keeps the time at which it really was.
with held as (
    select j.id, j.startedon + j.expirein / 4 < now() as due, extract(epoch from j.expirein)::float8 as kept_secs
      from unnest($2::uuid[], $3::int4[]) h (id, tries)
      join job j on j.name = $1 and j.id = h.id and j.state = 'active' and j.retrycount = h.tries
       for update of j
), touched as (
    update job j set startedon = now() from held where j.name = $1 and j.id = held.id and held.due
)
select id, kept_secs from held
