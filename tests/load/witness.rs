//! One live stream a desktop, which is told of alerts while the load lasts: how long each takes, and
//! whether any is missed or comes twice.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use backoffice::desktop::frames::{Frame, FrameReader};
use rand::Rng;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    fleet::{Fleet, Member},
    say,
    support::{
        platform::{revoke, simulate},
        wait,
    },
};

/// Between two alerts, each at another property.
const ALERT_EVERY: Duration = Duration::from_millis(500);
/// Before the load ends no more are raised, so that the last has time to arrive.
const QUIET: Duration = Duration::from_secs(3);
/// For what is still on its way, and for a fleet that comes back.
const PATIENCE: Duration = Duration::from_mins(1);
const OPENING_AT_ONCE: usize = 64;
/// The first of the fleet, when the load has ended.
pub const LOGGED_OUT: usize = 20;

/// The streams of a fleet.
pub struct Witnesses {
    streams: Vec<Arc<Mutex<Stream>>>,
    /// Told of every event on any stream.
    news: Arc<Notify>,
    /// Grows when every stream is to break.
    breaks: watch::Sender<u32>,
    following: JoinSet<()>,
}

/// What one stream has heard.
#[derive(Default)]
struct Stream {
    alerts: Vec<(String, Instant)>,
    /// From each opening to its first event.
    first_events: Vec<Duration>,
    refused: usize,
    is_open: bool,
    logged_out_at: Option<Instant>,
}

/// An alert as it was published.
pub struct Raised {
    id: String,
    property_id: String,
    at: Instant,
}

/// What all streams have heard.
#[derive(Default)]
pub struct Heard {
    /// From the publisher's answer to the stream, every alert at every stream.
    pub deliveries: Vec<Duration>,
    pub first_events: Vec<Duration>,
    /// From the revocation to the word on the stream.
    pub log_outs: Vec<Duration>,
    pub missed: usize,
    pub repeated: usize,
    pub refused: usize,
}

impl Witnesses {
    /// Opens a stream for every desktop and waits until all of them stand.
    pub async fn open(fleet: &Arc<Fleet>) -> Self {
        say("every desktop opens its stream");
        let (breaks, broken) = watch::channel(0);
        let news = Arc::new(Notify::new());
        let (mut streams, mut following) = (Vec::new(), JoinSet::new());
        for number in 0..fleet.desktops.len() {
            let stream = Arc::new(Mutex::new(Stream::default()));
            streams.push(Arc::clone(&stream));
            let (fleet, broken, news) = (Arc::clone(fleet), broken.clone(), Arc::clone(&news));
            following.spawn(async move {
                follow(&fleet, fleet.member(number), (&stream, &news), broken).await;
            });
            if number % OPENING_AT_ONCE == 0 {
                wait_for(&streams[..number]).await;
            }
        }
        wait_for(&streams).await;
        Self { streams, news, breaks, following }
    }

    /// Every stream breaks then, in one moment.
    pub async fn break_at(&self, at: Instant) {
        sleep_until(at).await;
        say("every stream breaks");
        self.breaks.send_modify(|count| *count += 1);
    }

    /// Waits for what is still on its way, then ends some sessions, and sums up.
    pub async fn close(mut self, fleet: &Fleet, raised: &[Raised]) -> Heard {
        let expected = by_property(fleet, raised);
        let all_heard = async {
            while !self.have_heard(fleet, &expected) {
                self.news.notified().await;
            }
        };
        // What is late by then counts as missed.
        let _in_time = timeout(PATIENCE, all_heard).await;
        let log_outs = self.log_out(fleet).await;
        self.following.shutdown().await;
        let mut heard = Heard { log_outs, ..Heard::default() };
        for (member, stream) in fleet.desktops.iter().zip(&self.streams) {
            let stream = stream.lock().unwrap();
            heard.first_events.extend(&stream.first_events);
            heard.refused += stream.refused;
            let mut times: HashMap<&str, Vec<Instant>> = HashMap::new();
            for (id, at) in &stream.alerts {
                times.entry(id).or_default().push(*at);
            }
            for raised in expected.get(&member.property()).into_iter().flatten() {
                match times.get(raised.id.as_str()) {
                    Some(times) => {
                        heard.deliveries.push(times[0].saturating_duration_since(raised.at));
                        heard.repeated += times.len() - 1;
                    }
                    None => heard.missed += 1,
                }
            }
        }
        heard
    }

    fn have_heard(&self, fleet: &Fleet, expected: &HashMap<String, Vec<&Raised>>) -> bool {
        fleet.desktops.iter().zip(&self.streams).all(|(member, stream)| {
            let stream = stream.lock().unwrap();
            let expected = expected.get(&member.property()).map_or(0, Vec::len);
            stream.is_open && expected <= stream.alerts.len()
        })
    }

