//! Rules that the code keeps, held against its text: no session setting, no SQL from strings, no
//! channel or lock that tells of a tenant, no pool for requests but one.

use std::{fs, path::PathBuf};

use backoffice::database::Role;
use sqlx::AssertSqlSafe;

use super::filled;
use crate::support::{
    database::TestDatabase,
    sources::{files, product_code, root},
};

/// What would set something for a whole session, or become somebody else in it.
const SESSION_SETTINGS: [&str; 6] =
    ["set session ", "set role", "reset role", "set app.", "set \"app.", "discard "];

#[test]
fn ti_22_the_tenant_is_set_in_one_place_and_for_one_transaction() {
    let mut set_at = Vec::new();
    for (path, text) in sources() {
        for line in text.lines() {
            let line = line.to_lowercase();
            if line.contains("set_config") {
                set_at.push(path.clone());
                assert!(
                    line.contains("set_config('app.tenant_id', $1, true)"),
                    "{}: {line}",
                    path.display()
                );
            }
            for setting in SESSION_SETTINGS {
                let is_sql = line.contains(setting) && !line.trim_start().starts_with("//");
                assert!(!is_sql, "{}: {line}", path.display());
            }
        }
    }
    assert_eq!(set_at, [root().join("src/ledger/pools.rs")]);
    for (path, text) in migrations() {
        assert!(!text.contains("set_config"), "{}", path.display());
    }
}

/// The type system keeps queries inside a tenant's transaction: nothing hands out the pool.
#[test]
fn ti_24_only_a_tenants_transaction_gives_requests_a_connection() {
    let pools = fs::read_to_string(root().join("src/ledger/pools.rs")).unwrap();
    assert!(pools.contains("    app: PgPool,") && !pools.contains("pub app:"));
    let uses: Vec<&str> =
        pools.lines().map(str::trim).filter(|line| line.contains("self.app.")).collect();
    assert!(!pools.contains("&self.app\n") && !pools.contains("self.app.clone()"));
    assert_eq!(
        uses,
        [
            "let mut transaction = self.app.begin_with(begin).await?;",
            "let mut connection = self.app.acquire().await?;",
            "self.app.close(),",
        ],
        "`start` sets the tenant, `isolation_defects` reads the catalogues"
    );
    let wrapper = "pub struct TenantTransaction(Transaction<'static, Postgres>);";
    assert!(pools.contains(wrapper), "its field is private");
    for (path, text) in sources() {
        let home = path.ends_with("src/ledger/pools.rs") || path.ends_with("src/database.rs");
        let opens = ["Role::App", "connect_lazy", "PgPoolOptions", "PgPool::connect"];
        let found: Vec<&&str> = opens.iter().filter(|word| text.contains(**word)).collect();
        assert!(home || found.is_empty(), "{}: {found:?}", path.display());
    }
}

#[tokio::test]
async fn ti_26_policies_are_no_defence_against_injected_sql_so_there_is_no_sql_from_strings() {
    // What an injected statement could do: become another tenant in the middle of a query.
    let (database, _test, a, b) = filled().await;
    let pools = database.pools();
    let mut transaction = pools.begin(&a).await.unwrap();
    let drill = format!(
        "with switched as materialized (select set_config('app.tenant_id', '{b}', true) as tenant) \
         select k.tenant_id from switched, lateral (select * from subject_key where switched.tenant <> '') k"
    );
    let seen: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(drill)).fetch_all(&mut *transaction).await.unwrap();
    assert!(seen.is_empty() || seen == [b.as_str()], "{seen:?}");
    let after: Vec<String> = sqlx::query_scalar("select tenant_id from subject_key")
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(after, [b.as_str()], "the rule would be needless");

    // Hence: sqlx takes text that is not a literal only where `AssertSqlSafe` says so.
    for (path, text) in sources() {
        for word in ["AssertSqlSafe", "raw_sql", "query_unchecked", "simple_query"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
    // And the database builds statements only where the owner's maintenance makes partitions.
    for (path, text) in migrations() {
        for line in text.lines().filter(|line| line.trim_start().starts_with("execute ")) {
            assert!(line.contains("execute format("), "{}: {line}", path.display());
        }
    }
}

#[test]
fn ti_27_nothing_is_announced_and_no_lock_is_named_after_a_tenant() {
    for (path, text) in sources().into_iter().chain(migrations()) {
        let text = text.to_lowercase();
        for word in ["pg_notify", "pglistener", "notify ", "\"listen "] {
            let is_found = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//") && !line.contains("--"))
                .any(|line| line.contains(word) && !line.contains(".notify"));
            assert!(!is_found, "{}: {word}", path.display());
        }
        for line in text.lines().filter(|line| line.contains("advisory")) {
            let names_no_tenant = !line.contains("tenant");
            assert!(names_no_tenant, "{}: {line}", path.display());
        }
    }
}

#[tokio::test]
async fn ti_27_locks_of_the_service_show_the_role_of_requests_nothing_of_a_tenant() {
    let database = TestDatabase::create().await;
    let mut app = database.connect_as(Role::App).await;
    // It may not listen to what others ask: texts of other roles' statements are hidden from it.
    let _other = database.connect_as(Role::Append).await;
    let texts: Vec<String> = sqlx::query_scalar(
        "select query from pg_stat_activity \
         where datname = current_database() and usename <> current_user and usename is not null",
    )
    .fetch_all(&mut app)
    .await
    .unwrap();
    assert!(!texts.is_empty());
    for text in texts {
        assert!(text == "<insufficient privilege>", "{text}");
    }
}

/// The product code of `src`, without its tests.
fn sources() -> Vec<(PathBuf, String)> {
    let files = files("src", "rs").into_iter();
    files.map(|path| (path.clone(), product_code(&path))).collect()
}

fn migrations() -> Vec<(PathBuf, String)> {
    let files = files("migrations", "sql").into_iter();
    files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}
