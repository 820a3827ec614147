-- Cancels items, under the conditions of complete_9.sql.
update job j
   set state = 'cancelled', completedon = now()
  from unnest($2::uuid[], $3::int4[]) ended (id, tries)
 where j.name = $1 and j.id = ended.id and j.state = 'active' and j.retrycount = ended.tries
returning j.id
