//! The world: seeded, believable, and shown by the upstreams.

use platform::Settings;
use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{Bench, answer, text};

#[tokio::test]
async fn two_worlds_of_one_seed_have_the_same_ids_and_another_seed_has_others() {
    let (one, same, other) = tokio::join!(ids_of_seed(7), ids_of_seed(7), ids_of_seed(8));

    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[tokio::test]
async fn one_of_three_tenants_is_sharia_and_each_has_two_or_three_properties() {
    let bench = Bench::start().await;

    let world = bench.get("/sim/world").await;

    let tenants = world["tenants"].as_array().unwrap();
    assert_eq!(tenants.len(), 3);
    let sharia = tenants.iter().filter(|tenant| tenant["complianceProfile"] == "sharia");
    assert_eq!(sharia.count(), 1);
    for tenant in tenants {
        let ulid = text(&tenant["id"]);
        let ulid = ulid.strip_prefix("tnt_").unwrap();
        assert_eq!(ulid.len(), 26);
        assert!(!ulid.contains(['I', 'L', 'O', 'U']));
        let properties = tenant["properties"].as_array().unwrap();
        assert!((2..=3).contains(&properties.len()));
        for property in properties {
            assert!((20..=120).contains(&property["rooms"].as_array().unwrap().len()));
        }
        let amount = text(&tenant["largeChargeThreshold"]["amountMicro"]);
        assert!(amount.parse::<i64>().unwrap() > 0);
    }
    bench.stop().await;
}

#[tokio::test]
async fn every_item_names_its_tenant_and_property() {
    let bench = Bench::start().await;

    let world = bench.get("/sim/world").await;

    let kinds = ["alerts", "suggestions", "reservations", "folios", "locks", "tasks", "workOrders"];
    for kind in kinds {
        let items = world[kind].as_array().unwrap();
        assert!(!items.is_empty(), "{kind} is empty");
        for item in items {
            for member in ["id", "tenantId", "propertyId"] {
                assert!(item[member].is_string(), "{kind} lacks {member}: {item}");
            }
        }
    }
    bench.stop().await;
}

#[tokio::test]
async fn the_world_grows_to_the_capacity_model() {
    let settings = Settings { tenants: 50, devices_per_tenant: 200, ..Settings::default() };
    let bench = Bench::start_with(settings).await;

    let world = bench.get("/sim/world").await;

    let tenants = world["tenants"].as_array().unwrap();
    assert_eq!(tenants.len(), 50);
    for tenant in tenants {
        assert_eq!(tenant["devices"].as_array().unwrap().len(), 200);
        assert!(tenant["operators"].as_array().unwrap().len() >= 30);
    }
    bench.stop().await;
}

#[tokio::test]
async fn every_upstream_answers_its_reads_from_the_world() {
    let bench = Bench::start().await;
    let world = bench.get("/sim/world").await;
    let tenant = &world["tenants"][1];
    let tenant_id = text(&tenant["id"]);
    let property_id = text(&tenant["properties"][0]["id"]);
    let paths = [
        "/reservation-service/api/v1/reservations",
        "/reservation-service/api/v1/reservations/arrivals",
        "/reservation-service/api/v1/reservations/departures",
        "/reservation-service/api/v1/reservations/in-house",
        "/inventory-service/api/v1/inventory/occupancy",
        "/inventory-service/api/v1/inventory/rooms",
        "/pricing-service/v1/pricing/rates",
        "/housekeeping-service/api/v1/housekeeping/tasks",
        "/housekeeping-service/api/v1/housekeeping/rooms",
        "/housekeeping-service/api/v1/housekeeping/room-status",
        "/maintenance-service/api/v1/maintenance/work-orders",
        "/billing-service/api/v1/folios",
        "/billing-service/api/v1/cash-drawer",
        "/lock-integration-service/api/v1/locks",
        "/lock-integration-service/api/v1/locks/health",
        "/ai-orchestrator-service/api/v1/ai/suggestions",
        "/notification-service/api/v1/alerts",
        "/analytics-service/api/v1/analytics/kpis",
        "/property-service/api/v1/properties",
        "/iam-service/api/v1/devices",
    ];

    for path in paths {
        let read = bench.read(&tenant_id, &format!("{path}?propertyId={property_id}"));
        let (status, body) = answer(read).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        assert!(body["items"].is_array() || body["data"].is_object(), "{path}: {body}");
    }
    let cursors = bench.read(&tenant_id, "/sync-service/api/v1/sync/cursors?deviceId=dev_A");
    assert_eq!(answer(cursors).await.0, StatusCode::OK);
    bench.stop().await;
}

/// All ids of the world; its times differ from run to run.
async fn ids_of_seed(seed: u64) -> Vec<String> {
    let bench = Bench::start_with(Settings { seed, ..Settings::default() }).await;
    let world = bench.get("/sim/world").await;
    bench.stop().await;
    let ids = |items: &Value| -> Vec<String> {
        items.as_array().unwrap().iter().map(|item| text(&item["id"])).collect()
    };
    let mut all = ids(&world["tenants"]);
    for kind in ["alerts", "reservations", "folios", "locks", "tasks", "workOrders"] {
        all.extend(ids(&world[kind]));
    }
    all
}
