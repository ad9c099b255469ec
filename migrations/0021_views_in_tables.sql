-- Views that are tables: folded from both logs by the projector (src/projector/table.rs), beside what requests write.

-- Until a device is heard of again after that, it is nobody's.
alter table device_sync_status add column revoked_at timestamptz; -- when iam revoked it, the last time

create policy project_reads on device_sync_status for select to backoffice_project using (true);
create policy project_inserts on device_sync_status for insert to backoffice_project with check (true);
create policy project_updates on device_sync_status for update to backoffice_project using (true) with check (true);

grant select, insert, update on device_sync_status to backoffice_project;

-- Who has which session on which device: an index over the ledger of sessions. One row a session, until 30 d after its end.
create table session_map (
    tenant_id      text        not null,
    session_id     text        not null, -- bos_ and a ULID
    operator_id    text        not null,
    device_id      text        not null,
    iam_session_id text,                 -- the token's sid; null for sessions from before it was recorded
    opened_at      timestamptz not null,
    heard_at       timestamptz not null, -- when the ledger has heard of it last
    ended_at       timestamptz,          -- null while it is open
    primary key (tenant_id, session_id)
) with (fillfactor = 70);

create index session_map_open on session_map (tenant_id, device_id) where ended_at is null;
create index session_map_ended on session_map (ended_at) where ended_at is not null;

alter table session_map enable row level security;
alter table session_map force row level security;
create policy tenant_reads on session_map for select to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy project_writes on session_map to backoffice_project using (true) with check (true);
create policy jobs_read on session_map for select to backoffice_jobs using (true);
create policy jobs_purge on session_map for delete to backoffice_jobs using (true);

grant select on session_map to backoffice_app;
grant select, insert, update, delete on session_map to backoffice_project;
grant select, delete on session_map to backoffice_jobs;
