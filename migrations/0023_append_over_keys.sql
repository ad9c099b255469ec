-- Rows that exist are found one by one over their primary keys. A statement of a function keeps a plan that was made
-- while the tables were empty or small: a join was planned as a scan of the whole table, and stayed one until the table
-- was analyzed again, however large it had become. A lateral row, an upsert and an update of one row, with scans of
-- whole tables ruled out, leave no such choice. The function is as in 0010 otherwise.
create or replace function append_batch(
    p_shard integer,
    -- writes: one stream each
    p_write_command integer[],
    p_write_tenant text[],
    p_write_ledger text[],
    p_write_stream text[],
    p_write_expected bigint[], -- version of the stream before; 0 when it does not exist
    p_write_size integer[],    -- number of its events; 0 only checks the version
    -- events, in the order in which they get their positions
    p_event_write integer[],
    p_event_id text[],
    p_event_kind text[],
    p_event_schema integer[],
    p_event_body bytea[],
    p_event_personal bytea[],
    p_event_subject text[],
    p_event_metadata bytea[],
    p_event_occurred timestamptz[],
    p_event_leaf_start bytea[], -- the leaf up to its time, which is known only here …
    p_event_leaf_end bytea[],   -- … and after it
    -- claims: at most one a command
    p_claim_command integer[],
    p_claim_starts boolean[],    -- new, else the claim exists and is completed or given up
    p_claim_completes boolean[],
    p_claim_tenant text[],
    p_claim_device text[],
    p_claim_key text[],
    p_claim_operator text[],     -- only when it starts
    p_claim_fingerprint bytea[], -- only when it starts
    p_claim_owner text[],
    p_claim_attempt integer[],
    p_claim_lease_ms bigint[],   -- only when it starts
    p_claim_status integer[],    -- only when it completes, as are the next two
    p_claim_headers text[],
    p_claim_body bytea[]
) returns table (
    outcome text,
    command integer,
    write integer,
    actual_version bigint,
    event integer,
    event_position bigint,
    event_index bigint,
    event_recorded_at timestamptz
)
language plpgsql set enable_seqscan = off as $$
-- A name that could be a column or a variable is the column: variables start with v_ or p_.
#variable_conflict use_column
declare
    v_fenced integer[] := '{}';
    v_refused integer[] := '{}';
    v_conflict_command integer[] := '{}';
    v_conflict_write integer[] := '{}';
    v_conflict_version bigint[] := '{}';
    v_failed integer[] := '{}'; -- all of them
    v_claim record;
    v_events bigint;            -- of the commands that stand
    v_rows bigint;
    v_created bigint;
    v_before bigint;
    v_clock timestamptz;
