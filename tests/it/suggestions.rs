//! Suggestions through the binary: taken in, listed, heard, decided on once, told to the
//! orchestrator; and hidden from whoever must not see them.

mod keys;

use backoffice::{
    clock::{Clock, SystemClock},
    upstream::Profiles,
};
use chrono::TimeDelta;
use events::{Ledger, TenantId};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::support::{
    desktop::{Answer, Desktop, key},
    listener::Listener,
    platform::{fault, heal, tenant},
    replica::Replica,
    service::World,
    suggestions::{
        claims, decide, effects, events_of, happen, kinds_of, list, listed, path, propose,
        proposed, tenant_of,
    },
    wait,
};

const ORCHESTRATOR: &str = "ai-orchestrator-service";

#[tokio::test(flavor = "multi_thread")]
async fn a_suggestion_is_seen_heard_decided_recorded_published_and_reported() {
    let world = World::start().await;
    let service = world.service().await;
    let published = Listener::on(&world, "melmastoon.bff.backoffice.ai-decision").await;
    let mut desktop = standard(&world).await;
    let mut live = desktop.live(&service, "?channels=ai").await;

    let details = json!({
        "title": { "en": "Raise the rate" }, "confidence": 0.75, "proposal": { "percent": 10 },
    });
    let id = propose(&world, &desktop, details).await;

    assert_eq!(live.next_of("suggestion.added").await["id"], id.as_str());
    let seen = listed(&mut desktop, &service, &id, |_| true).await;
    assert_eq!(seen["state"], "proposed");
    assert_eq!(seen["title"], "Raise the rate");
    assert_eq!(seen["confidence"], 0.75);
    assert_eq!(seen["proposal"], json!({ "percent": 10 }));

    let body = json!({
        "decision": "modify", "modification": { "percent": 5 }, "reasonCode": "LOCAL_EVENT",
        "comment": "Karim said so",
    });
    let key = key();
    let answer = decide(&mut desktop, &service, (&id, &key), &body).await;
    let again = decide(&mut desktop, &service, (&id, &key), &body).await;
    let other = json!({ "decision": "accept" });
    let other_body = decide(&mut desktop, &service, (&id, &key), &other).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["state"], "decided");
    assert_eq!(answer.body["decidedBy"], desktop.text("operatorId"));
    assert!(answer.headers.contains_key("x-ledger-position"));
    assert_eq!(again.bytes, answer.bytes);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(other_body.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(live.next_of("suggestion.decided").await["id"], id.as_str());
    desktop.min_position = Some(answer.headers["x-ledger-position"].to_str().unwrap().to_owned());
    let own = listed(&mut desktop, &service, &id, |item| item["state"] == "decided").await;
    assert_eq!(own["decision"], "modify");
    assert_eq!(own["decidedBy"], desktop.text("operatorId"));

    settled(&world, &id).await;
    let [told] = &effects(&world, &id).await[..] else { panic!("told once") };
    for (member, value) in body.as_object().unwrap() {
        assert_eq!(told["body"][member], *value);
    }
    assert_eq!(told["body"]["decidedBy"], desktop.text("operatorId"));
    let stream = format!("sdl:{id}");
    let message =
        published.message(|message| message["envelope"]["streamId"] == stream.as_str()).await;
    assert_eq!(message["payload"]["modification"], body["modification"]);
    assert!(!message.to_string().contains("Karim"), "{message}");
    assert!(!format!("{:?}", events_of(&world, &id).await).contains("Karim"));
}

