//! What a key means to a client: when it is asked for, what it may look like, whom it belongs to
//! and what its repetition is answered with. Over HTTP, against the running service.

use std::time::{Duration, SystemTime};

use backoffice::database::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::support::{
    alerts::{acknowledge, calls, effects, events_of, fault, heal, path, raise, raised, settled},
    desktop::{Answer, Desktop, key},
    platform::tenant,
    replica::claims,
    service::{Service, World},
};

const JSON: (&str, &[u8]) = ("content-type", b"application/json");
const KEY: &str = "x-idempotency-key";

/// A running service and a desktop signed in at it.
struct Scene {
    world: World,
    service: Service,
    desktop: Desktop,
}

impl Scene {
    async fn set() -> Self {
        let world = World::start().await;
        let service = world.service().await;
        let desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
        Self { world, service, desktop }
    }

    async fn raised(&mut self) -> String {
        raised(&self.world, &mut self.desktop, &self.service).await
    }

    async fn press(&mut self, alert_id: &str, key: &str) -> Answer {
        acknowledge(&mut self.desktop, &self.service, alert_id, key).await
    }

    /// Presses with these very bytes.
    async fn press_bytes(&mut self, alert_id: &str, key: &str, body: &str) -> Answer {
        let headers = [JSON, (KEY, key.as_bytes())];
        self.send(&path(alert_id), &headers, body).await
    }

    async fn send(&mut self, path: &str, headers: &[(&str, &[u8])], body: &str) -> Answer {
        let target = (Method::POST, path);
        self.desktop.send_bytes(&self.service, target, headers, body.as_bytes()).await
    }

    async fn other(&self, tenant_id: &str, options: Value) -> Desktop {
        Desktop::sign_in(&self.world, tenant_id, options).await
    }

    async fn count(&self, table: &str) -> i64 {
        self.world.database.count(table).await
    }
}

fn key_made(ago: Duration) -> String {
    Ulid::from_datetime(now() - ago).to_string()
}

