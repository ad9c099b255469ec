//! The issuer's keys over HTTP: answers that are none, and a rotation while desktops work.

use std::{sync::Arc, time::Duration};

use backoffice::{
    access::{
        jwks::{Algorithm, Fetch, FetchError, Jwks},
        token::{ClaimRules, TokenError, TokenVerifier},
    },
    upstream::{Settings, Upstream, id_token},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    access_bench::{BAD_TOKEN, BOOTSTRAP, Bench, assert_refused, sign_in},
    access_keys::{TestKey, ath, with},
    access_world::{AUDIENCE, ISSUER, issuer_jwk},
    support::wire::line,
};

/// What an issuer does with one request.
#[derive(Clone, Debug)]
enum Conduct {
    /// Sends this and closes.
    Say(String),
    /// Sends spaces without an end.
    Flood,
    /// A good head, then nothing.
    Stall,
}

fn answer(status: &str, more: &str, body: &str) -> Conduct {
    let length = body.len();
    Conduct::Say(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}\r\n{body}"))
}

/// An issuer's server. Answers its address and how often each path was asked for.
async fn issuer(
    conduct: watch::Receiver<Conduct>,
) -> (String, watch::Receiver<Vec<String>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, asked) = watch::channel(Vec::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((connection, _)) = listener.accept().await {
            let (conduct, seen) = (conduct.borrow().clone(), seen.clone());
            connections.spawn(behave(connection, conduct, seen));
        }
    });
    (url, asked, tasks)
}

