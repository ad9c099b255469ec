-- The relay: how far the ledger has been published, and what could not be. The ledger itself is the outbox.

-- One row a shard. Whoever holds the epoch may write; a lease that ran out may be taken by anybody, with the next epoch.
create table relay_cursor (
    shard       integer     primary key,
    position    bigint      not null default 0 check (0 <= position), -- all up to here is published or set aside
    epoch       bigint      not null default 0,                       -- the fencing token
    owner       text,                                                 -- the instance that holds it, for people
    lease_until timestamptz not null default '-infinity'              -- on the database's clock
);
insert into relay_cursor (shard) values (0);

-- One row an ordering key (tenantId/ledger) that the broker refuses: its events from here on wait in order, while others go on.
create table relay_parked (
    tenant_id       text        not null,
    ledger          text        not null,
    period          text        not null, -- with ledger_index: the first event that is not published
    ledger_index    bigint      not null,
    from_position   bigint      not null check (1 <= from_position), -- the same event, for people
    attempts        integer     not null check (0 <= attempts),      -- of that first event, since it is the first
    reason          text        not null,
    parked_at       timestamptz not null,
    next_try        timestamptz not null,
    retry_requested boolean     not null default false,              -- an operator wants it tried now
    primary key (tenant_id, ledger)
);

-- One row an event of `activity` that was given up after the last try.
create table relay_dead_letter (
    tenant_id    text        not null,
    event_id     text        not null,
    position     bigint      not null,
    ledger       text        not null,
    period       text        not null,
    ledger_index bigint      not null,
    topic        text        not null,
    reason       text        not null,
    given_up_at  timestamptz not null,
    declared_at  timestamptz, -- when relay.dead_lettered was appended
    redriven_at  timestamptz, -- when it was published after all
    primary key (tenant_id, event_id)
);

alter table relay_parked enable row level security;
alter table relay_parked force row level security;
alter table relay_dead_letter enable row level security;
alter table relay_dead_letter force row level security;

create policy relay_reads on relay_parked for select to backoffice_relay using (true);
create policy relay_inserts on relay_parked for insert to backoffice_relay with check (true);
create policy relay_updates on relay_parked for update to backoffice_relay using (true) with check (true);
create policy relay_deletes on relay_parked for delete to backoffice_relay using (true);
create policy relay_reads on relay_dead_letter for select to backoffice_relay using (true);
create policy relay_inserts on relay_dead_letter for insert to backoffice_relay with check (true);
create policy relay_updates on relay_dead_letter for update to backoffice_relay using (true) with check (true);

grant select, update on relay_cursor to backoffice_relay;
grant select, insert, update, delete on relay_parked to backoffice_relay;
grant select, insert on relay_dead_letter to backoffice_relay;
grant update (declared_at, redriven_at) on relay_dead_letter to backoffice_relay;
