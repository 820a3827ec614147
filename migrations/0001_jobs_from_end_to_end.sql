-- Jobs, their attempts, what happened to them, who runs them, and the cap.
--
-- One table holds every job, narrow, because the claim and each move rewrite its row; what a job is to do lies apart in
-- job_specs, written once and read when its Kubernetes Job is built. There are no foreign keys between these tables on
-- purpose: each would lock the referenced row on every submission and every move, and all writers are in src/store.

create schema if not exists longshore;

-- This installation. Its name marks every Kubernetes object it makes, so that two installations that share a namespace
-- never touch each other's; it is random so that two databases cannot have the same one by mistake.
create table longshore.instance (
    only_row boolean primary key default true constraint instance_is_one_row check (only_row),
    name text not null default 'longshore-' || substr(md5(gen_random_uuid()::text), 1, 8),
    created_at timestamptz not null default clock_timestamp()
);
insert into longshore.instance default values;

-- The caps. The claim locks the row it obeys, in a statement of its own, before it counts: see src/store/claims.rs.
create table longshore.limits (
    name text primary key,
    cap integer not null constraint cap_is_not_negative check (cap >= 0),
    -- The last value that a --max-concurrency flag wrote. A restart with the same flag then does not undo a later change.
    cap_from_flag integer,
    updated_at timestamptz not null default clock_timestamp()
) with (
    -- Each claim marks the row as locked: room on its page keeps those versions in place, and vacuum is due early.
    fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0
);
insert into longshore.limits (name, cap) values ('global', 2);

-- A queue comes into being with its first job. Collation C: queue names are ASCII, and the claim's index compares bytes.
create table longshore.queues (
    name text collate "C" primary key
        constraint queue_name_is_a_label check (name ~ '^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'),
    created_at timestamptz not null default clock_timestamp()
);
insert into longshore.queues (name) values ('default');

-- The states and which columns each of them owns are drawn in src/lifecycle.rs; the constraints say the same again.
create table longshore.jobs (
    id uuid primary key,                     -- UUIDv7, made by the replica that accepted the job; never used twice
    seq bigint generated always as identity, -- the order of submission, which breaks ties of priority; not an identity
    version bigint not null default 1,       -- counts every lifecycle write, and guards the next one
    priority integer not null,
    attempt integer not null default 0,      -- the current attempt, or how many there were
    queue text collate "C" not null,
    state text collate "C" not null,
    name text not null,
    namespace text not null,
    nonce uuid,                              -- of the current attempt, while it holds a slot
    replica uuid,                            -- who creates the Kubernetes Job, until it is known to exist
    kube_uid text,                           -- the Kubernetes Job, once it is known to exist
    reason text,
    message text,
    run_at timestamptz,                      -- not to be started before
    cancel_requested_at timestamptz,         -- a wish that the reconciler grants
    created_at timestamptz not null default clock_timestamp(),
    claimed_at timestamptz,                  -- when the current, or last, attempt took its slot
    started_at timestamptz,                  -- when its pods were first seen to run
    finished_at timestamptz,

    constraint state_is_known check (state in
        ('scheduled', 'pending', 'starting', 'running', 'stopping', 'succeeded', 'failed', 'cancelled')),
    constraint scheduled_has_run_at check (state <> 'scheduled' or run_at is not null),
    constraint holder_has_nonce check ((state in ('starting', 'running', 'stopping')) = (nonce is not null)),
    constraint holder_has_attempt check (state not in ('starting', 'running', 'stopping') or attempt > 0),
    constraint holder_has_claim_time check (state not in ('starting', 'running', 'stopping') or claimed_at is not null),
    -- Starting: a replica is creating it, or it is known to exist; never both, never neither.
    constraint only_starting_has_replica check (replica is null or state = 'starting'),
    constraint starting_has_replica_or_uid check (state <> 'starting' or ((replica is null) <> (kube_uid is null))),
    constraint created_has_uid check (state not in ('running', 'stopping') or kube_uid is not null),
    constraint only_holder_has_uid check (kube_uid is null or state in ('starting', 'running', 'stopping')),
    constraint ending_has_reason check
        ((state in ('stopping', 'succeeded', 'failed', 'cancelled')) = (reason is not null)),
    constraint ending_has_message check ((reason is null) = (message is null)),
    constraint finished_has_time check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null))
) with (
    -- A job's row is rewritten about five times. Room on its page keeps the versions together; vacuum runs by the number
    -- of dead rows, not by the size of the history, and is not throttled, because dead entries at the head of the claim's
    -- index are what slows every Postgres queue.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
);

