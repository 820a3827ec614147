-- What the tables of a schema have. By the index on the name of a schema, and on the name of a table in it.
select c.relname::text as table, array_agg(a.attname::text order by a.attnum) as columns
  from pg_catalog.pg_namespace n
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname in ('job', 'queue', 'version') and c.relkind in ('r', 'p')
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where n.nspname = $1
 group by c.relname
