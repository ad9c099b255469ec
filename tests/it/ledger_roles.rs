//! What each role may do in Postgres, and what the lint of tenant isolation finds.

use std::collections::BTreeSet;

use backoffice::{
    database::Role,
    ledger::{lint, partitions},
};
use sqlx::AssertSqlSafe;

use crate::support::{database::TestDatabase, service::World};

/// Role × table × verb, as the repository says it is.
const PRIVILEGES: &str = include_str!("../../migrations/roles.toml");

#[tokio::test]
async fn ti_10_every_role_has_the_privileges_of_the_table_and_no_others() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;

    let granted: Vec<String> = sqlx::query_scalar(
        r"
        select r.rolname || ' ' || c.relname || ' ' || lower(p.privilege_type)
        from pg_class c
        cross join lateral aclexplode(c.relacl) p
        join pg_roles r on r.oid = p.grantee
        where c.relnamespace = 'public'::regnamespace and r.rolname ~ '^backoffice_' and r.oid <> c.relowner
        union all
        select r.rolname || ' ' || c.relname || ' ' || lower(p.privilege_type)
               || ' (' || string_agg(a.attname, ', ' order by a.attname) || ')'
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
        cross join lateral aclexplode(a.attacl) p
        join pg_roles r on r.oid = p.grantee
        where c.relnamespace = 'public'::regnamespace and r.rolname ~ '^backoffice_' and r.oid <> c.relowner
        group by r.rolname, c.relname, p.privilege_type
        union all
        select 'functions ' || p.oid::regproc || ' ' || r.rolname
        from pg_proc p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
        join pg_roles r on r.oid = x.grantee
        where p.pronamespace in ('public'::regnamespace, 'maintenance'::regnamespace)
          and r.oid <> p.proowner
        ",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();

    let granted: BTreeSet<String> = granted.into_iter().collect();
    assert_eq!(granted, written_privileges());
}

/// The lint says what is wrong; this says what is right, from the catalogues alone.
#[tokio::test]
async fn ti_11_every_table_of_tenants_is_held_by_policies_that_read_and_check() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let tables: Vec<(String, bool, bool)> = sqlx::query_as(
        r"
        select c.relname::text, c.relrowsecurity, c.relforcerowsecurity
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
        where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
        ",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    for (table, is_enabled, is_forced) in tables {
        assert!(is_enabled && is_forced, "{table}");
    }
    let halves: Vec<String> = sqlx::query_scalar(
        r"
        select polname || ' on ' || polrelid::regclass from pg_policy
        where (polcmd in ('r', 'd') and polqual is null)
           or (polcmd = 'a' and polwithcheck is null)
           or (polcmd in ('w', '*') and (polqual is null or polwithcheck is null))
        ",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert_eq!(halves, Vec::<String>::new());
}

#[tokio::test]
async fn ti_10_29_a_database_with_a_defect_is_not_served() {
    let world = World::start().await;
    let mut superuser = world.database.superuser().await;
    let (is_well, said) = world.run(&["ledger", "verify"]);
    assert!(is_well, "{said}");

    let unforced = "alter table idempotency no force row level security";
    sqlx::raw_sql(unforced).execute(&mut superuser).await.unwrap();
    let (is_well, said) = world.run(&["ledger", "verify"]);
    assert!(!is_well);
    assert!(said.contains("does not keep tenants apart"), "{said}");
    assert!(said.contains("L1 rls_off"), "{said}");

    // The role's own view of it: a table that is its own would not be held by its policies.
    let owned = "alter table idempotency force row level security; \
        alter table idempotency disable row level security";
    sqlx::raw_sql(owned).execute(&mut superuser).await.unwrap();
    let defects = world.database.pools().isolation_defects().await.unwrap();
    let of_rule = |rule: &str| {
        defects.iter().any(|it| it.rule.starts_with(rule) && it.subject == "idempotency")
    };
    assert!(of_rule("L0") && of_rule("L1"), "{defects:?}");
}

#[tokio::test]
async fn ti_10_no_role_of_the_service_has_power_beyond_its_grants() {
    let database = TestDatabase::create().await;
    for role in Role::ALL {
        let mut connection = database.connect_as(role).await;
        let powers: Vec<String> = sqlx::query_scalar(
            r"
            select r.rolname::text
            from pg_roles r
            where r.rolname = current_user
              and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication)
            union all
            select 'member of ' || r.rolname from pg_roles r
            where r.rolname <> current_user and pg_has_role(current_user, r.oid, 'MEMBER')
            union all
            select 'owns ' || c.relname from pg_class c where pg_get_userbyid(c.relowner) = current_user
            union all
            select 'truncates ' || c.relname from pg_class c
            where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
              and has_table_privilege(c.oid, 'truncate')
            union all
            select 'creates' where has_schema_privilege('public', 'create')
                or has_database_privilege(current_database(), 'create')
            ",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert_eq!(powers, Vec::<String>::new(), "{role:?}");
    }
}

