-- The same as waiting_9.sql, from 10 on. By job_i5.
select (select count(*) from (
         select from job where name = $1 and state < 'active' and start_after <= now() limit $2) due) as waiting,
       (select extract(epoch from now() - min(start_after))::float8
          from job where name = $1 and state < 'active' and start_after > '-infinity' and start_after <= now()) as oldest_secs
