//! Everything kept in Redis that is folded from the logs, and the handle of a Redis tier.
//!
//! There are two tiers: *session* (`noeviction`: sessions, replay, live streams, revocations) and
//! *cache* (`allkeys-lru`: views). Losing either loses nothing that cannot be rebuilt.

pub mod build;
pub mod key;
pub mod outdated;
pub mod refresh_hint;
pub mod snapshot;
pub mod view;

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};

pub use build::{Building, SwapOutcome};
pub use key::TenantKey;
pub use refresh_hint::RefreshHint;
pub use view::{Applied, View};

/// How long a command may take before its caller gives up.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest pause between two attempts of the shared connection to come back.
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);
/// Attempts the shared connection makes for one command before that command fails; the next one
/// tries anew.
const RECONNECT_ATTEMPTS: usize = 2;

/// A tier did not answer as expected.
pub type TierError = RedisError;

/// A view could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error("Redis did not answer as expected")]
    Redis(#[from] RedisError),
    /// A view changed under its writer again and again. Only two lanes and a build can write one,
    /// so this cannot last.
    #[error("the view keeps changing")]
    Contended,
    #[error("an item cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// One tier of Redis: a shared connection that comes back by itself, and the address for further
/// ones. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    shared: ConnectionManager,
    recovery_epoch: u32,
}

impl Redis {
    /// Connects to `url` (`redis://[:password@]host:port[/db]`).
    ///
    /// # Errors
    /// When the URL is malformed or the server cannot be reached within a few attempts.
    pub async fn connect(url: &str) -> Result<Self, RedisError> {
        let client = Client::open(url)?;
        let shared =
            ConnectionManager::new_with_config(client.clone(), shared_config(RESPONSE_TIMEOUT))
                .await?;
        Ok(Self { client, shared, recovery_epoch: 0 })
    }

    /// Marks what is written from now on as folded from the logs of this recovery epoch, 0 before
    /// the first recovery. What another epoch wrote counts as missing.
    #[must_use]
    pub fn with_recovery_epoch(mut self, recovery_epoch: u32) -> Self {
        self.recovery_epoch = recovery_epoch;
        self
    }

    pub fn recovery_epoch(&self) -> u32 {
        self.recovery_epoch
    }

    /// The connection everybody shares. Never send it a command that blocks.
    pub fn shared(&self) -> ConnectionManager {
        self.shared.clone()
    }

    /// Another connection to share, on which an answer may take `response_timeout`.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn shared_within(
        &self,
        response_timeout: Duration,
    ) -> Result<ConnectionManager, RedisError> {
        ConnectionManager::new_with_config(self.client.clone(), shared_config(response_timeout))
            .await
    }

    /// A connection of the caller's own, for commands that block up to `block`. It does not come
    /// back once it is lost.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn blocking(&self, block: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_response_timeout(Some(block + RESPONSE_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Whether the server answers. For readiness.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), RedisError> {
        redis::cmd("PING").query_async(&mut self.shared()).await
    }

    /// The server's eviction policy, e.g. `noeviction`. For readiness: the session tier must not
    /// evict.
    ///
    /// # Errors
    /// When the server cannot be asked or does not say.
    pub async fn eviction_policy(&self) -> Result<String, RedisError> {
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.shared()).await?;
        info_field(&info, "maxmemory_policy")
            .map(str::to_owned)
            .ok_or_else(|| (redis::ErrorKind::UnexpectedReturnType, "no maxmemory_policy").into())
    }
}

fn shared_config(response_timeout: Duration) -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_response_timeout(Some(response_timeout))
        .set_connection_timeout(Some(CONNECTION_TIMEOUT))
        .set_max_delay(RECONNECT_DELAY_MAX)
        .set_number_of_retries(RECONNECT_ATTEMPTS)
}

/// Takes a key that nobody has for `ttl`; false when somebody has it.
///
/// # Errors
/// When Redis fails; the key may have been taken.
pub async fn claim(redis: &Redis, key: &TenantKey, ttl: Duration) -> Result<bool, RedisError> {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(1).arg("NX").arg("PX").arg(millis(ttl));
    let taken: Option<String> = command.query_async(&mut redis.shared()).await?;
    Ok(taken.is_some())
}

/// Gives a key back that [`claim`] took.
///
/// # Errors
/// When Redis fails; the key then ends by itself.
pub async fn release(redis: &Redis, key: &TenantKey) -> Result<(), RedisError> {
    redis::cmd("DEL").arg(key).exec_async(&mut redis.shared()).await
}

/// Waits until a replica, where there is one, has what `connection` wrote before.
///
/// # Errors
/// When the connection fails, or no replica confirms within `within`.
pub async fn wait_for_replica(
    connection: &mut MultiplexedConnection,
    within: Duration,
) -> Result<(), RedisError> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    let replicas = info_field(&info, "connected_slaves").unwrap_or("0");
    if replicas == "0" {
        return Ok(());
    }
    let within_ms = millis(within).max(1);
    let confirmed: u32 = redis::cmd("WAIT").arg(1).arg(within_ms).query_async(connection).await?;
    if confirmed == 0 {
        return Err((redis::ErrorKind::Io, "no replica confirmed the write in time").into());
    }
    Ok(())
}

/// As Redis takes durations.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(info_field(info, "maxmemory_policy"), Some("allkeys-lru"));
        assert_eq!(info_field(info, "maxmemory_pol"), None);
    }
}