#[tokio::test]
async fn nobody_is_granted_anything_as_public() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;

    let public: Vec<String> = sqlx::query_scalar(
        r"
        select c.relname::text
        from pg_class c
        cross join lateral aclexplode(c.relacl) p
        where c.relnamespace = 'public'::regnamespace and p.grantee = 0
        union all
        select p.oid::regprocedure::text
        from pg_proc p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
        where p.pronamespace in ('public'::regnamespace, 'maintenance'::regnamespace) and x.grantee = 0
        union all
        select 'create in public' where has_schema_privilege('public', 'public', 'create')
        union all
        select 'temporary tables' where has_database_privilege('public', current_database(), 'temporary')
        ",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();

    assert_eq!(public, Vec::<String>::new());
}

#[tokio::test]
async fn no_role_can_change_truncate_or_drop_what_is_recorded() {
    let database = TestDatabase::create().await;
    let partition = "event_session_2026";
    for role in Role::ALL {
        let mut connection = database.connect_as(role).await;
        for table in ["event", "event_session", partition] {
            for statement in [
                format!("update {table} set body = ''"),
                format!("delete from {table}"),
                format!("truncate {table}"),
                format!("drop table {table}"),
                format!("alter table {table} disable trigger all"),
                format!("alter table {table} no force row level security"),
            ] {
                let done =
                    sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut connection).await;
                let code = done.unwrap_err().into_database_error().unwrap();
                assert_eq!(code.code().as_deref(), Some("42501"), "{role:?}: {statement}");
            }
        }
    }
}

#[tokio::test]
async fn not_even_a_superuser_or_the_owner_changes_what_is_recorded_by_mistake() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    sqlx::raw_sql(
        r"
        insert into event
        select 'tnt_1', 'session', '2026', 0, 0, 1, 's', 1, 'evt_1', 'k', 1, '', null, null, '', now(), now(),
               sha256('')
        ",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    for statement in [
        "update event set body = 'x'",
        "update event_session_2026 set body = 'x'",
        "delete from event",
        "truncate event",
        "truncate event_session",
        "truncate event_session_2026",
    ] {
        let done = sqlx::raw_sql(statement).execute(&mut superuser).await;
        assert!(done.unwrap_err().to_string().contains("append-only"), "{statement}");
    }
    // The owner has no policy: it does not even see what it would change.
    let mut owner = database.owner().await;
    let changed = sqlx::raw_sql("update event set body = 'x'").execute(&mut owner).await.unwrap();
    assert_eq!(changed.rows_affected(), 0);
    let truncated = sqlx::raw_sql("truncate event").execute(&mut owner).await;
    assert!(truncated.unwrap_err().to_string().contains("append-only"));
}

#[tokio::test]
async fn ti_10_11_a_migrated_database_has_no_defect_of_isolation_and_any_role_can_tell() {
    let database = TestDatabase::create().await;
    for role in Role::ALL {
        let mut connection = database.connect_as(role).await;
        assert_eq!(lint::defects(&mut connection).await.unwrap(), [], "{role:?}");
    }
}

/// Rule of the lint, a defect it has to find, and what takes the defect away again.
const PLANTED: &[(&str, &str, &str)] = &[
    (
        "L1",
        "alter table event_session_2026 no force row level security",
        "alter table event_session_2026 force row level security",
    ),
    ("L1", "create table forgotten (tenant_id text)", "drop table forgotten"),
    ("L2", "create unique index oracle on stream_head (stream)", "drop index oracle"),
    (
        "L3",
        "alter table stream_head add column parent text; \
            create unique index parents on subject_key (subject_id, tenant_id); \
            alter table subject_key add constraint plain unique (subject_id); \
            alter table stream_head add constraint blind foreign key (parent) references subject_key (subject_id)",
        "alter table stream_head drop constraint blind, drop column parent; \
         alter table subject_key drop constraint plain; drop index parents",
    ),
    ("L4", "create view leaky as select * from event", "drop view leaky"),
    ("L5", "create materialized view copied as select 1 as one", "drop materialized view copied"),
    (
        "L6",
        "create function public.powerful() returns int language sql security definer as 'select 1'",
        "drop function public.powerful()",
    ),
    (
        "L6",
        "create function maintenance.powerful() returns int language sql security definer as 'select 1'",
        "drop function maintenance.powerful()",
    ),
    (
        "L8",
        "create table owned (a int); alter table owned owner to backoffice_relay",
        "drop table owned",
    ),
    (
        "L9",
        "grant truncate on event to backoffice_jobs",
        "revoke truncate on event from backoffice_jobs",
    ),
    (
        "L10",
        "create policy open on stream_head for update to backoffice_append using (true)",
        "drop policy open on stream_head",
    ),
    (
        "L12",
        "create policy open on event for select to backoffice_app using (true)",
        "drop policy open on event",
    ),
    (
        "L12",
        "create policy open on inbox_event for select using (true)",
        "drop policy open on inbox_event",
    ),
    (
        "L14",
        "drop policy relay_deletes on relay_parked",
        "create policy relay_deletes on relay_parked for delete to backoffice_relay using (true)",
    ),
    (
        "L14",
        "grant select on inbox_dead_letter to backoffice_app",
        "revoke select on inbox_dead_letter from backoffice_app",
    ),
    (
        "L15",
        "alter policy tenant_reads on event_session_2026 to backoffice_app, backoffice_jobs",
        "alter policy tenant_reads on event_session_2026 to backoffice_app",
    ),
];

