-- Who may connect, and how long each may hold the database up.
--
-- The owner (this migration's role: LOGIN CREATEROLE, owner of the database) runs migrations and nothing else.
-- Every other role has one job and the least privilege for it; none bypasses row level security.
-- Roles are shared by all databases of a cluster, so each statement tolerates that another database,
-- perhaps at this very moment, has created them. Passwords are not set here: production sets them.

do $$
declare
    -- role | setting | value. Milliseconds. A frozen instance must not hold the ledger's head, nor a snapshot.
    v_settings constant text[][] := array[
        ['backoffice_app', 'statement_timeout', '5000'],
        ['backoffice_app', 'lock_timeout', '3000'],
        ['backoffice_app', 'idle_in_transaction_session_timeout', '5000'],
        ['backoffice_append', 'statement_timeout', '5000'],
        ['backoffice_append', 'lock_timeout', '3000'],
        ['backoffice_append', 'idle_in_transaction_session_timeout', '2000'],
        ['backoffice_append', 'tcp_user_timeout', '5000'],
        ['backoffice_relay', 'statement_timeout', '10000'],
        ['backoffice_relay', 'idle_in_transaction_session_timeout', '10000'],
        ['backoffice_seal', 'statement_timeout', '10000'],
        ['backoffice_seal', 'idle_in_transaction_session_timeout', '10000'],
        ['backoffice_project', 'statement_timeout', '10000'],
        ['backoffice_project', 'idle_in_transaction_session_timeout', '10000'],
        ['backoffice_intake', 'statement_timeout', '10000'],
        ['backoffice_intake', 'lock_timeout', '3000'],
        ['backoffice_intake', 'idle_in_transaction_session_timeout', '2000'],
        ['backoffice_intake', 'tcp_user_timeout', '5000'],
        ['backoffice_jobs', 'statement_timeout', '10000'],
        ['backoffice_jobs', 'lock_timeout', '3000'],
        ['backoffice_jobs', 'idle_in_transaction_session_timeout', '10000'],
        ['backoffice_maintain', 'statement_timeout', '10000'],
        ['backoffice_maintain', 'lock_timeout', '3000'],
        ['backoffice_maintain', 'idle_in_transaction_session_timeout', '10000']
    ];
    v_role text;
    v_setting text[];
begin
    for v_role in select distinct s.role from (select unnest(v_settings[:][1:1]) as role) s order by 1 loop
        begin
            if not exists (select from pg_roles where rolname = v_role) then
                execute format('create role %I login nosuperuser nobypassrls nocreaterole nocreatedb noinherit', v_role);
            end if;
        exception when duplicate_object or unique_violation then
            null; -- Another database of this cluster was faster.
        end;
    end loop;

    foreach v_setting slice 1 in array v_settings loop
        for v_try in 1..20 loop
            begin
                if not exists (
                    select
                    from pg_db_role_setting s
                    join pg_roles r on r.oid = s.setrole
                    where s.setdatabase = 0
                      and r.rolname = v_setting[1]
                      and (v_setting[2] || '=' || v_setting[3]) = any (s.setconfig)
                ) then
                    execute format('alter role %I set %I = %L', v_setting[1], v_setting[2], v_setting[3]);
                end if;
                exit;
            exception when internal_error or unique_violation then
                -- "tuple concurrently updated": another database alters the same role.
                if v_try = 20 then
                    raise;
                end if;
                perform pg_sleep(0.05 * random());
            end;
        end loop;
    end loop;
end
$$;

-- Nobody but the owner creates anything, not even temporary tables that could shadow ours.
revoke create on schema public from public;
do $$
begin
    execute format('revoke all on database %I from public', current_database());
    execute format(
        'grant connect on database %I to backoffice_app, backoffice_append, backoffice_relay, backoffice_seal, '
        'backoffice_project, backoffice_intake, backoffice_jobs, backoffice_maintain',
        current_database()
    );
end
$$;
grant usage on schema public to
    backoffice_app, backoffice_append, backoffice_relay, backoffice_seal,
    backoffice_project, backoffice_intake, backoffice_jobs, backoffice_maintain;

-- A function is for those it is granted to.
alter default privileges revoke execute on functions from public;
