//! The way to sync-service: the handshake, its token, and the cursors.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{recorded, second_device, start, until_answered};
use crate::support::{
    desktop::key,
    platform::{fault, heal, kept},
    service::{Service, World, write_sync_key},
    wait,
};

const HANDSHAKE: &str = "/sync/handshake";
const CURSOR: &str = "/sync/cursor";
const SYNC: &str = "sync-service";

#[tokio::test]
async fn a_handshake_gives_a_token_of_this_device_that_the_published_keys_verify() {
    let (world, service, mut desktop) = start().await;
    let (key, wish) = (key(), json!({ "lastSyncAt": "2026-11-20T10:00:00Z" }));

    let first = desktop.post(&service, HANDSHAKE, &key, &wish).await;
    let again = desktop.post(&service, HANDSHAKE, &key, &wish).await;

    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert!(first.headers.contains_key("x-ledger-position"));
    assert_eq!((again.status, &again.bytes), (StatusCode::OK, &first.bytes));
    assert!(first.body["syncEndpoint"].as_str().unwrap().starts_with("https://"));
    assert_eq!(first.body["cursors"], json!({}));
    let token = first.body["syncSessionToken"].as_str().unwrap();
    let (header, claims) = verified(token, &keys(&service).await).expect("a good signature");
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("JWT")));
    assert_eq!(claims["aud"], "sync-service");
    assert_eq!(claims["sub"], desktop.text("operatorId"));
    assert_eq!(claims["tenantId"], desktop.text("tenantId"));
    assert_eq!(claims["deviceId"], desktop.text("deviceId"));
    assert_eq!(claims["cnf"]["jkt"].as_str().unwrap().len(), 43);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);

    let events = recorded(&world, "sync.handshake_completed").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].0, format!("dsy:{}", desktop.text("deviceId")));
    assert_eq!(events[0].1["tokenId"], claims["jti"]);
    assert!(!json!(events).to_string().contains(token), "the token is in the ledger");
    assert!(!service.log().contains(token), "the token is in the log");
}

#[tokio::test]
async fn a_new_signing_key_is_taken_up_and_tokens_of_the_one_before_are_still_good() {
    let (world, service, mut desktop) = start().await;
    let old = desktop.post(&service, HANDSHAKE, &key(), &json!({})).await;
    let old = old.body["syncSessionToken"].as_str().unwrap().to_owned();

    let path = world.secrets_dir().join("sync-signing-key");
    std::fs::rename(&path, world.secrets_dir().join("sync-signing-key.previous")).unwrap();
    write_sync_key(&path);
    wait::until("both keys are published", async || {
        keys(&service).await.as_array().unwrap().len() == 2
    })
    .await;

    let new = desktop.post(&service, HANDSHAKE, &key(), &json!({})).await;
    let new = new.body["syncSessionToken"].as_str().unwrap().to_owned();
    let keys = keys(&service).await;
    let (old, _) = verified(&old, &keys).expect("the previous key is still there");
    let (new, _) = verified(&new, &keys).expect("the new key is there");
    assert_ne!(old["kid"], new["kid"]);
    assert_eq!(new["kid"], keys[0]["kid"]);
}

