-- Gives a pending job the attempt $3, whose Kubernetes Job is there; nobody ($7) claimed it in these rows. Answers how many
-- rows that were.
with moved as (
    update longshore.jobs_live
    set state = 'starting', version = version + 1, attempt = $3, nonce = $4, kube_uid = $6,
        claimed_at = clock_timestamp(), start_clock_at = clock_timestamp(), started_at = null
    where id = $1 and version = $2 and attempt < $3 and state = 'pending'
    returning id, attempt, nonce, kube_uid, pending_at, claimed_at
), facts as (
    insert into longshore.attempts (job_id, attempt, nonce, kube_name, kube_uid, pending_at, claimed_at, created_at, claimed_by)
    select id, attempt, nonce, $5, kube_uid, pending_at, claimed_at, claimed_at, $7 from moved
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message)
    select id, attempt, 'pending', 'starting', 'recovered', 'its Kubernetes Job ' || $5 || ' was found in the cluster' from moved
)
select count(*) as "moved!" from moved
