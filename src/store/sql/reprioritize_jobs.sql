-- Gives jobs that wait, and whose rows are locked by the transaction, another priority ($6), if they are still in one of these
-- states and have these labels. Indexes: jobs_live_pkey, job_labels_pkey.
with before as materialized (
    select j.id, j.state, j.attempt, j.priority
    from longshore.jobs_live j
    where j.id = any($1::uuid[]) and j.state || '' = any($2::text[]) and j.priority <> $6
      and not exists (
          select from unnest($3::text[], $4::text[]) wanted (key, value)
          where not exists (
              select from longshore.job_labels has
              where has.job_id = j.id and has.key = wanted.key and (wanted.value is null or has.value = wanted.value)))
), changed as (
    update longshore.jobs_live j
    set priority = $6
    where j.id = any(array(select id from before)) and j.state || '' in ('pending', 'scheduled')
    returning j.id
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt, state, state, 'reprioritized', format('priority: %s -> %s', priority, $6::integer), $5::uuid
    from before where id in (select id from changed)
)
select count(*) as "changed!" from changed
