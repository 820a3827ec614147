-- The stream of all events, and webhooks: who is told when a job has ended, and whether that was delivered.

-- Which transaction wrote an event. Numbers from a sequence are not seen in their order: one that was drawn first may be
-- committed last, and whoever asked for what is greater than the last one it saw would lose it. Whoever remembers the snapshot
-- of its last look instead sees exactly what was committed since: all that this snapshot did not show. What was written
-- before this migration has been seen by every snapshot. After a restore into another server its transactions mean nothing
-- there, so a reader's place names the server as well: see src/store/stream.rs.
alter table longshore.job_events add column tx xid8 not null default '0';
alter table longshore.job_events alter column tx set default pg_current_xact_id();
create index job_events_by_tx on longshore.job_events (tx, id);

-- Which line of snapshots this database's are of: it changes with a restore into another server and with a failover, after
-- either of which the same numbers may name other transactions.
create function longshore.event_epoch() returns text language sql stable as $$
    select substr(md5(concat_ws(' ', (select system_identifier from pg_control_system()),
                                (select name from longshore.instance),
                                substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))), 1, 12)
$$;

-- Who is to be told.
create table longshore.webhooks (
    id uuid primary key default gen_random_uuid(),
    url text not null,
    queue text collate "C",           -- null: of every queue
    states text[] not null constraint only_endings_are_told
        check (states <@ array['succeeded', 'failed', 'cancelled'] and cardinality(states) > 0),
    created_at timestamptz not null default clock_timestamp(),
    disabled_at timestamptz,          -- it said that it is gone; nothing more is sent there
    disabled_why text,
    constraint disabled_has_reason check ((disabled_at is null) = (disabled_why is null))
);

-- What a webhook's messages are signed with, apart from it so that an auditor can be kept from reading it: docs/sql.md.
create table longshore.webhook_secrets (
    webhook_id uuid primary key,
    secret text not null,
    previous text,                    -- signs as well, until then
    previous_until timestamptz,
    constraint previous_has_end check ((previous is null) = (previous_until is null))
);

-- What is to be delivered, and what was. Written in the transaction that ends the job, so that there is none without the
-- other.
create sequence longshore.webhook_deliveries_seq;
create table longshore.webhook_deliveries (
    id uuid primary key default gen_random_uuid(), -- the same for every try; a receiver that has seen it can leave it
    seq bigint not null default nextval('longshore.webhook_deliveries_seq'),
    webhook_id uuid not null,
    job_id uuid not null,
    job_state text not null,
    payload jsonb not null,
    state text not null default 'pending' constraint delivery_state_is_known check (state in ('pending', 'delivered', 'dead')),
    tries integer not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    tries_since timestamptz not null default clock_timestamp(), -- since when it is tried: a day later it is given up
    due_at timestamptz not null default clock_timestamp(), -- when to try next; while a try is under way, when that is overdue
    tried_at timestamptz,
    delivered_at timestamptz,
    last_status integer,              -- what the receiver answered the last time, if it did
    last_error text,
    constraint delivered_has_time check ((state = 'delivered') = (delivered_at is not null))
) with (
    -- Rewritten twice each.
    fillfactor = 70
);
create index webhook_deliveries_due on longshore.webhook_deliveries (webhook_id, due_at) where state = 'pending';
create index webhook_deliveries_of_webhook on longshore.webhook_deliveries (webhook_id, seq);
create index webhook_deliveries_by_age on longshore.webhook_deliveries (created_at);

create function longshore.rfc3339(at timestamptz) returns text language sql immutable parallel safe as $$
    select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- A row moves its statement's jobs between partitions as an update of the table that the statement names, so both have
-- the trigger. Where nobody is to be told it costs one look into an empty table.
create function longshore.tell_webhooks() returns trigger language plpgsql as $$
begin
    if not exists (select from longshore.webhooks where disabled_at is null) then
        return null;
    end if;
    insert into longshore.webhook_deliveries (webhook_id, job_id, job_state, payload)
    select w.id, j.id, j.state, jsonb_build_object(
        'job_id', j.id, 'name', j.name, 'queue', j.queue, 'namespace', j.namespace, 'priority', j.priority,
        'state', j.state, 'reason', j.reason, 'message', j.message,
        'labels', coalesce((select s.spec -> 'labels' from longshore.job_specs s where s.job_id = j.id), '{}'),
        'attempt', j.attempt, 'max_attempts', coalesce((j.policy ->> 'max_attempts')::integer, 1),
        'failed_attempts', j.failed_attempts, 'interruptions', j.interruptions,
        'created_at', longshore.rfc3339(j.created_at), 'run_at', longshore.rfc3339(j.run_at),
        'claimed_at', longshore.rfc3339(j.claimed_at), 'started_at', longshore.rfc3339(j.started_at),
        'finished_at', longshore.rfc3339(j.finished_at),
        'cancel_requested_at', longshore.rfc3339(j.cancel_requested_at))
    from after_it j
    join longshore.webhooks w on w.disabled_at is null and (w.queue is null or w.queue = j.queue) and j.state = any(w.states)
    where j.state in ('succeeded', 'failed', 'cancelled')
      -- Only those that this statement ended: a row of one that was over may be written for another reason.
      and j.id <> all(array(select b.id from before_it b where b.state in ('succeeded', 'failed', 'cancelled')));
    return null;
end
$$;
create trigger endings_are_told after update on longshore.jobs
    referencing old table as before_it new table as after_it for each statement execute function longshore.tell_webhooks();
create trigger endings_are_told after update on longshore.jobs_live
    referencing old table as before_it new table as after_it for each statement execute function longshore.tell_webhooks();
