-- The same as waiting_9.sql, where an item may be blocked by others. By job_i11 and, the oldest, by job_i14, which begins
-- with the state: so a state each.
select (select count(*) from (
         select from job where name = $1 and state < 'active' and not blocked and start_after <= now() limit $2) due) as waiting,
       extract(epoch from now() - least(
         (select min(start_after) from job
           where name = $1 and state = 'created' and not blocked and start_after > '-infinity' and start_after <= now()),
         (select min(start_after) from job
           where name = $1 and state = 'retry' and not blocked and start_after > '-infinity' and start_after <= now())
       ))::float8 as oldest_secs