#[tokio::test(flavor = "multi_thread")]
async fn id_23_a_suggestion_is_decided_once_by_many_devices_at_two_instances() {
    let world = World::start().await;
    let services = [world.service().await, world.service().await];
    let mut desktops = Vec::new();
    for _ in 0..6 {
        desktops.push(standard(&world).await);
    }
    let id = proposed(&world, &mut desktops[0], &services[0]).await;
    for (number, desktop) in desktops.iter_mut().enumerate() {
        listed(desktop, &services[number % 2], &id, |_| true).await;
    }

    let words = ["accept", "reject"];
    let wishes: Vec<(String, Value)> =
        (0..6).map(|number| (key(), json!({ "decision": words[number % 2] }))).collect();
    let answers = join_all(desktops.iter_mut().enumerate().map(async |(number, desktop)| {
        let (key, body) = &wishes[number];
        decide(desktop, &services[number % 2], (&id, key), body).await
    }))
    .await;

    let winners: Vec<&Answer> =
        answers.iter().filter(|answer| answer.status == StatusCode::OK).collect();
    let [winner] = &winners[..] else { panic!("{} decided", winners.len()) };
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
        assert_eq!(answer.body["code"], "MELMASTOON.AI.ALREADY_DECIDED");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["standing"], winner.body);
    }
    settled(&world, &id).await;
    assert_eq!(effects(&world, &id).await.len(), 1);

    // Whoever asks again is answered the same bytes, at the other instance too.
    for (number, desktop) in desktops.iter_mut().enumerate() {
        let (key, body) = &wishes[number];
        let again = decide(desktop, &services[(number + 1) % 2], (&id, key), body).await;
        assert_eq!(again.status, answers[number].status);
        assert_eq!(again.bytes, answers[number].bytes);
        assert_eq!(again.headers["idempotency-replayed"], "true");
    }
    assert_eq!(kinds_of(&world, &id).await, ["suggestion.decided.v1", "decision.reported.v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_stands_while_the_orchestrator_is_away_and_is_reported_once_it_is_back() {
    let world = World::start().await;
    let mut service = world.service().await;
    let mut desktop = standard(&world).await;
    let id = proposed(&world, &mut desktop, &service).await;
    fault(&world, ORCHESTRATOR, &json!({ "errorRate": 1.0 })).await;

    let accept = json!({ "decision": "accept" });
    let answer = decide(&mut desktop, &service, (&id, &key()), &accept).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(kinds_of(&world, &id).await, ["suggestion.decided.v1"]);
    // Whoever recorded it need not be there any more.
    service.kill();
    heal(&world, ORCHESTRATOR).await;
    let _service = world.service().await;
    settled(&world, &id).await;
    assert_eq!(effects(&world, &id).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_on_its_way_from_the_orchestrator_leaves_one_effect() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    let id = proposed(&world, &mut desktop, &service).await;
    fault(&world, ORCHESTRATOR, &json!({ "dropAfterEffect": true })).await;

    let accept = json!({ "decision": "accept" });
    decide(&mut desktop, &service, (&id, &key()), &accept).await;

    wait::until("the orchestrator has it", || async { effects(&world, &id).await.len() == 1 })
        .await;
    heal(&world, ORCHESTRATOR).await;
    settled(&world, &id).await;
    assert_eq!(effects(&world, &id).await.len(), 1);
    let events = events_of(&world, &id).await;
    assert_eq!(events[1].1["alreadyDecided"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_decision_at_the_orchestrator_stands_and_that_is_recorded() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    let id = proposed(&world, &mut desktop, &service).await;
    // The orchestrator cannot be told, and its own news of the decision do not arrive in time.
    fault(&world, ORCHESTRATOR, &json!({ "errorRate": 1.0 })).await;
    let accept = json!({ "decision": "accept" });
    let answer = decide(&mut desktop, &service, (&id, &key()), &accept).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let elsewhere = json!({
        "suggestionId": id, "propertyId": desktop.property(), "decision": "reject",
    });
    happen(&world, &desktop, "hitl.gate_decided.v1", elsewhere).await;

    heal(&world, ORCHESTRATOR).await;

    settled(&world, &id).await;
    assert_eq!(events_of(&world, &id).await[1].1["alreadyDecided"], true);
    assert_eq!(effects(&world, &id).await.len(), 0);
    let item = listed(&mut desktop, &service, &id, |item| item["decision"] == "reject").await;
    assert_eq!(item["decidedBy"], Value::Null);
    let again = decide(&mut desktop, &service, (&id, &key()), &accept).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
    assert_eq!(again.body["standing"], answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_23_what_is_closed_is_not_decided_on_and_the_refusal_is_kept() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    let past = SystemClock.now() - TimeDelta::minutes(1);
    let expired = propose(&world, &desktop, json!({ "expiresAt": past })).await;
    let withdrawn = proposed(&world, &mut desktop, &service).await;
    let decided = proposed(&world, &mut desktop, &service).await;
    for (id, what) in [(&withdrawn, "suggestion.withdrawn.v1"), (&decided, "hitl.gate_decided.v1")]
    {
        let moved =
            json!({ "suggestionId": id, "propertyId": desktop.property(), "decision": "reject" });
        happen(&world, &desktop, what, moved).await;
    }

    for (id, state, status, code) in [
        (&expired, "expired", StatusCode::GONE, "SUGGESTION_EXPIRED"),
        (&withdrawn, "withdrawn", StatusCode::GONE, "SUGGESTION_EXPIRED"),
        (&decided, "decided", StatusCode::CONFLICT, "ALREADY_DECIDED"),
    ] {
        listed(&mut desktop, &service, id, |item| item["state"] == state).await;
        let only = list(&mut desktop, &service, &format!("?state={state}")).await;
        assert!(only.iter().any(|item| item["id"] == id.as_str()), "{state}");
        let (key, accept) = (key(), json!({ "decision": "accept" }));
        let first = decide(&mut desktop, &service, (id, &key), &accept).await;
        let again = decide(&mut desktop, &service, (id, &key), &accept).await;
        assert_eq!(first.status, status, "{state}: {}", first.body);
        assert_eq!(first.body["code"], format!("MELMASTOON.AI.{code}"));
        assert_eq!(again.bytes, first.bytes, "{state}");
        assert_eq!(again.headers["idempotency-replayed"], "true", "{state}");
        assert_eq!(kinds_of(&world, id).await, Vec::<String>::new(), "{state}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_works_by_the_sharia_never_meets_what_is_not_marked() {
    let world = World::start().await;
    let service = world.service().await;
    let sharia = tenant_of(&world, "sharia").await;
    let mut desktop = Desktop::sign_in(&world, &sharia, json!({})).await;
    let mut live = desktop.live(&service, "?channels=ai").await;
    let unmarked = propose(&world, &desktop, json!({ "complianceTags": ["checked"] })).await;
    let tags = json!({ "complianceTags": ["sharia_compliant"] });
    let marked = propose(&world, &desktop, tags).await;

    // Events of one key come in their order: whoever has heard the second was not told the first.
    assert_eq!(live.next_of("suggestion.added").await["id"], marked.as_str());
    listed(&mut desktop, &service, &marked, |_| true).await;
    let mut query = "?limit=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = desktop.get(&service, &format!("/ai/suggestions{query}")).await;
        seen.extend(page.body["items"].as_array().unwrap().clone());
        let Some(cursor) = page.body["nextCursor"].as_str() else { break };
        query = format!("?limit=1&cursor={cursor}");
    }
    assert!(seen.iter().any(|item| item["id"] == marked.as_str()));
    for item in &seen {
        assert_ne!(item["id"], unmarked.as_str());
        let tags = item["complianceTags"].as_array().unwrap();
        assert!(tags.contains(&json!("sharia_compliant")), "{item}");
    }
    let accept = json!({ "decision": "accept" });
    let refused = decide(&mut desktop, &service, (&unmarked, &key()), &accept).await;
    let unknown = decide(&mut desktop, &service, ("sgn_unknown", &key()), &accept).await;
    let taken = decide(&mut desktop, &service, (&marked, &key()), &accept).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.body);
    assert_eq!(refused.body["code"], unknown.body["code"]);
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_counts_as_working_by_the_sharia_until_its_profile_says_otherwise() {
    let world = World::start().await;
    let replica = Replica::start(&world);
    let tenant_id: TenantId = tenant_of(&world, "standard").await.parse().unwrap();
    let sharia: TenantId = tenant_of(&world, "sharia").await.parse().unwrap();
    let nobody: TenantId = format!("tnt_{}", Ulid::generate()).parse().unwrap();
    let profiles = Profiles::new(replica.resources.upstream.clone());

    fault(&world, "tenant-service", &json!({ "status": 422 })).await;
    assert!(profiles.works_by_sharia(&tenant_id).await, "it is not known");
    heal(&world, "tenant-service").await;
    assert!(!profiles.works_by_sharia(&tenant_id).await, "that it was not known is forgotten");
    assert!(profiles.works_by_sharia(&sharia).await);
    assert!(profiles.works_by_sharia(&nobody).await, "there is no such tenant");

    fault(&world, "tenant-service", &json!({ "status": 422 })).await;
    assert!(!profiles.works_by_sharia(&tenant_id).await, "what is known is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_decision_decides_nothing_and_neither_does_a_ledger_that_takes_none() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    let decided = proposed(&world, &mut desktop, &service).await;
    let open = proposed(&world, &mut desktop, &service).await;
    let (accept, used, own) = (json!({ "decision": "accept" }), key(), key());
    let first = decide(&mut desktop, &service, (&decided, &used), &accept).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);

    let under_used = decide(&mut desktop, &service, (&open, &used), &accept).await;
    assert_eq!(under_used.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", under_used.body);
    assert_eq!(under_used.body["code"], "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED");

    world.database.refuse_events(Ledger::AiDecision.name()).await;
    let unrecorded = decide(&mut desktop, &service, (&open, &own), &accept).await;
    assert_eq!(unrecorded.status, StatusCode::SERVICE_UNAVAILABLE, "{}", unrecorded.body);
    assert_eq!(kinds_of(&world, &open).await, Vec::<String>::new());
    world.database.accept_events().await;
    let done = decide(&mut desktop, &service, (&open, &own), &accept).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_or_decide_does_not_and_leaves_no_trace() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    let id = proposed(&world, &mut desktop, &service).await;
    let tenant_id = desktop.text("tenantId").to_owned();
    let accept = json!({ "decision": "accept" });

    let with_roles = |roles: Value| json!({ "roles": roles });
    let mut housekeeper =
        Desktop::sign_in(&world, &tenant_id, with_roles(json!(["housekeeper"]))).await;
    let mut auditor = Desktop::sign_in(&world, &tenant_id, with_roles(json!(["auditor"]))).await;
    for (who, read) in [(&mut housekeeper, StatusCode::FORBIDDEN), (&mut auditor, StatusCode::OK)] {
        assert_eq!(who.get(&service, "/ai/suggestions").await.status, read);
        let refused = decide(who, &service, (&id, &key()), &accept).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.body);
        assert_eq!(refused.body["code"], "MELMASTOON.AUTH.SCOPE_DENIED");
    }
    let elsewhere = desktop.grant["propertyIds"][1].clone();
    let wish = json!({ "propertyIds": [elsewhere] });
    let mut neighbour = Desktop::sign_in(&world, &tenant_id, wish).await;
    let mut stranger = Desktop::sign_in(&world, &other_tenant(&world, &tenant_id), json!({})).await;
    for who in [&mut neighbour, &mut stranger] {
        let seen = list(who, &service, "?limit=100").await;
        assert!(seen.iter().all(|item| item["id"] != id.as_str()));
        let by_property = format!("/ai/suggestions?propertyId={}", desktop.property());
        assert_eq!(who.get(&service, &by_property).await.status, StatusCode::NOT_FOUND);
        let refused = decide(who, &service, (&id, &key()), &accept).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.body);
    }
    assert_eq!(claims(&world).await, 0);
    assert_eq!(kinds_of(&world, &id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn id_21_what_is_not_asked_rightly_stores_nothing_and_the_key_works_later() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    let id = proposed(&world, &mut desktop, &service).await;
    let key = key();

    for (body, field) in [
        (json!({ "decision": "later" }), "decision"),
        (json!({ "decision": "modify" }), "modification"),
        (json!({ "decision": "accept", "modification": { "a": 1 } }), "modification"),
        (json!({ "decision": "reject", "reasonCode": "two words" }), "reasonCode"),
        (json!({ "decision": "reject", "comment": "" }), "comment"),
    ] {
        let answer = decide(&mut desktop, &service, (&id, &key), &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.body);
        assert_eq!(answer.body["code"], "MELMASTOON.GENERAL.VALIDATION_FAILED", "{body}");
        assert_eq!(answer.body["errors"][0]["field"], field, "{body}");
    }
    for body in [json!({}), json!({ "decision": "accept", "other": 1 })] {
        let answer = decide(&mut desktop, &service, (&id, &key), &body).await;
        assert_eq!(answer.body["code"], "MELMASTOON.GENERAL.MALFORMED_REQUEST", "{body}");
    }
    for query in ["?state=open", "?category=a%20b", "?limit=0", "?cursor=x"] {
        let answer = desktop.get(&service, &format!("/ai/suggestions{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(claims(&world).await, 0);

    let reject = json!({ "decision": "reject" });
    let answer = decide(&mut desktop, &service, (&id, &key), &reject).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_17_twenty_presses_of_one_key_at_once_are_one_decision() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    let id = proposed(&world, &mut desktop, &service).await;
    let (key, path, body) = (key(), path(&id), json!({ "decision": "accept" }));

    let presses = (0..20).map(|_| {
        let proof = desktop.proof(&service, &Method::POST, &path);
        let (desktop, service, path, body, key) = (&desktop, &service, &path, &body, &key);
        async move {
            let press = Some((key.as_str(), body));
            Answer::read(desktop.send_with_proof(service, path, press, &proof).await).await
        }
    });
    let answers = join_all(presses).await;

    // A busy machine may have no time for one of them, which may then come again.
    let body = &json!({ "decision": "accept" });
    let again = decide(&mut desktop, &service, (&id, &key), body).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
    for answer in &answers {
        if answer.status == StatusCode::OK {
            assert_eq!(answer.bytes, again.bytes);
        } else {
            assert_eq!(answer.body["retriable"], true, "{}", answer.body);
        }
    }
    settled(&world, &id).await;
    assert_eq!(effects(&world, &id).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_is_rebuilt_after_a_loss_and_holds_what_was_never_published() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    // The simulated orchestrator begins with suggestions of which it never said anything.
    let first = list(&mut desktop, &service, "?state=proposed&limit=100").await;
    assert!(!first.is_empty(), "the first reader sees what the orchestrator lists");
    let id = proposed(&world, &mut desktop, &service).await;
    let accept = json!({ "decision": "accept" });
    let answer = decide(&mut desktop, &service, (&id, &key()), &accept).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    settled(&world, &id).await;
    wait::until("the orchestrator's word of it is folded", async || {
        let item = listed(&mut desktop, &service, &id, |item| item["state"] == "decided").await;
        item["decision"] == "accept"
    })
    .await;
    let before = list(&mut desktop, &service, "?limit=100").await;

    world.cache_tier.command(&["FLUSHALL"]).await;
    assert_eq!(list(&mut desktop, &service, "?limit=100").await, before);

    world.cache_tier.command(&["FLUSHALL"]).await;
    let (rebuilt, said) = world.run(&["rebuild", "suggestion-inbox"]);
    assert!(rebuilt, "{said}");
    assert!(said.contains("suggestion-inbox: "), "{said}");
    let answer = desktop.get(&service, "/ai/suggestions?limit=100").await;
    assert_eq!(answer.headers["x-cache"], "hit");
    assert_eq!(answer.body["items"].as_array().unwrap(), &before);
}

#[tokio::test(flavor = "multi_thread")]
async fn suggestions_are_listed_while_the_orchestrator_does_not_answer() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = standard(&world).await;
    fault(&world, ORCHESTRATOR, &json!({ "hang": true })).await;

    let started = std::time::Instant::now();
    let answer = desktop.get(&service, "/ai/suggestions").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    // 0.8 s a property at most, beside what a busy machine takes.
    let properties = u32::try_from(desktop.grant["propertyIds"].as_array().unwrap().len()).unwrap();
    let bound = std::time::Duration::from_millis(800) * properties;
    assert!(started.elapsed() < bound + std::time::Duration::from_secs(3));
    let id = propose(&world, &desktop, json!({})).await;
    listed(&mut desktop, &service, &id, |item| item["state"] == "proposed").await;
    heal(&world, ORCHESTRATOR).await;
}

/// An operator of a tenant that may see everything.
async fn standard(world: &World) -> Desktop {
    let tenant_id = tenant_of(world, "standard").await;
    Desktop::sign_in(world, &tenant_id, json!({})).await
}

fn other_tenant(world: &World, tenant_id: &str) -> String {
    [0, 1].map(|number| tenant(world, number)).into_iter().find(|id| id != tenant_id).unwrap()
}

/// Waits until the ledger has the orchestrator's answer.
async fn settled(world: &World, id: &str) {
    wait::until("the orchestrator has answered", || async {
        kinds_of(world, id).await == ["suggestion.decided.v1", "decision.reported.v1"]
    })
    .await;
}
