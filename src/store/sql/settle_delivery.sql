-- Records what a try ($2) of a delivery ($1) came to: $3 whether it was delivered, $4 what was answered, $5 what went wrong, $6
-- after how many seconds to try again, unless that is after $7 seconds in all; $8 disables its webhook. A try that somebody
-- else has repeated since says nothing any more.
with settled as (
    update longshore.webhook_deliveries
    set state = case when $3 then 'delivered'
                     when $8 or clock_timestamp() + make_interval(secs => $6) > tries_since + make_interval(secs => $7)
                     then 'dead' else 'pending' end,
        delivered_at = case when $3 then clock_timestamp() end,
        last_status = $4, last_error = $5,
        due_at = clock_timestamp() + make_interval(secs => $6)
    where id = $1 and tries = $2 and state = 'pending'
    returning webhook_id, state
), disabled as (
    update longshore.webhooks w
    set disabled_at = clock_timestamp(), disabled_why = 'it answered 410 Gone'
    from settled
    where $8 and w.id = settled.webhook_id and w.disabled_at is null
)
select state from settled
