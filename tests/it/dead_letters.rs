//! Messages that could not be read, on the command line.

use backoffice::{
    clock::{Clock, SystemClock},
    database::Role,
    inbox::{
        dead_letter::{self, DeadLetter},
        read,
    },
};
use chrono::TimeDelta;
use serde_json::json;

use crate::support::{facts::tenant, service::World};

const TOPIC: &str = "melmastoon.notification.events";

#[tokio::test]
async fn a_person_sees_what_could_not_be_read_and_has_it_read_after_a_fix() {
    let (world, tenant) = (World::start().await, tenant());
    let now = SystemClock.now();
    let resolved = |alert: &str| {
        json!({"eventId": alert, "subject": "melmastoon.notification.alert.resolved.v1",
            "tenantId": tenant, "occurredAt": now,
            "payload": {"alertId": alert, "propertyId": "p1", "at": now, "by": "Karim Sadat"}})
        .to_string()
    };
    let mut db = world.database.connect_as(Role::Intake).await;
    for (message_id, raw) in
        [("1", resolved("a1")), ("2", resolved("a2")), ("3", "Karim Sadat {".to_owned())]
    {
        let letter = DeadLetter {
            tenant_id: tenant.clone(),
            topic: TOPIC.to_owned(),
            message_id: message_id.to_owned(),
            reason: "an adapter that was wrong".to_owned(),
            attributes: [].into(),
            raw: raw.into_bytes(),
        };
        dead_letter::insert(&mut db, &letter, now - TimeDelta::hours(3)).await.unwrap();
    }
    let id = |number: u8| format!("{tenant}/{TOPIC}/{number}");

    let (is_well, listed) = world.run(&["inbox", "dead-letters"]);
    assert!(is_well, "{listed}");
    let subject = "melmastoon.notification.alert.resolved.v1";
    let first = format!("{}  3h  {subject}  an adapter that was wrong", id(1));
    let last = format!("{}  3h  -  an adapter that was wrong", id(3));
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3]), (first.as_str(), last.as_str(), "3 dead letters"));
    assert!(!listed.contains("Karim"), "{listed}");

    let (is_well, said) = world.run(&["inbox", "replay", &id(2)]);
    assert!(is_well, "{said}");
    let told = format!("{}  read\n1 dead letters read, 0 still unreadable\n", id(2));
    assert_eq!(said, told);

    let (is_well, said) = world.run(&["inbox", "replay", "--all"]);
    assert!(is_well, "{said}");
    assert!(said.contains(&format!("{}  read\n", id(1))), "{said}");
    assert!(said.contains(&format!("{}  not JSON: Syntax error at line 1\n", id(3))), "{said}");
    assert!(said.ends_with("1 dead letters read, 1 still unreadable\n"), "{said}");
    assert!(!said.contains("Karim"), "{said}");

    let pools = world.database.pools();
    let events = read::tail(pools.project(), 0, 10).await.unwrap();
    let ids: Vec<&str> = events.iter().map(|event| event.event_id.as_str()).collect();
    assert_eq!(ids, ["a2", "a1"]);

    for wrong in [&["inbox", "replay"][..], &["inbox", "replay", &id(1)], &["inbox", "replay", "3"]]
    {
        let (is_well, said) = world.run(wrong);
        assert!(!is_well, "{wrong:?}: {said}");
    }
    assert!(world.run(&["inbox", "replay", &id(1)]).1.contains("there is no dead letter"));
}