#[expect(clippy::disallowed_methods, reason = "keys are as old as the machine's clock says")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// A case, the headers that are sent, and the end of the code that refuses them.
type Row = (&'static str, Vec<(&'static str, Vec<u8>)>, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn id_01_02_03_04_without_one_good_key_nothing_is_done() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let good = key();
    let (lower, quoted) = (good.to_lowercase(), format!("\"{good}\""));
    let (list, other) = (format!("{good}, {}", key()), key());
    let aliases = [
        good.replacen('0', "O", 1),
        format!("{}I", &good[..25]),
        format!("{}L", &good[..25]),
        format!("{}U", &good[..25]),
    ];
    let arabic_digits = format!("{}٠", &good[..24]);
    let late = key_made(Duration::from_hours(24) + Duration::from_mins(1));
    let early = Ulid::from_datetime(now() + Duration::from_mins(11)).to_string();
    let one = |value: &str| vec![(KEY, value.as_bytes().to_vec())];
    let mut rows: Vec<Row> = vec![
        ("id_01", Vec::new(), "MISSING"),
        ("id_02 twice", [one(&good), one(&good)].concat(), "INVALID"),
        ("id_02 two", [one(&good), one(&other)].concat(), "INVALID"),
        ("id_02 list", one(&list), "INVALID"),
        ("id_02 empty", one(""), "INVALID"),
        ("id_03 short", one(&good[..25]), "INVALID"),
        ("id_03 long", one(&format!("{good}0")), "INVALID"),
        ("id_03 overflow", one("8ZZZZZZZZZZZZZZZZZZZZZZZZZ"), "INVALID"),
        ("id_03 lower case", one(&lower), "INVALID"),
        ("id_03 other digits", one(&arabic_digits), "INVALID"),
        ("id_03 quotes", one(&quoted), "INVALID"),
        ("id_04 too old", one(&late), "EXPIRED"),
        ("id_04 of the future", one(&early), "EXPIRED"),
        ("id_04 of the year 1970", one("00000000000000000000000000"), "EXPIRED"),
    ];
    rows.extend(aliases.iter().map(|alias| ("id_03 alias", one(alias), "INVALID")));

    for (case, headers, code) in rows {
        let mut sent = vec![JSON];
        sent.extend(headers.iter().map(|(name, value)| (*name, value.as_slice())));
        let answer = scene.send(&path(&alert_id), &sent, "{}").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}");
        let code = format!("MELMASTOON.GENERAL.IDEMPOTENCY_KEY_{code}");
        assert_eq!(answer.body["code"], code.as_str(), "{case}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{case}");
    }

    assert_eq!(scene.count("idempotency").await, 0);
    assert_eq!(events_of(&scene.world, &alert_id).await, Vec::<String>::new());
    assert!(calls(&scene.world, &alert_id).await.is_empty());
    assert_eq!(scene.press(&alert_id, &good).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_05_a_read_takes_no_notice_of_a_key() {
    let mut scene = Scene::set().await;
    let good = key();
    for method in [Method::GET, Method::HEAD] {
        for sent in [good.as_str(), "no key at all"] {
            let headers = [(KEY, sent.as_bytes())];
            let target = (method.clone(), "/alerts");
            let answer = scene.desktop.send_bytes(&scene.service, target, &headers, b"").await;
            assert_eq!(answer.status, StatusCode::OK, "{method} {sent}");
            assert!(!is_replayed(&answer));
        }
    }
    assert_eq!(scene.count("idempotency").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_07_08_a_repetition_records_publishes_and_tells_nothing() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let key = key();
    let first = scene.press(&alert_id, &key).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    settled(&scene.world, &alert_id).await;
    let acknowledged =
        |alert: &Value| alert["id"] == alert_id.as_str() && alert["state"] == "acknowledged";
    scene.desktop.alert(&scene.service, "acknowledged", acknowledged).await;
    let mut live = scene.desktop.live(&scene.service, "?channels=alerts").await;
    // What notification-service said of the alert comes before what it says next.
    let before = raise(&scene.world, &scene.desktop, "Before").await;
    while live.next_of("alert.raised").await["id"] != before.as_str() {}
    let (events, rows) = (scene.count("event").await, scene.count("idempotency").await);

    for _ in 0..3 {
        let again = scene.press(&alert_id, &key).await;
        assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
        assert!(is_replayed(&again) && !is_replayed(&first));
    }

    // The ledger is the outbox: without an event nothing is published.
    assert_eq!((scene.count("event").await, scene.count("idempotency").await), (events, rows));
    assert_eq!(effects(&scene.world, &alert_id).await, 1);
    assert_eq!(calls(&scene.world, &alert_id).await.len(), 1);
    let after = raise(&scene.world, &scene.desktop, "After").await;
    loop {
        let heard = live.next().await;
        assert_ne!(heard["id"], alert_id.as_str());
        if heard["id"] == after.as_str() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_09_a_repetition_with_the_same_proof_is_refused_like_any_replay() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let (key, path, body) = (key(), path(&alert_id), json!({}));
    let proof = scene.desktop.proof(&scene.service, &Method::POST, &path);
    let send = || scene.desktop.send_with_proof(&scene.service, &path, Some((&key, &body)), &proof);

    let first = Answer::read(send().await).await;
    let second = Answer::read(send().await).await;

    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(second.status, StatusCode::UNAUTHORIZED);
    assert_eq!(second.body["code"], "MELMASTOON.AUTH.PROOF_REPLAYED");
    assert!(!is_replayed(&second));
    assert!(!String::from_utf8_lossy(&second.bytes).contains("acknowledgedBy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn id_10_11_13_a_key_stands_for_one_request_and_no_other() {
    let mut scene = Scene::set().await;
    let (alert_id, other_alert) = (scene.raised().await, scene.raised().await);
    let key = key();
    let first = scene.press_bytes(&alert_id, &key, "{}").await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let own = path(&alert_id);
    let keyed = (KEY, key.as_bytes());

    for (case, path, body) in [
        ("id_10 other body", own.clone(), r#"{"comment":"x"}"#),
        ("id_11 other alert", path(&other_alert), "{}"),
        ("id_11 other query", format!("{own}?dryRun=true"), "{}"),
    ] {
        let answer = scene.send(&path, &[JSON, keyed], body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{case}");
        let code = &answer.body["code"];
        assert_eq!(*code, "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED", "{case}");
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("acknowledgedBy"), "{case}");
    }
    for other_type in ["text/json", "application/x-www-form-urlencoded", "application/xml"] {
        let content_type = ("content-type", other_type.as_bytes());
        let answer = scene.send(&own, &[content_type, keyed], "{}").await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "id_13 {other_type}");
    }
    let spelled = ("content-type", b"Application/JSON; charset=UTF-8".as_slice());
    let same = scene.send(&own, &[spelled, keyed], "{}").await;

    assert!(is_replayed(&same));
    assert_eq!(same.bytes, first.bytes);
    assert_eq!(effects(&scene.world, &alert_id).await, 1);
    assert_eq!(events_of(&scene.world, &other_alert).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn id_12_a_request_is_recognised_by_what_it_says_and_not_by_how_it_is_written() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let key = key();
    let first = scene.press_bytes(&alert_id, &key, "{\"comment\":\"caf\u{e9}\"}").await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);

    for same in [
        "{\"comment\":\"caf\u{e9}\"}",
        "\n{ \"comment\" :\t\"caf\u{e9}\" }\n",
        r#"{"comment":"caf\u00e9"}"#,
        r#"{"com\u006dent":"\u0063af\u00E9"}"#,
    ] {
        let answer = scene.press_bytes(&alert_id, &key, same).await;
        assert!(is_replayed(&answer), "{same}: {}", answer.body);
        assert_eq!(answer.bytes, first.bytes, "{same}");
    }
    for (other, status) in [
        ("{\"comment\":\"cafe\u{301}\"}", StatusCode::UNPROCESSABLE_ENTITY),
        ("{\"comment\":\"caf\u{e9}\",\"comment\":\"caf\u{e9}\"}", StatusCode::BAD_REQUEST),
        ("{\"comment\":\"CAF\u{c9}\"}", StatusCode::UNPROCESSABLE_ENTITY),
        ("{}", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = scene.press_bytes(&alert_id, &key, other).await;
        assert_eq!(answer.status, status, "{other}");
    }
    assert_eq!(effects(&scene.world, &alert_id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_14_16_another_operator_or_device_has_keys_of_its_own() {
    let mut scene = Scene::set().await;
    let alerts = [scene.raised().await, scene.raised().await, scene.raised().await];
    let (key, tenant_id) = (key(), scene.desktop.text("tenantId").to_owned());
    let first = scene.press(&alerts[0], &key).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let operator_id = scene.desktop.text("operatorId").to_owned();
    let device_id = scene.desktop.text("deviceId").to_owned();

    let mut colleague = scene.other(&tenant_id, json!({})).await;
    let same_operator = json!({ "operatorId": operator_id });
    let mut second_device = scene.other(&tenant_id, same_operator).await;
    for (case, desktop, alert_id) in
        [("id_14", &mut colleague, &alerts[1]), ("id_16", &mut second_device, &alerts[2])]
    {
        let answer = acknowledge(desktop, &scene.service, alert_id, &key).await;
        assert_eq!(answer.status, StatusCode::OK, "{case}: {}", answer.body);
        assert_eq!(answer.body["id"], alert_id.as_str(), "{case}");
        assert_eq!(answer.body["acknowledgedBy"], desktop.text("operatorId"), "{case}");
        assert!(!is_replayed(&answer), "{case}");
    }
    assert_eq!(claims(&scene.world, &key).await.len(), 3);

    // On the same device the key is the first operator's: the other learns nothing of its answer.
    let same_device = json!({ "deviceId": device_id });
    let mut successor = scene.other(&tenant_id, same_device).await;
    let answer = acknowledge(&mut successor, &scene.service, &alerts[0], &key).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    assert!(!String::from_utf8_lossy(&answer.bytes).contains(&operator_id));
    for alert_id in &alerts {
        assert_eq!(effects(&scene.world, alert_id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_15_another_tenant_neither_meets_nor_sees_a_key() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let key = key();
    assert_eq!(scene.press(&alert_id, &key).await.status, StatusCode::OK);
    // The same device id, so that nothing but the tenant tells the two apart.
    let options = json!({ "deviceId": scene.desktop.text("deviceId") });
    let mut theirs = scene.other(&tenant(&scene.world, 1), options).await;
    let their_alert = raised(&scene.world, &mut theirs, &scene.service).await;

    let answer = acknowledge(&mut theirs, &scene.service, &their_alert, &key).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(!is_replayed(&answer));
    assert_eq!(answer.body["id"], their_alert.as_str());
    assert_eq!(claims(&scene.world, &key).await, ["completed", "completed"]);
    let mut app = scene.world.database.connect_as(Role::App).await;
    for (tenant_id, seen) in [
        (scene.desktop.text("tenantId"), vec![scene.desktop.text("tenantId").to_owned()]),
        (theirs.text("tenantId"), vec![theirs.text("tenantId").to_owned()]),
        (&*tenant(&scene.world, 2), Vec::new()),
        ("", Vec::new()),
    ] {
        let set = "select set_config('app.tenant_id', $1, false)";
        sqlx::query(set).bind(tenant_id).execute(&mut app).await.unwrap();
        let visible: Vec<String> =
            sqlx::query_scalar("select tenant_id from idempotency where key = $1")
                .bind(&key)
                .fetch_all(&mut app)
                .await
                .unwrap();
        assert_eq!(visible, seen, "{tenant_id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_21_22_a_request_that_never_began_leaves_its_key_free() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let (key, own) = (key(), path(&alert_id));
    let keyed = (KEY, key.as_bytes());
    let too_long = json!({ "comment": "x".repeat(1001) }).to_string();
    let too_large = json!({ "comment": "x".repeat(300 * 1024) }).to_string();
    for (case, content_type, body, status) in [
        ("id_21 malformed", "application/json", "{", StatusCode::BAD_REQUEST),
        ("id_21 unknown member", "application/json", r#"{"a":1}"#, StatusCode::BAD_REQUEST),
        ("id_21 empty", "application/json", r#"{"comment":""}"#, StatusCode::BAD_REQUEST),
        ("id_21 too long", "application/json", &too_long, StatusCode::BAD_REQUEST),
        ("id_21 too large", "application/json", &too_large, StatusCode::PAYLOAD_TOO_LARGE),
        ("id_21 type", "text/plain", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let content_type = ("content-type", content_type.as_bytes());
        let answer = scene.send(&own, &[content_type, keyed], body).await;
        assert_eq!(answer.status, status, "{case}: {}", answer.body);
    }
    let body = json!({});
    let send = scene.desktop.send_with_proof(&scene.service, &own, Some((&key, &body)), "no-proof");
    assert_eq!(send.await.status(), StatusCode::UNAUTHORIZED, "id_22");
    let device_id = scene.desktop.text("deviceId").to_owned();
    let tenant_id = scene.desktop.text("tenantId").to_owned();
    let housekeeper = json!({ "deviceId": device_id, "roles": ["housekeeper"] });
    let mut forbidden = scene.other(&tenant_id, housekeeper).await;
    let answer = acknowledge(&mut forbidden, &scene.service, &alert_id, &key).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "id_22: {}", answer.body);
    let unknown = acknowledge(&mut scene.desktop, &scene.service, "ntf_unknown", &key).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "id_22: {}", unknown.body);
    assert_eq!(claims(&scene.world, &key).await, Vec::<String>::new());

    let mut entitled = scene.other(&tenant_id, json!({ "deviceId": device_id })).await;
    let answer = acknowledge(&mut entitled, &scene.service, &alert_id, &key).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(!is_replayed(&answer));
    settled(&scene.world, &alert_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_23_what_the_rule_answers_is_kept_even_when_it_would_answer_otherwise_later() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let mut late = scene.other(scene.desktop.text("tenantId"), json!({})).await;
    let keys = [key(), key(), key()];
    fault(&scene.world, json!({ "status": 503 })).await;
    let first = scene.press(&alert_id, &keys[0]).await;
    let refused = acknowledge(&mut late, &scene.service, &alert_id, &keys[1]).await;
    heal(&scene.world).await;
    settled(&scene.world, &alert_id).await;

    let again = acknowledge(&mut late, &scene.service, &alert_id, &keys[1]).await;
    let anew = acknowledge(&mut late, &scene.service, &alert_id, &keys[2]).await;

    assert_eq!((first.status, refused.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(refused.body, first.body);
    assert_eq!(refused.body["forwarded"], false);
    assert!(is_replayed(&again) && !is_replayed(&refused));
    assert_eq!(again.bytes, refused.bytes);
    // Another key is another request: it hears how things stand now.
    assert_eq!(anew.body["forwarded"], true);
    assert_eq!(anew.body["acknowledgedBy"], first.body["acknowledgedBy"]);
    assert_eq!(effects(&scene.world, &alert_id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_41_a_repetition_repeats_the_document_and_no_header_of_its_day() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let key = key();
    let ids = [Ulid::generate().to_string(), Ulid::generate().to_string()];
    let trace = |number: u8| format!("00-{number:032x}-{number:016x}-01");
    let mut answers = Vec::new();
    for (number, id) in (1..).zip(&ids) {
        let trace = trace(number);
        let named = [("x-request-id", id.as_bytes()), ("traceparent", trace.as_bytes())];
        let headers = [&[JSON, (KEY, key.as_bytes())][..], &named].concat();
        answers.push(scene.send(&path(&alert_id), &headers, "{}").await);
    }

    let [first, again] = &answers[..] else { panic!("two answers") };
    assert!(is_replayed(again));
    assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    assert_eq!(again.headers["cache-control"], "no-store");
    assert_eq!(again.headers["x-request-id"], ids[1].as_str());
    assert!(again.headers["traceparent"].to_str().unwrap().contains(&trace(2)[3..35]));
    assert_eq!(again.headers.get_all("date").iter().count(), 1);
    assert!(again.headers.get_all("dpop-nonce").iter().count() <= 1);
    for absent in ["set-cookie", "www-authenticate"] {
        assert!(!again.headers.contains_key(absent), "{absent}");
    }
    let mut connection = scene.world.database.superuser().await;
    let kept: String = sqlx::query_scalar("select headers::text from idempotency where key = $1")
        .bind(&key)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, r#"[["content-type", "application/json"]]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_42_nothing_of_an_answer_is_to_be_read_in_the_table_or_the_log() {
    let mut scene = Scene::set().await;
    let alert_id = scene.raised().await;
    let key = key();
    let body = r#"{"comment":"Guest Amina is locked out"}"#;
    let first = scene.press_bytes(&alert_id, &key, body).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let again = scene.press_bytes(&alert_id, &key, body).await;
    assert_eq!(again.bytes, first.bytes);
    scene.press_bytes(&alert_id, &key, r#"{"comment":"Amina again"}"#).await;

    let mut connection = scene.world.database.superuser().await;
    let query = "select fingerprint, body from idempotency where key = $1";
    let (fingerprint, sealed): (Vec<u8>, Vec<u8>) =
        sqlx::query_as(query).bind(&key).fetch_one(&mut connection).await.unwrap();
    let operator_id = scene.desktop.text("operatorId").to_owned();
    for word in [operator_id.as_str(), &alert_id, "acknowledged", "Amina"] {
        let found = sealed.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!found, "{word} is in the table");
    }
    // Whoever can guess the body cannot confirm the guess without the pepper.
    let device_id = scene.desktop.text("deviceId");
    let tenant_id = scene.desktop.text("tenantId");
    let route = format!("POST {}?", path(&alert_id));
    for guess in [
        body.to_owned(),
        format!("{route}{body}"),
        format!("{tenant_id}{device_id}{operator_id}{route}{body}"),
    ] {
        assert_ne!(fingerprint, Sha256::digest(guess).to_vec());
    }
    let log = scene.service.log();
    assert!(!log.is_empty());
    for word in ["Amina", &operator_id, "acknowledgedBy"] {
        assert!(!log.contains(word), "{word} is in the log");
    }
    // Put under another key, the answer opens no more: an error, not somebody else's answer.
    let other_alert = scene.raised().await;
    let other_key = self::key();
    assert_eq!(scene.press(&other_alert, &other_key).await.status, StatusCode::OK);
    let swap = "update idempotency set body = $1 where key = $2";
    let swapped = sqlx::query(swap).bind(&sealed).bind(&other_key);
    assert_eq!(swapped.execute(&mut connection).await.unwrap().rows_affected(), 1);
    let refused = scene.press(&other_alert, &other_key).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!String::from_utf8_lossy(&refused.bytes).contains(&alert_id));
}
