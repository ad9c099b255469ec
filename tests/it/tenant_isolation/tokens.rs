//! A tenant comes from the verified token alone, and what is kept for one is not found by another.

use std::{collections::HashSet, sync::Arc};

use backoffice::access::{
    Admission, Issuer, Reason, Refusal, fence,
    jwks::{self, Algorithm},
    membership::{LookupError, Membership},
    policy::Scope,
};
use backoffice::clock::Clock;
use bytes::Bytes;
use events::{SessionId, TenantId};
use futures::FutureExt;
use redis::AsyncCommands;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use ulid::Ulid;

use crate::{
    access_keys::{TestKey, with, without},
    access_world::{ISSUER, Setup, World, code, issuer_jwk, known, opening, reason, settings},
};

const INVALID: &str = "MELMASTOON.AUTH.TOKEN_INVALID";
const REVOKED: &str = "MELMASTOON.AUTH.SESSION_REVOKED";
const REPLAYED: &str = "MELMASTOON.AUTH.PROOF_REPLAYED";
const SECOND_ISSUER: &str = "https://iam.second.example";

#[tokio::test]
async fn ti_01_32_a_token_whose_tenant_is_not_exactly_one_tenant_is_refused() {
    let world = World::new();
    let own = world.tenant_id.to_string();
    let other = new_tenant().to_string();
    let digits = own.strip_prefix("tnt_").unwrap();
    for (what, tid) in [
        ("empty", json!("")),
        ("a list", json!([own])),
        ("two in a list", json!([own, other])),
        ("lower case", json!(own.to_lowercase())),
        ("upper-case prefix", json!(format!("TNT_{digits}"))),
        ("space before", json!(format!(" {own}"))),
        ("space behind", json!(format!("{own} "))),
        ("line break behind", json!(format!("{own}\n"))),
        ("zero byte behind", json!(format!("{own}\0"))),
        ("a Cyrillic т", json!(format!("\u{442}nt_{digits}"))),
        ("a full-width digit", json!(format!("tnt_\u{ff10}{}", &digits[1..]))),
        ("a letter outside the alphabet", json!(format!("tnt_U{}", &digits[1..]))),
        ("too short", json!(&own[..own.len() - 1])),
        ("too long", json!(format!("{own}0"))),
        ("a number", json!(7)),
        ("a boolean", json!(true)),
        ("null", json!(null)),
        ("an object", json!({ "id": own })),
        ("another tenant behind a colon", json!(format!("{own}:{other}"))),
        ("a colon and a letter", json!(format!("{own}:b"))),
        ("a glob", json!("tnt_*")),
        ("question marks", json!(format!("tnt_{}", "?".repeat(26)))),
        ("braces", json!(format!("{{{own}}}"))),
        ("empty braces", json!("{}")),
        ("brackets", json!(format!("tnt_[{}]", &digits[2..]))),
        ("a path", json!(format!("../{own}"))),
        ("two by a comma", json!(format!("{own},{other}"))),
        ("the reserved tenant", json!(TenantId::system())),
    ] {
        let token = world.token_of(&with(world.token_claims(), "tid", tid));
        let refused = world.enter(&token, &world.proof(&token)).await;
        assert_eq!(status(&refused), 401, "TI-01/TI-32: {what}");
        assert_eq!(code(refused), INVALID, "TI-01/TI-32: {what}");
    }
    let missing = world.token_of(&without(world.token_claims(), "tid"));
    assert_eq!(code(world.enter(&missing, &world.proof(&missing)).await), INVALID, "missing");
    let two_names = world.token_of(&with(world.token_claims(), "tenant_id", json!(other)));
    assert_eq!(code(world.enter(&two_names, &world.proof(&two_names)).await), INVALID);
    let twice = world.token_claims().to_string();
    let twice = format!(r#"{},"tid":"{other}"}}"#, &twice[..twice.len() - 1]);
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }).to_string();
    let twice = world.issuer.sign_bytes(header.as_bytes(), twice.as_bytes());
    assert_eq!(code(world.enter(&twice, &world.proof(&twice)).await), INVALID, "twice");

    // Nothing was written for a tenant of any of them.
    let keys: Vec<String> = world.redis.clone().keys(format!("*{digits}*")).await.unwrap();
    assert_eq!(keys, Vec::<String>::new());
    opening(world.enter_anew().await);
}

#[tokio::test]
async fn ti_03_an_issuer_does_not_speak_for_a_tenant_that_is_not_its_own() {
    let (issuers, fetch) = two_issuers();
    let (own, theirs) = (new_tenant(), new_tenant());
    let mut setup = Setup { settings: settings(), fetch, ..Setup::default() };
    setup.settings.issuers.push(second_issuer());
    setup.settings.issuer_tenants =
        [(SECOND_ISSUER.to_owned(), HashSet::from([own.clone()]))].into();
    setup.issuer = issuers[0].clone();
    let world = World::with(setup);

    let admitted = enter_as(&world, &issuers[1], SECOND_ISSUER, &own).await;
    assert_eq!(tenant_of(&world, admitted), own);
    let refused = enter_as(&world, &issuers[1], SECOND_ISSUER, &theirs).await;
    assert_eq!(status(&refused), 401);
    assert_eq!(code(refused), INVALID);
    // Not from the cache either, once it has been asked.
    let again = enter_as(&world, &issuers[1], SECOND_ISSUER, &theirs).await;
    assert_eq!(code(again), INVALID);
    // The platform's issuer, which has no list, speaks for all.
    opening(enter_as(&world, &issuers[0], ISSUER, &theirs).await);
}

