//! The Node peer of the benchmarks does the work it is compared by: what it shows is what the service
//! shows, and what the service refuses it refuses.

use chrono::TimeDelta;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, ACCEPT_LANGUAGE},
};
use serde_json::{Map, Value, json};

use crate::{
    peer,
    support::{
        desktop::{Answer, Desktop, key},
        service::{Service, World},
    },
};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A service, and the peer on its stores.
struct Both {
    world: World,
    ours: Service,
    peer: Service,
}

impl Both {
    async fn start() -> Self {
        let world = World::start().await;
        let ours = world.service().await;
        let peer = peer::start(&world).await;
        Self { world, ours, peer }
    }

    /// An operator of the tenant with these roles, whose inboxes stand.
    async fn desktop(&self, tenant_id: &str, roles: &[&str]) -> Desktop {
        let options = json!({ "roles": roles });
        let mut desktop = Desktop::sign_in(&self.world, tenant_id, options).await;
        let path = dashboard(&desktop);
        let answer = desktop.get(&self.ours, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        desktop
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_shows_the_same_widgets_with_the_same_data_to_the_same_people() {
    let both = Both::start().await;
    for tenant_id in both.world.simulator.tenant_ids() {
        for roles in [
            &["front_desk", "property_manager"][..],
            &["housekeeping_lead"],
            &["owner"],
            &["housekeeper", "front_desk"],
        ] {
            let desktop = both.desktop(&tenant_id, roles).await;
            // Asked of the upstreams by who comes first, and kept for who comes next.
            let theirs = whole(&desktop, &both.peer).await;
            let again = whole(&desktop, &both.peer).await;
            let ours = whole(&desktop, &both.ours).await;
            assert_eq!(again.headers["x-cache"], "hit", "{roles:?}");
            assert_eq!(shown(&theirs.body), shown(&ours.body), "{roles:?}");
            assert_eq!(shown(&again.body), shown(&ours.body), "{roles:?}");
            let same = ["propertyId", "complete", "partial"];
            assert_eq!(of(&theirs.body, &same), of(&ours.body, &same));
            assert_eq!(ours.body["complete"], true, "{}", ours.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_sends_the_same_frames() {
    let both = Both::start().await;
    let tenant_id = both.world.simulator.tenant_ids()[0].clone();
    let desktop = both.desktop(&tenant_id, &["front_desk"]).await;
    let theirs = frames(&desktop, &both.peer).await;
    let ours = frames(&desktop, &both.ours).await;
    assert_eq!(theirs.len(), ours.len());
    assert_eq!(theirs[0]["widgets"], ours[0]["widgets"]);
    let widgets = |frames: &[Value]| {
        let mut widgets = frames[1..frames.len() - 1].to_vec();
        widgets.sort_by_key(|widget| widget["id"].to_string());
        shown(&json!({ "widgets": widgets }))
    };
    assert_eq!(widgets(&theirs), widgets(&ours));
    for frames in [&theirs, &ours] {
        assert_eq!(frames[0]["frame"], "skeleton");
        let end = frames.last().unwrap();
        assert_eq!((&end["frame"], &end["complete"]), (&json!("end"), &json!(true)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_refuses_what_the_service_refuses() {
    let both = Both::start().await;
    let tenant_id = both.world.simulator.tenant_ids()[0].clone();
    let mut desktop = both.desktop(&tenant_id, &["front_desk"]).await;
    let stranger = both.desktop(&tenant_id, &["auditor", "front_desk"]).await;
    let mut expired = Desktop::sign_in(&both.world, &tenant_id, json!({ "ttlSeconds": -60 })).await;
    expired.nonce.clone_from(&desktop.nonce);
    let path = dashboard(&desktop);
    for service in [&both.ours, &both.peer] {
        let get = |path: &str| desktop.proof(service, &Method::GET, path);
        let send = async |proof: &str| refused(&desktop, service, &path, proof).await;

        let used = get(&path);
        assert_eq!(send(&used).await, (StatusCode::OK, None));
        assert_eq!(send(&used).await, unauthorized("PROOF_REPLAYED"));
        let old = desktop.proof_at(service, &Method::GET, &path, TimeDelta::seconds(-120));
        let early = desktop.proof_at(service, &Method::GET, &path, TimeDelta::seconds(120));
        let of_another_method = desktop.proof(service, &Method::POST, &path);
        let unsigned = get(&path).rsplit_once('.').unwrap().0.to_owned() + "." + &"A".repeat(86);
        for wrong in [old, early, of_another_method, get("/session"), unsigned, "x".to_owned()] {
            assert_eq!(send(&wrong).await, unauthorized("PROOF_INVALID"), "{wrong}");
        }
        let of_another_key = stranger.proof(service, &Method::GET, &path);
        assert_eq!(send(&of_another_key).await.0, StatusCode::UNAUTHORIZED);
        let proof = expired.proof(service, &Method::GET, &path);
        let answer = refused(&expired, service, &path, &proof).await;
        assert_eq!(answer, unauthorized("TOKEN_EXPIRED"));
        let elsewhere = "/dashboard?propertyId=ppt_of_nobody";
        let answer = refused(&desktop, service, elsewhere, &get(elsewhere)).await;
        assert_eq!(answer.0, StatusCode::NOT_FOUND);
    }

    // A proof for one token, sent with another one of the same key.
    let proofs = [&both.ours, &both.peer]
        .map(|service| (service, desktop.proof(service, &Method::GET, &path)));
    let nonce = desktop.nonce.clone();
    assert_eq!(desktop.refresh(&both.ours, &key()).await.status, StatusCode::OK);
    for (service, proof) in proofs {
        let answer = refused(&desktop, service, &path, &proof).await;
        assert_eq!(answer, unauthorized("PROOF_INVALID"), "for another token");
    }

    // Without a nonce, and then with the one that was given.
    for service in [&both.ours, &both.peer] {
        desktop.nonce = None;
        let bare = desktop.proof(service, &Method::GET, &path);
        let answer = Answer::read(desktop.send_with_proof(service, &path, None, &bare).await).await;
        assert_eq!(answer.body["code"], "MELMASTOON.AUTH.NONCE_REQUIRED");
        desktop.hear_nonce(&answer);
        let proof = desktop.proof(service, &Method::GET, &path);
        assert_eq!(refused(&desktop, service, &path, &proof).await.0, StatusCode::OK);
        // Both make the same ones, so that one desktop can ask both.
        assert_eq!(desktop.nonce.as_ref().map(String::len), nonce.as_ref().map(String::len));
    }
}

fn dashboard(desktop: &Desktop) -> String {
    format!("/dashboard?propertyId={}", desktop.property())
}

fn unauthorized(code: &str) -> (StatusCode, Option<String>) {
    (StatusCode::UNAUTHORIZED, Some(format!("MELMASTOON.AUTH.{code}")))
}

/// What became of a request under this proof.
async fn refused(
    desktop: &Desktop,
    service: &Service,
    path: &str,
    proof: &str,
) -> (StatusCode, Option<String>) {
    let answer = desktop.send_with_proof(service, path, None, proof).await;
    let answer = Answer::read(answer).await;
    (answer.status, answer.body["code"].as_str().map(str::to_owned))
}

async fn whole(desktop: &Desktop, service: &Service) -> Answer {
    accepting(desktop, service, JSON).await
}

async fn frames(desktop: &Desktop, service: &Service) -> Vec<Value> {
    let answer = accepting(desktop, service, NDJSON).await;
    let lines = answer.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

async fn accepting(desktop: &Desktop, service: &Service, form: &str) -> Answer {
    let path = dashboard(desktop);
    let proof = desktop.proof(service, &Method::GET, &path);
    let request = desktop.signed(service, Method::GET, &path, &proof).header(ACCEPT, form);
    // The only language the peer has titles in.
    let request = request.header(ACCEPT_LANGUAGE, "en");
    let answer = Answer::read(request.send().await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{} {}", answer.body, service.log());
    answer
}

/// The widgets without what differs from one moment to the next.
fn shown(document: &Value) -> Vec<Value> {
    let widgets = document["widgets"].as_array().unwrap().iter().cloned();
    widgets
        .map(|mut widget| {
            for name in ["asOf", "source"] {
                widget.as_object_mut().unwrap().remove(name);
            }
            widget
        })
        .collect()
}

fn of(document: &Value, names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), document[name].clone())).collect()
}
