//! Objects of the simulated platform for every row of the mutation table, each used once.

use backoffice::upstream::mutations::{Mutation, ROWS};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    desktop::{Desktop, key},
    service::World,
};

/// What one tenant has, less what was taken.
pub struct Stock {
    http: Client,
    simulator_url: String,
    tenant_id: String,
    world: Value,
}

/// A request for one row that will be done.
pub struct Wish {
    pub mutation: &'static Mutation,
    pub path: String,
    pub id: Option<String>,
    pub property_id: String,
    pub body: Value,
    /// What another key is answered for the same request.
    pub again: StatusCode,
}

impl Stock {
    pub async fn of(world: &World, desktop: &Desktop) -> Self {
        let http = Client::builder().no_proxy().build().unwrap();
        let simulator_url = world.simulator.url();
        let document = http.get(format!("{simulator_url}/sim/world")).send().await.unwrap();
        Self {
            http,
            simulator_url,
            tenant_id: desktop.text("tenantId").to_owned(),
            world: document.json().await.unwrap(),
        }
    }

    /// An object of the tenant that fulfils the condition, and that nobody else will get.
    pub fn take(&mut self, list: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let items = self.world[list].as_array_mut().unwrap();
        let place = items
            .iter()
            .position(|item| item["tenantId"] == self.tenant_id.as_str() && condition(item))
            .unwrap_or_else(|| panic!("no more {list}"));
        items.remove(place)
    }

    /// The tenant's threshold for charges: millionths and currency.
    pub fn threshold(&self) -> (i64, String) {
        let tenants = self.world["tenants"].as_array().unwrap();
        let tenant = tenants.iter().find(|it| it["id"] == self.tenant_id.as_str()).unwrap();
        let threshold = &tenant["largeChargeThreshold"];
        (text(&threshold["amountMicro"]).parse().unwrap(), text(&threshold["currency"]))
    }

    /// A property of another tenant.
    pub fn foreign_property(&self) -> String {
        let tenants = self.world["tenants"].as_array().unwrap();
        let other = tenants.iter().find(|it| it["id"] != self.tenant_id.as_str()).unwrap();
        text(&other["properties"][0]["id"])
    }

    /// One request a row, each for an object of its own that is in the right state.
    pub async fn wishes(&mut self) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for mutation in ROWS {
            wishes.push(self.wish(mutation).await);
        }
        wishes
    }

    pub async fn wish_for(&mut self, verb: &str) -> Wish {
        let mutation = ROWS.iter().find(|row| row.verb == verb).unwrap();
        self.wish(mutation).await
    }

    async fn wish(&mut self, mutation: &'static Mutation) -> Wish {
        let (object, body, again) = match mutation.verb.split_once('.').unwrap() {
            ("reservation", verb) => self.reservation(verb),
            ("folio", verb) => self.folio(verb).await,
            ("housekeeping", verb) => self.room_or_task(verb).await,
            ("maintenance", verb) => self.work_order(verb).await,
            (other, _) => panic!("no objects for {other}"),
        };
        let id = object["id"].as_str().map(str::to_owned);
        Wish {
            mutation,
            path: mutation.route.replace("{id}", id.as_deref().unwrap_or_default()),
            id,
            property_id: text(&object["propertyId"]),
            body,
            again,
        }
    }

    fn reservation(&mut self, verb: &str) -> (Value, Value, StatusCode) {
        let state =
            if matches!(verb, "check-out" | "extend-stay") { "in_house" } else { "confirmed" };
        let stay = self.take("reservations", |stay| stay["state"] == state);
        let (body, again) = match verb {
            "cancel" => (json!({ "reasonCode": "guest_request" }), StatusCode::CONFLICT),
            "assign-room" => {
                // One that nobody is in yet.
                let other = self.take("reservations", |other| {
                    other["state"] == "confirmed" && other["propertyId"] == stay["propertyId"]
                });
                (json!({ "roomId": other["roomId"] }), StatusCode::OK)
            }
            "extend-stay" => (json!({ "departureDate": "2099-12-31" }), StatusCode::BAD_REQUEST),
            _ => (json!({ "note": "A quiet room" }), StatusCode::CONFLICT),
        };
        (stay, body, again)
    }

    async fn folio(&mut self, verb: &str) -> (Value, Value, StatusCode) {
        let folio = self.take("folios", |folio| folio["state"] == "balance_due");
        let currency = folio["balance"]["currency"].clone();
        let amount = json!({ "amountMicro": "1000000", "currency": currency });
        let (body, again) = match verb {
            "payment" => (json!({ "amount": amount, "method": "cash" }), StatusCode::CREATED),
            "refund" => {
                (json!({ "amount": amount, "reasonCode": "overcharge" }), StatusCode::CREATED)
            }
            "close" => {
                let path = format!("billing-service/api/v1/folios/{}/payments", text(&folio["id"]));
                self.prepare(&path, &json!({ "amount": folio["balance"] })).await;
                (json!({}), StatusCode::CONFLICT)
            }
            _ => (json!({ "amount": amount, "description": "Minibar" }), StatusCode::CREATED),
        };
        (folio, body, again)
    }

    async fn room_or_task(&mut self, verb: &str) -> (Value, Value, StatusCode) {
        if verb == "room-status" {
            let stay = self.take("reservations", |stay| stay["state"] == "in_house");
            let room = json!({ "id": stay["roomId"], "propertyId": stay["propertyId"] });
            return (room, json!({ "status": "dirty" }), StatusCode::OK);
        }
        let task = self.take("tasks", |task| task["state"] == "created");
        let before: &[&str] = match verb {
            "complete" => &["start"],
            "inspect" => &["start", "complete"],
            _ => &[],
        };
        for step in before {
            let id = text(&task["id"]);
            let path = format!("housekeeping-service/api/v1/housekeeping/tasks/{id}/{step}");
            self.prepare(&path, &json!({})).await;
        }
        (task, json!({}), StatusCode::CONFLICT)
    }

    async fn work_order(&mut self, verb: &str) -> (Value, Value, StatusCode) {
        if verb == "create" {
            let stay = self.take("reservations", |stay| stay["state"] == "in_house");
            let body = json!({
                "propertyId": stay["propertyId"],
                "title": "Shower leaks",
                "category": "plumbing",
                "severity": "high",
                "roomId": stay["roomId"],
                "description": "Nadia has seen it",
            });
            let nowhere = json!({ "propertyId": stay["propertyId"] });
            return (nowhere, body, StatusCode::CREATED);
        }
        let order = self.take("workOrders", |order| order["state"] == "open");
        match verb {
            "assign" => (order, json!({ "assigneeId": "usr_1" }), StatusCode::OK),
            "block" => (order, json!({ "reasonCode": "parts" }), StatusCode::CONFLICT),
            "verify" => {
                let id = text(&order["id"]);
                let path =
                    format!("maintenance-service/api/v1/maintenance/work-orders/{id}/resolve");
                self.prepare(&path, &json!({})).await;
                (order, json!({}), StatusCode::CONFLICT)
            }
            _ => (order, json!({}), StatusCode::CONFLICT),
        }
    }

    /// Has a service do something before the test begins.
    async fn prepare(&self, path: &str, body: &Value) {
        let sent = self
            .http
            .post(format!("{}/{path}", self.simulator_url))
            .bearer_auth("id-token")
            .header("x-tenant-id", &self.tenant_id)
            .header("idempotency-key", key())
            .json(body);
        sent.send().await.unwrap().error_for_status().unwrap();
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