#[tokio::test]
async fn ti_04_a_key_is_found_by_its_issuer_and_its_id() {
    let (issuers, fetch) = two_issuers();
    let mut setup = Setup { settings: settings(), fetch, ..Setup::default() };
    setup.settings.issuers.push(second_issuer());
    let world = World::with(setup);
    let tenant = new_tenant();

    opening(enter_as(&world, &issuers[0], ISSUER, &tenant).await);
    opening(enter_as(&world, &issuers[1], SECOND_ISSUER, &tenant).await);
    // Both keys are called k1, and both are known by now.
    for (key, iss) in [(&issuers[1], ISSUER), (&issuers[0], SECOND_ISSUER)] {
        let refused = enter_as(&world, key, iss, &tenant).await;
        assert_eq!(status(&refused), 401, "{iss}");
        assert_eq!(code(refused), INVALID, "{iss}");
    }
}

#[tokio::test]
async fn ti_33_the_same_session_proof_id_and_device_in_two_tenants_are_independent() {
    let world = World::new();
    let (a, b) = (world.tenant_id.clone(), new_tenant());
    let same_jti = format!("same-{}", Ulid::generate());
    let request = |tenant: &TenantId, jti: &str| {
        let token = world.token_of(&with(world.token_claims(), "tid", json!(tenant)));
        let proof = world.proof_of(&with(world.proof_claims(&token), "jti", json!(jti)));
        (token, proof)
    };

    let (token_a, proof_a) = request(&a, &same_jti);
    let pending = opening(world.enter(&token_a, &proof_a).await);
    world.open(&pending).await;
    let (token_b, proof_b) = request(&b, &same_jti);
    let pending = opening(world.enter(&token_b, &proof_b).await);
    assert_eq!(code(world.enter(&token_a, &proof_a).await), REPLAYED);
    assert_eq!(code(world.enter(&token_b, &proof_b).await), REPLAYED);
    let of_b = world.open(&pending).await;

    // Every fence of one tenant, with ids that the other has, too.
    let (operator, device) = ("usr_1".parse().unwrap(), "dev_1".parse().unwrap());
    for fence in [
        fence::session_key(&a, "ses_1"),
        fence::operator_key(&a, &operator),
        fence::device_key(&a, &device),
        fence::tenant_key(&a),
    ] {
        let mut redis = world.redis.clone();
        let at = (world.now() + 1) * 1000;
        let () = redis.set_ex(&fence, at, 60).await.unwrap();
        let (token, proof) = request(&a, &Ulid::generate().to_string());
        assert_eq!(code(world.enter(&token, &proof).await), REVOKED, "{fence}");
        let (token, proof) = request(&b, &Ulid::generate().to_string());
        assert_eq!(known(world.enter(&token, &proof).await).session_id, of_b.session_id);
        let () = redis.del(&fence).await.unwrap();
    }
}

#[tokio::test]
async fn ti_36_what_is_remembered_of_an_operator_is_not_used_for_its_namesake() {
    let (a, b) = (new_tenant(), new_tenant());
    let owner_in = a.clone();
    let setup = Setup {
        lookup: Arc::new(move |tenant_id, _| {
            let role = if tenant_id == owner_in { "owner" } else { "auditor" };
            async move { Ok(Some(of_role(role))) }.boxed()
        }),
        ..Setup::default()
    };
    let world = World::with(setup);
    for tenant in [&a, &b, &a, &b] {
        let roles = json!(["owner", "auditor"]);
        let claims = with(with(world.token_claims(), "tid", json!(tenant)), "roles", roles);
        let token = world.token_of(&claims);
        let pending = opening(world.enter(&token, &world.proof(&token)).await);
        let session = pending.session(SessionId::new(Ulid::generate()), world.clock.now());
        let caller = pending.into_caller(&session);
        assert_eq!(&caller.tenant_id, tenant);
        assert_eq!(caller.require(Scope::FolioRefund, None).is_ok(), tenant == &a);
        assert!(caller.require(Scope::AuditRead, None).is_ok());
    }
}

