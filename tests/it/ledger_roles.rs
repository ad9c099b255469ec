use backoffice::ledger::lint;

use crate::support::database::TestDatabase;

#[tokio::test]
async fn a_migrated_database_has_no_defect_of_isolation() {
    let database = TestDatabase::create().await;
    let mut owner = database.owner().await;
    assert_eq!(lint::defects(&mut owner).await.unwrap(), []);
}