begin
    if cardinality(p_claim_command) > 0 then
        select coalesce(array_agg(c.command), '{}')
        into v_fenced
        from (
            select c.*
            from unnest(p_claim_command, p_claim_starts, p_claim_tenant, p_claim_device, p_claim_key,
                        p_claim_owner, p_claim_attempt)
                as c (command, starts, tenant_id, device_id, key, owner, attempt)
            where not c.starts
            order by c.tenant_id, c.device_id, c.key
        ) c
        left join lateral (
            select i.state, i.owner, i.attempt
            from idempotency i
            where i.tenant_id = c.tenant_id and i.device_id = c.device_id and i.key = c.key
            for update
        ) h on true
        where h.state is null
           or h.state = 'completed'
           or h.owner is distinct from c.owner
           or h.attempt is distinct from c.attempt;

        -- A key that is taken refuses its command whatever the stream says: the caller looks the answer up.
        select coalesce(array_agg(c.command), '{}')
        into v_refused
        from unnest(p_claim_command, p_claim_starts, p_claim_tenant, p_claim_device, p_claim_key)
            as c (command, starts, tenant_id, device_id, key)
        cross join lateral (
            select
            from idempotency i
            where i.tenant_id = c.tenant_id and i.device_id = c.device_id and i.key = c.key
            limit 1
        ) i
        where c.starts;
        v_failed := v_fenced || v_refused;
    end if;

    select
        coalesce(array_agg(w.command order by w.number), '{}'),
        coalesce(array_agg(w.number order by w.number), '{}'),
        coalesce(array_agg(coalesce(h.version, 0) order by w.number), '{}')
    into v_conflict_command, v_conflict_write, v_conflict_version
    from (
        select w.*
        from unnest(p_write_command, p_write_tenant, p_write_stream, p_write_expected)
            with ordinality as w (command, tenant_id, stream, expected, number)
        where w.command <> all (v_failed)
        order by w.tenant_id, w.stream
    ) w
    left join lateral (
        select s.version
        from stream_head s
        where s.tenant_id = w.tenant_id and s.stream = w.stream
        for update
    ) h on true
    where coalesce(h.version, 0) <> w.expected;
    v_failed := v_failed || v_conflict_command;

    if cardinality(p_claim_command) > 0 then
        -- Two batches with one new key: the second waits here for the first and then finds it taken.
        with claim as (
            select c.*
            from unnest(p_claim_command, p_claim_starts, p_claim_completes, p_claim_tenant, p_claim_device,
                        p_claim_key, p_claim_operator, p_claim_fingerprint, p_claim_owner, p_claim_attempt,
                        p_claim_lease_ms, p_claim_status, p_claim_headers, p_claim_body)
                as c (command, starts, completes, tenant_id, device_id, key, operator_id, fingerprint, owner,
                      attempt, lease_ms, status, headers, body)
            where c.starts and c.command <> all (v_failed)
        ), claimed as (
            insert into idempotency (
                tenant_id, device_id, key, operator_id, fingerprint, state, owner, attempt, lease_until,
                status, headers, body, completed_at
            )
            select
                tenant_id, device_id, key, operator_id, fingerprint,
                case when completes then 'completed' else 'in_progress' end,
                owner, attempt,
                clock_timestamp() + lease_ms * interval '1 millisecond',
                status, headers::jsonb, body,
                case when completes then clock_timestamp() end
            from claim
            order by tenant_id, device_id, key
            on conflict do nothing
            returning tenant_id, device_id, key
        )
        select v_refused || coalesce(array_agg(c.command), '{}'), v_failed || coalesce(array_agg(c.command), '{}')
        into v_refused, v_failed
        from claim c
        left join claimed d using (tenant_id, device_id, key)
        where d.key is null;

        -- Whoever does not know what became of its effect gives the claim up: the same request may go on at once.
        for v_claim in
            select c.*
            from unnest(p_claim_command, p_claim_starts, p_claim_completes, p_claim_tenant, p_claim_device,
                        p_claim_key, p_claim_status, p_claim_headers, p_claim_body)
                as c (command, starts, completes, tenant_id, device_id, key, status, headers, body)
            where not c.starts and c.command <> all (v_failed)
        loop
            update idempotency i
            set state = case when v_claim.completes then 'completed' else 'unknown' end,
                lease_until = case when v_claim.completes then i.lease_until else clock_timestamp() end,
                status = v_claim.status,
                headers = v_claim.headers::jsonb,
                body = v_claim.body,
                completed_at = case when v_claim.completes then clock_timestamp() end
            where i.tenant_id = v_claim.tenant_id and i.device_id = v_claim.device_id and i.key = v_claim.key;
        end loop;
    end if;

    -- They are all there, and locked.
    insert into stream_head as s (tenant_id, stream, version)
    select w.tenant_id, w.stream, w.expected + w.size
    from unnest(p_write_command, p_write_tenant, p_write_stream, p_write_expected, p_write_size)
        as w (command, tenant_id, stream, expected, size)
    where w.command <> all (v_failed) and 0 < w.expected and 0 < w.size
    on conflict (tenant_id, stream) do update set version = excluded.version;

    select coalesce(sum(w.size), 0), count(*) filter (where w.expected = 0 and 0 < w.size)
    into v_events, v_created
    from unnest(p_write_command, p_write_expected, p_write_size) as w (command, expected, size)
    where w.command <> all (v_failed);

    if 0 < v_created then
        insert into stream_head (tenant_id, stream, version)
        select w.tenant_id, w.stream, w.size
        from unnest(p_write_command, p_write_tenant, p_write_stream, p_write_expected, p_write_size)
            as w (command, tenant_id, stream, expected, size)
        where w.command <> all (v_failed) and w.expected = 0 and 0 < w.size
        order by w.tenant_id, w.stream
        on conflict do nothing;
        get diagnostics v_rows = row_count;
        if v_rows <> v_created then
            raise exception 'another batch created the stream' using errcode = 'serialization_failure';
        end if;
    end if;

    return query
    select f.outcome, f.command, f.write, f.actual_version,
           null::integer, null::bigint, null::bigint, null::timestamptz
    from (
        select 'fenced' as outcome, c.command, null::integer as write, null::bigint as actual_version
        from unnest(v_fenced) as c (command)
        union all
        select 'claim_refused', c.command, null, null
        from unnest(v_refused) as c (command)
        union all
        select 'conflict', c.command, c.write, c.actual_version
        from unnest(v_conflict_command, v_conflict_write, v_conflict_version)
            as c (command, write, actual_version)
    ) f;

    if v_events = 0 then
        return;
    end if;

    -- First come, first served: waiters for a row's lock are not, and their tail is four times as long.
    perform pg_advisory_xact_lock(1279544146, p_shard);
    update ledger_head h
    set position = h.position + v_events,
        clock = greatest(h.clock, clock_timestamp())
    where h.shard = p_shard
    returning h.position - v_events, h.clock
    into v_before, v_clock;
    if not found then
        raise exception 'shard % has no head', p_shard using errcode = 'no_data_found';
    end if;

    return query
    with write as (
        select w.*
        from unnest(p_write_command, p_write_tenant, p_write_ledger, p_write_stream, p_write_expected)
            with ordinality as w (command, tenant_id, ledger, stream, expected, number)
        where w.command <> all (v_failed)
    ), accepted as materialized (
        select
            e.*,
            w.command,
            w.tenant_id,
            w.ledger,
            w.stream,
            to_char(v_clock at time zone 'UTC',
                    case when w.ledger in ('activity', 'alert-ack') then 'YYYY-MM' else 'YYYY' end) as period,
            v_before + row_number() over (order by e.number) as position,
            row_number() over (partition by w.tenant_id, w.ledger order by e.number) as log_number,
            w.expected + row_number() over (partition by e.write order by e.number) as stream_version
        from unnest(p_event_write, p_event_id, p_event_kind, p_event_schema, p_event_body, p_event_personal,
                    p_event_subject, p_event_metadata, p_event_occurred, p_event_leaf_start, p_event_leaf_end)
            with ordinality as e (write, event_id, kind, schema_version, body, personal, subject_id, metadata,
                                  occurred_at, leaf_start, leaf_end, number)
        join write w on w.number = e.write
    ), log as (
        select a.tenant_id, a.ledger, a.period, count(*) as added
        from accepted a
        group by a.tenant_id, a.ledger, a.period
    ), head as (
        insert into log_head as h (tenant_id, ledger, period, size)
        select l.tenant_id, l.ledger, l.period, l.added
        from log l
        order by l.tenant_id, l.ledger, l.period
        on conflict (tenant_id, ledger, period) do update set size = h.size + excluded.size
        returning h.tenant_id, h.ledger, h.size
    ), placed as materialized (
        select a.*, h.size - l.added + a.log_number - 1 as ledger_index
        from accepted a
        join log l using (tenant_id, ledger)
        join head h using (tenant_id, ledger)
    ), inserted as (
        insert into event (
            tenant_id, ledger, period, ledger_index, shard, position, stream, stream_version, event_id, kind,
            schema_version, body, personal, subject_id, metadata, occurred_at, recorded_at, leaf_hash
        )
        select
            tenant_id, ledger, period, ledger_index, p_shard, position, stream, stream_version, event_id, kind,
            schema_version, body, personal, subject_id, metadata, occurred_at, v_clock,
            sha256('\x00'::bytea || leaf_start
                   || convert_to(to_char(v_clock at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8')
                   || leaf_end)
        from placed
        order by position
    )
    select 'appended', p.command, p.write, null::bigint, p.number::integer, p.position, p.ledger_index, v_clock
    from placed p
    order by p.position;

    get diagnostics v_rows = row_count;
    if v_rows <> v_events then
        raise exception '% events announced, % given', v_events, v_rows using errcode = 'data_exception';
    end if;
end
$$;
