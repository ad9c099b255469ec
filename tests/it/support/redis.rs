//! A Redis server of a test's own, which it may flush, freeze, kill and start again.

use std::process::{Child, Command, Stdio};

use backoffice::views::Redis;
use tempfile::TempDir;

use super::{port, wait};

/// A running server; it ends with this value.
pub struct RedisServer {
    directory: TempDir,
    port: u16,
    process: Option<Child>,
}

impl RedisServer {
    /// Needs `redis-server` or `valkey-server` on the path.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let port = port::free();
        let mut server = Self { directory, port, process: None };
        server.start_again().await;
        server
    }

    /// A server that follows this one.
    pub async fn start_replica(&self) -> Self {
        let replica = Self::start().await;
        let primary = self.port.to_string();
        replica.command(&["REPLICAOF", "127.0.0.1", &primary]).await;
        replica
    }

    /// Starts the server that was killed, on the same port, with what its append-only file kept.
    pub async fn start_again(&mut self) {
        let (port, directory) = (self.port.to_string(), self.directory.path());
        let child = ["redis-server", "valkey-server"]
            .into_iter()
            .find_map(|program| {
                Command::new(program)
                    .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
                    // What is written outlives the process. That it outlives the machine would
                    // only make every answer wait for the disk.
                    .args(["--appendonly", "yes", "--appendfsync", "no", "--dir"])
                    .arg(directory)
                    .stdout(Stdio::null())
                    .spawn()
                    .ok()
            })
            .expect("redis-server or valkey-server is on the path");
        self.process = Some(child);
        let url = self.url();
        wait::until("the server answers", async || Redis::connect(&url).await.is_ok()).await;
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the server is running");
            process.wait().expect("the server ends");
        }
    }

    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("the server is running").id()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub async fn connect(&self) -> Redis {
        Redis::connect(&self.url()).await.expect("the server can be reached")
    }

    /// Sends one command as it is and returns what it answers.
    pub async fn command(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let mut connection = self.connect().await.shared();
        command.query_async(&mut connection).await.expect("the command succeeds")
    }

    /// All keys, sorted.
    pub async fn keys(&self) -> Vec<String> {
        let keys = self.command(&["KEYS", "*"]).await;
        let mut keys: Vec<String> = redis::from_redis_value(keys).expect("keys are text");
        keys.sort();
        keys
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