    async fn log_out(&self, fleet: &Fleet) -> Vec<Duration> {
        let mut took = Vec::new();
        for (member, stream) in fleet.desktops.iter().zip(&self.streams).take(LOGGED_OUT) {
            let operator = (member.text("tenantId"), member.text("operatorId"));
            revoke(&fleet.world, (&operator.0, &operator.1), "admin").await;
            let published_at = Instant::now();
            let at = wait::until_some("the desktop is logged out", async || {
                stream.lock().unwrap().logged_out_at
            })
            .await;
            took.push(at.saturating_duration_since(published_at));
        }
        took
    }
}

/// Has alerts raised, at every property in turn, while the load lasts.
pub async fn raise(fleet: &Fleet, length: Duration) -> Vec<Raised> {
    let places: Vec<(String, String)> = fleet
        .one_a_place()
        .into_iter()
        .map(|member| (member.text("tenantId"), member.property()))
        .collect();
    let mut due = Instant::now();
    let end = due + length.saturating_sub(QUIET);
    let mut raised = Vec::new();
    for (tenant_id, property_id) in places.iter().cycle() {
        due += ALERT_EVERY;
        if end <= due {
            break;
        }
        sleep_until(due).await;
        let id = raise_one(fleet, (tenant_id, property_id)).await;
        raised.push(Raised { id, property_id: property_id.clone(), at: Instant::now() });
    }
    raised
}

async fn wait_for(streams: &[Arc<Mutex<Stream>>]) {
    wait::within(PATIENCE, "the streams stand", async || {
        streams.iter().all(|stream| stream.lock().unwrap().is_open).then_some(())
    })
    .await;
}

fn by_property<'a>(fleet: &Fleet, raised: &'a [Raised]) -> HashMap<String, Vec<&'a Raised>> {
    let mut expected: HashMap<String, Vec<&Raised>> =
        fleet.desktops.iter().map(|member| (member.property(), Vec::new())).collect();
    for raised in raised {
        expected.entry(raised.property_id.clone()).or_default().push(raised);
    }
    expected
}

async fn raise_one(fleet: &Fleet, (tenant_id, property_id): (&str, &str)) -> String {
    let event = json!({
        "producer": "notification",
        "subject": "melmastoon.notification.alert.raised.v1",
        "tenantId": tenant_id,
        "payload": {
            "propertyId": property_id, "severity": "high", "category": "lock",
            "title": "Battery low",
        },
    });
    let event = simulate(&fleet.world, "/sim/events", &event).await;
    event["payload"]["alertId"].as_str().unwrap().to_owned()
}

/// Follows the stream through its breaks until the session ends.
async fn follow(
    fleet: &Fleet,
    member: &Member,
    (stream, news): (&Mutex<Stream>, &Notify),
    mut broken: watch::Receiver<u32>,
) {
    let mut last_event_id: Option<String> = None;
    let mut pause = Duration::from_secs(1);
    loop {
        let opened_at = Instant::now();
        let mut request = member.signed(&fleet.service, &Method::GET, "/live?channels=alerts");
        if let Some(id) = &last_event_id {
            request = request.header("last-event-id", id);
        }
        match request.send().await {
            Ok(mut response) => {
                member.hear_nonce(&response);
                if response.status() == StatusCode::OK {
                    let mut reader = FrameReader::default();
                    loop {
                        let chunk = tokio::select! {
                            chunk = response.chunk() => chunk,
                            _ = broken.changed() => break,
                        };
                        let Ok(Some(chunk)) = chunk else { break };
                        for frame in reader.push(&chunk).unwrap() {
                            stream.lock().unwrap().take(&frame, opened_at);
                            last_event_id = frame.id.or(last_event_id);
                        }
                        news.notify_one();
                        let retry = reader.retry_ms.map(Duration::from_millis);
                        pause = retry.unwrap_or(pause);
                    }
                } else if response.status() == StatusCode::UNAUTHORIZED {
                    // The nonce; the next request has it.
                    pause = Duration::ZERO;
                } else {
                    stream.lock().unwrap().refused += 1;
                }
            }
            Err(_) => stream.lock().unwrap().refused += 1,
        }
        stream.lock().unwrap().is_open = false;
        if stream.lock().unwrap().logged_out_at.is_some() {
            return;
        }
        // As long as the service has told it to, as every desktop.
        let share = rand::rng().random_range(0.5..1.0);
        sleep(pause.mul_f64(share)).await;
    }
}

impl Stream {
    fn take(&mut self, frame: &Frame, opened_at: Instant) {
        let data: Value = serde_json::from_str(&frame.data).unwrap();
        match data["kind"].as_str() {
            Some("hello") => {
                self.first_events.push(opened_at.elapsed());
                self.is_open = true;
            }
            Some("alert.raised") => {
                self.alerts.push((data["id"].as_str().unwrap().to_owned(), Instant::now()));
            }
            Some("force-logout") => self.logged_out_at = Some(Instant::now()),
            _ => (),
        }
    }
}
