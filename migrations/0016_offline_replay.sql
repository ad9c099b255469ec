-- What was done offline comes in from sync-service and is recorded in the ledger, by src/commands/replay_offline.rs.

-- How far the inbox has been read for it. One row a shard; whoever holds its lock reads on.
create table offline_replay_cursor (
    shard    integer primary key,
    position bigint  not null check (0 <= position)
);
insert into offline_replay_cursor (shard, position) values (0, 0);

grant select, update on offline_replay_cursor to backoffice_jobs;
