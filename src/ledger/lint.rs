//! Looks for defects of tenant isolation in the database as it stands, at start-up and in the
//! tests.

use sqlx::PgConnection;

/// The rules, as one query that has a row for each defect.
const RULES: &str = include_str!("../../migrations/lint/rls.sql");

/// As asked by the role of requests: a tenant's table whose policies are not applied to it.
const UNHELD: &str = "
select 'L0 not_held' as rule, c.relname::text as subject
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
where c.relkind in ('r', 'p')
  and c.relnamespace = 'public'::regnamespace
  and not row_security_active(c.oid)
order by 2";

/// Something in the schema that would let one tenant see or change what is another's.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Defect {
    /// `L0 not_held` to `L15 partition_policies_differ`; the rules are explained in
    /// `migrations/lint/rls.sql`.
    pub rule: String,
    /// The table, index, view, function, policy or role.
    pub subject: String,
}

/// Finds every defect; none in a sound database. Any role can run it: it reads the catalogues only.
///
/// # Errors
/// When the database fails.
pub async fn defects(connection: &mut PgConnection) -> Result<Vec<Defect>, sqlx::Error> {
    sqlx::query_as(RULES).fetch_all(connection).await
}

/// The tables of tenants whose policies do not hold the role of this connection.
///
/// # Errors
/// When the database fails.
pub async fn unheld(connection: &mut PgConnection) -> Result<Vec<Defect>, sqlx::Error> {
    sqlx::query_as(UNHELD).fetch_all(connection).await
}
