//! Refunds and large charges take a second factor along, once.

use reqwest::StatusCode;
use serde_json::json;

use super::{Bench, Upstream, code, stock::Wish};
use crate::support::desktop::key;

#[tokio::test(flavor = "multi_thread")]
async fn id_43_44_46_a_refund_takes_one_attestation_that_is_for_it() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for("folio.refund").await;
    let (first_key, other_key) = (key(), key());
    let good = bench.step_up("folio.refund", wish.id.as_deref()).await;
    let other_scope = bench.step_up("lock.revoke", wish.id.as_deref()).await;
    let other_folio = bench.step_up("folio.refund", Some("fol_other")).await;

    for (presented, expected) in [
        (None, "MFA_REQUIRED"),
        (Some("mfa_01HZX3V7Q8M4N5P6R7S8T9W0XY"), "MFA_INVALID"),
        (Some(other_scope.as_str()), "MFA_SCOPE_MISMATCH"),
        (Some(other_folio.as_str()), "MFA_SCOPE_MISMATCH"),
    ] {
        let more: Vec<_> = presented.iter().map(|id| ("x-mfa-attestation", *id)).collect();
        let refused = bench.ask(&wish, &first_key, &more).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{expected}: {}", refused.body);
        assert_eq!(code(&refused), format!("MELMASTOON.AUTH.{expected}"));
        assert!(!refused.headers.contains_key("www-authenticate"), "{expected}");
    }
    assert_eq!(bench.claims(&first_key).await, 0);
    assert!(bench.upstream(&wish, "calls").await.is_empty());
    let refusals = bench.recorded(&first_key).await;
    // The two of one code are one word.
    let codes: Vec<_> = refusals.iter().map(|(_, data)| data["code"].clone()).collect();
    assert_eq!(
        codes,
        ["REQUIRED", "INVALID", "SCOPE_MISMATCH"].map(|it| format!("MELMASTOON.AUTH.MFA_{it}"))
    );
    assert!(refusals.iter().all(|(kind, data)| kind == "refused" && data["reason"] == "step_up"));

    let more = [("x-mfa-attestation", good.as_str())];
    let done = bench.ask(&wish, &first_key, &more).await;
    let again = bench.ask(&wish, &first_key, &more).await;
    let used = bench.ask(&wish, &other_key, &more).await;

    assert_eq!(done.status, StatusCode::CREATED, "{}", done.body);
    assert_eq!(again.bytes, done.bytes);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(used.status, StatusCode::FORBIDDEN, "{}", used.body);
    assert_eq!(code(&used), "MELMASTOON.AUTH.MFA_USED");
    let calls = bench.upstream(&wish, "calls").await;
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["headers"]["x-mfa-attestation"], good.as_str());
    let recorded = bench.recorded(&first_key).await;
    let (kind, requested) = &recorded[3];
    assert_eq!(kind, "requested");
    assert_eq!(requested["stepUp"], json!({ "attestationId": good, "scope": "folio.refund" }));
    assert_eq!(requested["details"]["amount"], wish.body["amount"]);
    assert_eq!(bench.kinds(&other_key).await, ["refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_45_a_refund_that_was_not_sent_goes_on_with_the_attestation_its_key_consumed() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for("folio.refund").await;
    let (first_key, other_key) = (key(), key());
    let attestation = bench.step_up("folio.refund", wish.id.as_deref()).await;
    let more = [("x-mfa-attestation", attestation.as_str())];
    bench.set_faults(Upstream::Billing, &json!({ "dropAfterEffect": true })).await;
    let lost = bench.ask(&wish, &first_key, &more).await;
    bench.heal(Upstream::Billing).await;

    let other = bench.ask(&wish, &other_key, &more).await;
    let bare = bench.ask(&wish, &first_key, &[]).await;

    assert_eq!(code(&lost), "MELMASTOON.BFF.OUTCOME_UNKNOWN");
    assert_eq!(code(&other), "MELMASTOON.AUTH.MFA_USED");
    assert_eq!(bare.status, StatusCode::CREATED, "{}", bare.body);
    let calls = bench.upstream(&wish, "calls").await;
    let carried = calls.iter().all(|it| it["headers"]["x-mfa-attestation"] == attestation.as_str());
    assert!(carried, "{calls:?}");
    assert_eq!(bench.upstream(&wish, "effects").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_is_large_from_the_tenants_threshold_on_and_when_nobody_can_say() {
    let mut bench = Bench::start().await;
    let (threshold, currency) = bench.stock.threshold();
    let mut wish = bench.stock.wish_for("folio.charge").await;
    for (micro, is_large) in [(threshold - 1, false), (threshold, true), (threshold + 1, true)] {
        let amount = json!({ "amountMicro": micro.to_string(), "currency": currency });
        wish.body["amount"] = amount;
        let key = key();
        let bare = bench.ask(&wish, &key, &[]).await;
        if !is_large {
            assert_eq!(bare.status, StatusCode::CREATED, "{micro}: {}", bare.body);
            continue;
        }
        assert_eq!(bare.status, StatusCode::FORBIDDEN, "{micro}: {}", bare.body);
        assert_eq!(code(&bare), "MELMASTOON.AUTH.MFA_REQUIRED", "{micro}");
        let answer = with_step_up(&mut bench, &wish, &key).await;
        assert_eq!(answer, StatusCode::CREATED, "{micro}");
        assert_eq!(bench.kinds(&key).await, ["refused", "requested", "completed"], "{micro}");
    }

    wish.body["amount"] = json!({ "amountMicro": "1", "currency": currency });
    for status in [503, 404] {
        let key = key();
        bench.set_faults(Upstream::Tenant, &json!({ "status": status })).await;
        let unsure = bench.ask(&wish, &key, &[]).await;
        let sure = with_step_up(&mut bench, &wish, &key).await;
        bench.heal(Upstream::Tenant).await;
        assert_eq!(code(&unsure), "MELMASTOON.AUTH.MFA_REQUIRED", "{status}: {}", unsure.body);
        assert_eq!(sure, StatusCode::CREATED, "{status}");
    }
}

async fn with_step_up(bench: &mut Bench, wish: &Wish, key: &str) -> StatusCode {
    let attestation = bench.step_up("folio.large-charge", wish.id.as_deref()).await;
    bench.ask(wish, key, &[("x-mfa-attestation", &attestation)]).await.status
}
