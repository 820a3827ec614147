-- Takes what is to be delivered now, of each webhook ($1, none of those that are disabled) as many as there is room for ($2),
-- for $3 seconds: whoever took it and dies leaves it due again. Index: webhook_deliveries_due.
with due as materialized (
    select d.id
    from (select unnest($1::uuid[]) as id, unnest($2::integer[]) as room) asked
    cross join lateral (
        select id
        from longshore.webhook_deliveries
        where webhook_id = asked.id and state = 'pending' and due_at <= (select clock_timestamp())
        order by due_at
        limit asked.room
        for update skip locked
    ) d
), taken as (
    update longshore.webhook_deliveries
    set tries = tries + 1, tried_at = clock_timestamp(), due_at = clock_timestamp() + make_interval(secs => $3)
    where id = any(array(select id from due))
    returning id, webhook_id, job_id, job_state, payload, tries
)
select t.id as "id!", t.webhook_id as "webhook_id!", t.job_id as "job_id!", t.job_state as "job_state!",
       t.payload as "payload!", t.tries as "tries!", w.url as "url!", s.secret as "secret!",
       case when s.previous_until > clock_timestamp() then s.previous end as previous,
       i.name as "instance!", extract(epoch from clock_timestamp())::bigint as "now_secs!"
from taken t
join longshore.webhooks w on w.id = t.webhook_id
join longshore.webhook_secrets s on s.webhook_id = t.webhook_id
cross join longshore.instance i
