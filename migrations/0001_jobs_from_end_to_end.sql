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

-- What each cap was, and since when: how full it was can then be told of any time.
create table longshore.limit_changes (
    at timestamptz not null default clock_timestamp(),
    name text not null,
    cap integer not null
);
create index limit_changes_by_time on longshore.limit_changes (name, at);

create function longshore.remember_cap() returns trigger language plpgsql as $$
begin
    insert into longshore.limit_changes (name, cap) values (new.name, new.cap);
    return null;
end
$$;

create trigger cap_is_remembered after insert or update of cap on longshore.limits
    for each row execute function longshore.remember_cap();

insert into longshore.limits (name, cap) values ('global', 2);

-- A queue comes into being with its first job. Collation C: queue names are ASCII, and the claim's index compares bytes.
create table longshore.queues (
    name text collate "C" primary key
        constraint queue_name_is_a_label check (name ~ '^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'),
    created_at timestamptz not null default clock_timestamp()
);
insert into longshore.queues (name) values ('default');

-- The states and which columns each of them owns are drawn in src/lifecycle.rs; the constraints say the same again.
--
-- Partitioned by the time of the end. What is not over lies in jobs_live, which therefore stays as small as the backlog
-- however long the history grows: claims, counts and sweeps read it alone, and so do its indexes. The move that ends a
-- job also moves its row, at the price of any other update (one dead row, one new one), and history goes by dropping
-- whole partitions. An id is unique because it is a UUIDv7 made once; no index over all partitions could say so.
create sequence longshore.jobs_seq; -- identity columns of partitioned tables came with PostgreSQL 17

create table longshore.jobs (
    id uuid not null,                        -- UUIDv7, made by the replica that accepted the job; never used twice
    seq bigint not null default nextval('longshore.jobs_seq'), -- the order of submission, which breaks ties of priority
    version bigint not null default 1,       -- counts every lifecycle write, and guards the next one
    priority integer not null,
    attempt integer not null default 0,      -- the current attempt, or how many there were
    failed_attempts integer not null default 0, -- how many of them count against the policy's max_attempts
    interruptions integer not null default 0,   -- how many do not, because the cluster ended them
    queue text collate "C" not null,
    state text collate "C" not null,
    name text not null,
    namespace text not null,
    policy jsonb,                            -- deadlines and retries; null: the defaults
    nonce uuid,                              -- of the current attempt, while it holds a slot
    replica uuid,                            -- who creates the Kubernetes Job, until it is known to exist
    kube_uid text,                           -- the Kubernetes Job, once it is known to exist
    reason text,
    message text,
    wait_code text,                          -- what it waits for, where there is more to say than its state says
    wait_message text,
    wait_since timestamptz,
    run_at timestamptz,                      -- as the submitter said: not to be started before
    due_at timestamptz,                      -- when a scheduled job becomes pending
    expires_at timestamptz,                  -- when it has waited for too long, should it still wait then
    cancel_requested_at timestamptz,         -- a wish that the reconciler grants
    created_at timestamptz not null default clock_timestamp(),
    pending_at timestamptz,                  -- since when it waits, or waited last, for a slot
    claimed_at timestamptz,                  -- when the current, or last, attempt took its slot
    start_clock_at timestamptz,              -- since when it could have started: created, and not suspended
    started_at timestamptz,                  -- when the pods of the current, or last, attempt were first seen to run
    finished_at timestamptz,
    part timestamptz not null default 'infinity', -- which partition: finished_at, or infinity before

    primary key (id, part),
    constraint state_is_known check (state in
        ('scheduled', 'pending', 'starting', 'running', 'stopping', 'succeeded', 'failed', 'cancelled')),
    constraint scheduled_has_due_time check ((state = 'scheduled') = (due_at is not null)),
    constraint pending_since_when check (state <> 'pending' or pending_at is not null),
    constraint holder_has_nonce check ((state in ('starting', 'running', 'stopping')) = (nonce is not null)),
    constraint holder_has_attempt check (state not in ('starting', 'running', 'stopping') or attempt > 0),
    constraint holder_has_claim_time check (state not in ('starting', 'running', 'stopping') or claimed_at is not null),
    -- Starting: a replica is creating it, or it is known to exist; never both, never neither.
    constraint only_starting_has_replica check (replica is null or state = 'starting'),
    constraint starting_has_replica_or_uid check (state <> 'starting' or ((replica is null) <> (kube_uid is null))),
    constraint created_has_uid check (state not in ('running', 'stopping') or kube_uid is not null),
    constraint only_holder_has_uid check (kube_uid is null or state in ('starting', 'running', 'stopping')),
    constraint running_has_start_time check (state <> 'running' or started_at is not null),
    constraint ending_has_reason check
        ((state in ('stopping', 'succeeded', 'failed', 'cancelled')) = (reason is not null)),
    constraint ending_has_message check ((reason is null) = (message is null)),
    constraint wait_is_whole check
        ((wait_code is null) = (wait_message is null) and (wait_code is null) = (wait_since is null)),
    constraint only_waiting_waits check (wait_code is null or state in ('scheduled', 'pending', 'starting')),
    constraint attempts_add_up check (failed_attempts >= 0 and interruptions >= 0 and failed_attempts + interruptions <= attempt),
    constraint finished_has_time check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
    constraint part_is_the_end check (part = coalesce(finished_at, 'infinity'))
) partition by range (part);