#[tokio::test]
async fn ti_10_11_15_16_17_the_lint_finds_each_planted_defect() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    for &(rule, plant, remove) in PLANTED {
        sqlx::raw_sql(plant).execute(&mut superuser).await.unwrap();
        let defects = lint::defects(&mut superuser).await.unwrap();
        assert!(defects.iter().any(|defect| defect.rule.starts_with(rule)), "{rule}: {plant}");
        sqlx::raw_sql(remove).execute(&mut superuser).await.unwrap();
        assert_eq!(lint::defects(&mut superuser).await.unwrap(), [], "after {remove}");
    }
}

#[tokio::test]
async fn ti_10_roles_that_escape_policies_are_found() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    // In a transaction that is rolled back: roles belong to all databases of the server.
    let mut transaction = sqlx::Connection::begin(&mut superuser).await.unwrap();
    let name = format!("backoffice_test_{}", ulid::Ulid::generate()).to_lowercase();
    for statement in [
        format!("create role {name}_a bypassrls"),
        format!("create role {name}_b"),
        format!("grant {name}_a to {name}_b"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await.unwrap();
    }
    let rules: BTreeSet<String> = lint::defects(&mut transaction)
        .await
        .unwrap()
        .into_iter()
        .map(|defect| defect.rule)
        .collect();
    transaction.rollback().await.unwrap();

    assert_eq!(
        rules,
        BTreeSet::from([
            "L11 member_of_bypass_role".into(),
            "L13 member_of_runtime_role".into(),
            "L7 role_bypass".into(),
        ])
    );
}

#[tokio::test]
async fn the_maintaining_role_and_no_other_makes_partitions_ahead() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let mut maintain = database.connect_as(Role::Maintain).await;
    assert_eq!(partitions::ahead(&mut maintain).await.unwrap(), Some(partitions::AHEAD));
    assert_eq!(partitions::ensure(&mut maintain).await.unwrap(), 0);

    let last: String = sqlx::query_scalar(
        "select relname::text from pg_class where relname ~ '^event_alert_ack_[0-9_]+$' and relkind = 'r' \
         order by relname desc limit 1",
    )
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("drop table {last}")))
        .execute(&mut superuser)
        .await
        .unwrap();
    assert_eq!(partitions::ahead(&mut maintain).await.unwrap(), Some(partitions::AHEAD - 1));
    assert_eq!(partitions::ensure(&mut maintain).await.unwrap(), 1);
    assert_eq!(lint::defects(&mut maintain).await.unwrap(), []);

    let mut jobs = database.connect_as(Role::Jobs).await;
    assert!(partitions::ensure(&mut jobs).await.is_err());
    for (ledger, period) in [
        ("no-such", "2026"),
        ("session; drop table event", "2026"),
        ("session", "2026-11"),
        ("alert-ack", "2026"),
        ("alert-ack", "2026-13"),
        ("session", "2026'); drop table event; --"),
    ] {
        let made = sqlx::query("select maintenance.ensure_event_partition($1, $2)")
            .bind(ledger)
            .bind(period)
            .execute(&mut maintain)
            .await;
        assert!(made.is_err(), "{ledger} {period}");
    }
}

/// `migrations/roles.toml`, a line each: `<role> <table> <verb>` or `functions <function> <role>`.
fn written_privileges() -> BTreeSet<String> {
    let mut section = "";
    let mut written = BTreeSet::new();
    for line in PRIVILEGES.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((name, values)) = line.split_once(" = ") {
            let name = name.trim_matches('"');
            for value in values.split('"').skip(1).step_by(2) {
                written.insert(format!("{section} {name} {value}"));
            }
        }
    }
    written
}
