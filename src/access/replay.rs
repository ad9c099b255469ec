//! The last step of admission, one script: fences, then the rates of device and tenant, then the
//! proof's one use, then the session.

use std::time::Duration;

use redis::Script;

use super::{
    caller::Caller,
    claims::Claims,
    fence, jws,
    rate::{Limit, Limited, Settings as Rates, Standing, Standings},
    session,
    store::{SessionTier, StoreError, milliseconds},
};

/// A fence ends tokens issued up to its time; a session's ends it for good, and so does a fence
/// whose value we cannot read. A rate (GCRA) is kept as the time at which its bucket is full again,
/// by the tier's own clock, and forgotten then. Who comes too soon has used up neither quota nor
/// proof; who repeats a proof has used up no quota. The proof's entry outlives every window, so
/// that its life needs no arithmetic. Last, the session slides.
///
/// KEYS: fences of session, operator, device, tenant · jti · session · rates of device, tenant.
/// ARGV: issued at (ms) · life of the jti (ms) · life of the session (ms) · for either rate: step
/// (µs), burst. Answer: the outcome · the session · how long to wait (µs) · for either rate: what
/// is left, when it is full again (µs).
const ADMIT: &str = "
local function refused(outcome, wait) return {outcome, false, wait, 0, 0, 0, 0} end
if redis.call('EXISTS', KEYS[1]) == 1 then return refused('fenced', 0) end
for index = 2, 4 do
    local fence = redis.call('GET', KEYS[index])
    if fence then
        local at = tonumber(fence)
        if not at or at >= tonumber(ARGV[1]) then return refused('fenced', 0) end
    end
end
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local full, left = {}, {}
for index, outcome in ipairs({'device', 'tenant'}) do
    local step, burst = tonumber(ARGV[2 + 2 * index]), tonumber(ARGV[3 + 2 * index])
    local known = tonumber(redis.call('GET', KEYS[6 + index]) or '') or 0
    full[index] = math.max(known, now) + step
    local wait = full[index] - now - step * burst
    if wait > 0 then return refused(outcome, wait) end
    left[index] = math.floor(-wait / step)
end
if not redis.call('SET', KEYS[5], '1', 'NX', 'PX', ARGV[2]) then return refused('replayed', 0) end
for index = 1, 2 do
    local life = math.ceil((full[index] - now) / 1000)
    redis.call('SET', KEYS[6 + index], string.format('%.0f', full[index]), 'PX', life)
    full[index] = full[index] - now
end
local session = redis.call('GET', KEYS[6])
if session then redis.call('PEXPIRE', KEYS[6], ARGV[3]) end
return {'admitted', session, 0, left[1], full[1], left[2], full[2]}";

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
    Yes { session: Option<Vec<u8>>, standings: Standings },
    /// Session, operator, device or tenant was revoked after the token was issued.
    Fenced,
    /// The proof was used before.
    Replayed,
    /// The device or its tenant asks too often.
    Limited(Limited),
}

/// Outcome, session, wait, then left and full again of device and tenant; times in microseconds.
type Answer = (String, Option<Vec<u8>>, u64, u64, u64, u64, u64);

/// The store of used proofs.
pub struct ReplayStore {
    tier: SessionTier,
    admit: Script,
    stands: Script,
    use_once: Script,
    replay_ttl: Duration,
    session_ttl: Duration,
    rates: Rates,
}

impl ReplayStore {
    /// `replay_ttl` must outlive the windows of `iat` and nonces; [`super::Settings`] sees to it.
    pub fn new(
        tier: SessionTier,
        replay_ttl: Duration,
        session_ttl: Duration,
        rates: Rates,
    ) -> Self {
        Self {
            tier,
            admit: Script::new(ADMIT),
            stands: Script::new(STANDS),
            use_once: Script::new(USE_ONCE),
            replay_ttl,
            session_ttl,
            rates,
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
            .key(format!("{{{tenant_id}}}:rate:device:{}", claims.device_id))
            .key(format!("{{{tenant_id}}}:rate:tenant"))
            .arg(claims.issued_at.timestamp_millis())
            .arg(milliseconds(self.replay_ttl))
            .arg(milliseconds(self.session_ttl));
        for quota in [self.rates.device, self.rates.tenant] {
            call.arg(quota.step_us()).arg(quota.burst.get());
        }
        Ok(self.admitted(self.tier.run(&call).await?))
    }

    fn admitted(&self, answer: Answer) -> Admitted {
        let (outcome, session, wait, device_left, device_full, tenant_left, tenant_full) = answer;
        let settings = self.rates;
        let standing = |left, full_us| Standing { left, full_in: Duration::from_micros(full_us) };
        let limited = |limit| {
            let retry_after = Duration::from_micros(wait);
            Admitted::Limited(Limited { limit, retry_after, settings })
        };
        match outcome.as_str() {
            "admitted" => {
                let device = standing(device_left, device_full);
                let tenant = standing(tenant_left, tenant_full);
                Admitted::Yes { session, standings: Standings { settings, device, tenant } }
            }
            "replayed" => Admitted::Replayed,
            "device" => limited(Limit::Device),
            "tenant" => limited(Limit::Tenant),
            _ => Admitted::Fenced,
        }
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
