//! The one builder of Redis keys: a key of a tenant begins with the tenant's id as its hash tag.

use events::TenantId;
use redis::{RedisWrite, ToRedisArgs, ToSingleRedisArg};

/// Revocations of every tenant, read by every instance. Stream, fields `tenant kind id at reason`.
pub const REVOCATIONS: &str = "g:revocations";
/// Announcements of newer live streams, read by every instance. Stream, fields `tenant device
/// number`.
pub const SUPERSEDE: &str = "g:supersede";
/// Announcements that screens have new content, read by every instance. Stream, fields `tenant
/// property widgets boards at`.
pub const REFRESH_HINTS: &str = "g:refresh-hints";

/// The keys of all snapshots, by when they were composed. Sorted set.
pub const SNAPSHOTS: &str = "g:snapshots";
/// What is to be composed anew, and when; shared by every instance. Sorted set.
pub const RECOMPOSE: &str = "g:recompose";
/// What is to be taken for changed once more. Sorted set.
pub const RECOMPOSE_AGAIN: &str = "g:recompose:again";

/// A key of one tenant: `{tnt_…}:<area>:<part>:…`. There is no other way to make one.
///
/// A part is an id or a fixed word. Ids may hold colons, so only the last part of a key is an
/// arbitrary id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantKey(String);

impl TenantKey {
    pub fn new(tenant_id: &TenantId, area: &str) -> Self {
        Self(format!("{{{tenant_id}}}:{area}"))
    }

    #[must_use]
    pub fn then(mut self, part: &str) -> Self {
        self.0.push(':');
        self.0.push_str(part);
        self
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ToRedisArgs for TenantKey {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(self.0.as_bytes());
    }
}

impl ToSingleRedisArg for TenantKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_begins_with_its_tenant_as_hash_tag() {
        let tenant_id: TenantId = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap();
        let key = TenantKey::new(&tenant_id, "fence").then("session").then("sid}{1");
        assert_eq!(key.as_str(), "{tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY}:fence:session:sid}{1");
    }
}
