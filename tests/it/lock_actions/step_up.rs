//! A key is revoked with a step-up for its lock, good for this one action.

use tokio::task::JoinSet;

use super::*;

/// A desktop that has had a key issued.
async fn with_key() -> (Scene, String) {
    let mut scene = Scene::set().await;
    let credential = issued(&mut scene.desktop, &scene.service, &scene.door).await;
    (scene, credential)
}

impl Scene {
    async fn step_up(&mut self) -> String {
        stepped_up(&mut self.desktop, &self.service, &self.door.lock).await
    }

    async fn revoke(&mut self, wish: (&str, &str), attestation: Option<&str>) -> Answer {
        revoke((&mut self.desktop, &self.service), &self.door, wish, attestation).await
    }

    /// Calls to revoke a key.
    async fn revocations(&self) -> usize {
        let calls = calls(&self.world).await;
        let path = |call: &&Value| call["path"].as_str().unwrap().ends_with("/revoke");
        calls.iter().filter(path).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_43_44_a_step_up_is_used_once_and_its_action_is_replayed() {
    let (mut scene, credential) = with_key().await;
    let (attestation, key) = (scene.step_up().await, key());

    let first = scene.revoke((&key, &credential), Some(&attestation)).await;
    let again = scene.revoke((&key, &credential), Some(&attestation)).await;
    let without = scene.revoke((&key, &credential), None).await;
    let other_key = crate::support::desktop::key();
    let other = scene.revoke((&other_key, &credential), Some(&attestation)).await;

    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(first.body["state"], "revoked");
    assert_eq!(first.body["keyCredentialId"], credential.as_str());
    for replayed in [again, without] {
        assert_eq!(replayed.bytes, first.bytes);
        assert_eq!(replayed.headers["idempotency-replayed"], "true");
    }
    assert_eq!(other.status, StatusCode::FORBIDDEN, "{}", other.body);
    assert_eq!(other.body["code"], "MELMASTOON.AUTH.MFA_USED");
    assert_eq!(claims(&scene.world, &other_key).await, Vec::<String>::new());
    assert_eq!(scene.revocations().await, 1);
    let stream = Scene::stream(&first);
    assert_eq!(kinds(&scene.world, &stream).await, ["requested.v1", "completed.v1"]);
    let effects = effects(&scene.world).await;
    let envelope = &effects[1]["body"]["auditEnvelope"];
    assert_eq!(envelope["operator_id"], scene.desktop.text("operatorId"));
    assert!(envelope["mfa_attestation"].is_string(), "{envelope}");
}

#[tokio::test(flavor = "multi_thread")]
async fn id_46_a_step_up_that_is_not_good_for_it_is_refused_recorded_and_claims_nothing() {
    let (mut scene, credential) = with_key().await;
    let wrong = stepped_up(&mut scene.desktop, &scene.service, "lck_other").await;
    let mut colleague = Desktop::sign_in(&scene.world, &tenant(&scene.world, 0), json!({})).await;
    let lock_id = scene.door.lock.clone();
    let foreign = stepped_up(&mut colleague, &scene.service, &lock_id).await;
    let before = recorded(&scene.world).await.len();
    let cases = [
        (None, "MFA_REQUIRED"),
        (Some("nonsense".to_owned()), "MFA_INVALID"),
        (Some("mfa_01HZX3V7Q8M4N5P6R7S8T9W0XY".to_owned()), "MFA_INVALID"),
        (Some(wrong), "MFA_SCOPE_MISMATCH"),
        (Some(foreign), "MFA_INVALID"),
    ];
    for (attestation, code) in &cases {
        let key = key();
        let answer = scene.revoke((&key, &credential), attestation.as_deref()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{code}: {}", answer.body);
        assert_eq!(answer.body["code"], format!("MELMASTOON.AUTH.{code}"));
        assert_eq!(claims(&scene.world, &key).await, Vec::<String>::new(), "{code}");
        // The same key may come with a better one.
    }
    assert_eq!(scene.revocations().await, 0);
    let recorded = recorded(&scene.world).await;
    let refusals: Vec<&str> = recorded[before..].iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(refusals, ["failed.v1"; 5]);
    wait::until("nothing is open", async || open(&scene.world).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_47_of_two_actions_with_one_step_up_one_is_done() {
    let (mut scene, credential) = with_key().await;
    let attestation = scene.step_up().await;
    let path = scene.door.revoke_path();
    let body = json!({ "keyCredentialId": credential, "reason": "lost" });
    let requests: Vec<_> = (0..2)
        .map(|_| {
            let request = scene.desktop.bare(&scene.service, &Method::POST, &path);
            request
                .header("x-idempotency-key", key())
                .header("x-mfa-attestation", &attestation)
                .json(&body)
        })
        .collect();
    let answers = futures::future::join_all(
        requests.into_iter().map(async |request| Answer::read(request.send().await.unwrap()).await),
    )
    .await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403], "{} {}", answers[0].body, answers[1].body);
    assert_eq!(scene.revocations().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_door_is_not_there_and_one_revoked_before_is_a_conflict() {
    let (mut scene, credential) = with_key().await;
    let own = scene.door.clone();
    scene.door = Door::of(&scene.world, scene.desktop.property(), 1).await;
    let attestation = scene.step_up().await;
    let answer = scene.revoke((&key(), &credential), Some(&attestation)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
    scene.door = own;
    for expected in [StatusCode::OK, StatusCode::CONFLICT] {
        let attestation = scene.step_up().await;
        let answer = scene.revoke((&key(), &credential), Some(&attestation)).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
        if expected == StatusCode::CONFLICT {
            assert_eq!(answer.body["code"], "MELMASTOON.LOCK.CREDENTIAL_REVOKED");
            assert_eq!(answer.body["source"], "lock-integration-service");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_45_killed_with_its_step_up_used_an_action_is_finished_by_its_key_alone() {
    let (mut scene, credential) = with_key().await;
    let (attestation, key) = (scene.step_up().await, key());
    fault(&scene.world, json!({ "hang": true, "mutationsOnly": true })).await;
    let path = scene.door.revoke_path();
    let request = scene
        .desktop
        .bare(&scene.service, &Method::POST, &path)
        .header("x-idempotency-key", &key)
        .header("x-mfa-attestation", &attestation)
        .json(&json!({ "keyCredentialId": credential, "reason": "lost" }));
    let mut unanswered = JoinSet::new();
    unanswered.spawn(request.send());
    wait::until("the call is under way", async || scene.revocations().await == 1).await;
    scene.service.kill();
    unanswered.abort_all();
    heal(&scene.world).await;
    assert_eq!(claims(&scene.world, &key).await, ["in_progress"]);
    scene.service = scene.world.service().await;
    expire_leases(&scene.world).await;

    let other_key = crate::support::desktop::key();
    let other = scene.revoke((&other_key, &credential), Some(&attestation)).await;
    assert_eq!(other.body["code"], "MELMASTOON.AUTH.MFA_USED");
    let answer = scene.revoke((&key, &credential), Some(&attestation)).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(effects(&scene.world).await.len(), 2, "issued and revoked");
    wait::until("nothing is open", async || open(&scene.world).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_up_that_nobody_can_read_allows_nothing() {
    let (mut scene, credential) = with_key().await;
    let (attestation, key) = (scene.step_up().await, key());
    let before = recorded(&scene.world).await;
    scene.world.database.spoil(&attestation).await;

    let answer = scene.revoke((&key, &credential), Some(&attestation)).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert_eq!(answer.body["code"], "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE");
    assert_eq!(claims(&scene.world, &key).await, Vec::<String>::new());
    assert_eq!(scene.revocations().await, 0);
    assert_eq!(recorded(&scene.world).await, before);
}
