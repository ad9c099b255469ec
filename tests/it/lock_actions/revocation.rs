//! A revocation whose answer was lost, found out when it is too late to ask for it again.

use backoffice::{app::jobs, commands::complete_actions::read_on};

use super::*;
use crate::support::{
    locks::{age, forget, last_word, says},
    replica::Replica,
};

/// A key whose revocation was asked for while something went wrong. The service that asked has gone;
/// another instance looks after it.
struct Lost {
    world: World,
    replica: Replica,
    tenant_id: String,
    credential: String,
}

impl Lost {
    async fn to(trouble: Value) -> Self {
        let Scene { world, mut service, mut desktop, door } = Scene::set().await;
        let credential = issued(&mut desktop, &service, &door).await;
        let attestation = stepped_up(&mut desktop, &service, &door.lock).await;
        fault(&world, trouble).await;
        let (key, desktop) = (key(), &mut desktop);
        let asked = (key.as_str(), credential.as_str());
        let answer = revoke((desktop, &service), &door, asked, Some(&attestation)).await;
        assert!(answer.status.is_server_error(), "{}", answer.body);
        service.kill();
        let replica = Replica::start(&world);
        while read_on(replica.pools.jobs()).await.unwrap() != 0 {}
        assert_eq!(open(&world).await, 1);
        Self { tenant_id: desktop.text("tenantId").to_owned(), world, replica, credential }
    }

    /// What the other instance finds out so long after the request.
    async fn found(&self, minutes: f64) -> Value {
        heal(&self.world).await;
        self.look(minutes).await;
        assert_eq!(open(&self.world).await, 0);
        last_word(&self.world).await
    }

    /// Has the other instance look into it so long after the request.
    async fn look(&self, minutes: f64) {
        age(&self.world, minutes).await;
        let completer = jobs::completer(&self.replica.pools, &self.replica.renewed(&self.world));
        assert_eq!(completer.try_due().await.unwrap(), 1);
        while read_on(self.replica.pools.jobs()).await.unwrap() != 0 {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_opens_nothing_any_more_was_revoked() {
    let lost = Lost::to(json!({ "dropAfterEffect": true, "mutationsOnly": true })).await;
    // Its own event may have come while the service was there.
    forget(&lost.world).await;
    let found = lost.found(3.0).await;
    assert_eq!((&found["foundBy"], &found["outcome"]), (&json!("read"), &json!("completed")));
    assert_eq!(found["keyCredentialId"], lost.credential.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_opens_still_was_not_revoked_and_is_not_revoked_late() {
    let lost = Lost::to(json!({ "resetRate": 1.0, "mutationsOnly": true })).await;
    let done = effects(&lost.world).await.len();
    let found = lost.found(3.0).await;
    assert_eq!((&found["outcome"], &found["reason"]), (&json!("failed"), &json!("not_applied")));
    assert_eq!(effects(&lost.world).await.len(), done);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_key_that_is_not_there_any_more_nobody_knows_whether_it_was_revoked() {
    let lost = Lost::to(json!({ "resetRate": 1.0, "mutationsOnly": true })).await;
    fault(&lost.world, json!({ "status": 404 })).await;
    lost.look(600.0).await;
    assert_eq!(open(&lost.world).await, 1);
    assert_eq!(lost.found(600.0).await["reason"], "not_applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_services_own_event_closes_a_revocation() {
    let lost = Lost::to(json!({ "resetRate": 1.0, "mutationsOnly": true })).await;
    says(&lost.world, &lost.tenant_id, ("revoked", &lost.credential)).await;
    let found = lost.found(600.0).await;
    assert_eq!((&found["foundBy"], &found["outcome"]), (&json!("event"), &json!("completed")));
    assert_eq!(found["keyCredentialId"], lost.credential.as_str());
}
