-- Makes the rows of a job that has none, pending, with what its Kubernetes Job tells of it; answers the version.
with queue as (
    insert into longshore.queues (name) values ($3) on conflict (name) do nothing
), job as (
    insert into longshore.jobs_live (id, priority, queue, name, namespace, state, pending_at)
    values ($1, 0, $3, $2, $4, 'pending', clock_timestamp())
    returning id, version
), spec as (
    insert into longshore.job_specs (job_id, spec, spec_hash, name, queue) values ($1, $5::text::jsonb, $6, $2, $3)
    returning job_id, spec
), labelled as (
    insert into longshore.job_labels (job_id, key, value)
    select s.job_id, l.key, l.value from spec s, jsonb_each_text(s.spec -> 'labels') l
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message)
    select id, 0, null, 'pending', 'recovered', 'it had no row, and its Kubernetes Job is in the cluster' from job
)
select version as "version!" from job
