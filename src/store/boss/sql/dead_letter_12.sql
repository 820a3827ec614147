-- The same as dead_letter_11.sql, since 12.35: what the item put out and where it is from are kept apart, and it keeps its
-- place.
insert into job (name, priority, data, retry_limit, retry_backoff, retry_delay, start_after, created_on, keep_until,
                 deletion_seconds, expire_seconds, singleton_key, group_id, group_tier, heartbeat_seconds,
                 source_name, source_id, source_created_on, source_retry_count, source_output, source_root_id)
select j.dead_letter, j.priority, j.data, q.retry_limit, q.retry_backoff, q.retry_delay, now(), now(),
       now() + q.retention_seconds * interval '1 second', q.deletion_seconds, q.expire_seconds, j.singleton_key, j.group_id,
       j.group_tier, q.heartbeat_seconds,
       j.name, j.id, j.created_on, j.retry_count, j.output, coalesce(j.source_root_id, j.id)
  from job j
  join queue q on q.name = j.dead_letter
 where j.name = $1 and j.id = any($2) and j.state = 'failed'
