-- Gives one claim back as if it had never been made: the attempt's number is free again. With $4, the job is put aside for
-- that reason: it is scheduled for later, and the longer it has been so, the longer (from 1 second to $7); $8 is told. Index:
-- jobs_live_pkey. One that is to be cancelled is not given back: its claimant cancels it.
with back as (
    update longshore.jobs_live
    set state = case when $4::text is null then 'pending' else 'scheduled' end,
        version = version + 1, attempt = attempt - 1, replica = null, nonce = null, claimed_at = null,
        wait_code = $4, wait_message = $5,
        wait_since = case when $4::text is null then null
                          when wait_code = $4 then wait_since
                          else clock_timestamp() end,
        due_at = case when $4::text is not null then clock_timestamp() + make_interval(secs => $6::double precision * least($7::double precision, greatest(1,
                     case when wait_code = $4 then extract(epoch from clock_timestamp() - wait_since)::double precision else 0 end))) end
    where id = $1 and replica = $2 and version = $3 and cancel_requested_at is null
    returning id, attempt, state
), facts as (
    delete from longshore.attempts a using back b where a.job_id = $1 and a.attempt = b.attempt + 1
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt + 1, 'starting', state, coalesce($4, 'handed_back'), $8, $2
    from back
)
select count(*) as "done!" from back
