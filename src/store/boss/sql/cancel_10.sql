-- The same as cancel_9.sql, from 10 on.
update job j
   set state = 'cancelled', completed_on = now()
  from unnest($2::uuid[], $3::int4[]) ended (id, tries)
 where j.name = $1 and j.id = ended.id and j.state = 'active' and j.retry_count = ended.tries
returning j.id
