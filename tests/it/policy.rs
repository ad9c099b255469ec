//! Every route says what it needs, and the service holds everybody to it.

use backoffice::{
    access::policy::Scope,
    http::{
        BASE_PATH,
        requirements::{self, Requirement},
        routes,
    },
};
use http::Method;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{desktop::Desktop, service::World};

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// Method and path of every operation of the service.
fn operations() -> Vec<(Method, String)> {
    let document = serde_json::to_value(routes::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |key| (key, path)))
        .filter(|(key, _)| METHODS.contains(&key.as_str()))
        .map(|(method, path)| (method.to_uppercase().parse().unwrap(), path.clone()))
        .collect()
}

#[test]
fn every_route_declares_what_it_needs() {
    let operations = operations();
    assert!(operations.len() >= 8, "{operations:?}");
    let undeclared: Vec<String> = operations
        .iter()
        .filter(|(method, path)| requirements::of(method, path).is_none())
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    assert!(undeclared.is_empty(), "src/http/requirements.rs does not name {undeclared:#?}");
}

#[test]
fn below_the_base_path_only_the_refresh_goes_without_a_session() {
    for (method, path) in operations() {
        if path.starts_with(BASE_PATH) && path != format!("{BASE_PATH}/auth/refresh") {
            let requirement = requirements::of(&method, &path).unwrap();
            let needs_session =
                matches!(requirement, Requirement::Authenticated | Requirement::Scope(_));
            assert!(needs_session, "{method} {path} is {requirement}");
        }
    }
}

#[tokio::test]
async fn a_role_without_the_scope_reaches_no_route_that_needs_it() {
    let world = World::start().await;
    let service = world.service().await;
    let tenant_id = world.simulator.tenant_ids()[0].clone();
    let nobody = json!({ "roles": ["night_porter"] });
    let mut desktop = Desktop::sign_in(&world, &tenant_id, nobody).await;
    let mut refused = 0;
    for (method, path) in operations() {
        let Some(Requirement::Scope(scope)) = requirements::of(&method, &path) else { continue };
        let path = concrete(&path);
        // Neither key nor body is right: who may not enter does not learn of that.
        let answer = match method {
            Method::GET => desktop.get(&service, &path).await,
            Method::POST => desktop.post(&service, &path, "no key", &json!({ "x": 1 })).await,
            Method::PUT => {
                let headers = [("content-type", b"application/json".as_slice())];
                desktop.send_bytes(&service, (Method::PUT, &path), &headers, b"{\"x\":1}").await
            }
            other => panic!("teach this test to send {other}"),
        };
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path} needs {}", scope.name());
        assert_eq!(answer.body["code"], "MELMASTOON.AUTH.SCOPE_DENIED", "{method} {path}");
        refused += 1;
    }
    assert!(2 <= refused);
    assert_eq!(desktop.get(&service, "/bootstrap").await.status, StatusCode::OK);
    assert_eq!(world.database.count("idempotency").await, 0);
}

#[tokio::test]
async fn a_property_of_others_looks_like_none() {
    let world = World::start().await;
    let service = world.service().await;
    let (ours, theirs) = (&world.simulator.tenant_ids()[0], &world.simulator.tenant_ids()[1]);
    let other = Desktop::sign_in(&world, theirs, json!({})).await;
    let mut desktop = Desktop::sign_in(&world, ours, json!({})).await;
    let own = desktop.property().to_owned();
    assert_eq!(desktop.get(&service, &format!("/alerts?propertyId={own}")).await.status, 200);

    let mut bodies = Vec::new();
    for property in [other.property(), "ppt_nowhere", "%7Bno%20id%7D"] {
        let answer = desktop.get(&service, &format!("/alerts?propertyId={property}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{property}");
        let mut body = answer.body;
        for of_the_request in ["requestId", "traceId"] {
            body[of_the_request] = Value::Null;
        }
        bodies.push(body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    // A second one is not overlooked.
    let both = format!("/alerts?propertyId={own}&propertyId={}", other.property());
    assert_eq!(desktop.get(&service, &both).await.status, StatusCode::NOT_FOUND);
    // Nor on a route that takes none.
    let bootstrap = format!("/bootstrap?propertyId={}", other.property());
    assert_eq!(desktop.get(&service, &bootstrap).await.status, StatusCode::NOT_FOUND);
}

/// Every scope of the contract opens something to somebody.
#[test]
fn every_scope_is_held_by_a_role() {
    let policy = backoffice::access::policy::Policy::shipped();
    let roles: Vec<String> = [
        "front_desk",
        "housekeeper",
        "housekeeping_lead",
        "maintenance_tech",
        "property_manager",
        "owner",
        "auditor",
    ]
    .map(str::to_owned)
    .to_vec();
    let all = policy.scopes_of(&roles);
    for scope in Scope::ALL {
        assert!(all.contains(*scope), "{}", scope.name());
    }
}

/// The path below the base path with its parameters filled in.
fn concrete(path: &str) -> String {
    let path = path.strip_prefix(BASE_PATH).unwrap();
    let segments =
        path.split('/').map(|segment| if segment.starts_with('{') { "an_id" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}
