//! The real binary as a child process, so that it can be killed, and the world around it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use platform::Simulator;
use secrecy::ExposeSecret;
use ulid::Ulid;

use super::{broker::emulator, database::TestDatabase, redis::RedisServer, wait};

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
    said: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub async fn start() -> Self {
        let project = format!("it-{}", Ulid::generate().to_string().to_lowercase());
        let settings = platform::Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            pubsub_endpoint: Some(format!("http://{}", emulator())),
            project: project.clone(),
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

    /// Where the secret files are; they belong to the test.
    pub fn secrets(&self) -> &Path {
        self.secrets.path()
    }

    /// Runs another role of the binary to its end; answers whether it succeeded and what it said.
    pub fn run(&self, role: &[&str]) -> (bool, String) {
        let output = self.command().args(role).output().expect("the binary starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
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
        command
    }

    /// Starts an instance and waits until it is ready.
    pub async fn service(&self) -> Service {
        let (port, admin_port) = (free_port(), free_port());
        let root_url = format!("http://127.0.0.1:{port}");
        let started = Instant::now();
        let mut child = self
            .command()
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
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let said = Arc::new(Mutex::new(Vec::new()));
        keep(child.stdout.take().unwrap(), &said);
        keep(child.stderr.take().unwrap(), &said);
        let mut service = Service {
            child,
            url: format!("{root_url}/bff/backoffice/v1"),
            root_url,
            admin_url: format!("http://127.0.0.1:{admin_port}"),
            ready_after: Duration::ZERO,
            said,
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
}

impl Service {
    /// Every line it has written so far, to standard output or error.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// `host:port` of the public listener.
    pub fn address(&self) -> &str {
        self.root_url.trim_start_matches("http://")
    }

    /// `kill -9`: nothing is drained, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM and the time until the process is gone.
    pub async fn stop(mut self) -> Duration {
        let started = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap();
        started.elapsed()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Already gone when the test killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps every line; `SHOW_LOGS=1` shows them as well.
fn keep(output: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = Arc::clone(said);
    let shown = std::env::var_os("SHOW_LOGS").is_some();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if shown {
                eprintln!("{line}");
            }
            said.lock().unwrap().push(line);
        }
    });
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn secrets() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["pepper", "sse-signing-key", "dpop-nonce-key", "personal-data-key"] {
        write_secret(&directory.path().join(name));
    }
    directory
}

fn write_secret(path: &Path) {
    let secret: String = (0..2).map(|_| Ulid::generate().to_string()).collect();
    fs::write(path, secret).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
}
