-- Completes those of the items $2 of queue $1 that are still under way as they were taken: $3 says how often they had been
-- tried, $4 what they put out. Who asked for it when the item was sent is told by an item of another queue.
with ended as (
    select * from unnest($2::uuid[], $3::int4[], $4::text[]) it (id, tries, output)
), results as (
    update job j
       set state = 'completed', completedon = now(), output = ended.output::jsonb
      from ended
     where j.name = $1 and j.id = ended.id and j.state = 'active' and j.retrycount = ended.tries
    returning j.*
), told as (
    insert into job (name, data, keepuntil)
    select '__state__completed__' || name,
           jsonb_build_object(
               'request', jsonb_build_object('id', id, 'name', name, 'data', data), 'response', output, 'state', state,
               'retryCount', retrycount, 'createdOn', createdon, 'startedOn', startedon, 'completedOn', completedon,
               'failed', false),
           keepuntil + (keepuntil - startafter)
      from results
     where on_complete and name not like '\_\_state\_\_completed\_\_%'
)
select id from results
