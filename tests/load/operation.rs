//! What desktops do, in open loop: an operation is due at its time whether or not the one before has
//! ended, and is measured from then on, so that one that waits behind a slow one counts with its
//! wait.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use backoffice::clock::{Clock, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    fleet::{Answered, Fleet, Member, PATIENCE},
    say,
    scenario::{Kind, Scenario},
    support::{desktop::key, locks::Door, platform::look, suggestions, wait},
};

/// Mutations of which one is pressed twice, where some are.
const TWICE_EVERY: usize = 10;
/// Desktops that issue keys.
const DOORS: usize = 200;
const HOUSEKEEPING: &str = "housekeeping-service";

/// How long, and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub length: Duration,
    /// Of the scenario's rates.
    pub percent: u32,
}

impl Pace {
    fn rate(self, scenario: Scenario, kind: Kind) -> f64 {
        scenario.rate(kind) * f64::from(self.percent) / 100.0
    }
}

/// One operation and how it went.
#[derive(Debug)]
pub struct Sample {
    pub kind: Kind,
    /// From the moment it was due to the last byte.
    pub took: Duration,
    /// To the first one.
    pub first_byte: Duration,
    pub failure: Option<String>,
}

/// What operations need that is not made up on the way.
pub struct Operations {
    /// A door for each desktop of the first of every property, with who uses it.
    doors: Vec<(usize, Door)>,
    /// A room of each desktop's property.
    rooms: Vec<String>,
    /// Suggestions, each with who decides on it.
    proposed: Mutex<Vec<(usize, String)>>,
    /// Of mutations that came twice: presses that were not answered as the first was.
    answered_otherwise: Mutex<usize>,
    keys: Mutex<HashSet<String>>,
    effects_before: usize,
}

/// One request.
struct Wish {
    method: Method,
    path: String,
    /// With its key.
    body: Option<(Value, String)>,
}

