-- The trace that a job was submitted in goes on when it is claimed and created, by whichever replica: as a W3C traceparent,
-- where traces are wanted (`serve --otlp-endpoint`).
alter table longshore.job_specs
    add column traceparent text,
    -- 2 + 32 + 16 + 2 digits, and what parts them.
    add constraint traceparent_is_short check (length(traceparent) <= 55);
