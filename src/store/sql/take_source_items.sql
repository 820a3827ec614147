-- Takes messages of source $1 that somebody must tell their queue of: because their job has ended, or because they must be
-- kept from others anew. For $3 seconds nobody else gets one whose job has ended, and for $2 one that goes on. A job whose
-- row is gone has long ended; nothing is known of it but that.
with due as materialized (
    select i.source, i.item, coalesce(j.state, 'failed') as state, coalesce(j.reason, 'lost') as reason
    from longshore.source_items i
    left join longshore.jobs j on j.id = i.job_id
    where i.source = $1
      and (i.extend_at <= clock_timestamp()
           or (coalesce(j.state, 'failed') in ('succeeded', 'failed', 'cancelled')
               and (i.settling_at is null or i.settling_at < clock_timestamp() - make_interval(secs => $3))))
    limit $4
    for update of i skip locked
)
update longshore.source_items i
   set extend_at = clock_timestamp() + make_interval(secs => $2), settling_at = clock_timestamp()
  from due
 where i.source = due.source and i.item = due.item
returning i.item, i.handle, i.job_id, due.state as "state!", due.reason
