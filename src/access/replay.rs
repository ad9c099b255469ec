//! The last step of admission, one script: fences, then the proof's one use, then the session.

use std::time::Duration;

use redis::Script;

use super::{
    caller::Caller,
    claims::Claims,
    fence, jws, session,
    store::{SessionTier, StoreError, milliseconds},
};

/// A fence ends tokens issued up to its time; a session's ends it for good, and so does a fence
/// whose value we cannot read. Only then is the proof used up; its entry outlives every window, so
/// that its life needs no arithmetic. Last, the session slides.
///
/// KEYS: fences of session, operator, device, tenant · jti · session. ARGV: issued at (ms) · life
/// of the jti (ms) · life of the session (ms).
const ADMIT: &str = "
if redis.call('EXISTS', KEYS[1]) == 1 then return {'fenced', false} end
for index = 2, 4 do
    local fence = redis.call('GET', KEYS[index])
    if fence then
        local at = tonumber(fence)
        if not at or at >= tonumber(ARGV[1]) then return {'fenced', false} end
    end
end
if not redis.call('SET', KEYS[5], '1', 'NX', 'PX', ARGV[2]) then return {'replayed', false} end
local session = redis.call('GET', KEYS[6])
if session then redis.call('PEXPIRE', KEYS[6], ARGV[3]) end
return {'admitted', session}";

/// The fences alone, for somebody who was let in before. KEYS and ARGV begin as above.
const STANDS: &str = "
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for index = 2, 4 do
    local fence = redis.call('GET', KEYS[index])
    if fence then
        local at = tonumber(fence)
        if not at or at >= tonumber(ARGV[1]) then return 0 end
    end
end
return 1";

/// A proof whose script ran to its end without a use of it.
const USE_ONCE: &str = "
if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then return 1 end
return 0";

/// What the store says to a verified request.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted {
    /// The proof is used up now. The session of the device, if one is open, as stored.
    Yes { session: Option<Vec<u8>> },
    /// Session, operator, device or tenant was revoked after the token was issued.
    Fenced,
    /// The proof was used before.
    Replayed,
}

/// The store of used proofs.
pub struct ReplayStore {
    tier: SessionTier,
    admit: Script,
    stands: Script,
    use_once: Script,
    replay_ttl: Duration,
    session_ttl: Duration,
}

impl ReplayStore {
    /// `replay_ttl` must outlive the windows of `iat` and nonces; [`super::Settings`] sees to it.
    pub fn new(tier: SessionTier, replay_ttl: Duration, session_ttl: Duration) -> Self {
        Self {
            tier,
            admit: Script::new(ADMIT),
            stands: Script::new(STANDS),
            use_once: Script::new(USE_ONCE),
            replay_ttl,
            session_ttl,
        }
    }

    /// Lets a verified request in once.
    ///
    /// # Errors
    /// The store did not answer in time: nobody is let in, and the proof may have been used up.
    pub async fn admit(&self, claims: &Claims, jti: &str) -> Result<Admitted, StoreError> {
        let tenant_id = &claims.tenant_id;
        let mut call = self.admit.prepare_invoke();
        call.key(fence::session_key(tenant_id, &claims.sid))
            .key(fence::operator_key(tenant_id, &claims.operator_id))
            .key(fence::device_key(tenant_id, &claims.device_id))
            .key(fence::tenant_key(tenant_id))
            .key(format!("{{{tenant_id}}}:dpop:jti:{}", used_name(&claims.jkt, jti)))
            .key(session::key(tenant_id, &claims.device_id))
            .arg(claims.issued_at.timestamp_millis())
            .arg(milliseconds(self.replay_ttl))
            .arg(milliseconds(self.session_ttl));
        let (answer, session): (String, Option<Vec<u8>>) = self.tier.run(&call).await?;
        Ok(match answer.as_str() {
            "admitted" => Admitted::Yes { session },
            "replayed" => Admitted::Replayed,
            _ => Admitted::Fenced,
        })
    }

    /// Whether nobody revoked what the caller was let in with.
    ///
    /// # Errors
    /// The store did not answer in time.
    pub async fn stands(&self, caller: &Caller) -> Result<bool, StoreError> {
        let tenant_id = &caller.tenant_id;
        let mut call = self.stands.prepare_invoke();
        call.key(fence::session_key(tenant_id, &caller.sid))
            .key(fence::operator_key(tenant_id, &caller.operator_id))
            .key(fence::device_key(tenant_id, &caller.device_id))
            .key(fence::tenant_key(tenant_id))
            .arg(caller.token_issued_at.timestamp_millis());
        let stands: i64 = self.tier.run(&call).await?;
        Ok(stands == 1)
    }

    /// Uses up the proof of a request without a token; false when it was used before.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub async fn use_once(&self, jkt: &str, jti: &str) -> Result<bool, StoreError> {
        let mut call = self.use_once.prepare_invoke();
        call.key(format!("g:dpop:jti:{}", used_name(jkt, jti))).arg(milliseconds(self.replay_ttl));
        let fresh: i64 = self.tier.run(&call).await?;
        Ok(fresh == 1)
    }
}

/// A hash, so that no `jti` shapes a key; scoped by the key that signed, so that nobody can use up
/// the proofs of others.
fn used_name(jkt: &str, jti: &str) -> String {
    jws::encode(jws::sha256(&[jkt.as_bytes(), &[0], jti.as_bytes()].concat()))
}