#[tokio::test]
async fn ti_38_questions_that_two_tenants_ask_at_once_are_not_merged() {
    let (a, b) = (new_tenant(), new_tenant());
    // Each answer waits until both questions have been asked: merged ones would wait for ever.
    let asked = Arc::new(Barrier::new(2));
    let owner_in = a.clone();
    let setup = Setup {
        lookup: Arc::new(move |tenant_id, _| {
            let asked = Arc::clone(&asked);
            let role = if tenant_id == owner_in { "owner" } else { "auditor" };
            async move {
                let both = tokio::time::timeout(std::time::Duration::from_secs(2), asked.wait());
                both.await.map_err(|elapsed| LookupError(Arc::new(elapsed)))?;
                Ok(Some(of_role(role)))
            }
            .boxed()
        }),
        ..Setup::default()
    };
    let world = World::with(setup);
    let ask = |tenant: &TenantId| {
        let claims = with(world.token_claims(), "tid", json!(tenant));
        let token = world.token_of(&with(claims, "roles", json!(["owner", "auditor"])));
        let proof = world.proof(&token);
        let world = &world;
        async move { tenant_of(world, world.enter(&token, &proof).await) }
    };
    let (of_a, of_b) = tokio::join!(ask(&a), ask(&b));
    assert_eq!((of_a, of_b), (a, b));
}

#[tokio::test]
async fn ti_49_no_role_and_no_claim_makes_an_operator_of_several_tenants() {
    let other = new_tenant();
    let powers = ["platform_admin", "superadmin", "support", "root", "system", "*", "admin"];
    let setup = Setup {
        lookup: Arc::new(move |_, _| {
            async move {
                Ok(Some(Membership {
                    roles: powers.iter().map(|role| (*role).to_owned()).collect(),
                    property_ids: vec!["ppt_1".parse().unwrap()],
                    active: true,
                }))
            }
            .boxed()
        }),
        ..Setup::default()
    };
    let world = World::with(setup);
    let scopes = ["alerts.read", "alerts.ack", "audit.read", "lock.revoke", "folio.refund"];
    for (claim, value) in [
        ("roles", json!(powers)),
        ("tenants", json!([other])),
        ("tenant_ids", json!([other])),
        ("act_tenant", json!(other)),
        ("x-tenant-id", json!(other)),
        ("act", json!({ "sub": "usr_1", "tid": other })),
        ("admin", json!(true)),
        ("scope", json!("* alerts.read audit.read cross-tenant")),
        ("permissions", json!(["*"])),
    ] {
        let claims = with(with(world.token_claims(), "roles", json!(powers)), claim, value);
        let token = world.token_of(&claims);
        let pending = opening(world.enter(&token, &world.proof(&token)).await);
        let session = world.open(&pending).await;
        let caller = pending.into_caller(&session);
        assert_eq!(caller.tenant_id, world.tenant_id, "{claim}");
        for scope in scopes {
            let denied = caller.require(Scope::named(scope).unwrap(), None);
            assert!(matches!(denied, Err(Reason::ScopeDenied)), "{claim}: {scope}");
        }
        world.gate.sessions().remove(&session).await.unwrap();
    }
    // The tenant of the service's own events is nobody's either.
    let system = world.token_of(&with(world.token_claims(), "tid", json!(TenantId::system())));
    let refused = world.enter(&system, &world.proof(&system)).await;
    assert_eq!(reason(refused).status(), 401);
}

fn new_tenant() -> TenantId {
    format!("tnt_{}", Ulid::generate()).parse().unwrap()
}

/// The tenant in whose name a request opens a session.
fn tenant_of(world: &World, admission: Result<Admission, Refusal>) -> TenantId {
    opening(admission).session(SessionId::new(Ulid::generate()), world.clock.now()).tenant_id
}

fn of_role(role: &str) -> Membership {
    let property_ids = vec!["ppt_1".parse().unwrap()];
    Membership { roles: vec![role.to_owned()], property_ids, active: true }
}

fn status(admission: &Result<Admission, Refusal>) -> u16 {
    admission.as_ref().expect_err("a refusal").reason.status().as_u16()
}

fn second_issuer() -> Issuer {
    Issuer {
        iss: SECOND_ISSUER.to_owned(),
        jwks_url: format!("{SECOND_ISSUER}/jwks.json").parse().unwrap(),
        algorithms: vec![Algorithm::Es256],
    }
}

/// Two issuers whose keys have the same id, and where their sets are.
fn two_issuers() -> ([TestKey; 2], jwks::Fetch) {
    let issuers = [TestKey::generate(), TestKey::generate()];
    let sets = [0, 1].map(|index| json!({ "keys": [issuer_jwk(&issuers[index])] }).to_string());
    let fetch: jwks::Fetch = Arc::new(move |url| {
        let is_second = url.as_str().starts_with(SECOND_ISSUER);
        let set = Bytes::from(sets[usize::from(is_second)].clone());
        async move { Ok(set) }.boxed()
    });
    (issuers, fetch)
}

/// A good request in the name of `iss` and `tenant`, its token signed by `key`.
async fn enter_as(
    world: &World,
    key: &TestKey,
    iss: &str,
    tenant: &TenantId,
) -> Result<Admission, Refusal> {
    let claims = with(with(world.token_claims(), "iss", json!(iss)), "tid", json!(tenant));
    let header: Value = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" });
    let token = key.sign(&header, &claims);
    world.enter(&token, &world.proof(&token)).await
}
