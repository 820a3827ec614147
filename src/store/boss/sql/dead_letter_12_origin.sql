-- The same as dead_letter_11.sql, and where the item is from: 12.23 to 12.34.
insert into job (name, data, output, retry_limit, retry_backoff, retry_delay, keep_until, deletion_seconds,
                 source_name, source_id, source_created_on, source_retry_count)
select j.dead_letter, j.data, j.output, q.retry_limit, q.retry_backoff, q.retry_delay,
       now() + q.retention_seconds * interval '1 second', q.deletion_seconds,
       j.name, j.id, j.created_on, j.retry_count
  from job j
  join queue q on q.name = j.dead_letter
 where j.name = $1 and j.id = any($2) and j.state = 'failed'
