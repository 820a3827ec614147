-- Queues elsewhere that feed this one. A source is configured in a file that every replica reads; what is here is what
-- replicas have to agree on, and what they tell of it.

create table longshore.sources (
    name text collate "C" primary key check (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    kind text not null,
    -- What it reads, for people, without a secret in it.
    reads text not null,
    -- Set by whoever pauses it; every replica asks once a second.
    paused_at timestamptz,
    -- How many messages came, became jobs, were jobs already, and can never be one; by all replicas, ever. A replica adds
    -- to them once a second, so that the last second of one that was killed is missing.
    received bigint not null default 0,
    submitted bigint not null default 0,
    duplicates bigint not null default 0,
    refused bigint not null default 0,
    received_at timestamptz,
    -- How old the last message was when its job was committed.
    lag_secs double precision,
    -- How much waits there, as one replica saw it at looked_at.
    waiting bigint,
    oldest_secs double precision,
    states jsonb,
    looked_at timestamptz,
    -- When a replica last set out to look.
    looking_at timestamptz,
    -- The last that went wrong, and when all was well the last time: later than error_at, it is mended.
    error text,
    error_at timestamptz,
    worked_at timestamptz,
    -- The last message that was refused, and why.
    refusal text,
    refusal_at timestamptz,
    -- When a replica last said that it runs it.
    running_at timestamptz not null default clock_timestamp()
);

-- Messages whose fate hangs on their jobs: each is kept from others until its job has ended. Any replica may tend them.
create table longshore.source_items (
    source text collate "C" not null,
    item text collate "C" not null,
    -- What the queue elsewhere knows this delivery by.
    handle text not null,
    job_id uuid not null,
    -- When it must be kept from others anew.
    extend_at timestamptz not null,
    -- When somebody last began to tell the queue what became of the job.
    settling_at timestamptz,
    primary key (source, item)
);

create index source_items_by_job on longshore.source_items (job_id);
