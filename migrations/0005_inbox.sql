-- The inbox: what other services said, once each, in an order of its own. Written by src/inbox, folded by the projector.

-- One row a shard: the next position. Taken last in a transaction and held to its commit, so that position order is commit
-- order and a reader that pages by position can lose nothing.
create table inbox_head (
    shard         smallint primary key,
    next_position bigint   not null check (1 <= next_position)
);
insert into inbox_head (shard, next_position) values (0, 1);

-- One row an upstream event that feeds one of our projections; every other event is acknowledged and not kept.
create table inbox_event (
    tenant_id   text        not null check (tenant_id ~ '^tnt_[0-9A-HJKMNP-TV-Z]{26}$'),
    producer    text        not null, -- the service as topics name it: iam, notification, lock …
    event_id    text        not null, -- unique within the producer
    position    bigint      not null check (1 <= position), -- 1, 2, 3 … without a gap
    subject     text        not null, -- melmastoon.<service>.<aggregate>.<past tense>.v<n>
    property_id text,                 -- the payload's propertyId, where it has one
    occurred_at timestamptz not null, -- the producer's clock
    received_at timestamptz not null, -- our clock
    payload     jsonb       not null, -- as it was sent
    primary key (tenant_id, producer, event_id)
);
create index inbox_event_position on inbox_event (position);
create index inbox_event_property on inbox_event (tenant_id, property_id, position);

-- One row a message that could not be read: kept as it came, for a person, and to be read again after a fix.
create table inbox_dead_letter (
    tenant_id   text        not null, -- the tenant it claims; tnt_00000000000000000000000000 where none can be read
    topic       text        not null,
    message_id  text        not null, -- Pub/Sub's
    reason      text        not null, -- why it cannot be read, without its content
    attributes  jsonb       not null,
    raw         bytea       not null,
    received_at timestamptz not null,
    replayed_at timestamptz,          -- when it was read after all
    primary key (tenant_id, topic, message_id)
);

-- Appends what is not there yet, in the order of the arrays, and says how many that were.
create function inbox_append(
    p_shard        smallint,
    p_received_at  timestamptz,
    p_tenant_ids   text[],
    p_producers    text[],
    p_event_ids    text[],
    p_subjects     text[],
    p_property_ids text[],
    p_occurred_ats timestamptz[],
    p_payloads     text[],
    out o_last_position bigint, -- the shard's last position afterwards; 0 when it is empty
    out o_stored        bigint
)
language plpgsql
security invoker
as $$
declare
    v_base bigint;
begin
    -- First come, first served: waiting for the row alone is a scramble. The statement below sees all that was committed before.
    perform pg_advisory_xact_lock(hashtext('inbox_head'), p_shard);
    select h.next_position into strict v_base from inbox_head h where h.shard = p_shard for update;

    with sent as (
        select distinct on (u.tenant_id, u.producer, u.event_id) u.*
        from unnest(
            p_tenant_ids, p_producers, p_event_ids, p_subjects, p_property_ids, p_occurred_ats, p_payloads
        ) with ordinality
            as u (tenant_id, producer, event_id, subject, property_id, occurred_at, payload, place)
        order by u.tenant_id, u.producer, u.event_id, u.place
    ),
    fresh as (
        select s.*, row_number() over (order by s.place) as nth
        from sent s
        where not exists (
            select
            from inbox_event e
            where e.tenant_id = s.tenant_id and e.producer = s.producer and e.event_id = s.event_id
        )
    )
    insert into inbox_event
        (tenant_id, producer, event_id, position, subject, property_id, occurred_at, received_at, payload)
    select
        f.tenant_id, f.producer, f.event_id, v_base + f.nth - 1, f.subject, f.property_id, f.occurred_at,
        p_received_at, f.payload::jsonb
    from fresh f
    order by f.nth;
    get diagnostics o_stored = row_count;

    if o_stored > 0 then
        update inbox_head h set next_position = v_base + o_stored where h.shard = p_shard;
    end if;
    o_last_position := v_base + o_stored - 1;
end
$$;

alter table inbox_event enable row level security;
alter table inbox_event force row level security;
alter table inbox_dead_letter enable row level security;
alter table inbox_dead_letter force row level security;

create policy intake_reads on inbox_event for select to backoffice_intake using (true);
create policy intake_inserts on inbox_event for insert to backoffice_intake with check (true);
create policy project_reads on inbox_event for select to backoffice_project using (true);
create policy intake_reads on inbox_dead_letter for select to backoffice_intake using (true);
create policy intake_inserts on inbox_dead_letter for insert to backoffice_intake with check (true);
create policy intake_marks on inbox_dead_letter for update to backoffice_intake using (true) with check (true);

grant select, update on inbox_head to backoffice_intake;
grant select on inbox_head to backoffice_project;
grant select, insert on inbox_event to backoffice_intake;
grant select on inbox_event to backoffice_project;
grant select, insert on inbox_dead_letter to backoffice_intake;
grant update (replayed_at) on inbox_dead_letter to backoffice_intake;
revoke all on function inbox_append from public;
grant execute on function inbox_append to backoffice_intake;
