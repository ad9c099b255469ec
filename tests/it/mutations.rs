//! Every row of the mutation table through the binary: done once, recorded, refused, lost and found
//! again.

mod completion;
mod mfa;
mod races;
mod scope;
pub mod stock;

use backoffice::upstream::Service as Upstream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use self::stock::{Stock, Wish, text};
use crate::support::{
    desktop::{Answer, Desktop, key},
    platform,
    replica::expire_leases,
    service::{Service, World},
    wait,
};

const UPSTREAMS: [Upstream; 4] =
    [Upstream::Reservation, Upstream::Billing, Upstream::Housekeeping, Upstream::Maintenance];

/// One world, one running instance, one operator who may do everything.
struct Bench {
    world: World,
    service: Service,
    desktop: Desktop,
    stock: Stock,
}

impl Bench {
    async fn start() -> Self {
        let world = World::start().await;
        let service = world.service().await;
        let tenant_id = world.simulator.tenant_ids()[1].clone();
        let desktop = Desktop::sign_in(&world, &tenant_id, json!({})).await;
        let stock = Stock::of(&world, &desktop).await;
        Self { world, service, desktop, stock }
    }

    /// The row's request under a key, with whatever else it needs.
    async fn ask(&mut self, wish: &Wish, key: &str, more: &[(&str, &str)]) -> Answer {
        let mut headers = vec![("x-property-id", wish.property_id.as_str())];
        headers.extend(more);
        self.send(&wish.path, key, &wish.body, &headers).await
    }

    async fn send(&mut self, path: &str, key: &str, body: &Value, more: &[(&str, &str)]) -> Answer {
        let mut headers: Vec<(&str, &[u8])> =
            vec![("x-idempotency-key", key.as_bytes()), ("content-type", b"application/json")];
        headers.extend(more.iter().map(|(name, value)| (*name, value.as_bytes())));
        let body = body.to_string();
        let route = (Method::POST, path);
        self.desktop.send_bytes(&self.service, route, &headers, body.as_bytes()).await
    }

    /// An attestation for what the row needs, where it needs one always.
    async fn attestation(&mut self, wish: &Wish) -> Option<String> {
        match wish.mutation.verb {
            "folio.refund" => Some(self.step_up("folio.refund", wish.id.as_deref()).await),
            _ => None,
        }
    }

