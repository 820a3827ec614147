-- One commit that waits for the disk, of as little as there is to write: an event.
insert into longshore.job_events (job_id, attempt, from_state, to_state, reason, replica)
values (gen_random_uuid(), 0, null, 'pending', 'submitted', '00000000-0000-0000-0000-000000000000');
