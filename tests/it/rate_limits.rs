//! How often devices and tenants may ask: over the real session tier, and over HTTP.

use std::{num::NonZeroU32, time::Duration};

use backoffice::access::{
    Reason, Refusal, Settings,
    rate::{Limit, Limited, Quota},
};
use redis::AsyncCommands;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    access_world::{Setup, World as Gate, code, opening, rates, settings},
    support::{
        desktop::{Desktop, key},
        platform::tenant,
        service::{Service, World},
        wait,
    },
};

const LIMITED: &str = "MELMASTOON.GENERAL.RATE_LIMITED";

/// One request and another one after half a second.
fn slow() -> Quota {
    let number = |number| NonZeroU32::new(number).unwrap();
    Quota { per_second: number(2), burst: number(1) }
}

fn gate(change: impl FnOnce(&mut backoffice::access::rate::Settings)) -> Gate {
    let mut limits = rates(1_000, 1_000);
    change(&mut limits);
    let settings = Settings { rates: limits, ..settings() };
    Gate::with(Setup { settings, ..Setup::default() })
}

fn limited<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> Limited {
    match refused.expect_err("a refusal").reason {
        Reason::RateLimited(limited) => limited,
        other => panic!("not limited: {other:?}"),
    }
}

#[tokio::test]
async fn dp_rep_10_a_request_that_comes_too_soon_does_not_use_up_its_proof() {
    let of_the_device = gate(|limits| limits.device = slow());
    let of_the_tenant = gate(|limits| limits.tenant = slow());
    for (world, limit) in [(of_the_device, Limit::Device), (of_the_tenant, Limit::Tenant)] {
        opening(world.enter_anew().await);
        let token = world.token();
        let proof = world.proof(&token);

        let refused = limited(world.enter(&token, &proof).await);
        assert_eq!(refused.limit, limit);
        assert!(Duration::ZERO < refused.retry_after);
        assert!(refused.retry_after <= Duration::from_millis(500), "{refused:?}");

        let mut admitted = None;
        wait::until("there is room again", async || {
            let answer = world.enter(&token, &proof).await;
            let is_limited = matches!(&answer, Err(Refusal { reason: Reason::RateLimited(_), .. }));
            admitted = (!is_limited).then_some(answer);
            admitted.is_some()
        })
        .await;
        opening(admitted.expect("the same proof once more"));
        let again = world.enter(&token, &proof).await;
        let again = code(again);
        assert!([LIMITED, "MELMASTOON.AUTH.PROOF_REPLAYED"].contains(&again), "{again}");
    }
}

#[tokio::test]
async fn a_repeated_proof_uses_up_no_quota_over_all_instances() {
    let world = gate(|limits| limits.device = quota(1, 5));
    let token = world.token();
    let proof = world.proof(&token);
    opening(world.enter(&token, &proof).await);
    let mut redis = world.redis.clone();
    let rate = format!("{{{}}}:rate:device:dev_1", world.tenant_id);
    let before: Option<String> = redis.get(&rate).await.unwrap();
    assert_eq!(code(world.enter(&token, &proof).await), "MELMASTOON.AUTH.PROOF_REPLAYED");
    let after: Option<String> = redis.get(&rate).await.unwrap();
    // The bucket may be full again, and gone, between two looks; it is never fuller of debt.
    assert!(after.is_none() || after == before, "{before:?} {after:?}");
}

#[tokio::test]
async fn a_device_has_one_quota_over_all_instances_and_its_bucket_is_forgotten_when_full() {
    let first = gate(|limits| limits.device = quota(1, 5));
    let mut second = gate(|limits| limits.device = quota(1, 5));
    second.tenant_id = first.tenant_id.clone();

    for world in [&first, &second, &first, &second, &first] {
        opening(world.enter_anew().await);
    }
    for world in [&second, &first] {
        let refused = limited(world.enter_anew().await);
        assert_eq!(refused.limit, Limit::Device);
    }
    let mut redis = first.redis.clone();
    for of in ["device:dev_1", "tenant"] {
        let rate = format!("{{{}}}:rate:{of}", first.tenant_id);
        let left_ms: i64 = redis.pttl(&rate).await.unwrap();
        // -2: it is full again already.
        assert!(left_ms == -2 || (0..=5_000).contains(&left_ms), "{of}: {left_ms} ms");
    }
}

#[tokio::test]
async fn ti_33_a_device_of_the_same_name_in_two_tenants_has_two_quotas() {
    let ours = gate(|limits| limits.device = quota(1, 1));
    let mut theirs = gate(|limits| limits.device = quota(1, 1));
    theirs.device = ours.device.clone();

    opening(ours.enter_anew().await);
    assert_eq!(code(ours.enter_anew().await), LIMITED);
    opening(theirs.enter_anew().await);
}