    async fn step_up(&mut self, scope: &str, resource: Option<&str>) -> String {
        let mut body = json!({ "scope": scope, "factor": "totp", "code": "000000" });
        if let Some(resource) = resource {
            body["resource"] = resource.into();
        }
        let answer = self.desktop.post(&self.service, "/auth/mfa/step-up", &key(), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        text(&answer.body["attestationId"])
    }

    async fn set_faults(&self, service: Upstream, faults: &Value) {
        platform::fault(&self.world, service.name(), faults).await;
    }

    async fn heal(&self, service: Upstream) {
        platform::heal(&self.world, service.name()).await;
    }

    /// `calls` or `effects` of the row at its service, for the object of the wish.
    async fn upstream(&self, wish: &Wish, what: &str) -> Vec<Value> {
        let path = wish.mutation.path_to(wish.id.as_deref());
        let kept = platform::kept(&self.world, (wish.mutation.service.name(), what), &path).await;
        kept.into_iter().filter(|it| it["path"] == path && it["method"] == "POST").collect()
    }

    /// The last word of the kind and the data of every event under a key, in their order.
    async fn recorded(&self, key: &str) -> Vec<(String, Value)> {
        let mut connection = self.world.database.superuser().await;
        let query = "select kind, convert_from(body, 'utf8') from event \
            where convert_from(metadata, 'utf8')::jsonb ->> 'idempotencyKey' = $1 \
            and ledger = 'activity' order by position";
        let rows: Vec<(String, String)> =
            sqlx::query_as(query).bind(key).fetch_all(&mut connection).await.unwrap();
        let prefix = "melmastoon.bff.backoffice.mutation.";
        rows.into_iter()
            .map(|(kind, body)| {
                let kind = kind.strip_prefix(prefix).unwrap().trim_end_matches(".v1");
                (kind.to_owned(), serde_json::from_str(&body).unwrap())
            })
            .collect()
    }

    async fn kinds(&self, key: &str) -> Vec<String> {
        self.recorded(key).await.into_iter().map(|(kind, _)| kind).collect()
    }

    /// How many claims there are on a key.
    async fn claims(&self, key: &str) -> i64 {
        let mut connection = self.world.database.superuser().await;
        let query = "select count(*) from idempotency where key::text = $1";
        sqlx::query_scalar(query).bind(key).fetch_one(&mut connection).await.unwrap()
    }
}

fn code(answer: &Answer) -> &str {
    answer.body["code"].as_str().unwrap_or_default()
}

/// Headers for an attestation, if there is one.
fn with(attestation: Option<&String>) -> Vec<(&'static str, &str)> {
    attestation.iter().map(|id| ("x-mfa-attestation", id.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn id_06_07_23_27_every_mutation_is_done_once_and_a_refusal_stands_like_an_answer() {
    let mut bench = Bench::start().await;
    for wish in bench.stock.wishes().await {
        let verb = wish.mutation.verb;
        let (first_key, other_key) = (key(), key());
        let attestation = bench.attestation(&wish).await;
        let other_attestation = bench.attestation(&wish).await;

        let first = bench.ask(&wish, &first_key, &with(attestation.as_ref())).await;
        let again = bench.ask(&wish, &first_key, &with(attestation.as_ref())).await;
        let effects = bench.upstream(&wish, "effects").await;
        let other = bench.ask(&wish, &other_key, &with(other_attestation.as_ref())).await;
        let other_again = bench.ask(&wish, &other_key, &with(other_attestation.as_ref())).await;

        assert_eq!(first.status.as_u16(), wish.mutation.success, "{verb}: {}", first.body);
        assert!(first.body["data"]["id"].is_string(), "{verb}: {}", first.body);
        assert!(first.headers.contains_key("x-ledger-position"), "{verb}");
        assert!(!wish.mutation.versioned || first.headers.contains_key("etag"), "{verb}");
        assert_eq!(again.bytes, first.bytes, "{verb}");
        assert_eq!(again.headers["idempotency-replayed"], "true", "{verb}");
        assert_eq!(again.headers.get("etag"), first.headers.get("etag"), "{verb}");
        let created = wish.id.is_none();
        let own: Vec<_> =
            effects.iter().filter(|effect| !created || effect["body"] == wish.body).collect();
        assert_eq!(own.len(), 1, "{verb}");
        told_who_and_what(&bench, &wish, &first_key).await;

        assert_eq!(other.status, wish.again, "{verb}: {}", other.body);
        assert_eq!(other_again.bytes, other.bytes, "{verb}");
        assert_eq!(other_again.headers["idempotency-replayed"], "true", "{verb}");
        let outcome = if other.status.is_success() {
            "completed"
        } else {
            assert_eq!(other.body["source"], wish.mutation.service.name(), "{verb}");
            assert_eq!(other.headers["content-type"], "application/problem+json", "{verb}");
            assert_eq!(bench.upstream(&wish, "effects").await.len(), effects.len(), "{verb}");
            "refused"
        };
        assert_eq!(bench.kinds(&first_key).await, ["requested", "completed"], "{verb}");
        assert_eq!(bench.kinds(&other_key).await, ["requested", outcome], "{verb}");
        told_in_the_ledger(&bench, &wish, (&other_key, &other)).await;
    }
}

/// What the upstream heard of the first request: who asks, for which property, under a key that is
/// not the client's.
async fn told_who_and_what(bench: &Bench, wish: &Wish, client_key: &str) {
    let verb = wish.mutation.verb;
    let calls = bench.upstream(wish, "calls").await;
    let call = calls.iter().find(|call| call["body"] == wish.body).expect(verb);
    let headers = &call["headers"];
    assert_eq!(headers["x-property-id"], wish.property_id.as_str(), "{verb}");
    assert_eq!(headers["x-tenant-id"], bench.desktop.text("tenantId"), "{verb}");
    assert_eq!(headers["x-operator-id"], bench.desktop.text("operatorId"), "{verb}");
    assert_eq!(headers["x-device-id"], bench.desktop.text("deviceId"), "{verb}");
    assert!(headers["x-operator-roles"].is_string(), "{verb}");
    assert!(headers["traceparent"].is_string(), "{verb}");
    assert_eq!(headers["idempotency-key"], headers["x-idempotency-key"], "{verb}");
    assert_ne!(headers["idempotency-key"], client_key, "{verb}");
}

/// The words of the ledger about a request that was answered.
async fn told_in_the_ledger(bench: &Bench, wish: &Wish, (key, answer): (&str, &Answer)) {
    let verb = wish.mutation.verb;
    let recorded = bench.recorded(key).await;
    for (_, data) in &recorded {
        let action = &data["action"];
        assert_eq!(action["verb"], verb);
        assert_eq!(action["route"], format!("POST {}", wish.mutation.route));
        assert_eq!(action["upstream"], wish.mutation.service.name(), "{verb}");
        assert_eq!(action["propertyId"], wish.property_id.as_str(), "{verb}");
        assert_eq!(action.get("targetId").and_then(Value::as_str), wish.id.as_deref(), "{verb}");
    }
    let requested = recorded[0].1.to_string();
    for secret in ["Nadia", "quiet", "Minibar", "Shower"] {
        assert!(!requested.contains(secret), "{verb}: {requested}");
    }
    let last = &recorded.last().unwrap().1;
    assert_eq!(last["status"], answer.status.as_u16(), "{verb}");
    if !answer.status.is_success() {
        assert_eq!(last["code"], answer.body["code"], "{verb}");
        assert_eq!(last["reason"], "upstream", "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_26_29_an_answer_that_was_lost_is_found_again_and_the_effect_happens_once() {
    let mut bench = Bench::start().await;
    for wish in bench.stock.wishes().await {
        let verb = wish.mutation.verb;
        let key = key();
        let attestation = bench.attestation(&wish).await;
        let before = bench.upstream(&wish, "effects").await.len();
        bench.set_faults(wish.mutation.service, &json!({ "dropAfterEffect": true })).await;
        let lost = bench.ask(&wish, &key, &with(attestation.as_ref())).await;
        bench.heal(wish.mutation.service).await;

        assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{verb}: {}", lost.body);
        assert_eq!(code(&lost), "MELMASTOON.BFF.OUTCOME_UNKNOWN", "{verb}");
        assert!(lost.headers.contains_key("retry-after"), "{verb}");
        assert_eq!(bench.kinds(&key).await, ["requested", "outcome_unknown"], "{verb}");

        let found = bench.ask(&wish, &key, &with(attestation.as_ref())).await;
        let again = bench.ask(&wish, &key, &with(attestation.as_ref())).await;

        assert_eq!(found.status.as_u16(), wish.mutation.success, "{verb}: {}", found.body);
        assert_eq!(again.bytes, found.bytes, "{verb}");
        assert_eq!(again.headers["idempotency-replayed"], "true", "{verb}");
        assert_eq!(bench.upstream(&wish, "effects").await.len(), before + 1, "{verb}");
        let recorded = bench.recorded(&key).await;
        let kinds: Vec<&str> = recorded.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["requested", "outcome_unknown", "resolved"], "{verb}");
        assert_eq!(recorded[2].1["outcome"], "completed", "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_24_27_what_was_never_sent_is_not_done_and_the_same_key_does_it_later() {
    let mut bench = Bench::start().await;
    let wishes = bench.stock.wishes().await;
    for upstream in UPSTREAMS {
        let mut waiting = Vec::new();
        bench.set_faults(upstream, &json!({ "status": 503 })).await;
        open_circuit(&mut bench, upstream).await;
        for wish in wishes.iter().filter(|wish| wish.mutation.service == upstream) {
            let verb = wish.mutation.verb;
            let attestation = bench.attestation(wish).await;
            let (key, refused) = refused_unsent(&mut bench, wish, attestation.as_ref()).await;
            let before = bench.upstream(wish, "calls").await.len();
            assert_eq!(code(&refused), "MELMASTOON.BFF.UPSTREAM_UNAVAILABLE", "{verb}");
            assert!(refused.headers.contains_key("retry-after"), "{verb}");
            let recorded = bench.recorded(&key).await;
            assert_eq!(recorded[1].0, "refused", "{verb}");
            assert_eq!(recorded[1].1["reason"], "not_sent", "{verb}");
            waiting.push((wish, key, attestation, before, refused));
        }
        bench.heal(upstream).await;
        for (wish, key, attestation, before, refused) in waiting {
            let verb = wish.mutation.verb;
            let mut answer = refused;
            wait::until("the circuit is closed again", async || {
                answer = bench.ask(wish, &key, &with(attestation.as_ref())).await;
                answer.status != StatusCode::SERVICE_UNAVAILABLE
            })
            .await;
            assert_eq!(answer.status.as_u16(), wish.mutation.success, "{verb}: {}", answer.body);
            let kinds = bench.kinds(&key).await;
            assert_eq!(kinds.last().unwrap(), "completed", "{verb}");
            assert!(kinds.chunks(2).all(|pair| pair[0] == "requested"), "{verb}: {kinds:?}");
            assert_eq!(bench.upstream(wish, "calls").await.len(), before + 1, "{verb}");
        }
    }
}

/// Asks for nothing that exists until the circuit is open.
async fn open_circuit(bench: &mut Bench, upstream: Upstream) {
    let (path, body) = match upstream {
        Upstream::Reservation => ("/reservations/rsv_none/check-in", json!({})),
        Upstream::Billing => ("/folios/fol_none/close", json!({})),
        Upstream::Housekeeping => ("/housekeeping/tasks/hkt_none/start", json!({})),
        _ => ("/maintenance/work-orders/mnt_none/verify", json!({})),
    };
    let property_id = bench.desktop.property().to_owned();
    for _ in 0..10 {
        let answer = bench.send(path, &key(), &body, &[("x-property-id", &property_id)]).await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return;
        }
        assert_eq!(code(&answer), "MELMASTOON.BFF.UPSTREAM_FAILED", "{}", answer.body);
    }
    panic!("the circuit of {upstream} stays closed");
}

/// The answer of an open circuit. A request that the circuit took for its probe was sent; another
/// key asks again.
async fn refused_unsent(
    bench: &mut Bench,
    wish: &Wish,
    attestation: Option<&String>,
) -> (String, Answer) {
    for _ in 0..5 {
        let key = key();
        let answer = bench.ask(wish, &key, &with(attestation)).await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return (key, answer);
        }
        assert_eq!(code(&answer), "MELMASTOON.BFF.UPSTREAM_FAILED", "{}", answer.body);
    }
    panic!("the circuit of {} lets everybody through", wish.mutation.service);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_26_27_a_service_that_is_late_fails_or_is_busy_leaves_the_key_to_be_asked_again() {
    let mut bench = Bench::start().await;
    for (faults, status, expected_code, kinds) in [
        (
            json!({ "hang": true }),
            StatusCode::GATEWAY_TIMEOUT,
            "MELMASTOON.BFF.OUTCOME_UNKNOWN",
            ["requested", "outcome_unknown", "resolved"].as_slice(),
        ),
        (
            json!({ "status": 500 }),
            StatusCode::BAD_GATEWAY,
            "MELMASTOON.BFF.UPSTREAM_FAILED",
            ["requested", "outcome_unknown", "resolved"].as_slice(),
        ),
        (
            json!({ "status": 429 }),
            StatusCode::TOO_MANY_REQUESTS,
            "MELMASTOON.GENERAL.FAULT_INJECTED",
            ["requested", "refused", "requested", "completed"].as_slice(),
        ),
    ] {
        for verb in ["reservation.check-in", "housekeeping.start", "maintenance.resolve"] {
            let wish = bench.stock.wish_for(verb).await;
            let key = key();
            bench.set_faults(wish.mutation.service, &faults).await;
            let failed = bench.ask(&wish, &key, &[]).await;
            bench.heal(wish.mutation.service).await;

            let healed = bench.ask(&wish, &key, &[]).await;
            let again = bench.ask(&wish, &key, &[]).await;

            assert_eq!(failed.status, status, "{verb} {faults}: {}", failed.body);
            assert_eq!(code(&failed), expected_code, "{verb} {faults}");
            assert_eq!(healed.status, StatusCode::OK, "{verb} {faults}: {}", healed.body);
            assert_eq!(again.bytes, healed.bytes, "{verb} {faults}");
            assert_eq!(bench.upstream(&wish, "effects").await.len(), 1, "{verb} {faults}");
            assert_eq!(bench.kinds(&key).await, kinds, "{verb} {faults}");
            let calls = bench.upstream(&wish, "calls").await;
            let upstream_key = &calls[0]["headers"]["idempotency-key"];
            let is_one = calls.iter().all(|it| it["headers"]["idempotency-key"] == *upstream_key);
            assert!(is_one, "{verb} {faults}: the service saw two keys for one wish");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_26_28_what_an_attempt_that_died_may_have_sent_is_not_recorded_as_not_sent() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for("reservation.check-in").await;
    let (key, upstream) = (key(), wish.mutation.service);
    bench.set_faults(upstream, &json!({ "hang": true })).await;
    die_while_asking(&mut bench, &wish, &key).await;

    bench.set_faults(upstream, &json!({ "status": 429 })).await;
    let turned_away = bench.ask(&wish, &key, &[]).await;
    bench.heal(upstream).await;

    assert_eq!(turned_away.status, StatusCode::GATEWAY_TIMEOUT, "{}", turned_away.body);
    assert_eq!(code(&turned_away), "MELMASTOON.BFF.OUTCOME_UNKNOWN");
    assert_eq!(bench.kinds(&key).await, ["requested", "outcome_unknown"]);
    let found = bench.ask(&wish, &key, &[]).await;
    assert_eq!(found.status, StatusCode::OK, "{}", found.body);
    assert_eq!(bench.kinds(&key).await, ["requested", "outcome_unknown", "resolved"]);
    assert_eq!(bench.upstream(&wish, "effects").await.len(), 1);
}

/// Kills the instance while the upstream has the call and does not answer, and starts another one,
/// which may go on with the key.
async fn die_while_asking(bench: &mut Bench, wish: &Wish, key: &str) {
    let Bench { world, service, desktop, .. } = &mut *bench;
    let body = wish.body.to_string();
    let headers: [(&str, &[u8]); 3] = [
        ("x-idempotency-key", key.as_bytes()),
        ("content-type", b"application/json"),
        ("x-property-id", wish.property_id.as_bytes()),
    ];
    let asking = desktop.send_bytes(service, (Method::POST, &wish.path), &headers, body.as_bytes());
    let name = wish.mutation.service.name();
    let heard = wait::until("the upstream is asked", async || {
        !platform::kept(world, (name, "calls"), &wish.path).await.is_empty()
    });
    tokio::select! {
        answer = asking => panic!("answered before the instance died: {}", answer.body),
        () = heard => (),
    }
    service.kill();
    *service = world.service().await;
    expire_leases(world).await;
}
