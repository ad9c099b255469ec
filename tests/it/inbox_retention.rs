//! What the inbox forgets, and what it must not.

use backoffice::{
    database::Role,
    inbox::{
        dead_letter::{self, DeadLetter},
        envelope::Incoming,
        read,
        retention::{self, Forgotten},
        store,
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use events::{TenantId, upstream::UpstreamEvent};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::support::{
    database::TestDatabase,
    facts::{commit_acknowledged, tenant},
    ledger::at,
};

const RAISED: &str = "melmastoon.notification.alert.raised.v1";
const RESOLVED: &str = "melmastoon.notification.alert.resolved.v1";
const ACKNOWLEDGED: &str = "melmastoon.notification.alert.acknowledged.v1";
const PROPOSED: &str = "melmastoon.ai_orchestrator.suggestion.proposed.v1";
const WITHDRAWN: &str = "melmastoon.ai_orchestrator.suggestion.withdrawn.v1";
const REVOKED: &str = "melmastoon.iam.session.revoked.v1";

#[tokio::test]
async fn an_alert_that_is_over_goes_as_a_whole_and_an_open_one_stays_however_old() {
    let (inbox, tenant) = (Inbox::start().await, tenant());
    inbox.hear(&tenant, RAISED, "open", 400).await;
    // Its end was heard of before its beginning.
    inbox.hear(&tenant, RESOLVED, "over", 33).await;
    inbox.hear(&tenant, RAISED, "over", 32).await;
    inbox.hear(&tenant, RAISED, "just", 60).await;
    inbox.hear(&tenant, RESOLVED, "just", 29).await;
    inbox.hear(&tenant, PROPOSED, "withdrawn", 50).await;
    inbox.hear(&tenant, WITHDRAWN, "withdrawn", 31).await;
    inbox.hear(&tenant, REVOKED, "", 31).await;
    inbox.hear(&tenant, REVOKED, "", 29).await;
    inbox.is_read().await;

    assert_eq!(inbox.purge().await.events, 5);
    assert_eq!(inbox.purge().await, Forgotten::default(), "once");

    let just = format!("{RAISED} just");
    let left = [format!("{RAISED} open"), just, format!("{RESOLVED} just"), REVOKED.to_owned()];
    assert_eq!(inbox.left(&tenant).await, left.map(|it| it.trim().to_owned()));
}

#[tokio::test]
async fn what_expired_goes_unless_somebody_took_it_up() {
    let (inbox, tenant) = (Inbox::start().await, tenant());
    let expires = |days: i64| json!({ "expiresAt": at() - TimeDelta::days(days) });
    for (subject, item, more) in [
        (RAISED, "expired", expires(31)),
        (RAISED, "expires", expires(29)),
        (RAISED, "never", json!({})),
        (RAISED, "theirs", expires(31)),
        (ACKNOWLEDGED, "theirs", json!({})),
        (RAISED, "ours", expires(31)),
        (RAISED, "longer", expires(31)),
        (RAISED, "longer", expires(1)),
        (PROPOSED, "suggestion", expires(31)),
    ] {
        inbox.hear_more(&tenant, (subject, item, 40), more).await;
    }
    commit_acknowledged(&mut inbox.database.superuser().await, &tenant, "p1", "ours").await;
    inbox.is_read().await;

    assert_eq!(inbox.purge().await.events, 2);

    let left = inbox.left(&tenant).await;
    assert_eq!(left.len(), 7, "{left:?}");
    assert!(!left.iter().any(|it| it.ends_with(" expired") || it.ends_with(" suggestion")));
}

#[tokio::test]
async fn nothing_goes_that_a_reader_has_not_read_or_that_is_another_tenants_or_propertys() {
    let (inbox, one, other) = (Inbox::start().await, tenant(), tenant());
    inbox.hear(&one, RAISED, "a1", 40).await;
    inbox.hear(&one, RESOLVED, "a1", 40).await;
    inbox.hear(&other, RAISED, "a1", 40).await;
    inbox.hear_more(&one, (RAISED, "a1", 40), json!({ "propertyId": "p2" })).await;
    let mut superuser = inbox.database.superuser().await;
    for unread in ["projector_cursor set position = 1", "offline_replay_cursor set position = 1"] {
        inbox.is_read().await;
        let behind = format!("update {unread}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(behind)).execute(&mut superuser).await.unwrap();
        assert_eq!(inbox.purge().await.events, 0, "{unread}");
    }

    inbox.is_read().await;
    assert_eq!(inbox.purge().await.events, 2);

    assert_eq!(inbox.left(&other).await, [format!("{RAISED} a1")]);
    assert_eq!(inbox.left(&one).await, [format!("{RAISED} a1")], "of the other property");
    // Readers see no gap.
    inbox.hear(&one, RAISED, "a2", 0).await;
    let pools = inbox.database.pools();
    assert_eq!(read::tail(pools.project(), 4, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn thousands_go_batch_by_batch() {
    let (inbox, tenant) = (Inbox::start().await, tenant());
    for (subject, number) in [(RESOLVED, 1_300), (RAISED, 1_300), (RAISED, 1_500)] {
        let items: Vec<String> = (0..number).map(|n| format!("a{n}")).collect();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        inbox.hear_all(&tenant, (subject, &items, 40), &json!({})).await;
    }
    inbox.is_read().await;

    assert_eq!(inbox.purge().await.events, 3_900);
    assert_eq!(inbox.left(&tenant).await.len(), 200);
}

#[tokio::test]
async fn dead_letters_wait_for_a_reader_for_three_months() {
    let (inbox, tenant) = (Inbox::start().await, tenant());
    let mut db = inbox.database.connect_as(Role::Intake).await;
    for (message_id, days) in [("1", 89), ("2", 91), ("3", 40), ("4", 20)] {
        let letter = DeadLetter {
            tenant_id: tenant.clone(),
            topic: "melmastoon.notification.events".to_owned(),
            message_id: message_id.to_owned(),
            reason: "not JSON".to_owned(),
            attributes: [].into(),
            raw: b"garbage".to_vec(),
        };
        dead_letter::insert(&mut db, &letter, at() - TimeDelta::days(days)).await.unwrap();
    }
    sqlx::query(
        "update inbox_dead_letter set replayed_at = received_at where message_id in ('3', '4')",
    )
    .execute(&mut inbox.database.superuser().await)
    .await
    .unwrap();

    let forgotten = inbox.purge().await;

    assert_eq!(forgotten, Forgotten { events: 0, dead_letters: 2, unread: 1 });
    let left: Vec<String> =
        sqlx::query_scalar("select message_id from inbox_dead_letter order by 1")
            .fetch_all(&mut inbox.database.superuser().await)
            .await
            .unwrap();
    assert_eq!(left, ["1", "4"]);
}

struct Inbox {
    database: TestDatabase,
}

impl Inbox {
    async fn start() -> Self {
        Self { database: TestDatabase::create().await }
    }

    /// Something was said of an item of property `p1`, so many days ago.
    async fn hear(&self, tenant: &TenantId, subject: &str, item: &str, days: i64) {
        self.hear_more(tenant, (subject, item, days), json!({})).await;
    }

    async fn hear_more(
        &self,
        tenant: &TenantId,
        (subject, item, days): (&str, &str, i64),
        more: Value,
    ) {
        self.hear_all(tenant, (subject, &[item], days), &more).await;
    }

    async fn hear_all(
        &self,
        tenant: &TenantId,
        (subject, items, days): (&str, &[&str], i64),
        more: &Value,
    ) {
        let heard_at = at() - TimeDelta::days(days);
        let events: Vec<Incoming> = items
            .iter()
            .map(|item| {
                let payload = payload(item, heard_at, more);
                Incoming {
                    tenant_id: tenant.clone(),
                    producer: subject.split('.').nth(1).unwrap().to_owned(),
                    event_id: Ulid::generate().to_string(),
                    subject: subject.to_owned(),
                    property_id: payload["propertyId"].as_str().map(|id| id.parse().unwrap()),
                    occurred_at: heard_at,
                    event: UpstreamEvent::read(subject, payload.clone()).unwrap().unwrap(),
                    payload,
                }
            })
            .collect();
        let pools = self.database.pools();
        let mut connection = pools.intake().acquire().await.unwrap();
        store::append(&mut connection, &events, heard_at).await.unwrap();
    }

    /// Every reader of the inbox is at its head.
    async fn is_read(&self) {
        sqlx::raw_sql(
            "update projector_cursor set position = 1000000 where log = 'inbox'; \
             update offline_replay_cursor set position = 1000000",
        )
        .execute(&mut self.database.superuser().await)
        .await
        .unwrap();
    }

    async fn purge(&self) -> Forgotten {
        retention::purge(self.database.pools().jobs(), at()).await.unwrap()
    }

    /// Subject and item of what is there still, in its order.
    async fn left(&self, tenant: &TenantId) -> Vec<String> {
        sqlx::query_scalar(
            "select trim(subject || ' ' || coalesce(item_id, '')) from inbox_event \
             where tenant_id = $1 order by position",
        )
        .bind(tenant.as_str())
        .fetch_all(&mut self.database.superuser().await)
        .await
        .unwrap()
    }
}

/// As much as any of the subjects needs.
fn payload(item: &str, at: DateTime<Utc>, more: &Value) -> Value {
    let mut payload = json!({
        "alertId": item, "suggestionId": item, "propertyId": "p1", "severity": "high",
        "category": "lock", "title": "Battery low", "raisedAt": at, "at": at, "confidence": 0.5,
        "proposedAt": at, "sessionId": "ses_1", "userId": "usr_1", "revokedAt": at,
    });
    for (name, value) in more.as_object().unwrap() {
        payload[name] = value.clone();
    }
    payload
}
