-- What is due, counted up to a bound, and for how long the longest has been due. By job_fetch.
select (select count(*) from (
         select from job where name = $1 and state < 'active' and startafter <= now() limit $2) due) as waiting,
       (select extract(epoch from now() - min(startafter))::float8
          from job where name = $1 and state < 'active' and startafter > '-infinity' and startafter <= now()) as oldest_secs
