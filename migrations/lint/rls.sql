-- Defects of tenant isolation in the schema as it stands; no rows when there is none. Run at start-up and in the tests.
--
-- L1 a tenant's table without enabled and forced row level security and a policy
select 'L1 rls_off' as rule, c.relname::text as subject
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
where c.relkind in ('r', 'p')
  and c.relnamespace = 'public'::regnamespace
  and not (
      c.relrowsecurity and c.relforcerowsecurity
      and exists (select from pg_policy p where p.polrelid = c.oid)
  )
union all
-- L2 a unique index of a tenant's table without its tenant: it would tell whether another tenant has a value
select 'L2 unique_without_tenant', i.indexrelid::regclass::text
from pg_index i
join pg_class c on c.oid = i.indrelid and c.relkind in ('r', 'p')
join pg_attribute a on a.attrelid = i.indrelid and a.attname = 'tenant_id' and not a.attisdropped
where i.indisunique and not (a.attnum = any (i.indkey::int2[]))
union all
-- L3 a foreign key between two tenants' tables that does not carry the tenant: its check is blind to policies
select 'L3 fk_without_tenant', k.conname::text
from pg_constraint k
join pg_attribute a on a.attrelid = k.conrelid and a.attname = 'tenant_id' and not a.attisdropped
join pg_attribute b on b.attrelid = k.confrelid and b.attname = 'tenant_id' and not b.attisdropped
where k.contype = 'f' and not (a.attnum = any (k.conkey))
union all
-- L4 a view that reads with its owner's rights
select 'L4 view_not_invoker', c.relname::text
from pg_class c
where c.relkind = 'v'
  and c.relnamespace = 'public'::regnamespace
  and not coalesce(
      c.reloptions::text[] @> array['security_invoker=true']
      or c.reloptions::text[] @> array['security_invoker=on'],
      false
  )
union all
-- L5 a materialised view: it holds every tenant's rows and has no policies
select 'L5 matview', c.relname::text
from pg_class c
where c.relkind = 'm' and c.relnamespace = 'public'::regnamespace
union all
-- L6 a function that runs with its owner's rights, anywhere; the one exception creates partitions and reads no rows
select 'L6 security_definer', p.oid::regprocedure::text
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where p.prosecdef
  and n.nspname !~ '^(pg_|information_schema$)'
  and (n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
      <> ('maintenance', 'ensure_event_partition', 'p_ledger text, p_period text')
union all
-- L7 a runtime role that no policy holds
select 'L7 role_bypass', r.rolname::text
from pg_roles r
where r.rolname ~ '^backoffice_' and (r.rolsuper or r.rolbypassrls)
union all
-- L8 a runtime role that owns something, and could change it
select 'L8 runtime_role_owns', c.relname::text
from pg_class c
join pg_roles r on r.oid = c.relowner
where r.rolname ~ '^backoffice_' and r.rolname <> 'backoffice_owner' and c.relkind in ('r', 'p', 'v', 'm', 'S')
union all
-- L9 a runtime role that may truncate: policies do not apply to it
select 'L9 truncate_granted', r.rolname || ' on ' || c.relname
from pg_class c
cross join pg_roles r
where c.relkind in ('r', 'p')
  and c.relnamespace = 'public'::regnamespace
  and r.rolname ~ '^backoffice_'
  and r.rolname <> 'backoffice_owner'
  and not r.rolsuper
  and has_table_privilege(r.oid, c.oid, 'TRUNCATE')
union all
-- L10 a policy that lets a row be written which it would not let be read
select 'L10 policy_without_check', p.polname || ' on ' || p.polrelid::regclass
from pg_policy p
where p.polcmd in ('*', 'a', 'w') and p.polwithcheck is null
union all
-- L11 a runtime role that can become a role no policy holds
select 'L11 member_of_bypass_role', m.rolname || ' in ' || r.rolname
from pg_roles r
cross join pg_roles m
where (r.rolsuper or r.rolbypassrls)
  and m.rolname ~ '^backoffice_'
  and not m.rolsuper
  and m.oid <> r.oid
  and pg_has_role(m.oid, r.oid, 'MEMBER')
union all
-- L12 a policy for requests, or for everybody, that does not hold them to their tenant: policies add up, one open one is enough
select 'L12 policy_open_to_requests', p.polname || ' on ' || p.polrelid::regclass
from pg_policy p
cross join lateral (
    select '(tenant_id = NULLIF(current_setting(''app.tenant_id''::text, true), ''''::text))' as own
) t
where p.polpermissive
  and (
      0 = any (p.polroles)
      or exists (select from pg_roles r where r.rolname = 'backoffice_app' and r.oid = any (p.polroles))
  )
  and (
      coalesce(pg_get_expr(p.polqual, p.polrelid), t.own) <> t.own
      or coalesce(pg_get_expr(p.polwithcheck, p.polrelid), t.own) <> t.own
      or (p.polqual is null and p.polwithcheck is null)
  )
union all
-- L13 a runtime role that can become another one, and add its rights to its own
select 'L13 member_of_runtime_role', m.rolname || ' in ' || r.rolname
from pg_roles r
cross join pg_roles m
where r.rolname ~ '^backoffice_'
  and m.rolname ~ '^backoffice_'
  and m.rolname <> 'backoffice_owner'
  and not m.rolsuper
  and m.oid <> r.oid
  and pg_has_role(m.oid, r.oid, 'MEMBER')
union all
-- L14 a grant on a tenant's table that no policy is there for: somebody dropped the policy, or forgot it
select 'L14 grant_without_policy', r.rolname || ' ' || v.privilege || ' on ' || c.relname
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
cross join pg_roles r
cross join (values ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) v (privilege, command)
where c.relkind in ('r', 'p')
  and c.relnamespace = 'public'::regnamespace
  and r.rolname ~ '^backoffice_'
  and r.oid <> c.relowner
  and not r.rolsuper
  and case v.privilege
      when 'DELETE' then has_table_privilege(r.oid, c.oid, 'DELETE')
      else has_any_column_privilege(r.oid, c.oid, v.privilege)
  end
  and not exists (
      select
      from pg_policy p
      where p.polrelid = c.oid and r.oid = any (p.polroles) and p.polcmd::text in (v.command, '*')
  )
union all
-- L15 a partition whose policies are not its parent's: who reads it by its own name is held by its own
select 'L15 partition_policies_differ', i.inhrelid::regclass::text
from pg_inherits i
join pg_class c on c.oid = i.inhrelid and c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
where (
    select coalesce(array_agg(
        row(p.polname, p.polcmd, p.polpermissive, p.polroles, pg_get_expr(p.polqual, p.polrelid),
            pg_get_expr(p.polwithcheck, p.polrelid))::text
        order by p.polname), '{}')
    from pg_policy p
    where p.polrelid = i.inhrelid
) <> (
    select coalesce(array_agg(
        row(p.polname, p.polcmd, p.polpermissive, p.polroles, pg_get_expr(p.polqual, p.polrelid),
            pg_get_expr(p.polwithcheck, p.polrelid))::text
        order by p.polname), '{}')
    from pg_policy p
    where p.polrelid = i.inhparent
)
order by 1, 2
