//! Access's commands to the session tier, each with a deadline and none repeated.

use std::time::Duration;

use redis::{AsyncCommands, FromRedisValue, RedisError, Script, aio::ConnectionManager};
use tokio::time::timeout;

/// Deletes a key only while it holds what the caller thinks it holds.
const DELETE_IF: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// The session tier did not do what was asked, or nobody knows whether it did.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the session tier refused or was not reached")]
    Redis(#[from] RedisError),
    #[error("the session tier did not answer in time")]
    TimedOut,
}

/// A connection to the session tier and how long one answer may take.
#[derive(Clone)]
pub struct SessionTier {
    connection: ConnectionManager,
    timeout: Duration,
}

impl SessionTier {
    pub fn new(connection: ConnectionManager, timeout: Duration) -> Self {
        Self { connection, timeout }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut connection = self.connection.clone();
        self.within(connection.get(key)).await
    }

    /// Whether the key was absent and is set now.
    pub(super) async fn set_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection.clone();
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value).arg("NX").arg("PX").arg(milliseconds(ttl));
        let answer: Option<String> = self.within(command.query_async(&mut connection)).await?;
        Ok(answer.is_some())
    }

    /// Whether the key held `value` and is gone now.
    pub(super) async fn delete_if(&self, key: &str, value: &[u8]) -> Result<bool, StoreError> {
        let mut connection = self.connection.clone();
        let script = Script::new(DELETE_IF);
        let deleted: i64 =
            self.within(script.key(key).arg(value).invoke_async(&mut connection)).await?;
        Ok(deleted == 1)
    }

    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.clone();
        self.within(script.invoke_async(&mut connection)).await
    }

    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreError> {
        Ok(timeout(self.timeout, answer).await.map_err(|_| StoreError::TimedOut)??)
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
