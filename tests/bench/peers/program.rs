//! The Node peer as a running program, on the stores of a world and beside its service.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::support::{
    port,
    service::{Service, World},
};

const SOURCES: &str = "tests/bench/peers/node";

/// Starts the peer and waits until it is ready.
pub async fn start(world: &World) -> Service {
    let port = port::free();
    let mut command = Command::new("node");
    command
        .arg(script())
        .env("NODE_ENV", "production")
        .env("BACKOFFICE_LISTEN", format!("127.0.0.1:{port}"))
        .env("BACKOFFICE_PUBLIC_BASES", format!("http://127.0.0.1:{port}"))
        .env("TOKEN_ISSUER", "https://iam.melmastoon.internal")
        .env("TOKEN_JWKS_URL", format!("{}/.well-known/jwks.json", world.simulator.url()))
        .env("UPSTREAM_BASE_URL", world.simulator.url())
        .env("UPSTREAM_ID_TOKEN", "development")
        .env("DATABASE_URL", world.database.settings().url.expose_secret())
        .env("REDIS_SESSION_URL", world.session_tier.url())
        .env("REDIS_CACHE_URL", world.cache_tier.url())
        .env("SECRETS_DIR", world.secrets_dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // It has no listener of its own for who watches it.
    Service::start(command, (port, port)).await
}

/// What it is made of: Node and the packages that are named, each with its version.
pub fn versions() -> String {
    let node = Command::new("node").arg("--version").output().expect("needs Node 20");
    let package = fs::read(sources().join("package.json")).unwrap();
    let package: Value = serde_json::from_slice(&package).unwrap();
    let named: &Map<String, Value> = package["dependencies"].as_object().unwrap();
    let named = named.iter().map(|(name, version)| format!("{name} {}", version.as_str().unwrap()));
    let node = format!("node {}", String::from_utf8_lossy(&node.stdout).trim());
    [node].into_iter().chain(named).collect::<Vec<_>>().join(", ")
}

/// The program among its packages: a module finds them from where it stands.
fn script() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    let installed = target.join("peers/node");
    assert!(installed.join("node_modules").is_dir(), "ops/dev/peers.sh installs what is missing");
    for file in fs::read_dir(sources()).unwrap().map(Result::unwrap) {
        if file.path().extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(file.path(), installed.join(file.file_name())).unwrap();
        }
    }
    installed.join("server.mjs")
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCES)
}
