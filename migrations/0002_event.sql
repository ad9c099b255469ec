-- The ledger: one row an event, append-only, the source of truth. Written by append_batch (0004) alone.
--
-- A log is (tenant_id, ledger, period); its ledger_index counts 0, 1, 2 … without a gap, and `position` does so from 1 over
-- all logs of a shard, in the order of commit. Bodies are canonical JSON (RFC 8785) as bytes: stored bytes are hashed bytes.
create table event (
    tenant_id      text        not null, -- tnt_ and a ULID
    ledger         text        not null, -- session, activity, ai-decision, lock-audit, alert-ack, system
    period         text        not null, -- 2026, or 2026-11 for activity and alert-ack; never goes backwards
    ledger_index   bigint      not null check (0 <= ledger_index),
    shard          integer     not null, -- whose head gave the position
    position       bigint      not null check (1 <= position),
    stream         text        not null, -- the aggregate's id, or a derived id such as ali:<alertId>
    stream_version bigint      not null check (1 <= stream_version),
    event_id       text        not null, -- evt_ and a ULID, minted by the writer
    kind           text        not null, -- melmastoon.bff.backoffice.<aggregate>.<past tense>.v<n>
    schema_version integer     not null check (1 <= schema_version),
    body           bytea       not null, -- canonical JSON of the event's data without its personal fields
    personal       bytea,                -- the personal fields, encrypted under the subject's key
    subject_id     text,                 -- whose key that is; erasure deletes the key, never this row
    metadata       bytea       not null, -- canonical JSON: who, where, on whose behalf
    occurred_at    timestamptz not null, -- the writer's clock
    recorded_at    timestamptz not null, -- the database's clock under the head: never before the preceding position's
    leaf_hash      bytea       not null check (octet_length(leaf_hash) = 32),
    check ((personal is null) = (subject_id is null)),
    primary key (tenant_id, ledger, period, ledger_index)
) partition by list (ledger);

-- Ledger and period are here because a partitioned table's unique index must hold them.
create unique index event_stream on event (tenant_id, stream, stream_version, ledger, period);
create index event_position on event (shard, position);

-- What only the owner may do, and what is done in its name.
create schema maintenance;

create function maintenance.refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception 'the ledger is append-only: % on % is refused', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

-- Row triggers of a parent are cloned to its partitions; truncation is guarded table by table (see below).
create trigger event_is_append_only before update or delete on event
    for each row execute function maintenance.refuse_change();

-- Gives one table of the ledger its row level security, policies and guard against truncation.
create function maintenance.protect_event_table(p_table regclass) returns void
language plpgsql as $$
begin
    execute format('alter table %s enable row level security', p_table);
    execute format('alter table %s force row level security', p_table);
    execute format(
        'create policy tenant_reads on %s for select to backoffice_app '
        'using (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', p_table);
    execute format('create policy append_inserts on %s for insert to backoffice_append with check (true)', p_table);
    execute format(
        'create policy workers_read on %s for select '
        'to backoffice_append, backoffice_relay, backoffice_seal, backoffice_project, backoffice_jobs '
        'using (true)', p_table);
    execute format(
        'create trigger event_is_not_truncated before truncate on %s '
        'for each statement execute function maintenance.refuse_change()', p_table);
end
$$;

-- Creates the partition of one ledger and period; true when it was not there.
--
-- SECURITY DEFINER, because only a table's owner can add a partition to it and the maintaining role must not own the ledger.
-- It takes no SQL, checks both arguments and can do nothing else. The table is made apart and then attached:
-- that lets appends go on, which CREATE TABLE … PARTITION OF would block.
create function maintenance.ensure_event_partition(p_ledger text, p_period text) returns boolean
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    v_parent regclass := to_regclass(format('public.%I', 'event_' || replace(p_ledger, '-', '_')));
    v_name text := 'event_' || replace(p_ledger, '-', '_') || '_' || replace(p_period, '-', '_');
begin
    if v_parent is null or p_ledger !~ '^[a-z]+(-[a-z]+)?$' then
        raise exception 'no such ledger' using errcode = 'invalid_parameter_value';
    end if;
    if p_period !~ '^[0-9]{4}(-(0[1-9]|1[0-2]))?$'
        or (p_ledger in ('activity', 'alert-ack')) <> (length(p_period) = 7) then
        raise exception 'not a period of this ledger' using errcode = 'invalid_parameter_value';
    end if;
    -- One creator at a time; the others find it made.
    perform pg_advisory_xact_lock(hashtext('maintenance.ensure_event_partition'));
    if to_regclass(format('public.%I', v_name)) is not null then
        return false;
    end if;
    execute format('create table public.%I (like public.event including all)', v_name);
    perform maintenance.protect_event_table(format('public.%I', v_name)::regclass);
    execute format('alter table %s attach partition public.%I for values in (%L)', v_parent, v_name, p_period);
    return true;
end
$$;

create table event_session     partition of event for values in ('session')     partition by list (period);
create table event_activity    partition of event for values in ('activity')    partition by list (period);
create table event_ai_decision partition of event for values in ('ai-decision') partition by list (period);
create table event_lock_audit  partition of event for values in ('lock-audit')  partition by list (period);
create table event_alert_ack   partition of event for values in ('alert-ack')   partition by list (period);
create table event_system      partition of event for values in ('system')      partition by list (period);

select maintenance.protect_event_table('event');
select maintenance.protect_event_table('event_session');
select maintenance.protect_event_table('event_activity');
select maintenance.protect_event_table('event_ai_decision');
select maintenance.protect_event_table('event_lock_audit');
select maintenance.protect_event_table('event_alert_ack');
select maintenance.protect_event_table('event_system');

-- Partitions get no grants: every road to them leads through `event`.
grant select on event to backoffice_app, backoffice_relay, backoffice_seal, backoffice_project, backoffice_jobs;
grant insert on event to backoffice_append;
-- After a connection was lost at commit the writer asks whether its event stands at its place.
grant select (tenant_id, ledger, period, ledger_index, shard, position, stream, stream_version, event_id, recorded_at)
    on event to backoffice_append;

revoke all on function maintenance.refuse_change() from public;
revoke all on function maintenance.protect_event_table(regclass) from public;
revoke all on function maintenance.ensure_event_partition(text, text) from public;
grant usage on schema maintenance to backoffice_maintain;
grant execute on function maintenance.ensure_event_partition(text, text) to backoffice_maintain;

-- The ledger for people: bodies and metadata as JSON. The caller's own policies apply.
create view event_json with (security_invoker = true) as
select
    tenant_id,
    ledger,
    period,
    ledger_index,
    shard,
    position,
    stream,
    stream_version,
    event_id,
    kind,
    schema_version,
    convert_from(body, 'UTF8')::jsonb as body,
    personal is not null as has_personal,
    subject_id,
    convert_from(metadata, 'UTF8')::jsonb as metadata,
    occurred_at,
    recorded_at,
    encode(leaf_hash, 'hex') as leaf_hash
from event;
grant select on event_json to backoffice_app, backoffice_relay, backoffice_seal, backoffice_project, backoffice_jobs;
