-- What upstream services have not been told yet of what operators did here: one row a stream of the ledger, from the moment the
-- ledger has it until it has the upstream's answer. Derived from the ledger and kept by src/commands/report.rs. It takes the
-- place of acknowledgment_forward, which knew alerts only and stays until no binary that keeps it can run any more: what both
-- tell has the same upstream key, and so one effect.
create table upstream_report (
    tenant_id   text        not null,
    stream      text        not null,           -- `ali:<alertId>`, `sdl:<suggestionId>`
    ledger      text        not null check (ledger in ('alert-ack', 'ai-decision')),
    attempts    integer     not null default 0, -- calls made, 0 while the request itself may still make it
    next_try_at timestamptz not null,           -- database time; also the lease of the instance that is trying
    primary key (tenant_id, stream)
);

create index upstream_report_due on upstream_report (next_try_at);

alter table upstream_report enable row level security;
alter table upstream_report force row level security;

create policy upstream_report_jobs on upstream_report
    to backoffice_jobs using (true) with check (true);

grant select, insert, update, delete on upstream_report to backoffice_jobs;

-- How far the ledger has been read for the table above. One row a shard; whoever holds its lock reads on.
create table upstream_report_cursor (
    shard    integer primary key,
    position bigint   not null check (0 <= position)
);

grant select, update on upstream_report_cursor to backoffice_jobs;

-- Policies hold for the owner too, who is to move all rows.
alter table acknowledgment_forward no force row level security;
alter table upstream_report no force row level security;

insert into upstream_report (tenant_id, stream, ledger, attempts, next_try_at)
select tenant_id, 'ali:' || alert_id, 'alert-ack', attempts, next_try_at
from acknowledgment_forward;

insert into upstream_report_cursor (shard, position)
select shard, position
from acknowledgment_forward_cursor;

alter table acknowledgment_forward force row level security;
alter table upstream_report force row level security;