async fn behave(mut connection: TcpStream, conduct: Conduct, seen: watch::Sender<Vec<String>>) {
    let mut request = vec![0; 4096];
    let Ok(read @ 1..) = connection.read(&mut request).await else { return };
    let path = String::from_utf8_lossy(&request[..read]);
    let path = path.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.send_modify(|paths| paths.push(path));
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 52428800\r\n\r\n";
    match conduct {
        Conduct::Say(text) => drop(connection.write_all(text.as_bytes()).await),
        Conduct::Flood => {
            let spaces = [b' '; 8192];
            let mut sent = connection.write_all(head).await;
            while sent.is_ok() {
                sent = connection.write_all(&spaces).await;
            }
        }
        Conduct::Stall => {
            drop(connection.write_all(head).await);
            // Until the other side has had enough.
            drop(connection.read(&mut request).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jw_06_whatever_the_issuers_server_does_the_last_good_keys_stay() {
    let key = TestKey::generate();
    let good = answer("200 OK", "", &json!({ "keys": [issuer_jwk(&key)] }).to_string());
    let (does, conduct) = watch::channel(good);
    let (url, asked, _tasks) = issuer(conduct).await;
    let upstream = Upstream::new(&Settings::new(id_token::Settings::Static("x".into()))).unwrap();
    let fetch: Fetch = Arc::new(move |url| {
        let upstream = upstream.clone();
        async move {
            let document = upstream.document(url, 256 * 1024, Duration::from_secs(3)).await;
            document.map_err(|error| FetchError::Failed(Box::new(error)))
        }
        .boxed()
    });
    let jwks_url = format!("{url}/jwks.json").parse().unwrap();
    let jwks = Jwks::new(jwks_url, vec![Algorithm::Es256], fetch);
    jwks.refresh().await.unwrap();

    let internal = format!("location: {url}/internal\r\n");
    for (case, conduct) in [
        ("empty", answer("200 OK", "", r#"{"keys":[]}"#)),
        ("500", answer("500 Internal Server Error", "", "")),
        ("a page", answer("200 OK", "content-type: text/html\r\n", "<html></html>")),
        ("a redirect", answer("302 Found", &internal, "")),
        ("a redirect that lasts", answer("308 Permanent Redirect", &internal, "")),
        ("50 MB", Conduct::Flood),
        ("nothing after the head", Conduct::Stall),
        ("half of it", Conduct::Say("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned())),
        ("no HTTP", Conduct::Say("keys".to_owned())),
    ] {
        does.send_replace(conduct);
        assert!(jwks.refresh().await.is_err(), "{case}");
        assert!(jwks.key("k1", Algorithm::Es256).await.is_ok(), "{case}");
    }
    assert!(asked.borrow().iter().all(|path| path == "/jwks.json"), "{:?}", asked.borrow());
}

#[tokio::test(flavor = "multi_thread")]
async fn jw_05_a_rotation_with_overlap_refuses_nobody_and_without_it_only_the_old_over_http() {
    let bench = Bench::start().await;
    let service = bench.world.service_with(&[("DPOP_NONCE", "off")]).await;
    let status = async |device: &TestKey, grant: &Value| {
        let token = grant["accessToken"].as_str().unwrap();
        let claims = with(bench.claims(&service, BOOTSTRAP), "ath", json!(ath(token)));
        let lines = vec![
            line("x-device-id", grant["deviceId"].as_str().unwrap()),
            line("x-app-version", "1.4.2"),
            line("x-app-platform", "linux"),
            line("x-network-mode", "good"),
            line("authorization", format!("DPoP {token}")),
            line("dpop", device.sign(&device.proof_header(), &claims)),
        ];
        crate::access_bench::send(&service, BOOTSTRAP, &lines).await
    };
    let rotate = async |query: &str| {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/sim/keys/rotate{query}", bench.world.simulator.url());
        http.post(url).send().await.unwrap().error_for_status().unwrap();
    };
    assert_eq!(status(&bench.device, &bench.grant).await.status, 200);

    rotate("").await;
    let after = TestKey::generate();
    let new_grant = sign_in(&bench.world, &after, json!({})).await;
    assert_eq!(status(&after, &new_grant).await.status, 200, "the new key is asked for at once");
    assert_eq!(status(&bench.device, &bench.grant).await.status, 200, "the old one is good still");

    rotate("?drop=true").await;
    let last = TestKey::generate();
    let last_grant = sign_in(&bench.world, &last, json!({})).await;
    let early = status(&last, &last_grant).await;
    assert_refused("a request has caused a fetch just now", &early, BAD_TOKEN);
    assert_eq!(status(&after, &new_grant).await.status, 200, "known keys are not affected");
}

/// A key that the issuer swapped or took back is believed for a minute longer, by tokens that were
/// verified with it before.
#[tokio::test]
async fn jw_07_a_token_of_a_withdrawn_key_is_remembered_for_a_minute_and_no_longer() {
    let (old, new) = (TestKey::generate(), TestKey::generate());
    let document = |key: &TestKey| json!({ "keys": [issuer_jwk(key)] }).to_string();
    let (publish, published) = watch::channel(document(&old));
    let fetch: Fetch = Arc::new(move |_| {
        let document = bytes::Bytes::from(published.borrow().clone());
        async move { Ok(document) }.boxed()
    });
    let url = "https://iam.example/jwks.json".parse().unwrap();
    let jwks = Arc::new(Jwks::new(url, vec![Algorithm::Es256], fetch));
    let rules = ClaimRules {
        audience: AUDIENCE.to_owned(),
        leeway: Duration::from_secs(10),
        lifetime_max: Duration::from_hours(1),
    };
    let verifier = TokenVerifier::new([(ISSUER.to_owned(), Arc::clone(&jwks))].into(), rules);
    let now = DateTime::<Utc>::from_timestamp(1_700_000_040, 0).unwrap();
    let sign = |key: &TestKey, sid: &str| {
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "usr_1",
            "tid": "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY", "device_id": "dev_1", "sid": sid,
            "iat": now.timestamp(), "exp": now.timestamp() + 900, "cnf": { "jkt": key.jkt() },
        });
        key.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }), &claims)
    };
    let (known, unknown) = (sign(&old, "ses_1"), sign(&old, "ses_2"));
    jwks.refresh().await.unwrap();
    verifier.verify(&known, now).await.unwrap();

    publish.send_replace(document(&new));
    jwks.refresh().await.unwrap();

    let refused = verifier.verify(&unknown, now).await;
    assert!(matches!(refused, Err(TokenError::Signature)), "the key has changed: {refused:?}");
    verifier.verify(&sign(&new, "ses_3"), now).await.unwrap();
    verifier.verify(&known, now + TimeDelta::seconds(59)).await.unwrap();
    let refused = verifier.verify(&known, now + TimeDelta::seconds(60)).await;
    assert!(matches!(refused, Err(TokenError::Signature)), "{refused:?}");
}
