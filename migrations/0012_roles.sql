-- What each replica runs, for those that run a part only (`serve --roles`): who follows a job at once is one that watches.

-- One of a version that knows no roles runs all.
alter table longshore.replicas
    add column roles text[] not null default '{api,scheduler,watcher,sources}',
    add constraint roles_are_known check (roles <@ '{api,scheduler,watcher,sources}' and roles <> '{}');
