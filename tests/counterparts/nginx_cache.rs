//! nginx with a cache in front, keyed by the URL alone, which is as wrong as a cache can be set up.

use serde_json::json;

use crate::{
    client::{Client, Wish, raise, until_listed},
    program::Program,
    support::{port, service::World},
};

/// Keeps every good answer for ten minutes, whoever asked for it.
async fn careless_cache(port: u16, origin: &str) -> Program {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let http = format!("proxy_cache_path {} keys_zone=shared:1m;", path.display());
    let location = format!(
        "proxy_set_header Host {origin}; proxy_cache shared; proxy_cache_key $request_uri; \
         proxy_cache_valid 200 10m; add_header X-Shared $upstream_cache_status always;"
    );
    Program::nginx(port, origin, (&http, &location)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_37_a_cache_in_front_serves_nobody_anothers_answer() {
    let world = World::start().await;
    let port = port::free();
    let proxied = format!("http://127.0.0.1:{port}");
    let mut service = world
        .service_changed(|command| {
            // Proofs name the origin that the desktop calls.
            command.env("BACKOFFICE_PUBLIC_BASES", &proxied);
        })
        .await;
    let _nginx = careless_cache(port, service.address()).await;
    service.url = format!("{proxied}/bff/backoffice/v1");

    let tenants = world.simulator.tenant_ids();
    let mut clients = Vec::new();
    for (tenant, title) in tenants.iter().zip(["title of a", "title of b"]) {
        let mut client = Client::sign_in(&world, tenant, &json!({})).await;
        raise(&world, &client, "alr_same", title).await;
        until_listed(&service, &mut client, "alr_same").await;
        clients.push(client);
    }
    for (path, status) in
        [("/alerts?limit=7", 200), ("/bootstrap", 200), ("/alerts?limit=0", 400), ("/no-such", 404)]
    {
        for _ in 0..2 {
            for (client, other) in clients.iter_mut().zip(["title of b", "title of a"]) {
                let answer = client.ask(&service, &Wish::get(path)).await;
                assert_eq!(answer.status, status, "{path}: {}", answer.text);
                // Looked for among what is kept, and not found there.
                assert_eq!(answer.headers["x-shared"], "MISS", "{path}");
                assert!(!answer.text.contains(other), "{path}: {}", answer.text);
                if path == "/bootstrap" {
                    assert_eq!(answer.body["tenantId"], client.text("tenantId"));
                }
            }
        }
    }
}
