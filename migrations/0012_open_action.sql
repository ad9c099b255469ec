-- Actions on locks whose outcome is not in the ledger yet: one row an action, from the moment the ledger has the request
-- until it has the outcome. Derived from the ledger and kept by src/commands/complete_lock_actions.rs; no rows and a
-- cursor at the ledger's head say that every action has its outcome.
create table open_action (
    tenant_id    text        not null,
    stream       text        not null, -- lap_…
    upstream_key text        not null, -- under which lock-integration-service knows the request
    state        text        not null check (state in ('open', 'unknown')), -- unknown: an attempt has lost its answer
    requested_at timestamptz not null, -- database time
    attempts     integer     not null default 0, -- to find the outcome out, 0 while the request itself may still do it
    next_try_at  timestamptz not null, -- database time; also the lease of the instance that is trying
    primary key (tenant_id, stream)
);

create index open_action_due on open_action (next_try_at);

alter table open_action enable row level security;
alter table open_action force row level security;

create policy open_action_jobs on open_action
    to backoffice_jobs using (true) with check (true);

grant select, insert, update, delete on open_action to backoffice_jobs;

-- How far the ledger has been read for the table above. One row a shard; whoever holds its lock reads on.
create table open_action_cursor (
    shard    integer primary key,
    position bigint  not null check (0 <= position)
);

insert into open_action_cursor (shard, position)
values (0, 0);

grant select, update on open_action_cursor to backoffice_jobs;

-- What lock-integration-service said of a request, found by the key the request was made under.
create index inbox_event_upstream_key on inbox_event (tenant_id, (payload ->> 'idempotencyKey'))
    where producer = 'lock' and payload ? 'idempotencyKey';

create policy jobs_reads on inbox_event for select to backoffice_jobs using (true);

grant select on inbox_event to backoffice_jobs;
