//! A long random life of two tenants on one instance, honest and hostile, each with canaries in
//! everything it has; nothing that one is given holds a canary of the other.
//!
//! `CANARY_OPERATIONS` says how many operations; a short run is part of every test run.

use std::{
    collections::BTreeMap,
    fs::File,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::{task::JoinHandle, time::timeout};
use ulid::Ulid;

use super::client::{Answer, Client, Wish, raise, until_listed};
use crate::support::{
    desktop::key as new_key,
    listener::Listener,
    platform::happened,
    redis::RedisServer,
    service::{Service, World},
    wait,
};

const OPERATIONS: u64 = 1_000;
const CLIENTS: usize = 5;
/// More would only make the inboxes long.
const ALERTS_MAX: usize = 60;

/// What one tenant has, of which the other may use whatever could be guessed or stolen.
struct Side {
    /// In every title and comment; never sent by the other.
    content: String,
    /// In the ids of alerts; the other sends them.
    ids: Vec<String>,
    alerts: Mutex<Vec<String>>,
    /// Cursors, positions and keys that were given out.
    cursors: Mutex<Vec<String>>,
    live_cursors: Mutex<Vec<String>>,
    positions: Mutex<Vec<String>>,
    keys: Mutex<Vec<(String, String)>>,
}

/// Counts of one run.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    operations: u64,
    honest: u64,
    served: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_50_nothing_that_one_tenant_is_given_holds_a_canary_of_the_other() {
    let world = World::start().await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let stderr = File::create(log.path()).unwrap();
    let logging = |command: &mut Command| {
        command.stderr(stderr);
    };
    let service = world.service_changed(logging).await;
    let published = [
        Listener::on(&world, "melmastoon.bff.backoffice.alert-ack").await,
        Listener::on(&world, "melmastoon.bff.backoffice.session").await,
    ];
    let tenants = world.simulator.tenant_ids();
    let (mut sides, mut crews, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for tenant in &tenants[..2] {
        let mut crew = Vec::new();
        for _ in 0..=CLIENTS {
            crew.push(Client::sign_in(&world, tenant, &json!({})).await);
        }
        let mut listener = crew.pop().unwrap();
        let side = Arc::new(Side::new(&crew, &listener));
        for number in 0..10 {
            side.raise(&world, &crew[0], number % 2 == 0, number).await;
        }
        let last = side.alerts.lock().unwrap().last().unwrap().clone();
        until_listed(&service, &mut crew[0], &last).await;
        streams.push(listen(&service, &mut listener).await);
        sides.push(side);
        crews.push(crew);
    }

    let started = Instant::now();
    let each = operations() / u64::try_from(2 * CLIENTS).unwrap();
    let lives = crews.into_iter().enumerate().flat_map(|(index, crew)| {
        let (own, other) = (Arc::clone(&sides[index]), Arc::clone(&sides[1 - index]));
        let (world, service) = (&world, &service);
        crew.into_iter().enumerate().map(move |(number, client)| {
            let seed = u64::try_from(10 * number + index).unwrap();
            let life = Life {
                world,
                service,
                client,
                own: Arc::clone(&own),
                other: Arc::clone(&other),
                random: StdRng::seed_from_u64(seed),
                tally: Tally::default(),
            };
            life.live(each)
        })
    });
    let tallies = join_all(lives).await;
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (done, honest, served) =
        (sum(|it| it.operations), sum(|it| it.honest), sum(|it| it.served));
    println!(
        "{done} operations in {:?}, {served} of {honest} honest ones served",
        started.elapsed()
    );
    assert!(done >= operations() * 9 / 10);
    assert!(served * 2 > honest, "a run that is refused shows nothing: {served} of {honest}");

    hear_everything(&world, &sides, &streams).await;
    search_stores(&world, &tenants, &sides).await;
    search_messages(&world, &tenants, &sides, &published).await;
    drop(service);
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(log.lines().count() > 10, "{log}");
    for side in &sides {
        assert!(!log.contains(&side.content), "titles and comments are not for logs");
    }
}

impl Side {
    fn new(crew: &[Client], listener: &Client) -> Self {
        let tag = || Ulid::generate().to_string().to_lowercase();
        let mut ids = vec![crew[0].text("tenantId").to_owned(), format!("i{}", tag())];
        for client in crew.iter().chain([listener]) {
            ids.extend(["operatorId", "deviceId"].map(|member| client.text(member).to_owned()));
        }
        let properties = crew[0].grant["propertyIds"].as_array().unwrap();
        ids.extend(properties.iter().map(|property| property.as_str().unwrap().to_owned()));
        Self {
            content: format!("c{}", tag()),
            ids,
            alerts: Mutex::default(),
            cursors: Mutex::default(),
            live_cursors: Mutex::default(),
            positions: Mutex::default(),
            keys: Mutex::default(),
        }
    }

    /// Every second id is one that both tenants have.
    async fn raise(&self, world: &World, client: &Client, is_shared: bool, number: usize) {
        let id = if is_shared {
            format!("alr_{number}")
        } else {
            format!("alr_{}{number}", self.ids[1])
        };
        raise(world, client, &id, &format!("{} no. {number}", self.content)).await;
        self.alerts.lock().unwrap().push(id);
    }

    /// Whatever of this side is in `text` without being in `sent`.
    fn leaks(&self, text: &str, sent: &str) -> Vec<&String> {
        [&self.content]
            .into_iter()
            .chain(&self.ids)
            .filter(|canary| text.contains(canary.as_str()) && !sent.contains(canary.as_str()))
            .collect()
    }
}

/// One desktop's part of the run.
struct Life<'a> {
    world: &'a World,
    service: &'a Service,
    client: Client,
    own: Arc<Side>,
    other: Arc<Side>,
    random: StdRng,
    tally: Tally,
}

impl Life<'_> {
    async fn live(mut self, operations: u64) -> Tally {
        for _ in 0..operations {
            let dice = self.random.random_range(0..100);
            if dice < 2 && self.own.alerts.lock().unwrap().len() < ALERTS_MAX {
                let number = self.own.alerts.lock().unwrap().len();
                self.own.raise(self.world, &self.client, dice == 0, number).await;
                self.tally.operations += 1;
                continue;
            }
            let (is_honest, wish) =
                if dice < 50 { (true, self.honest()) } else { (false, self.hostile()) };
            let asked = timeout(Duration::from_mins(1), self.client.ask(self.service, &wish));
            let answer = asked.await.unwrap_or_else(|_| panic!("no end of an answer: {wish:?}"));
            self.judge(&wish, &answer);
            self.tally.operations += 1;
            if is_honest {
                self.tally.honest += 1;
                self.tally.served += u64::from(answer.status == StatusCode::OK);
                self.keep(&wish, &answer);
            }
        }
        self.tally
    }

    fn judge(&self, wish: &Wish, answer: &Answer) {
        let given = format!("{:?} {}", answer.headers, answer.text);
        let leaks = self.other.leaks(&given, &wish.text());
        assert!(leaks.is_empty(), "{leaks:?} in the answer to {wish:?}: {given}");
        assert!(answer.status != StatusCode::INTERNAL_SERVER_ERROR, "{wish:?}: {given}");
    }

    /// What the other side may steal.
    fn keep(&self, wish: &Wish, answer: &Answer) {
        let keep = |kept: &Mutex<Vec<String>>, value: Option<&str>| {
            let mut kept = kept.lock().unwrap();
            if kept.len() < 500 {
                kept.extend(value.map(str::to_owned));
            }
        };
        keep(&self.own.cursors, answer.body["nextCursor"].as_str());
        keep(&self.own.live_cursors, answer.body["next"].as_str());
        let position = answer.headers.get("x-ledger-position");
        keep(&self.own.positions, position.and_then(|value| value.to_str().ok()));
        if let Some((_, key)) = wish.headers.iter().find(|(name, _)| *name == "x-idempotency-key") {
            let mut keys = self.own.keys.lock().unwrap();
            if keys.len() < 500 {
                keys.push((wish.path.clone(), key.clone()));
            }
        }
    }

    fn honest(&mut self) -> Wish {
        let own = Arc::clone(&self.own);
        let alert = self.pick(&own.alerts.lock().unwrap().clone()).unwrap();
        let acknowledge = format!("/alerts/{alert}/acknowledge");
        let property = self.client.property().to_owned();
        match self.random.random_range(0..10) {
            0 => Wish::get("/bootstrap"),
            1 => Wish::get("/alerts?limit=3"),
            2 => Wish::get("/alerts?limit=100&state=acknowledged"),
            3 => Wish::get(format!("/alerts?propertyId={property}")),
            8 => Wish::get(format!("/dashboard?propertyId={property}")),
            9 => Wish::get("/front-desk?limit=3").with("x-property-id", property),
            4 => {
                let cursor = self.pick(&own.live_cursors.lock().unwrap().clone());
                let after = cursor.map(|it| format!("&after={it}")).unwrap_or_default();
                Wish::get(format!("/live/poll?waitMs=0{after}"))
            }
            5 => {
                let cursor = self.pick(&own.cursors.lock().unwrap().clone());
                let cursor = cursor.map(|it| format!("&cursor={it}")).unwrap_or_default();
                Wish::get(format!("/alerts?limit=3{cursor}"))
            }
            6 => {
                let comment = format!("{} {}", self.own.content, self.random.random::<u32>());
                Wish::post(acknowledge, new_key(), json!({ "comment": comment }))
            }
            _ => Wish::post(acknowledge, new_key(), json!({})),
        }
    }

    /// With the other side's ids, tokens and keys.
    fn hostile(&mut self) -> Wish {
        let (own, other) = (Arc::clone(&self.own), Arc::clone(&self.other));
        let id = self.pick(&other.ids).unwrap();
        let (tenant, property) = (other.ids[0].clone(), other.ids.last().unwrap().clone());
        let alert = self.pick(&other.alerts.lock().unwrap().clone()).unwrap();
        let own_alert = self.pick(&own.alerts.lock().unwrap().clone()).unwrap();
        let cursor = self.pick(&other.cursors.lock().unwrap().clone()).unwrap_or_default();
        let live = self.pick(&other.live_cursors.lock().unwrap().clone()).unwrap_or_default();
        let position = self.pick(&other.positions.lock().unwrap().clone()).unwrap_or_default();
        let keys = other.keys.lock().unwrap().clone();
        let (path, key) = keys
            .choose(&mut self.random)
            .cloned()
            .unwrap_or_else(|| (format!("/alerts/{alert}/acknowledge"), new_key()));
        let list = Wish::get("/alerts?limit=100");
        match self.random.random_range(0..20) {
            0 => Wish::post(format!("/alerts/{alert}/acknowledge"), new_key(), json!({})),
            1 => Wish::post(path, key, json!({})),
            2 => Wish::post(format!("/alerts/{own_alert}/acknowledge"), key, json!({})),
            3 => Wish::get(format!("/alerts?propertyId={property}")),
            4 => Wish::get(format!("/alerts?cursor={cursor}")),
            5 => Wish::get(format!("/live/poll?waitMs=0&after={live}")),
            6 => Wish::get("/live").with("last-event-id", format!("{live}x")),
            7 => list.with("x-min-position", position),
            8 => list.with("x-tenant-id", tenant),
            9 => list.with("x-property-id", property),
            10 => list.with("x-device-id", id),
            11 => Wish::get(format!("/alerts?limit=100&tenantId={tenant}&search={id}")),
            12 => Wish { method: Method::DELETE, ..Wish::get(format!("/alerts/{alert}")) },
            13 => Wish::get(format!("/{tenant}/alerts/{alert}?deviceId={id}")),
            14 => list.with("if-none-match", format!("\"{cursor}\"")),
            15 => Wish::get(format!("/alerts?propertyId={},{property}", self.client.property())),
            17 => Wish::get(format!("/dashboard?propertyId={property}")),
            18 => Wish::get(format!("/arrivals?limit=3&cursor={cursor}"))
                .with("x-property-id", property),
            16 => Wish::post(
                format!("/alerts/{own_alert}/acknowledge"),
                new_key(),
                json!({ "tenantId": tenant }),
            ),
            _ => list.with("cookie", format!("session={id}")).with("x-request-id", id),
        }
    }

    fn pick(&mut self, values: &[String]) -> Option<String> {
        values.choose(&mut self.random).cloned()
    }
}

