-- What is left of an idempotency key when its answer is forgotten: that there was a request under it, which one (by its
-- fingerprint, which tells nothing of it without the pepper), and how it ended. No operator, no body, no header. One row a
-- claim, written by src/ledger/idempotency/archive.rs; the purge takes no claim whose row is not here.
create table idempotency_archive (
    tenant_id    text        not null,
    device_id    text        not null,
    key          text        not null check (length(key) = 26), -- the client's ULID
    fingerprint  bytea       not null check (octet_length(fingerprint) = 32),
    status       integer     not null, -- HTTP status of the answer; 504: nobody came back to learn it
    attempts     integer     not null check (1 <= attempts),
    created_at   timestamptz not null, -- of the claim
    completed_at timestamptz not null,
    archived_at  timestamptz not null default clock_timestamp(),
    primary key (tenant_id, device_id, key)
);

create index idempotency_archive_age on idempotency_archive (archived_at);

alter table idempotency_archive enable row level security;
alter table idempotency_archive force row level security;

create policy jobs_reads on idempotency_archive for select to backoffice_jobs using (true);
create policy jobs_archives on idempotency_archive for insert to backoffice_jobs with check (true);
create policy jobs_forgets on idempotency_archive for delete to backoffice_jobs using (true);

grant select, insert, delete on idempotency_archive to backoffice_jobs;
