-- Fails items, under the conditions of complete_9.sql: they wait for another try while there is one left. Where one may
-- wait at a time and another one does, pg-boss 9 would meet an error again and again; here it fails, as from 10 on.
with ended as (
    select * from unnest($2::uuid[], $3::int4[], $4::text[]) it (id, tries, output)
), judged as (
    select j.id, ended.output,
           j.retrycount < j.retrylimit and not exists (
               select from job o
                where o.name = $1 and o.singletonkey = j.singletonkey and o.state < 'active' and o.singletonon is null
                  and o.singletonkey like '\_\_pgboss\_\_singleton\_queue%') as again
      from ended
      join job j on j.name = $1 and j.id = ended.id and j.state = 'active' and j.retrycount = ended.tries
       for update of j
), results as (
    update job j
       set state = (case when judged.again then 'retry' else 'failed' end)::job_state,
           completedon = case when judged.again then null else now() end,
           startafter = case
               when j.retrycount = j.retrylimit then j.startafter
               when not j.retrybackoff then now() + j.retrydelay * interval '1 second'
               else now() + j.retrydelay * 2 ^ least(16, j.retrycount + 1) / 2 * (1 + random()) * interval '1 second' end,
           output = judged.output::jsonb
      from judged
     where j.name = $1 and j.id = judged.id
    returning j.*
), told as (
    insert into job (name, data, keepuntil)
    select '__state__completed__' || name,
           jsonb_build_object(
               'request', jsonb_build_object('id', id, 'name', name, 'data', data), 'response', output, 'state', state,
               'retryCount', retrycount, 'createdOn', createdon, 'startedOn', startedon, 'completedOn', completedon,
               'failed', true),
           keepuntil + (keepuntil - startafter)
      from results
     where state = 'failed' and on_complete and name not like '\_\_state\_\_completed\_\_%'
)
select id, state = 'failed' as failed from results
