-- Lets go of one claim: its replica is $4 from now on, who is nobody, so that it is taken over; $5 is told. Index: jobs_live_pkey.
with let_go as (
    update longshore.jobs_live
    set replica = $4, version = version + 1
    where id = $1 and replica = $2 and version = $3
    returning id, attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt, 'starting', 'starting', 'let_go', $5, $2 from let_go
)
select count(*) as "done!" from let_go