#[tokio::test]
async fn a_cursor_moves_from_where_it_stands_and_from_nowhere_else() {
    let (world, service, mut desktop) = start().await;
    let mut other = second_device(&world, &desktop).await;
    let move_to = |from: Option<&str>, to: &str| json!({ "stream": "reservations", "cursor": to, "expectedCursor": from });
    let first = key();

    let moved = desktop.post(&service, CURSOR, &first, &move_to(None, "c1")).await;
    let again = desktop.post(&service, CURSOR, &first, &move_to(None, "c1")).await;
    let on = desktop.post(&service, CURSOR, &key(), &move_to(Some("c1"), "c2")).await;

    assert_eq!(moved.status, StatusCode::OK, "{}", moved.body);
    assert_eq!(moved.body["cursors"], json!({ "reservations": "c1" }));
    assert_eq!((again.status, &again.bytes), (StatusCode::OK, &moved.bytes));
    assert_eq!(
        (on.status, &on.body["cursors"]),
        (StatusCode::OK, &json!({ "reservations": "c2" }))
    );
    let late = key();
    let refused = desktop.post(&service, CURSOR, &late, &move_to(Some("c1"), "c3")).await;
    let refused_again = desktop.post(&service, CURSOR, &late, &move_to(Some("c1"), "c3")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    assert_eq!(refused.body["code"], "MELMASTOON.SYNC.CURSOR_CONFLICT");
    assert_eq!(refused_again.bytes, refused.bytes);

    let read = desktop.get(&service, CURSOR).await;
    assert_eq!(
        (read.status, &read.body["cursors"]),
        (StatusCode::OK, &json!({ "reservations": "c2" }))
    );
    assert_eq!(read.headers["x-cache"], "miss");
    let kept = desktop.get(&service, CURSOR).await;
    assert_eq!((&kept.body, kept.headers["x-cache"].to_str().unwrap()), (&read.body, "hit"));
    let next = desktop.post(&service, CURSOR, &key(), &move_to(Some("c2"), "c3")).await;
    assert_eq!(next.status, StatusCode::OK, "{}", next.body);
    let kept = desktop.get(&service, CURSOR).await;
    assert_eq!(
        (&kept.body["cursors"]["reservations"], &kept.headers["x-cache"]),
        (&json!("c3"), &"hit".parse().unwrap())
    );
    assert_eq!(other.get(&service, CURSOR).await.body["cursors"], json!({}));

    let events = recorded(&world, "sync.cursor_advanced").await;
    let advances: Vec<_> =
        events.iter().map(|(_, data, _)| (&data["from"], &data["cursor"])).collect();
    let expected =
        [(Value::Null, json!("c1")), (json!("c1"), json!("c2")), (json!("c2"), json!("c3"))];
    assert_eq!(advances, expected.iter().map(|(from, to)| (from, to)).collect::<Vec<_>>());
    for body in [
        json!({ "stream": "a b", "cursor": "c" }),
        json!({ "stream": "a", "cursor": "" }),
        json!({ "stream": "a", "cursor": "c\n" }),
        json!({ "stream": "a" }),
    ] {
        let answer = desktop.post(&service, CURSOR, &key(), &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
}

#[tokio::test]
async fn without_sync_service_cursors_are_answered_as_they_were_and_a_move_comes_later_once() {
    let (world, service, mut desktop) = start().await;
    let mut other = second_device(&world, &desktop).await;
    let wish = json!({ "stream": "reservations", "cursor": "c1" });
    assert_eq!(desktop.post(&service, HANDSHAKE, &key(), &json!({})).await.status, StatusCode::OK);
    other.get(&service, "/session").await;
    let mut superuser = world.database.superuser().await;
    let aged = "update device_sync_status set cursors_at = now() - interval '1 hour'";
    sqlx::raw_sql(aged).execute(&mut superuser).await.unwrap();

    // The work is done, the answer is lost.
    fault(&world, SYNC, &json!({ "dropAfterEffect": true })).await;
    let moving = key();
    let unknown = desktop.post(&service, CURSOR, &moving, &wish).await;
    assert_eq!(unknown.status, StatusCode::GATEWAY_TIMEOUT, "{}", unknown.body);
    assert_eq!(unknown.body["code"], "MELMASTOON.BFF.OUTCOME_UNKNOWN");
    heal(&world, SYNC).await;
    let done = until_answered(async || desktop.post(&service, CURSOR, &moving, &wish).await).await;
    assert_eq!(
        (done.status, &done.body["cursors"]),
        (StatusCode::OK, &json!({ "reservations": "c1" }))
    );
    assert_eq!(kept(&world, (SYNC, "effects"), "/sync/cursors").await.len(), 1);
    assert_eq!(recorded(&world, "sync.cursor_advanced").await.len(), 1);
    until_answered(async || desktop.get(&service, CURSOR).await).await;
    // Its own event says how far the device is, too, and how late that was.
    followed(&world).await;
    sqlx::raw_sql(aged).execute(&mut superuser).await.unwrap();

    fault(&world, SYNC, &json!({ "status": 503 })).await;
    let stale = desktop.get(&service, CURSOR).await;
    assert_eq!(
        (stale.status, &stale.body["cursors"]),
        (StatusCode::OK, &json!({ "reservations": "c1" }))
    );
    assert_eq!(stale.headers["x-cache"], "stale");
    let nothing_known = other.get(&service, CURSOR).await;
    assert!(nothing_known.status.is_server_error(), "{}", nothing_known.body);
    let handshake = key();
    let failed = other.post(&service, HANDSHAKE, &handshake, &json!({})).await;
    assert!(failed.status.is_server_error(), "{}", failed.body);
    heal(&world, SYNC).await;
    let done =
        until_answered(async || other.post(&service, HANDSHAKE, &handshake, &json!({})).await)
            .await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert_eq!(recorded(&world, "sync.handshake_completed").await.len(), 2);
}

#[tokio::test]
async fn id_27_what_sync_service_turned_away_unread_is_done_later_by_the_same_key() {
    let (world, service, mut desktop) = start().await;
    let opened = desktop.post(&service, HANDSHAKE, &key(), &json!({})).await;
    assert_eq!(opened.status, StatusCode::OK, "{}", opened.body);
    let advance = json!({ "stream": "reservations", "cursor": "c1" });
    for (route, wish) in [(HANDSHAKE, json!({})), (CURSOR, advance)] {
        let key = key();
        fault(&world, SYNC, &json!({ "status": 429, "mutationsOnly": true })).await;
        let turned_away = desktop.post(&service, route, &key, &wish).await;
        heal(&world, SYNC).await;
        let done = desktop.post(&service, route, &key, &wish).await;

        assert_eq!(turned_away.status, StatusCode::TOO_MANY_REQUESTS, "{}", turned_away.body);
        assert_eq!(done.status, StatusCode::OK, "{route}: {}", done.body);
        assert!(!done.headers.contains_key("idempotency-replayed"), "{route}");
    }
}

/// Waits until what sync-service has said of a cursor is taken in.
async fn followed(world: &World) {
    let mut connection = world.database.superuser().await;
    let query = "select count(*) from inbox_event, projector_cursor as read \
                 where subject = 'melmastoon.sync.cursor.advanced.v1' and read.log = 'inbox' \
                 and inbox_event.position <= read.position";
    wait::until("the event of the cursor is followed", async || {
        sqlx::query_scalar::<_, i64>(query).fetch_one(&mut connection).await.unwrap() == 1
    })
    .await;
}

async fn keys(service: &Service) -> Value {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/.well-known/jwks.json", service.root_url);
    let answer = http.get(url).send().await.unwrap().error_for_status().unwrap();
    assert!(answer.headers()["cache-control"].to_str().unwrap().contains("max-age"));
    answer.json::<Value>().await.unwrap()["keys"].clone()
}

/// Header and claims, if one of the keys has signed them.
fn verified(token: &str, keys: &Value) -> Option<(Value, Value)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (header, claims) = (read(header), read(claims));
    let key = keys.as_array()?.iter().find(|key| key["kid"] == header["kid"])?;
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
        .ok()?;
    Some((header, claims))
}
