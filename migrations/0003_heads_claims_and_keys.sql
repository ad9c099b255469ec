-- Where each shard, log and stream stands; who has claimed which idempotency key; the keys of personal data.

-- The last position a shard has given, and the latest time it has recorded. One row a shard, changed once a batch, last of all.
create table ledger_head (
    shard    integer     primary key,
    position bigint      not null default 0 check (0 <= position), -- 0: nothing yet
    clock    timestamptz not null default '-infinity'              -- periods are taken from it, so they never go backwards
) with (fillfactor = 10, autovacuum_vacuum_cost_delay = 0);
insert into ledger_head (shard) values (0);

-- How many events a log holds, which is the next ledger_index.
create table log_head (
    tenant_id text   not null,
    ledger    text   not null,
    period    text   not null,
    size      bigint not null check (1 <= size),
    primary key (tenant_id, ledger, period)
) with (fillfactor = 50);

-- The version of the last event of a stream. Optimistic concurrency is a comparison with it, under its lock.
create table stream_head (
    tenant_id text   not null,
    stream    text   not null,
    version   bigint not null check (1 <= version),
    primary key (tenant_id, stream)
) with (fillfactor = 70);

-- What a client's X-Idempotency-Key stands for. Claimed with the first append of a command, completed with the last.
create table idempotency (
    tenant_id    text        not null,
    device_id    text        not null,
    key          text        not null check (length(key) = 26), -- the client's ULID
    operator_id  text        not null,
    fingerprint  bytea       not null check (octet_length(fingerprint) = 32), -- of the request; another one under the same key is refused
    state        text        not null check (state in ('in_progress', 'completed', 'unknown')),
    owner        text        not null check (length(owner) = 26), -- the request that works on it: a ULID
    attempt      integer     not null check (1 <= attempt), -- grows when another request takes it over
    lease_until  timestamptz not null, -- database time; after it another request may take over
    status       integer,    -- HTTP status of the answer, once completed
    headers      jsonb,      -- [[name, value], …]
    body         bytea,
    created_at   timestamptz not null default clock_timestamp(),
    completed_at timestamptz,
    check ((state = 'completed') = (status is not null and headers is not null and body is not null and completed_at is not null)),
    primary key (tenant_id, device_id, key)
) with (fillfactor = 70);
create index idempotency_age on idempotency (created_at);

-- One key a person whose personal fields the ledger holds, wrapped by the master key. Deleting the row erases the fields.
create table subject_key (
    tenant_id     text        not null,
    subject_id    text        not null, -- the operator
    key_id        text        not null check (length(key_id) = 26), -- ULID: a key made after an erasure is another one
    wrapped_key   bytea       not null, -- AES-256-GCM under the master key: version, nonce, ciphertext, tag
    master_key_id text        not null,
    created_at    timestamptz not null default clock_timestamp(),
    primary key (tenant_id, subject_id)
);

alter table log_head enable row level security;
alter table log_head force row level security;
create policy append_reads on log_head for select to backoffice_append, backoffice_seal, backoffice_jobs using (true);
create policy append_inserts on log_head for insert to backoffice_append with check (true);
create policy append_updates on log_head for update to backoffice_append using (true) with check (true);

alter table stream_head enable row level security;
alter table stream_head force row level security;
create policy append_reads on stream_head for select to backoffice_append, backoffice_jobs using (true);
create policy append_inserts on stream_head for insert to backoffice_append with check (true);
create policy append_updates on stream_head for update to backoffice_append using (true) with check (true);
create policy jobs_prune on stream_head for delete to backoffice_jobs using (true);

alter table idempotency enable row level security;
alter table idempotency force row level security;
create policy tenant_reads on idempotency for select to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_takes_over on idempotency for update to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy append_reads on idempotency for select to backoffice_append, backoffice_jobs using (true);
create policy append_inserts on idempotency for insert to backoffice_append with check (true);
create policy append_updates on idempotency for update to backoffice_append using (true) with check (true);
create policy jobs_purge on idempotency for delete to backoffice_jobs using (true);

alter table subject_key enable row level security;
alter table subject_key force row level security;
create policy tenant_reads on subject_key for select to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy tenant_inserts on subject_key for insert to backoffice_app
    with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy jobs_read on subject_key for select to backoffice_jobs using (true);
create policy jobs_erase on subject_key for delete to backoffice_jobs using (true);

grant select, update on ledger_head to backoffice_append;
grant select on ledger_head to backoffice_relay, backoffice_seal, backoffice_project, backoffice_jobs;
grant select, insert, update on log_head to backoffice_append;
grant select on log_head to backoffice_seal, backoffice_jobs;
grant select, insert, update on stream_head to backoffice_append;
grant select, delete on stream_head to backoffice_jobs;
grant select, insert, update on idempotency to backoffice_append;
grant select, update (owner, attempt, lease_until) on idempotency to backoffice_app;
grant select, delete on idempotency to backoffice_jobs;
grant select, insert on subject_key to backoffice_app;
grant select, delete on subject_key to backoffice_jobs;
