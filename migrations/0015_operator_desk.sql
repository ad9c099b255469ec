-- How each operator likes the desktop: the mirror of tenant-service's preferences, and the operator's own shortcuts.

-- What tenant-service said last, served while it cannot be asked. Forgotten 30 d after it was read.
create table operator_preferences (
    tenant_id   text        not null,
    operator_id text        not null,
    preferences jsonb       not null check (jsonb_typeof(preferences) = 'object'),
    entity_tag  text,       -- tenant-service's, quotes and all
    read_at     timestamptz not null,
    primary key (tenant_id, operator_id)
) with (fillfactor = 70);

create index operator_preferences_age on operator_preferences (read_at);

-- The shortcuts an operator has changed. What is not in it is as in the map that comes with the service.
create table shortcut_override (
    tenant_id   text        not null,
    operator_id text        not null,
    overrides   jsonb       not null check (jsonb_typeof(overrides) = 'object'), -- action → keys; null: none
    version     bigint      not null check (1 <= version), -- grows with each change; part of the entity tag
    changed_at  timestamptz not null,
    changed_by  text        not null, -- the request's claim: its repetition knows its own change by it
    primary key (tenant_id, operator_id)
) with (fillfactor = 70);

alter table operator_preferences enable row level security;
alter table operator_preferences force row level security;
create policy tenant_reads on operator_preferences for select to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_inserts on operator_preferences for insert to backoffice_app
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_updates on operator_preferences for update to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy jobs_read on operator_preferences for select to backoffice_jobs using (true);
create policy jobs_purge on operator_preferences for delete to backoffice_jobs using (true);

alter table shortcut_override enable row level security;
alter table shortcut_override force row level security;
create policy tenant_reads on shortcut_override for select to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_inserts on shortcut_override for insert to backoffice_app
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_updates on shortcut_override for update to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

grant select, insert, update on operator_preferences to backoffice_app;
grant select, delete on operator_preferences to backoffice_jobs;
grant select, insert, update on shortcut_override to backoffice_app;
