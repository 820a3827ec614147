-- Jobs submitted in SQL, in a transaction of the application's own: `select longshore.submit('{"name": "job1"}')`.
--
-- The function checks what can be checked here, and leaves the request in an inbox. A replica takes it in from there by the
-- rules of POST /jobs, all of them, in the code that has them: templates, manifests, the pod policy and what the API server
-- says are not known to SQL. What they refuse becomes a job that has failed, with the refusal as its message.

create table longshore.inbox (
    id uuid primary key,                     -- of the job that comes of it
    seq bigint generated always as identity,
    request jsonb not null,
    key text,                                -- its idempotency key
    submitted_at timestamptz not null default clock_timestamp(),
    take_at timestamptz not null default clock_timestamp()  -- not before; a replica that takes it in has it to itself until then
);
create index inbox_in_order on longshore.inbox (take_at, seq);

-- What was asked in SQL under a key, so that another request under it is refused; null where it came over HTTP.
alter table longshore.idempotency_keys add column asked_in_sql text;

-- An id as replicas make them (UUIDv7, RFC 9562): the time in milliseconds, and then at random.
create function longshore.new_id() returns uuid language sql volatile set search_path = pg_catalog, pg_temp as $$
    select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
                                          placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                                          from 1 for 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- Raises the error of a request with a wrong field, named as a JSON Pointer.
create function longshore.refuse(field text, detail text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '% %', field, detail using errcode = 'invalid_parameter_value';
end
$$;

-- Submits a job: one request such as POST /jobs takes. Answers the id of its job, which comes into being soon after the
-- commit; under a key that was used before, that of the first one.
create function longshore.submit(request jsonb, idempotency_key text default null) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    known constant text[] := array[
        'name', 'priority', 'queue', 'namespace', 'image', 'command', 'args', 'env', 'env_from', 'resources', 'parallelism',
        'completions', 'service_account', 'working_dir', 'image_pull_policy', 'image_pull_secrets', 'node_selector',
        'tolerations', 'affinity', 'volumes', 'volume_mounts', 'ports', 'host_aliases', 'security_context',
        'pod_security_context', 'priority_class', 'runtime_class', 'service_account_token', 'termination_grace_period',
        'completion_mode', 'labels', 'annotations', 'timeout', 'start_timeout', 'queue_timeout', 'max_attempts', 'backoff',
        'retry', 'run_at', 'delay', 'idempotency_key', 'manifest', 'template', 'params'];
    field text;
    given text;
    number numeric;
    asked text;
    before record;
    id uuid := longshore.new_id();
begin
    if request is null or jsonb_typeof(request) <> 'object' then
        perform longshore.refuse('', 'must be an object such as {"name": "job1"}');
    end if;
    if octet_length(request::text) > 1048576 then
        perform longshore.refuse('', 'is larger than 1048576 bytes');
    end if;
    select k into field from jsonb_object_keys(request) k where k <> all(known) limit 1;
    if field is not null then
        perform longshore.refuse('/' || field, 'is unknown; see POST /jobs for the fields there are');
    end if;
    if jsonb_typeof(request -> 'name') is distinct from 'string' then
        perform longshore.refuse('/name', 'is missing, or not text');
    end if;
    if request ->> 'name' !~ '\S' or char_length(request ->> 'name') > 200 or request ->> 'name' ~ '[\u0001-\u001f\u007f-\u009f]' then
        perform longshore.refuse('/name', 'must be 1 to 200 characters, not only spaces and none of them a control character');
    end if;
    if coalesce(jsonb_typeof(request -> 'priority'), 'null') <> 'null' then
        if jsonb_typeof(request -> 'priority') <> 'number' then
            perform longshore.refuse('/priority', 'must be a 32-bit integer');
        end if;
        number := (request ->> 'priority')::numeric;
        if number <> trunc(number) or number not between -2147483648 and 2147483647 then
            perform longshore.refuse('/priority', 'must be a 32-bit integer');
        end if;
    end if;
    if coalesce(jsonb_typeof(request -> 'queue'), 'null') <> 'null'
       and (jsonb_typeof(request -> 'queue') <> 'string' or char_length(request ->> 'queue') > 63
            or request ->> 'queue' !~ '^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$') then
        perform longshore.refuse('/queue', 'must be at most 63 letters, digits, `-`, `_` or `.`, beginning and ending with a letter or digit');
    end if;
    if idempotency_key is not null and request ->> 'idempotency_key' <> idempotency_key then
        perform longshore.refuse('/idempotency_key', 'differs from the argument; give one of them');
    end if;
    given := coalesce(idempotency_key, request ->> 'idempotency_key');
    request := request - 'idempotency_key';
    if given is not null then
        if given = '' or char_length(given) > 255 or given ~ '[\u0001-\u001f\u007f-\u009f]' then
            perform longshore.refuse('/idempotency_key', 'must have 1 to 255 characters, none of them a control character');
        end if;
        if starts_with(given, 'longshore.dev/') then
            perform longshore.refuse('/idempotency_key', 'keys under longshore.dev/ are Longshore''s own');
        end if;
        asked := md5(request::text);
        -- A transaction that has the same key is waited for.
        insert into longshore.idempotency_keys as k (key, job_id, request_hash, asked_in_sql)
        values (given, id, '', asked) on conflict do nothing;
        if not found then
            select k.job_id, k.asked_in_sql into before from longshore.idempotency_keys k where k.key = given;
            if before.asked_in_sql <> asked then
                raise exception '/idempotency_key came with another request before, which made job %', before.job_id
                    using errcode = 'unique_violation', hint = 'Use a new key for a new request.';
            end if;
            return before.job_id;
        end if;
    end if;
    insert into longshore.inbox (id, request, key) values (id, request, given);
    return id;
end
$$;

-- Whoever is to submit is granted this, and the use of the schema; they need no right to any table.
revoke all on function longshore.submit(jsonb, text) from public;
