//! nginx with a cache in front, keyed by the URL alone, which is as wrong as a cache can be set up.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    client::{Client, Wish, raise, until_listed},
    support::{service::World, wait},
};

struct Nginx {
    child: Child,
    _directory: TempDir,
}

impl Nginx {
    async fn start(port: u16, service: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let origin = service.strip_prefix("http://").unwrap();
        let settings = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             proxy_cache_path {at}/cache keys_zone=shared:1m;\n\
             server {{ listen 127.0.0.1:{port};\n location / {{ proxy_pass http://{origin};\n\
             proxy_set_header Host {origin}; proxy_cache shared; proxy_cache_key $request_uri;\n\
             proxy_cache_valid 200 10m; add_header X-Shared $upstream_cache_status always; }} }} }}\n",
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, settings).unwrap();
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is on the path: install the package `nginx-light`");
        let nginx = Self { child, _directory: directory };
        wait::until("nginx answers", async || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Already gone when it could not start.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_37_a_cache_in_front_serves_nobody_anothers_answer() {
    let world = World::start().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let proxied = format!("http://127.0.0.1:{port}");
    let mut service = world
        .service_changed(|command| {
            // Proofs name the origin that the desktop calls.
            command.env("BACKOFFICE_PUBLIC_BASES", &proxied);
        })
        .await;
    let _nginx = Nginx::start(port, &service.root_url).await;
    service.url = format!("{proxied}/bff/backoffice/v1");

    let tenants = world.simulator.tenant_ids();
    let mut clients = Vec::new();
    for (tenant, title) in tenants.iter().zip(["title of a", "title of b"]) {
        let mut client = Client::sign_in(&world, tenant, &json!({})).await;
        raise(&world, &client, "alr_same", title).await;
        until_listed(&service, &mut client, "alr_same").await;
        clients.push(client);
    }
    for path in ["/alerts?limit=7", "/bootstrap", "/alerts?limit=0", "/no-such"] {
        for _ in 0..2 {
            for (client, other) in clients.iter_mut().zip(["title of b", "title of a"]) {
                let answer = client.ask(&service, &Wish::get(path)).await;
                assert_ne!(answer.headers["x-shared"], "HIT", "{path}");
                assert!(!answer.text.contains(other), "{path}: {}", answer.text);
                if path == "/bootstrap" {
                    assert_eq!(answer.body["tenantId"], client.text("tenantId"));
                }
            }
        }
    }
}
