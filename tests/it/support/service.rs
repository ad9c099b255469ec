//! The real binary as a child process, so that it can be killed, and the world around it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use p256::{ecdsa::SigningKey, elliptic_curve::Generate, pkcs8::EncodePrivateKey};
use platform::Simulator;
use secrecy::ExposeSecret;
use ulid::Ulid;

use super::{broker::emulator, database::TestDatabase, port, redis::RedisServer, wait};

/// Stores, broker project and simulated platform of one test; nothing is shared with another test.
pub struct World {
    pub database: TestDatabase,
    pub session_tier: RedisServer,
    pub cache_tier: RedisServer,
    pub simulator: Simulator,
    pub project: String,
    secrets: tempfile::TempDir,
}

/// One running instance.
pub struct Service {
    child: Child,
    /// With the base path.
    pub url: String,
    pub root_url: String,
    pub admin_url: String,
    /// From the start of the process to the first successful readiness check.
    pub ready_after: Duration,
    lines: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub async fn start() -> Self {
        Self::with_tenants(platform::Settings::default().tenants).await
    }

    pub async fn with_tenants(tenants: usize) -> Self {
        let project = format!("it-{}", Ulid::generate().to_string().to_lowercase());
        let settings = platform::Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            pubsub_endpoint: Some(format!("http://{}", emulator())),
            project: project.clone(),
            tenants,
            ..platform::Settings::default()
        };
        let cache_tier = RedisServer::start().await;
        cache_tier.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
        Self {
            database: TestDatabase::create().await,
            session_tier: RedisServer::start().await,
            cache_tier,
            simulator: Simulator::start(settings).await.expect("the simulated platform starts"),
            project,
            secrets: secrets(),
        }
    }

    /// Puts a new secret in the place of a rotating one, which becomes the previous one.
    pub fn rotate_secret(&self, name: &str) {
        let current = self.secrets.path().join(name);
        fs::rename(&current, self.secrets.path().join(format!("{name}.previous"))).unwrap();
        write_secret(&current);
    }

    /// Runs another role of the binary to its end; answers whether it succeeded and what it said.
    pub fn run(&self, role: &[&str]) -> (bool, String) {
        let output = self.command().args(role).output().expect("the binary starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    /// The same for a role whose output nobody reads.
    pub fn run_unread(&self, role: &[&str]) -> (bool, String) {
        let mut command = self.command();
        command.args(role).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("the binary ends");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    /// The binary with the settings of the stores alone.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backoffice"));
        command
            .env_clear()
            .env("RUST_LOG", "info,sqlx=warn")
            .env("DATABASE_URL", self.database.settings().url.expose_secret())
            .env("REDIS_SESSION_URL", self.session_tier.url())
            .env("REDIS_CACHE_URL", self.cache_tier.url())
            .env("PUBSUB_PROJECT", &self.project)
            .env("PUBSUB_EMULATOR_HOST", emulator())
            .env("SECRETS_DIR", self.secrets.path());
        if let Some(counters) = counters() {
            command.env("LLVM_PROFILE_FILE", counters);
        }
        command
    }

    /// Where the service's secrets are.
    pub fn secrets_dir(&self) -> &Path {
        self.secrets.path()
    }

    /// Starts an instance and waits until it is ready.
    pub async fn service(&self) -> Service {
        self.service_with(&[]).await
    }

    /// Starts an instance with some variables set otherwise.
    pub async fn service_with(&self, variables: &[(&str, &str)]) -> Service {
        let set = |command: &mut Command| {
            command.envs(variables.iter().copied());
        };
        self.service_changed(set).await
    }

    /// Starts an instance otherwise, for example with its log in a file (`Command::stderr`).
    pub async fn service_changed(&self, change: impl FnOnce(&mut Command)) -> Service {
        let (port, admin_port) = (port::free(), port::free());
        let root_url = format!("http://127.0.0.1:{port}");
        let mut command = self.command();
        command
            .arg("serve")
            .env("BACKOFFICE_LISTEN", format!("127.0.0.1:{port}"))
            .env("BACKOFFICE_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
            .env("BACKOFFICE_PUBLIC_BASES", &root_url)
            .env("TOKEN_ISSUER", "https://iam.melmastoon.internal")
            .env("TOKEN_JWKS_URL", format!("{}/.well-known/jwks.json", self.simulator.url()))
            .env("UPSTREAM_BASE_URL", self.simulator.url())
            .env("UPSTREAM_ID_TOKEN", "development")
            // Many tests share the machine: what is late here is not lost.
            .env("SESSION_TIER_TIMEOUT", "2s")
            // One device of a test does what hundreds do.
            .env("RATE_PER_DEVICE", "100000")
            .env("RATE_PER_DEVICE_BURST", "100000")
            .env("RATE_PER_TENANT", "100000")
            .env("RATE_PER_TENANT_BURST", "100000")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        Service::start(command, (port, admin_port)).await
    }
}

impl Service {
    /// Starts a program that listens on this port, and for who watches it on the other one; waits
    /// until it is ready.
    pub async fn start(mut command: Command, (port, admin_port): (u16, u16)) -> Self {
        let root_url = format!("http://127.0.0.1:{port}");
        let started = Instant::now();
        let mut child = command.spawn().expect("the program starts");
        let lines = Arc::default();
        if let Some(output) = child.stdout.take() {
            keep(output, &lines);
        }
        if let Some(log) = child.stderr.take() {
            keep(log, &lines);
        }
        let mut service = Self {
            child,
            url: format!("{root_url}/bff/backoffice/v1"),
            root_url,
            admin_url: format!("http://127.0.0.1:{admin_port}"),
            ready_after: Duration::ZERO,
            lines,
        };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let ready = format!("{}/health/ready", service.root_url);
        wait::until("the service is ready", || async {
            http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        service.ready_after = started.elapsed();
        service
    }

    /// What it tells Prometheus.
    pub async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.admin_url);
        reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }

    /// Waits until the memberships of its first seconds are forgotten, which happens twice: from then
    /// on those that are known stay known while tenant-service is away.
    pub async fn keeps_memberships(&self) {
        let forgotten = "bff_backoffice_memberships_forgotten_total{whose=\"all\"} 2";
        wait::until("the first memberships are forgotten", async || {
            self.metrics().await.contains(forgotten)
        })
        .await;
    }

    /// `kill -9`: nothing is drained, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the process where it is, as a machine does that hangs, until it is thawed.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// SIGTERM: it drains and ends.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// `host:port` of the public listener.
    pub fn address(&self) -> &str {
        self.root_url.trim_start_matches("http://")
    }

    /// What it has written so far, to standard output or error.
    pub fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// SIGTERM and the time until the process is gone.
    pub async fn stop(mut self) -> Duration {
        let started = Instant::now();
        self.terminate();
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap();
        started.elapsed()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if counters().is_some() {
            // Only a process that ends by itself says what it ran.
            let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            let _ = self.child.wait();
        }
        // Already gone when the test killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program built to count what it runs writes its counters; `None` in any other build.
fn counters() -> Option<std::ffi::OsString> {
    std::env::var_os("LLVM_PROFILE_FILE")
}

/// Keeps every line; `SHOW_LOGS=1` shows them as well.
fn keep(output: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    let shown = std::env::var_os("SHOW_LOGS").is_some();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if shown {
                eprintln!("{line}");
            }
            lines.lock().unwrap().push(line);
        }
    });
}

/// A folder with secrets of its own.
pub fn secrets() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["pepper", "sse-signing-key", "dpop-nonce-key", "personal-data-key"] {
        write_secret(&directory.path().join(name));
    }
    write_sync_key(&directory.path().join("sync-signing-key"));
    directory
}

/// A private key of P-256 as PKCS#8 in PEM.
pub fn write_sync_key(path: &Path) {
    let der = SigningKey::generate().to_pkcs8_der().unwrap();
    let base64 = STANDARD.encode(der.as_bytes());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n");
    write_own(path, &pem);
}

fn write_secret(path: &Path) {
    let secret: String = (0..2).map(|_| Ulid::generate().to_string()).collect();
    write_own(path, &secret);
}

fn write_own(path: &Path, secret: &str) {
    fs::write(path, secret).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
}
