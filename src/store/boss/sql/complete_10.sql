-- The same as complete_9.sql, from 10 on.
with ended as (
    select * from unnest($2::uuid[], $3::int4[], $4::text[]) it (id, tries, output)
)
update job j
   set state = 'completed', completed_on = now(), output = ended.output::jsonb
  from ended
 where j.name = $1 and j.id = ended.id and j.state = 'active' and j.retry_count = ended.tries
returning j.id
