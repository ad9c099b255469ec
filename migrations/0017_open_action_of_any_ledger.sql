-- What has no outcome yet is followed for the mutations that are passed on too, in the table that knew actions on locks only.
-- A binary from before this migration takes a row of a mutation for one of a lock, fails at its stream and tries again: it
-- changes nothing there, and what it leaves lying an instance of this version takes.
alter table open_action
    add column ledger text not null default 'lock-audit' check (ledger in ('lock-audit', 'activity'));

-- The upstream key of a mutation is derived from its claim and stands nowhere.
alter table open_action alter column upstream_key drop not null;

-- The mutations that were requested before are found by reading the ledger once more; what has its outcome there leaves
-- the table again as the cursor passes it.
update open_action_cursor set position = 0;
