-- What is known of each device: its last heartbeat, how far it is with sync-service, and what it says to have queued.

-- The last state of a device. One row a device, written by its requests and by src/commands/replay_offline.rs.
create table device_sync_status (
    tenant_id       text        not null,
    device_id       text        not null,
    operator_id     text        not null, -- who used it last
    app_version     text        not null check (length(app_version) between 1 and 64),
    app_platform    text        not null check (app_platform in ('win32', 'darwin', 'linux')),
    network_mode    text        not null check (network_mode in ('good', 'flaky', 'offline-recently')),
    pending_actions integer     not null default 0 check (0 <= pending_actions),
    last_sync_at    timestamptz,          -- by the device's own word
    clock_skew_ms   bigint,               -- the device's clock minus ours, milliseconds
    heartbeat_at    timestamptz,          -- null before the first one
    cursors         jsonb       check (jsonb_typeof(cursors) = 'object'), -- stream → opaque cursor; null: ask sync-service
    cursors_at      timestamptz,          -- when sync-service said so
    primary key (tenant_id, device_id),
    check ((cursors is null) = (cursors_at is null))
) with (fillfactor = 70);

create index device_sync_status_operator on device_sync_status (tenant_id, operator_id);

-- What a device says to have queued, for the other devices of its operator. Never authoritative; forgotten after 7 d.
create table offline_queue_hint (
    tenant_id       text        not null,
    operator_id     text        not null,
    device_id       text        not null,
    pending_actions integer     not null check (0 <= pending_actions),
    oldest_at       timestamptz,
    kinds           jsonb       not null check (jsonb_typeof(kinds) = 'object'), -- what is queued → how many
    hinted_at       timestamptz not null,
    primary key (tenant_id, operator_id, device_id)
) with (fillfactor = 70);

create index offline_queue_hint_age on offline_queue_hint (hinted_at);

alter table device_sync_status enable row level security;
alter table device_sync_status force row level security;
create policy tenant_reads on device_sync_status for select to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_inserts on device_sync_status for insert to backoffice_app
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_updates on device_sync_status for update to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy jobs_read on device_sync_status for select to backoffice_jobs using (true);
create policy jobs_update on device_sync_status for update to backoffice_jobs using (true) with check (true);

alter table offline_queue_hint enable row level security;
alter table offline_queue_hint force row level security;
create policy tenant_reads on offline_queue_hint for select to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_inserts on offline_queue_hint for insert to backoffice_app
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_updates on offline_queue_hint for update to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy jobs_read on offline_queue_hint for select to backoffice_jobs using (true);
create policy jobs_purge on offline_queue_hint for delete to backoffice_jobs using (true);

grant select, insert, update on device_sync_status to backoffice_app;
grant select, update (cursors, cursors_at) on device_sync_status to backoffice_jobs;
grant select, insert, update on offline_queue_hint to backoffice_app;
grant select, delete on offline_queue_hint to backoffice_jobs;
