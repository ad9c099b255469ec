-- Acknowledgments that notification-service has not answered yet: one row an alert, from the moment the ledger has the
-- acknowledgment until it has the answer. Derived from the ledger and kept by src/commands/forward_acknowledgments.rs.
create table acknowledgment_forward (
    tenant_id   text        not null,
    alert_id    text        not null,
    attempts    integer     not null default 0, -- calls made, 0 while the request itself may still make it
    next_try_at timestamptz not null,           -- database time; also the lease of the instance that is trying
    primary key (tenant_id, alert_id)
);

create index acknowledgment_forward_due on acknowledgment_forward (next_try_at);

alter table acknowledgment_forward enable row level security;
alter table acknowledgment_forward force row level security;

create policy acknowledgment_forward_jobs on acknowledgment_forward
    to backoffice_jobs using (true) with check (true);

grant select, insert, update, delete on acknowledgment_forward to backoffice_jobs;

-- How far the ledger has been read for the table above. One row a shard; whoever holds its lock reads on.
create table acknowledgment_forward_cursor (
    shard    integer primary key,
    position bigint   not null check (0 <= position)
);

insert into acknowledgment_forward_cursor (shard, position)
values (0, 0);

grant select, update on acknowledgment_forward_cursor to backoffice_jobs;
