-- Fails items, under the conditions of complete_9.sql, as pg-boss does from 10 on: each is deleted and made anew, to wait
-- for another try while there is one left. Where the queue's policy has no room for it there, because another one waits in
-- its place, it fails. Whatever columns there are stay as they are, but for those that are named here; what a release does
-- not have of those is passed over. $5: how its pause grows with each try, which 11 and 12 do not agree on with 10.
with ended as (
    select * from unnest($2::uuid[], $3::int4[], $4::text[]) it (id, tries, output)
), deleted as (
    delete from job j
     using ended
     where j.name = $1 and j.id = ended.id and j.state = 'active' and j.retry_count = ended.tries
    returning j as item, ended.output
), judged as (
    select item, output, (item).id, (item).retry_count, (item).retry_limit, (item).start_after, (item).retry_delay,
           (item).retry_backoff, (to_jsonb(item) ->> 'retry_delay_max')::int4 as most,
           2 ^ least(16, (item).retry_count + 1) / 2 * (1 + random()) as grown
      from deleted
), again as (
    insert into job
    select (jsonb_populate_record(item, jsonb_build_object(
               'state', case when retry_count < retry_limit then 'retry' else 'failed' end,
               'completed_on', case when retry_count < retry_limit then null else now() end,
               'start_after', case
                   when retry_count = retry_limit then start_after
                   when not retry_backoff then now() + retry_delay * interval '1 second'
                   else now() + interval '1 second' * case $5
                       when 10 then retry_delay * grown
                       when 11 then least(most, retry_delay + grown)
                       else least(most, greatest(retry_delay, 1) * grown) end
                   end,
               'output', output::jsonb, 'heartbeat_on', null, 'upsert_by_key', null))).*
      from judged
        on conflict do nothing
    returning id, state
), failed as (
    insert into job
    select (jsonb_populate_record(item, jsonb_build_object(
               'state', 'failed', 'completed_on', now(), 'output', output::jsonb, 'heartbeat_on', null,
               'upsert_by_key', null))).*
      from judged
     where id not in (select id from again)
    returning id, state
)
select id, state = 'failed' as failed from again
union all
select id, true from failed
