//! Looks for defects of tenant isolation in the database as it stands, at start-up and in the
//! tests.

use sqlx::PgConnection;

/// The rules, as one query that has a row for each defect.
const RULES: &str = include_str!("../../migrations/lint/rls.sql");

/// Something in the schema that would let one tenant see or change what is another's.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Defect {
    /// `L1 rls_off` to `L11 member_of_bypass_role`; the rules are explained in
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
