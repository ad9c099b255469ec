-- An auditor asks which actions have no outcome, and how far the ledger has been read for that. What one sees is the own
-- tenant's; the cursor tells nothing of anybody.
create policy tenant_reads on open_action for select to backoffice_app
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

grant select on open_action to backoffice_app;
grant select on open_action_cursor to backoffice_app;