/// A live stream that is read to its end, and all that came.
struct Stream {
    text: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn listen(service: &Service, client: &mut Client) -> Stream {
    let mut response = client.send(service, &Wish::get("/live")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let text: Arc<Mutex<String>> = Arc::default();
    let heard = Arc::clone(&text);
    let reading = async move {
        while let Ok(Some(chunk)) = response.chunk().await {
            heard.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the stream ends with the test's value")]
    let reading = tokio::spawn(reading);
    Stream { text, reading }
}

/// Each stream told its tenant of its alerts, and of nothing else.
async fn hear_everything(world: &World, sides: &[Arc<Side>], streams: &[Stream]) {
    for (index, side) in sides.iter().enumerate() {
        let last = format!("alr_last_{}", side.ids[1]);
        let property = side.ids.last().unwrap();
        let payload = json!({ "alertId": last, "propertyId": property, "title": "last" });
        let subject = "melmastoon.notification.alert.raised.v1";
        happened(world, &side.ids[0], subject, payload).await;
        wait::until("the stream has the last alert", async || {
            streams[index].text.lock().unwrap().contains(&last)
        })
        .await;
        let heard = streams[index].text.lock().unwrap().clone();
        assert!(heard.contains(side.ids[1].as_str()));
        let leaks = sides[1 - index].leaks(&heard, "");
        assert!(leaks.is_empty(), "{leaks:?} in the stream");
    }
}

/// Keys and rows of one tenant hold nothing of the other, and global keys no content at all.
async fn search_stores(world: &World, tenants: &[String], sides: &[Arc<Side>]) {
    let mut held = BTreeMap::new();
    for server in [&world.session_tier, &world.cache_tier] {
        for key in server.keys().await {
            let value = dump(server, &key).await;
            held.insert(key, value);
        }
    }
    assert!(held.len() > 10);
    for (key, value) in &held {
        for (index, side) in sides.iter().enumerate() {
            let other = &sides[1 - index];
            if key.starts_with(&format!("{{{}}}:", tenants[index])) {
                let leaks = other.leaks(&format!("{key} {value}"), "");
                assert!(leaks.is_empty(), "{leaks:?} in {key}: {value}");
            } else if key.starts_with("g:") {
                assert!(!value.contains(&side.content), "{key}: {value}");
            }
        }
    }
    let mut superuser = world.database.superuser().await;
    for (index, tenant) in tenants[..2].iter().enumerate() {
        let rows: Vec<String> = sqlx::query_scalar(
            "select stream || convert_from(body, 'UTF8') || convert_from(metadata, 'UTF8') from event \
             where tenant_id = $1 \
             union all select operator_id || device_id || coalesce(encode(body, 'escape'), '') \
             from idempotency where tenant_id = $1 \
             union all select payload::text from inbox_event where tenant_id = $1 \
             union all select session_map::text from session_map where tenant_id = $1 \
             union all select device_sync_status::text from device_sync_status where tenant_id = $1",
        )
        .bind(tenant)
        .fetch_all(&mut superuser)
        .await
        .unwrap();
        assert!(rows.len() > 10);
        let leaks = sides[1 - index].leaks(&rows.join("\n"), "");
        assert!(leaks.is_empty(), "{leaks:?} in the rows of {tenant}");
    }
}

async fn dump(server: &RedisServer, key: &str) -> String {
    let kind = redis::from_redis_value::<String>(server.command(&["TYPE", key]).await).unwrap();
    let value = match kind.as_str() {
        "string" => server.command(&["GET", key]).await,
        "hash" => server.command(&["HGETALL", key]).await,
        "stream" => server.command(&["XRANGE", key, "-", "+"]).await,
        "set" => server.command(&["SMEMBERS", key]).await,
        "zset" => server.command(&["ZRANGE", key, "0", "-1"]).await,
        "list" => server.command(&["LRANGE", key, "0", "-1"]).await,
        // Gone in between.
        _ => return String::new(),
    };
    let mut text = String::new();
    flatten(&value, &mut text);
    text
}

fn flatten(value: &redis::Value, text: &mut String) {
    match value {
        redis::Value::BulkString(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
        redis::Value::Array(values) => values.iter().for_each(|value| flatten(value, text)),
        redis::Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            flatten(key, text);
            flatten(value, text);
        }),
        other => text.extend([format!("{other:?}")]),
    }
    text.push(' ');
}

/// What the service published of one tenant holds nothing of the other.
async fn search_messages(
    world: &World,
    tenants: &[String],
    sides: &[Arc<Side>],
    published: &[Listener; 2],
) {
    let mut superuser = world.database.superuser().await;
    for (listener, ledger) in published.iter().zip(["alert-ack", "session"]) {
        let count: i64 = sqlx::query_scalar("select count(*) from event where ledger = $1")
            .bind(ledger)
            .fetch_one(&mut superuser)
            .await
            .unwrap();
        assert!(count > 0, "{ledger}");
        for _ in 0..count {
            let message = listener.message(|_| true).await;
            let tenant = message["envelope"]["tenantId"].as_str().unwrap();
            let Some(index) = tenants[..2].iter().position(|it| it == tenant) else { continue };
            let message = message.to_string();
            let leaks = sides[1 - index].leaks(&message, "");
            assert!(leaks.is_empty(), "{leaks:?} in {message}");
            for side in sides {
                assert!(!message.contains(&side.content), "comments are not published");
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a long run is asked for by the environment")]
fn operations() -> u64 {
    std::env::var("CANARY_OPERATIONS")
        .map_or(OPERATIONS, |count| count.parse().expect("CANARY_OPERATIONS is a number"))
}
