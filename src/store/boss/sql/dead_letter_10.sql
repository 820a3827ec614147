-- Sends what failed for good to the queue that its own names for that.
insert into job (name, data, output, retry_limit, keep_until)
select dead_letter, data, output, retry_limit, keep_until + (keep_until - start_after)
  from job
 where name = $1 and id = any($2) and state = 'failed' and dead_letter is not null and name <> dead_letter
