-- What a claim holds while it is kept, and how it is forgotten.

-- An answer is kept sealed, so that whoever reads the table learns nothing of it: version 1, then the name of the key,
-- nonce, ciphertext and tag (src/ledger/personal/answer.rs). No released binary has written one in the clear; what
-- development left behind cannot be opened, and the streams behind those keys still refuse a second effect.
truncate idempotency;
alter table idempotency
    add constraint idempotency_body_is_sealed
    check (body is null or (30 <= octet_length(body) and get_byte(body, 0) = 1));

-- The purge locks the rows it deletes, so that two purges share the work. For that Postgres wants the right to update;
-- the policy grants no update at all.
grant update (completed_at) on idempotency to backoffice_jobs;
create policy jobs_lock on idempotency for update to backoffice_jobs
    using (state = 'completed')
    with check (false);

-- Answers older than a client may ask for are deleted; those that are still being worked on never are.
drop policy jobs_purge on idempotency;
create policy jobs_purge on idempotency for delete to backoffice_jobs using (state = 'completed');
