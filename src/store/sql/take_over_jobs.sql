-- Takes over the claimed jobs of replicas that are dead by the database's clock, and those of $3, who is nobody. Index:
-- jobs_claimed.
with orphan as materialized (
    select j.id, j.replica
    from longshore.jobs_live j
    where j.replica is not null and j.replica <> $1
      and not exists (
          select from longshore.replicas r
          where r.id = j.replica and r.heartbeat_at > clock_timestamp() - make_interval(secs => r.lease_secs))
    order by j.id
    limit $2
    for update of j skip locked
), taken as (
    update longshore.jobs_live j
    set replica = $1, version = version + 1
    from orphan o
    where j.id = o.id and j.replica = o.replica
    returning j.id, j.attempt, o.replica as dead
), facts as (
    update longshore.attempts a
    set taken_over = true
    from taken t
    where a.job_id = t.id and a.attempt = t.attempt
), told as (
    insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, message, replica)
    select id, attempt, 'starting', 'starting', 'taken_over',
        case when dead = $3 then 'its replica let go of it' else 'replica ' || dead || ' gave no sign of life' end, $1
    from taken
)
select count(*) as "taken!" from taken
