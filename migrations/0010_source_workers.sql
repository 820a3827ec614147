-- Queues elsewhere that are worked off by one worker job at a time. The row is the queue's turn: whoever holds its lock may
-- submit a worker job, and nobody else does.
create table longshore.source_workers (
    -- Names the queue by where it is, whatever its source is called here.
    space text collate "C" primary key constraint source_worker_space_is_bounded check (octet_length(space) <= 2000),
    -- How many worker jobs it has had, and the last of them. A finished job may have aged out meanwhile.
    runs bigint not null default 0 constraint source_worker_runs_count_up check (runs >= 0),
    job_id uuid,
    submitted_at timestamptz,
    constraint source_worker_has_run_or_not
        check ((runs > 0) = (job_id is not null) and (runs > 0) = (submitted_at is not null))
);
