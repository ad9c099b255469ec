-- What the inbox says of alerts and suggestions that are over is forgotten, and so is what is done with at once.
-- Deleted by src/inbox/retention.rs, never beyond what every reader of the inbox has read.

-- Of which alert or suggestion an event speaks; null for the others.
alter table inbox_event add column item_id text generated always as (
    case
        when subject like 'melmastoon.notification.alert.%' then payload ->> 'alertId'
        when subject = 'melmastoon.lock.device.health_alert.v1' then payload ->> 'lockId'
        when subject like 'melmastoon.ai_orchestrator.%' then payload ->> 'suggestionId'
    end
) stored;

create index inbox_event_item on inbox_event (tenant_id, item_id) where item_id is not null;
create index inbox_dead_letter_age on inbox_dead_letter (received_at);

-- Whether all that the inbox knows of an item was heard before p_before and read by every reader (up to p_read), and the
-- item is over: resolved, withdrawn or decided, or expired without anybody having acknowledged it, there or here.
create function inbox_item_is_over(
    p_tenant_id   text,
    p_property_id text,
    p_item_id     text,
    p_before      timestamptz,
    p_read        bigint
)
returns boolean
language sql stable
security invoker
as $$
    select bool_and(e.received_at < p_before and e.position <= p_read)
        and (
            bool_or(e.subject in (
                'melmastoon.notification.alert.resolved.v1',
                'melmastoon.ai_orchestrator.suggestion.withdrawn.v1',
                'melmastoon.ai_orchestrator.hitl.gate_decided.v1'
            ))
            or (
                -- What has no such time, or one that Postgres cannot read, does not expire.
                bool_and(coalesce(
                    case when e.payload ->> 'expiresAt'
                        ~ '^[12]\d{3}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-](0\d|1[0-4]):\d\d)$'
                    then (e.payload ->> 'expiresAt')::timestamptz < p_before
                    end,
                    false
                ))
                and not exists (
                    select
                    from event acknowledgment
                    where acknowledgment.tenant_id = p_tenant_id and acknowledgment.stream = 'ali:' || p_item_id
                )
            )
        )
    from inbox_event e
    where e.tenant_id = p_tenant_id and e.item_id = p_item_id and e.property_id is not distinct from p_property_id
$$;

revoke all on function inbox_item_is_over from public;
grant execute on function inbox_item_is_over to backoffice_jobs;

create policy jobs_purge on inbox_event for delete to backoffice_jobs using (true);
create policy jobs_read on inbox_dead_letter for select to backoffice_jobs using (true);
create policy jobs_purge on inbox_dead_letter for delete to backoffice_jobs using (true);

grant delete on inbox_event to backoffice_jobs;
grant select, delete on inbox_dead_letter to backoffice_jobs;
grant select on projector_cursor to backoffice_jobs;
