-- The same as dead_letter_10.sql, with what the other queue has for its items.
insert into job (name, data, output, retry_limit, retry_backoff, retry_delay, keep_until, deletion_seconds)
select j.dead_letter, j.data, j.output, q.retry_limit, q.retry_backoff, q.retry_delay,
       now() + q.retention_seconds * interval '1 second', q.deletion_seconds
  from job j
  join queue q on q.name = j.dead_letter
 where j.name = $1 and j.id = any($2) and j.state = 'failed'