#[tokio::test]
async fn ti_43_a_tenant_that_uses_up_its_quota_takes_nothing_from_another() {
    let world = World::start().await;
    let service =
        world.service_with(&[("RATE_PER_TENANT", "1"), ("RATE_PER_TENANT_BURST", "10")]).await;
    let mut quiet = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut noisy = Vec::new();
    for _ in 0..3 {
        noisy.push(Desktop::sign_in(&world, &tenant(&world, 1), json!({})).await);
    }

    let mut refused = 0;
    for round in 0..15 {
        for desktop in &mut noisy {
            let answer = desktop.get(&service, "/bootstrap").await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!(answer.body["code"], LIMITED);
                assert!(
                    answer.headers["ratelimit"].to_str().unwrap().starts_with(r#""tenant";r=0"#)
                );
                refused += 1;
            }
        }
        if round % 2 == 0 {
            let answer = quiet.get(&service, "/bootstrap").await;
            assert_eq!(answer.status, StatusCode::OK, "round {round}: {}", answer.body);
        }
    }
    assert!(0 < refused, "45 requests of one tenant at once were all let in");
}

#[tokio::test]
async fn every_authenticated_answer_says_what_is_left_and_429_when_to_come_back() {
    let world = World::start().await;
    let service = world
        .service_with(&[
            ("RATE_PER_DEVICE", "1"),
            ("RATE_PER_DEVICE_BURST", "4"),
            ("RATE_PER_TENANT", "100"),
            ("RATE_PER_TENANT_BURST", "1000"),
        ])
        .await;
    let mut desktop =
        Desktop::sign_in(&world, &tenant(&world, 0), json!({ "roles": ["housekeeper"] })).await;
    let mut seen = Vec::new();
    let mut last = None;
    for path in ["/bootstrap", "/alerts", "/bootstrap?propertyId=ppt_nobody", "/bootstrap"] {
        let answer = desktop.get(&service, path).await;
        let left = answer.headers["ratelimit"].to_str().unwrap().to_owned();
        assert_eq!(
            answer.headers["ratelimit-policy"], r#""device";q=4;w=4, "tenant";q=1000;w=10"#,
            "{path}"
        );
        assert!(left.starts_with("\"device\";r=") && left.contains(", \"tenant\";r="), "{left}");
        seen.push(answer.status.as_u16());
        last = Some(answer);
    }
    // The nonce's round trip is refused before it is counted.
    assert_eq!(seen, [200, 403, 404, 200], "{}", last.unwrap().body);

    let refused = flood(&mut desktop, &service).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.body["code"], LIMITED);
    assert_eq!(refused.body["retriable"], true);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.body["retryAfter"], 1);
    assert_eq!(refused.headers["ratelimit"], r#""device";r=0;t=1"#);
    assert!(!refused.headers.contains_key("www-authenticate"));
}

#[tokio::test]
async fn id_51_a_flood_of_keys_is_bounded_by_the_rate() {
    let world = World::start().await;
    let (per_second, burst) = (1, 10);
    let service = world
        .service_with(&[
            ("RATE_PER_DEVICE", &per_second.to_string()),
            ("RATE_PER_DEVICE_BURST", &burst.to_string()),
        ])
        .await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let started = std::time::Instant::now();
    let wish = json!({ "scope": "lock.revoke", "factor": "totp", "code": "000000" });
    let mut answers = std::collections::BTreeMap::<u16, u64>::new();
    for _ in 0..100 {
        let answer = desktop.post(&service, "/auth/mfa/step-up", &key(), &wish).await;
        *answers.entry(answer.status.as_u16()).or_default() += 1;
    }
    let let_in = burst + per_second * (started.elapsed().as_secs() + 1);

    let rows = u64::try_from(world.database.count("idempotency").await).unwrap();
    assert!(answers.contains_key(&429), "{answers:?}");
    assert_eq!(Some(&rows), answers.get(&200), "a refused request leaves no row: {answers:?}");
    assert!(rows <= let_in, "{rows} rows, {let_in} at most");
}

/// Asks until it is too often.
async fn flood(desktop: &mut Desktop, service: &Service) -> crate::support::desktop::Answer {
    for _ in 0..100 {
        let answer = desktop.get(service, "/bootstrap").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            return answer;
        }
    }
    panic!("a hundred requests in a row were let in");
}

fn quota(per_second: u32, burst: u32) -> Quota {
    Quota { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() }
}