create table longshore.jobs_live partition of longshore.jobs for values from ('infinity') to (maxvalue) with (
    -- A job's row is rewritten about five times. Room on its page keeps the versions together; vacuum runs by the number
    -- of dead rows, not by the size of the backlog, and is not throttled, because dead entries at the head of the claim's
    -- index are what slows every Postgres queue.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
);
-- Takes what ends when no partition was made for that time: nothing is refused because the sweep did not run for weeks.
create table longshore.jobs_other partition of longshore.jobs default;

-- Exactly the order of the claim: one walk from the head of each queue, however long the backlog.
create index jobs_pending on longshore.jobs_live (queue, priority desc, seq) where state = 'pending';
-- What holds a slot, which the claim counts.
create index jobs_holding on longshore.jobs_live (id) where state in ('starting', 'running', 'stopping');
-- What a replica has claimed and not yet created: its own work list, and what survivors take over from the dead.
create index jobs_claimed on longshore.jobs_live (replica) where replica is not null;
create index jobs_due on longshore.jobs_live (due_at) where state = 'scheduled';
create index jobs_expiring on longshore.jobs_live (expires_at)
    where expires_at is not null and state in ('scheduled', 'pending');
-- What was put aside because its namespace is out of quota: the best of them is next when a job there ends.
create index jobs_out_of_quota on longshore.jobs_live (namespace, priority desc, seq)
    where state = 'scheduled' and wait_code = 'quota';
create index jobs_cancel_wished on longshore.jobs_live (id)
    where cancel_requested_at is not null and state in ('starting', 'running');
-- Lists of finished jobs by outcome, newest first.
create index jobs_finished on longshore.jobs (state, id) where state in ('succeeded', 'failed', 'cancelled');