-- Exactly the order of the claim: one walk from the head of each queue, however long the backlog.
create index jobs_pending on longshore.jobs (queue, priority desc, seq) where state = 'pending';
-- What holds a slot, which the claim counts.
create index jobs_holding on longshore.jobs (id) where state in ('starting', 'running', 'stopping');
-- What a replica has claimed and not yet created: its own work list, and what survivors take over from the dead.
create index jobs_claimed on longshore.jobs (replica) where replica is not null;
create index jobs_scheduled on longshore.jobs (run_at) where state = 'scheduled';
create index jobs_cancel_wished on longshore.jobs (id)
    where cancel_requested_at is not null and state in ('starting', 'running');
-- Lists of finished jobs by outcome, newest first.
create index jobs_finished on longshore.jobs (state, id) where state in ('succeeded', 'failed', 'cancelled');

-- Which state may follow which. A row is moved by src/store, whose edges do not compile unless they are drawn in
-- src/lifecycle.rs; this holds anyone else with a psql to the same drawing. A test compares the two.
create function longshore.job_state_may_follow(before text, after text) returns boolean
language sql immutable parallel safe as $$
    select (before, after) in (
        ('scheduled', 'pending'), ('scheduled', 'cancelled'),
        ('pending', 'starting'), ('pending', 'cancelled'),
        ('starting', 'starting'), ('starting', 'pending'), ('starting', 'running'), ('starting', 'stopping'),
        ('starting', 'succeeded'), ('starting', 'failed'), ('starting', 'cancelled'),
        ('running', 'stopping'), ('running', 'succeeded'), ('running', 'failed'),
        ('stopping', 'succeeded'), ('stopping', 'failed'), ('stopping', 'cancelled')
    )
$$;

create function longshore.refuse_impossible_move() returns trigger language plpgsql as $$
begin
    if not longshore.job_state_may_follow(old.state, new.state) then
        raise exception 'job % cannot go from % to %', old.id, old.state, new.state
            using errcode = 'check_violation', constraint = 'move_is_an_edge', schema = 'longshore', table = 'jobs',
                  hint = 'The lifecycle is drawn in docs/lifecycle.md. A finished job stays finished; submit a new one.';
    end if;
    return new;
end
$$;

create trigger move_is_an_edge before update on longshore.jobs
    for each row when (old.state is distinct from new.state) execute function longshore.refuse_impossible_move();

-- What a job is to do: written once with the job.
create table longshore.job_specs (
    job_id uuid primary key,
    spec jsonb not null,
    spec_hash text not null -- SHA-256 of the spec, in hex; the Kubernetes Job carries it
);

-- One row an attempt: what it was called and what became of it.
create table longshore.attempts (
    job_id uuid not null,
    attempt integer not null constraint attempts_count_from_one check (attempt > 0),
    nonce uuid not null,      -- random; a Kubernetes Job that carries it was made by this attempt
    kube_name text,           -- the Kubernetes Job, once it is known to exist; so too its uid
    kube_uid text,
    node text,
    pod text,
    exit_code integer,
    reason text,
    message text,
    claimed_by uuid not null, -- the replica that took the slot
    taken_over boolean not null default false, -- whether another one ever answered for it; never unset
    claimed_at timestamptz not null,
    created_at timestamptz,   -- when its Kubernetes Job was known to exist
    started_at timestamptz,   -- when a container of it started, by the node's clock
    finished_at timestamptz,  -- when its outcome was recorded
    primary key (job_id, attempt)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- Keys by which a submission that is sent again finds the job it made the first time.
create table longshore.idempotency_keys (
    key text primary key,
    job_id uuid not null,
    request_hash text not null,
    created_at timestamptz not null default clock_timestamp()
);

-- Every move of every job, written by the statement that moves it. Append-only.
create table longshore.job_events (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    job_id uuid not null,
    attempt integer not null,
    from_state text,          -- null: the job was accepted
    to_state text not null,   -- the same as from_state: something happened without a move, which the reason names
    reason text,
    message text,
    replica uuid
);
create index job_events_of_job on longshore.job_events (job_id, id);

create function longshore.refuse_rewriting_history() returns trigger language plpgsql as $$
begin
    raise exception 'longshore.job_events is append-only' using errcode = 'insufficient_privilege';
end
$$;

create trigger history_is_append_only before update or delete on longshore.job_events
    for each statement execute function longshore.refuse_rewriting_history();

-- The replicas, each with the last sign of life it gave, by this database's clock.
create table longshore.replicas (
    id uuid primary key,
    hostname text not null,
    version text not null,
    started_at timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp(),
    lease_secs double precision not null -- it counts as dead when it has been silent for longer
) with (
    -- No index on heartbeat_at, and room on the page: a heartbeat rewrites a row in place.
    fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0
);
