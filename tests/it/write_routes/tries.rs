//! One request for every route that changes something, and how it is made.

use std::time::Duration;

use backoffice::{
    clock::{Clock, SystemClock},
    upstream::mutations::ROWS,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{
    mutations::stock::Stock,
    support::{
        alerts,
        desktop::{Answer, Desktop, key},
        locks::{self, Door},
        platform::tenant,
        service::{Service, World},
        suggestions, wait,
    },
};

/// The services behind the routes.
pub const UPSTREAMS: [&str; 10] = [
    "reservation-service",
    "billing-service",
    "housekeeping-service",
    "maintenance-service",
    "lock-integration-service",
    "notification-service",
    "ai-orchestrator-service",
    "tenant-service",
    "sync-service",
    "iam-service",
];
/// What opens the circuit of each service that a route waits for: nothing that exists, or nothing
/// that matters.
const OPENERS: [(&str, Method, &str, &str); 8] = [
    ("reservation-service", Method::POST, "/reservations/rsv_none/check-in", "{}"),
    ("billing-service", Method::POST, "/folios/fol_none/close", "{}"),
    ("housekeeping-service", Method::POST, "/housekeeping/tasks/hkt_none/start", "{}"),
    ("maintenance-service", Method::POST, "/maintenance/work-orders/mnt_none/verify", "{}"),
    (
        "lock-integration-service",
        Method::POST,
        "/locks/lck_none/issue-key",
        r#"{"reservationId":"rsv_1","rooms":["rom_1"],"validFrom":"2026-11-22T12:00:00Z","validUntil":"2026-11-24T12:00:00Z","preferredKinds":["pin_code"]}"#,
    ),
    ("tenant-service", Method::PUT, "/preferences", r#"{"preferences":{"density":"wide"}}"#),
    ("sync-service", Method::POST, "/sync/cursor", r#"{"stream":"opener","cursor":"c1"}"#),
    (
        "iam-service",
        Method::POST,
        "/auth/mfa/step-up",
        r#"{"scope":"lock.revoke","factor":"totp","code":"000000","resource":"lck_8"}"#,
    ),
];
const UNAVAILABLE: &str = "MELMASTOON.BFF.UPSTREAM_UNAVAILABLE";
/// How long a circuit may take to open or to close again.
const PATIENCE: Duration = Duration::from_mins(1);

/// One world, one running instance, one operator who may do everything.
pub struct Bench {
    pub world: World,
    pub service: Service,
    pub desktop: Desktop,
}

/// A request that will be done.
pub struct Try {
    /// As the interface's documentation names it.
    pub operation: &'static str,
    pub success: u16,
    /// Who does it; `None` when this service alone does.
    pub upstream: Option<&'static str>,
    /// How its path ends there.
    pub upstream_path: Option<String>,
    /// What the upstream keeps at that path once it is done; 0: it keeps nothing of it.
    pub effects: usize,
    /// It is answered whatever its upstream says, which is told later.
    pub stands: bool,
    /// A repetition is known by its key.
    pub keyed: bool,
    method: Method,
    path: String,
    body: Value,
    property_id: Option<String>,
    attestation: Option<String>,
}

impl Bench {
    pub async fn start() -> Self {
        let world = World::start().await;
        let service = world.service().await;
        let roles = json!({ "roles": ["front_desk", "property_manager", "owner"] });
        let mut desktop = Desktop::sign_in(&world, &tenant(&world, 1), roles).await;
        let session = desktop.get(&service, "/session").await;
        assert_eq!(session.status, StatusCode::OK, "{}", session.body);
        // Each upstream that a first request asks about the caller is asked before it goes wrong.
        service.keeps_memberships().await;
        desktop.get(&service, "/bootstrap").await;
        Self { world, service, desktop }
    }

    pub fn request(&self, one: &Try, key: &str) -> RequestBuilder {
        let proof = self.desktop.proof(&self.service, &one.method, &one.path);
        let request = self.desktop.signed(&self.service, one.method.clone(), &one.path, &proof);
        let headers = [
            ("x-idempotency-key", Some(key).filter(|_| one.keyed)),
            ("x-property-id", one.property_id.as_deref()),
            ("x-mfa-attestation", one.attestation.as_deref()),
        ];
        let request = headers.into_iter().fold(request, |request, (name, value)| match value {
            Some(value) => request.header(name, value),
            None => request,
        });
        request.json(&one.body)
    }

    pub async fn send(&self, one: &Try, key: &str) -> Answer {
        Answer::read(self.request(one, key).send().await.unwrap()).await
    }

    /// Asks until the upstream's circuit is closed again.
    pub async fn until_done(&self, one: &Try, key: &str) -> Answer {
        wait::within(PATIENCE, &format!("{} is answered", one.operation), async || {
            let answer = self.send(one, key).await;
            Some(answer).filter(|it| !it.status.is_server_error() && it.status.as_u16() != 409)
        })
        .await
    }

    /// The answer of an open circuit. A request that the circuit took for its probe was sent.
    pub async fn refused_unsent(&self, one: &Try, key: &str) -> Answer {
        wait::within(PATIENCE, &format!("{} is not sent", one.operation), async || {
            let answer = self.send(one, key).await;
            assert!(answer.status.is_server_error(), "{}: {}", one.operation, answer.body);
            Some(answer).filter(|it| it.body["code"] == UNAVAILABLE)
        })
        .await
    }

    pub async fn open_circuits(&self) {
        for (upstream, method, path, body) in OPENERS {
            let opener = Try {
                method,
                property_id: Some(self.desktop.property().to_owned()),
                ..Try::at(path, serde_json::from_str(body).unwrap())
            };
            wait::within(PATIENCE, &format!("the circuit of {upstream} opens"), async || {
                let answer = self.send(&opener, &key()).await;
                (answer.body["code"] == UNAVAILABLE).then_some(())
            })
            .await;
        }
    }

    pub async fn check_replayed(&self, one: &Try, key: &str, first: &Answer) {
        if !one.keyed {
            return;
        }
        let again = self.send(one, key).await;
        assert_eq!(again.status, first.status, "{}: {}", one.operation, again.body);
        assert_eq!(again.bytes, first.bytes, "{}", one.operation);
        assert_eq!(again.headers["idempotency-replayed"], "true", "{}", one.operation);
    }

    /// How many of these keys are claimed.
    pub async fn claims(&self, keys: &[String]) -> usize {
        let query = "select count(*) from idempotency where key::text = any($1)";
        let mut superuser = self.world.database.superuser().await;
        let count: i64 =
            sqlx::query_scalar(query).bind(keys).fetch_one(&mut superuser).await.unwrap();
        usize::try_from(count).unwrap()
    }

    /// One request for every route.
    pub async fn tries(&mut self) -> Vec<Try> {
        let mut tries = self.mutations().await;
        tries.extend(self.locks().await);
        tries.extend(self.decisions().await);
        tries.extend(self.of_the_desk());
        tries
    }

    async fn mutations(&mut self) -> Vec<Try> {
        let mut stock = Stock::of(&self.world, &self.desktop).await;
        let mut tries = Vec::new();
        for wish in stock.wishes().await {
            let row = ROWS.iter().find(|row| row.verb == wish.mutation.verb).unwrap();
            let scope = match row.verb {
                "folio.refund" => Some("folio.refund"),
                // While nobody can say from which amount on, every charge needs one.
                "folio.charge" => Some("folio.large-charge"),
                _ => None,
            };
            let attestation = match (scope, &wish.id) {
                (Some(scope), Some(folio)) => Some(self.step_up(scope, folio).await),
                _ => None,
            };
            tries.push(Try {
                operation: row.operation_id,
                success: row.success,
                upstream: Some(row.service.name()),
                upstream_path: Some(row.path_to(wish.id.as_deref())),
                property_id: Some(wish.property_id.clone()),
                attestation,
                ..Try::at(&wish.path, wish.body.clone())
            });
        }
        tries
    }

    async fn step_up(&mut self, scope: &str, resource: &str) -> String {
        let wish =
            json!({ "scope": scope, "factor": "totp", "code": "000000", "resource": resource });
        let answer = self.desktop.post(&self.service, "/auth/mfa/step-up", &key(), &wish).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body["attestationId"].as_str().unwrap().to_owned()
    }

    async fn locks(&mut self) -> Vec<Try> {
        let property_id = self.desktop.property().to_owned();
        let (door, other) = (
            Door::of(&self.world, &property_id, 0).await,
            Door::of(&self.world, &property_id, 1).await,
        );
        let credential = locks::issued(&mut self.desktop, &self.service, &other).await;
        let attestation = locks::stepped_up(&mut self.desktop, &self.service, &other.lock).await;
        let issue = Try {
            operation: "issueKey",
            upstream: Some("lock-integration-service"),
            upstream_path: Some("/key-credentials".to_owned()),
            // The key that is to be revoked was issued there too.
            effects: 2,
            ..Try::at(&door.issue_path(), door.wish())
        };
        let revoke = Try {
            operation: "revokeKey",
            upstream: Some("lock-integration-service"),
            upstream_path: Some(format!("/key-credentials/{credential}/revoke")),
            attestation: Some(attestation),
            ..Try::at(
                &other.revoke_path(),
                json!({ "keyCredentialId": credential, "reason": "lost" }),
            )
        };
        vec![issue, revoke]
    }

    async fn decisions(&mut self) -> Vec<Try> {
        let alert_id = alerts::raised(&self.world, &mut self.desktop, &self.service).await;
        let suggestion_id =
            suggestions::proposed(&self.world, &mut self.desktop, &self.service).await;
        let acknowledge = Try {
            operation: "acknowledgeAlert",
            upstream: Some("notification-service"),
            upstream_path: Some(format!("/api/v1{}", alerts::path(&alert_id))),
            stands: true,
            effects: 0,
            ..Try::at(&alerts::path(&alert_id), json!({}))
        };
        let decide = Try {
            operation: "decideSuggestion",
            upstream: Some("ai-orchestrator-service"),
            stands: true,
            effects: 0,
            ..Try::at(&suggestions::path(&suggestion_id), json!({ "decision": "accept" }))
        };
        vec![acknowledge, decide]
    }

    fn of_the_desk(&self) -> Vec<Try> {
        let device = self.desktop.text("deviceId");
        let put = |path: &str, body: Value| Try { method: Method::PUT, ..Try::here(path, body) };
        let preferences = Try {
            operation: "putPreferences",
            upstream: Some("tenant-service"),
            upstream_path: Some("/preferences".to_owned()),
            effects: 1,
            ..put("/preferences", json!({ "preferences": { "density": "compact" } }))
        };
        let handshake = Try {
            operation: "syncHandshake",
            upstream: Some("sync-service"),
            upstream_path: Some("/sync/handshake".to_owned()),
            ..Try::here("/sync/handshake", json!({}))
        };
        let cursor = Try {
            operation: "advanceSyncCursor",
            upstream: Some("sync-service"),
            upstream_path: Some("/sync/cursors".to_owned()),
            effects: 1,
            ..Try::here("/sync/cursor", json!({ "stream": "reservations", "cursor": "c1" }))
        };
        let step_up = json!({
            "scope": "lock.revoke", "factor": "totp", "code": "000000", "resource": "lck_7",
        });
        let now = SystemClock.now().to_rfc3339();
        let beat = json!({
            "appVersion": "1.4.2", "networkMode": "good", "pendingActions": 0, "clock": now,
        });
        let item = json!({ "verb": "help.opened", "at": now });
        let keys = json!({ "overrides": { "search.open": "Ctrl+J" } });
        vec![
            preferences,
            handshake,
            cursor,
            Try {
                operation: "stepUp",
                upstream: Some("iam-service"),
                ..Try::here("/auth/mfa/step-up", step_up)
            },
            Try {
                operation: "heartbeat",
                keyed: false,
                ..Try::here(&format!("/devices/{device}/heartbeat"), beat)
            },
            Try {
                operation: "recordActivity",
                ..Try::here("/activity", json!({ "items": [item] }))
            },
            Try {
                operation: "putOfflineQueueHint",
                ..put("/offline-queue/hint", json!({ "pendingActions": 1 }))
            },
            Try { operation: "putShortcuts", ..put("/shortcuts", keys) },
            Try {
                operation: "putTenantShortcuts",
                ..put("/shortcuts/tenant", json!({ "overrides": { "desktop.help": "Ctrl+H" } }))
            },
        ]
    }
}

impl Try {
    /// What this service alone does.
    fn here(path: &str, body: Value) -> Self {
        Self { effects: 0, ..Self::at(path, body) }
    }

    /// What all have in common.
    fn at(path: &str, body: Value) -> Self {
        Self {
            operation: "",
            success: 200,
            upstream: None,
            upstream_path: None,
            effects: 1,
            stands: false,
            keyed: true,
            method: Method::POST,
            path: path.to_owned(),
            body,
            property_id: None,
            attestation: None,
        }
    }

    /// Its upstream hears of it before it is answered.
    pub fn is_asked_at_once(&self) -> bool {
        self.upstream.is_some() && self.upstream_path.is_some() && !self.stands
    }

    /// Its key is claimed before its upstream is asked; a step-up's with the answer.
    pub fn claims_at_once(&self) -> bool {
        self.keyed && self.operation != "stepUp"
    }
}
