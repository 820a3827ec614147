-- Changes a job that waits, and whose row is locked by the transaction: its priority ($3); its time ($5, if $4), which may
-- make it wait for a slot at once or for that time ($6); and its labels (if $7), with which its spec is written anew.
-- Indexes: jobs_live_pkey, job_specs_pkey, job_labels_pkey.
with clock as materialized (
    select clock_timestamp() as now
), before as materialized (
    select id, state, attempt from longshore.jobs_live where id = $1
), changed as (
    update longshore.jobs_live j
    set priority = $3, run_at = case when $4 then $5 else j.run_at end,
        state = case when not $4 then j.state when $6 then 'scheduled' else 'pending' end,
        version = j.version + case when $4 and (j.state = 'scheduled') <> $6 then 1 else 0 end,
        due_at = case when not $4 then j.due_at when $6 then $5 end,
        pending_at = case when $4 and j.state = 'scheduled' and not $6 then clock.now else j.pending_at end,
        -- What begins to wait now has its whole time to wait, but no more than it had.
        expires_at = case when not $4 or (j.state = 'pending' and not $6) then j.expires_at
                     when $6 then $5 + make_interval(secs => (j.policy ->> 'queue_timeout_secs')::double precision)
                     else least(j.expires_at, clock.now
                                + make_interval(secs => (j.policy ->> 'queue_timeout_secs')::double precision)) end,
        wait_code = case when not $4 or (not $6 and j.wait_code <> 'backoff') then j.wait_code end,
        wait_message = case when not $4 or (not $6 and j.wait_code <> 'backoff') then j.wait_message end,
        wait_since = case when not $4 or (not $6 and j.wait_code <> 'backoff') then j.wait_since end
    from clock
    where j.id = $1 and j.state || '' in ('pending', 'scheduled')
    returning j.id, j.state
), specified as (
    update longshore.job_specs set spec = $8::text::jsonb, spec_hash = $9 where job_id in (select id from changed) and $7
), unlabelled as (
    delete from longshore.job_labels where job_id in (select id from changed) and $7 and key <> all($10::text[])
), labelled as (
    insert into longshore.job_labels (job_id, key, value)
    select c.id, l.key, l.value from changed c, unnest($10::text[], $11::text[]) l (key, value) where $7
    on conflict (job_id, key) do update set value = excluded.value
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select b.id, b.attempt, b.state, c.state, $12, $13, $2::uuid from before b join changed c on c.id = b.id
)
select state from changed