impl Operations {
    pub async fn prepare(fleet: &Fleet, scenario: Scenario, pace: Pace) -> Self {
        say("screens and inboxes are looked at once");
        for member in fleet.one_a_place() {
            for path in ["/alerts".to_owned(), "/ai/suggestions".to_owned(), dashboard(member)] {
                let answer = member
                    .send(|| member.signed(&fleet.service, &Method::GET, &path))
                    .await
                    .unwrap();
                assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json());
            }
        }
        let known = look(&fleet.world, "/sim/world").await;
        let rooms = fleet.desktops.iter().map(|member| room(&known, &member.property())).collect();
        let mut doors = Vec::new();
        for number in 0..fleet.desktops.len().min(DOORS) {
            let property = fleet.member(number).property();
            doors.push((number, Door::among(&known, &property, number)));
        }
        let needed = pace.rate(scenario, Kind::Decision) * pace.length.as_secs_f64();
        let mut proposed = Vec::new();
        // Elsewhere not every suggestion is shown.
        let tenants = known["tenants"].as_array().unwrap().iter();
        let standard: Vec<&Value> = tenants
            .filter(|it| it["complianceProfile"] == "standard")
            .map(|it| &it["id"])
            .collect();
        let deciding = (0..fleet.desktops.len())
            .filter(|number| standard.contains(&&json!(fleet.member(*number).text("tenantId"))));
        for number in deciding.cycle().take(whole(needed) + 1) {
            proposed.push((number, propose(fleet, fleet.member(number)).await));
        }
        let effects_before = effects(fleet).await;
        Self {
            doors,
            rooms,
            proposed: Mutex::new(proposed),
            answered_otherwise: Mutex::default(),
            keys: Mutex::default(),
            effects_before,
        }
    }

    /// Every kind at its rate, for so long; answers when all have ended.
    pub async fn run(
        self: &Arc<Self>,
        fleet: &Arc<Fleet>,
        scenario: Scenario,
        pace: Pace,
    ) -> Vec<Sample> {
        let start = Instant::now();
        let mut kinds = JoinSet::new();
        for kind in Kind::ALL {
            let rate = pace.rate(scenario, kind);
            let (this, fleet) = (Arc::clone(self), Arc::clone(fleet));
            kinds.spawn(async move {
                let mut running = JoinSet::new();
                for number in 0.. {
                    let due = start + Duration::from_secs_f64((f64::from(number) + 0.5) / rate);
                    if start + pace.length <= due {
                        break;
                    }
                    sleep_until(due).await;
                    let (this, fleet) = (Arc::clone(&this), Arc::clone(&fleet));
                    let number = usize::try_from(number).unwrap();
                    let twice = scenario.presses_twice() && number % TWICE_EVERY == 0;
                    running.spawn(
                        async move { this.sample(&fleet, kind, (number, due, twice)).await },
                    );
                }
                running.join_all().await
            });
        }
        kinds.join_all().await.into_iter().flatten().collect()
    }

    async fn sample(
        &self,
        fleet: &Fleet,
        kind: Kind,
        (number, due, twice): (usize, Instant, bool),
    ) -> Sample {
        let (who, wish) = self.wish(fleet, kind, number);
        let member = fleet.member(who);
        let first = timeout(PATIENCE, ask(fleet, member, &wish));
        let (answer, again) = if twice && kind == Kind::Mutation {
            let (answer, again) = tokio::join!(first, timeout(PATIENCE, ask(fleet, member, &wish)));
            (answer, Some(again))
        } else {
            (first.await, None)
        };
        let took = due.elapsed();
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        if let Some(again) = again {
            let again = again.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            self.compare(&answer, &again);
            self.note_done(kind, &wish, &again);
        }
        self.note_done(kind, &wish, &answer);
        let first_byte = answer.as_ref().map_or(took, |answer| answer.first_byte_at - due);
        let failure = match &answer {
            // Of two presses at once, one may be told to wait for the other.
            Ok(answer) if twice && answer.status == StatusCode::CONFLICT => None,
            Ok(answer) if answer.status.is_success() => None,
            Ok(answer) => Some(format!("{}: {}", answer.status, answer.json())),
            Err(error) => Some(error.clone()),
        };
        Sample { kind, took, first_byte, failure }
    }

    /// A mutation that was answered is to have one effect.
    fn note_done(&self, kind: Kind, wish: &Wish, answer: &Result<Answered, String>) {
        let is_done = answer.as_ref().is_ok_and(|answer| answer.status.is_success());
        if let (true, Kind::Mutation, Some((_, key))) = (is_done, kind, &wish.body) {
            self.keys.lock().unwrap().insert(key.clone());
        }
    }

    /// Both have the same answer, or one is told that the other is at work.
    fn compare(&self, one: &Result<Answered, String>, other: &Result<Answered, String>) {
        let is_same = match (one, other) {
            (Ok(one), Ok(other)) => {
                let conflicts = [one, other].map(|it| it.status == StatusCode::CONFLICT);
                match conflicts {
                    [false, false] => {
                        one.status == other.status
                            && one.body == other.body
                            && one.replayed != other.replayed
                    }
                    [one, other] => one != other,
                }
            }
            _ => false,
        };
        *self.answered_otherwise.lock().unwrap() += usize::from(!is_same);
    }

    fn wish(&self, fleet: &Fleet, kind: Kind, number: usize) -> (usize, Wish) {
        let member = fleet.member(number);
        let get = |path: String| (number, Wish { method: Method::GET, path, body: None });
        let post = |who: usize, path: String, body: Value| {
            (who, Wish { method: Method::POST, path, body: Some((body, key())) })
        };
        match kind {
            Kind::Dashboard => get(dashboard(member)),
            Kind::Board => get(format!("/front-desk?propertyId={}", member.property())),
            Kind::Suggestions => get("/ai/suggestions".to_owned()),
            Kind::Heartbeat => {
                let path = format!("/devices/{}/heartbeat", member.text("deviceId"));
                let now = SystemClock.now().to_rfc3339();
                let state = json!({
                    "appVersion": "1.4.2", "networkMode": "good", "pendingActions": 0,
                    "lastSyncAt": now, "clock": now,
                });
                post(number, path, state)
            }
            Kind::Handshake => post(number, "/sync/handshake".to_owned(), json!({})),
            Kind::Mutation => {
                let room = &self.rooms[number % self.rooms.len()];
                post(number, format!("/rooms/{room}/status"), json!({ "status": "dirty" }))
            }
            Kind::LockAction => {
                let (who, door) = &self.doors[number % self.doors.len()];
                post(*who, door.issue_path(), door.wish())
            }
            Kind::Decision => {
                let (who, id) = self.proposed.lock().unwrap().pop().expect("enough were proposed");
                post(who, suggestions::path(&id), json!({ "decision": "accept" }))
            }
        }
    }

    /// Presses that were answered otherwise than their first, and effects that no key stands for:
    /// zero, or idempotency has failed.
    pub async fn doubled(&self, fleet: &Fleet, samples: &[Sample]) -> usize {
        let otherwise = *self.answered_otherwise.lock().unwrap();
        let is_sure = samples.iter().all(|sample| sample.failure.is_none());
        let keys = self.keys.lock().unwrap().len();
        let effects = effects(fleet).await - self.effects_before;
        // What was not answered may have been done.
        otherwise + if is_sure { effects.abs_diff(keys) } else { 0 }
    }
}

async fn ask(fleet: &Fleet, member: &Member, wish: &Wish) -> Result<Answered, String> {
    let make = || {
        let request = member.signed(&fleet.service, &wish.method, &wish.path);
        match &wish.body {
            Some((body, key)) => request
                .header("x-idempotency-key", key)
                .header("x-property-id", member.property())
                .json(body),
            None => request,
        }
    };
    member.send(make).await
}

/// Has something suggested and waits until it can be decided on.
async fn propose(fleet: &Fleet, member: &Member) -> String {
    let place = (member.text("tenantId"), member.property());
    let details = json!({ "title": "Raise the rate" });
    let id = suggestions::propose_at(&fleet.world, (&place.0, &place.1), details).await;
    let path = "/ai/suggestions?limit=100";
    wait::until("the suggestion is listed", async || {
        let make = || member.signed(&fleet.service, &Method::GET, path);
        let list = member.send(make).await.unwrap().json();
        list["items"].as_array().is_some_and(|items| items.iter().any(|item| item["id"] == id))
    })
    .await;
    id
}

fn dashboard(member: &Member) -> String {
    format!("/dashboard?propertyId={}", member.property())
}

fn room(known: &Value, property_id: &str) -> String {
    let stays = known["reservations"].as_array().unwrap();
    let stay = stays.iter().find(|stay| stay["propertyId"] == property_id).unwrap();
    stay["roomId"].as_str().unwrap().to_owned()
}

async fn effects(fleet: &Fleet) -> usize {
    let path = format!("/sim/upstreams/{HOUSEKEEPING}/effects");
    look(&fleet.world, &path).await["effects"].as_array().unwrap().len()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn whole(count: f64) -> usize {
    count.ceil() as usize
}