-- Which state may follow which. A row is moved by src/store, whose edges do not compile unless they are drawn in
-- src/lifecycle.rs; this holds anyone else with a psql to the same drawing. A test compares the two.
create function longshore.job_state_may_follow(before text, after text) returns boolean
language sql immutable parallel safe as $$
    select (before, after) in (
        ('scheduled', 'pending'), ('scheduled', 'failed'), ('scheduled', 'cancelled'),
        ('pending', 'starting'), ('pending', 'failed'), ('pending', 'cancelled'),
        ('starting', 'starting'), ('starting', 'pending'), ('starting', 'scheduled'), ('starting', 'running'),
        ('starting', 'stopping'), ('starting', 'succeeded'), ('starting', 'failed'), ('starting', 'cancelled'),
        ('running', 'stopping'), ('running', 'scheduled'), ('running', 'succeeded'), ('running', 'failed'),
        ('stopping', 'scheduled'), ('stopping', 'succeeded'), ('stopping', 'failed'), ('stopping', 'cancelled')
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

-- The rest of what is known of a job lies in tables of its own, each partitioned by the job's id, which begins with the
-- time of its submission: a look-up by id reads one partition, and a partition goes when none of its jobs is left.

-- What a job is to do: written once with the job.
create table longshore.job_specs (
    job_id uuid primary key,
    spec jsonb not null,
    spec_hash text not null -- SHA-256 of the spec, in hex; the Kubernetes Job carries it
) partition by range (job_id);

-- One row an attempt: what it was called and what became of it.
create table longshore.attempts (
    job_id uuid not null,
    attempt integer not null constraint attempts_count_from_one check (attempt > 0),
    nonce uuid not null,      -- random; a Kubernetes Job that carries it was made by this attempt
    kube_name text,           -- the Kubernetes Job, once it is known to exist; so too its uid
    kube_uid text,
    node text,
    pod text,                 -- the pod that tells most, of several; and the container of it that does
    container text,
    exit_code integer,
    termination_message text, -- what the container wrote to its terminationMessagePath, or the kubelet said for it
    reason text,              -- why it ended
    message text,
    counts boolean,           -- whether it counts against max_attempts; null while it goes on, or ended well
    log text constraint log_is_known check (log in ('wanted', 'kept', 'missing')), -- of its log's tail; null: not asked for
    claimed_by uuid not null, -- the replica that took the slot
    taken_over boolean not null default false, -- whether another one ever answered for it; never unset
    pending_at timestamptz not null, -- since when the job had waited for this attempt
    claimed_at timestamptz not null,
    created_at timestamptz,   -- when its Kubernetes Job was known to exist
    started_at timestamptz,   -- when a container of it started, by the node's clock
    finished_at timestamptz,  -- when its outcome was recorded
    primary key (job_id, attempt)
) partition by range (job_id);
create index attempts_finished on longshore.attempts (finished_at);
create index attempts_open on longshore.attempts (claimed_at) where finished_at is null;

-- The end of what an attempt wrote, kept when its pod goes.
create table longshore.attempt_logs (
    job_id uuid not null,
    attempt integer not null,
    pod text not null,
    container text not null,
    tail text not null,         -- what is not UTF-8 is replaced, and so is U+0000, which Postgres does not take
    truncated boolean not null, -- whether it wrote more than that
    saved_at timestamptz not null default clock_timestamp(),
    primary key (job_id, attempt)
) partition by range (job_id);

-- Keys by which a submission that is sent again finds the job it made the first time.
create table longshore.idempotency_keys (
    key text primary key,
    job_id uuid not null,
    request_hash text not null,
    created_at timestamptz not null default clock_timestamp()
);
create index idempotency_keys_by_age on longshore.idempotency_keys (created_at);

-- Every move of every job, written by the statement that moves it. Append-only.
create sequence longshore.job_events_id;

create table longshore.job_events (
    id bigint not null default nextval('longshore.job_events_id'),
    at timestamptz not null default clock_timestamp(),
    job_id uuid not null,
    attempt integer not null,
    from_state text,          -- null: the job was accepted
    to_state text not null,   -- the same as from_state: something happened without a move, which the reason names
    reason text not null,
    message text,
    replica uuid,
    primary key (id, job_id)
) partition by range (job_id);
create index job_events_of_job on longshore.job_events (job_id, id);

create function longshore.refuse_rewriting_history() returns trigger language plpgsql as $$
begin
    -- The sweep says so when it removes what is past its retention.
    if tg_op = 'DELETE' and current_setting('longshore.sweeping', true) = 'on' then
        return old;
    end if;
    raise exception 'longshore.job_events is append-only' using errcode = 'insufficient_privilege';
end
$$;

create trigger history_is_append_only before update or delete on longshore.job_events
    for each row execute function longshore.refuse_rewriting_history();

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
