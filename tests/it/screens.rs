//! Dashboard and boards over HTTP against the binary: composed part by part, kept, kept fresh.

mod boards;
mod dashboard;
mod freshness;
mod position;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    desktop::{Answer, Desktop},
    platform::{kept, tenant},
    service::{Service, World},
    wait,
};

const NDJSON: &str = "application/x-ndjson";
/// Every read of an upstream that a dashboard is made of.
const READS: [(&str, &str); 12] = [
    ("analytics-service", "/analytics/kpis"),
    ("reservation-service", "/reservations/arrivals"),
    ("reservation-service", "/reservations/departures"),
    ("reservation-service", "/reservations/in-house"),
    ("housekeeping-service", "/housekeeping/room-status"),
    ("housekeeping-service", "/housekeeping/tasks"),
    ("inventory-service", "/inventory/occupancy"),
    ("maintenance-service", "/maintenance/work-orders"),
    ("pricing-service", "/pricing/rates"),
    ("billing-service", "/folios"),
    ("billing-service", "/cash-drawer"),
    ("lock-integration-service", "/locks/health"),
];

/// A running service and an operator of one property.
struct Desk {
    world: World,
    service: Service,
    desktop: Desktop,
}

impl Desk {
    async fn start() -> Self {
        let world = World::start().await;
        let service = world.service().await;
        let desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
        Self { world, service, desktop }
    }

    fn dashboard_path(&self) -> String {
        format!("/dashboard?propertyId={}", self.desktop.property())
    }

    fn board_path(&self, board: &str) -> String {
        format!("/{board}?propertyId={}", self.desktop.property())
    }

    /// The dashboard as one document.
    async fn dashboard(&mut self) -> Answer {
        let path = self.dashboard_path();
        self.get_as(&path, "application/json").await
    }

    /// The same, once every widget is there: on a busy machine a deadline may be missed.
    async fn whole_dashboard(&mut self) -> Value {
        wait::until_some("the dashboard is whole", async || {
            let dashboard = self.dashboard().await;
            assert_eq!(dashboard.status, 200, "{}", dashboard.body);
            (dashboard.body["complete"] == true).then_some(dashboard.body)
        })
        .await
    }

    async fn get_as(&mut self, path: &str, accept: &str) -> Answer {
        let headers: [(&str, &[u8]); 2] =
            [("accept", accept.as_bytes()), ("accept-language", b"en")];
        self.desktop.send_bytes(&self.service, (Method::GET, path), &headers, b"").await
    }

    async fn board(&mut self, board: &str) -> Answer {
        let path = self.board_path(board);
        self.desktop.get(&self.service, &path).await
    }

    /// The same, once every section is there.
    async fn whole_board(&mut self, board: &str) -> Answer {
        wait::until_some("the board is whole", async || {
            let answer = self.board(board).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let sections = answer.body["sections"].as_array().unwrap();
            sections.iter().all(|section| section["status"] == "ok").then_some(answer)
        })
        .await
    }

    /// The items of a section, the first time that it says it is fresh.
    async fn first_fresh(&mut self, board: &str, id: &str) -> Vec<Value> {
        wait::until_some("the section is fresh", async || {
            let board = self.board(board).await.body;
            let section = section(&board, id);
            (section["status"] == "ok").then(|| section["items"].as_array().unwrap().clone())
        })
        .await
    }

    /// How often each of the reads reached its upstream.
    async fn reads(&self) -> Vec<(&'static str, usize)> {
        let mut reads = Vec::new();
        for (upstream, path) in READS {
            reads.push((path, kept(&self.world, (upstream, "calls"), path).await.len()));
        }
        reads
    }
}

/// The widget of this id, of a dashboard in one document.
fn widget<'a>(dashboard: &'a Value, id: &str) -> &'a Value {
    let widgets = dashboard["widgets"].as_array().unwrap();
    widgets.iter().find(|widget| widget["id"] == id).unwrap()
}

/// Ids and statuses of the widgets that are not `ok`.
fn not_ok(dashboard: &Value) -> Vec<(&str, &str)> {
    let widgets = dashboard["widgets"].as_array().unwrap().iter();
    widgets
        .map(|widget| (widget["id"].as_str().unwrap(), widget["status"].as_str().unwrap()))
        .filter(|(_, status)| *status != "ok")
        .collect()
}

/// The section of this id of a board.
fn section<'a>(board: &'a Value, id: &str) -> &'a Value {
    let sections = board["sections"].as_array().unwrap();
    sections.iter().find(|section| section["id"] == id).unwrap()
}
