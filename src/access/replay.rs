//! The last step of admission, one script: fences, then the rates of device and tenant, then the
//! proof's one use, then the session.

use std::{sync::Arc, time::Duration};

use events::TenantId;
use moka::sync::Cache;
use redis::Script;
use ulid::Ulid;

use super::{
    caller::Caller,
    claims::Claims,
    fence::{self, Holder},
    jws,
    rate::{Limit, Limited, Settings as Rates, Standing, Standings},
    session,
    store::{SessionTier, StoreError, milliseconds},
};

/// A proof whose nonce is of another epoch may have been used before
/// the store lost its memory. A rate (GCRA) is kept as the time at which its bucket is full again,
/// by the tier's own clock, and forgotten then. Who comes too soon has used up neither quota nor
/// proof; who repeats a proof has used up no quota. The proof's entry outlives every window, so
/// that its life needs no arithmetic. Last, the session slides.
///
/// KEYS: fences of session, operator, device, tenant · jti · session · rates of device, tenant ·
/// epoch. ARGV: issued at (ms) · life of the jti (ms) · life of the session (ms) · for either rate:
/// step (µs), burst · epoch of the nonce, empty without one. Answer: the outcome · the session · how
/// long to wait (µs) · for either rate: what is left, when it is full again (µs).
const ADMIT: &str = "
local function refused(outcome, wait) return {outcome, false, wait, 0, 0, 0, 0} end
if fenced(ARGV[1]) then return refused('fenced', 0) end
if ARGV[8] ~= '' and redis.call('GET', KEYS[9]) ~= ARGV[8] then return refused('forgotten', 0) end
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

/// The one use of a proof without a token. KEYS: jti · epoch. ARGV: life of the jti (ms) · epoch
/// of the nonce, empty without one.
const USE_ONCE: &str = "
if ARGV[2] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[2] then return 'forgotten' end
if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then return 'admitted' end
return 'replayed'";

/// The epoch that is, or else the one that begins now. KEYS: epoch. ARGV: a new one.
const EPOCH: &str = "
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])";

/// Tenants whose epoch an instance remembers.
const EPOCHS_MAX: u64 = 10_000;

/// A verified request that is let in; its proof is used up now.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The session of the device, if one is open, as stored.
    pub session: Option<Vec<u8>>,
    pub standings: Standings,
}

/// Why a verified request is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Denial {
    /// Session, operator, device or tenant was revoked after the token was issued.
    #[error("revoked")]
    Fenced,
    #[error("the proof was used before")]
    Replayed,
    /// The device or its tenant asks too often.
    #[error("too many requests")]
    Limited(Limited),
    /// The proof's nonce is older than what the store remembers, so nobody can say whether the
    /// proof was used before.
    #[error("the nonce is of another epoch")]
    Forgotten,
    /// The store did not answer in time. The proof may have been used up.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Outcome, session, wait, then left and full again of device and tenant; times in microseconds.
type Answer = (String, Option<Vec<u8>>, u64, u64, u64, u64, u64);

/// The store of used proofs.
///
/// It has an epoch for each tenant: a random word beside the used proofs, which is lost when they
/// are. Nonces are made for one epoch, so that a store that was emptied asks for a new nonce
/// instead of taking an old proof for a fresh one.
pub struct ReplayStore {
    tier: SessionTier,
    admit: Script,
    use_once: Script,
    epoch: Script,
    /// As last seen, by key. One that is out of date is found out by the scripts.
    epochs: Cache<String, Arc<str>>,
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
            admit: fence::script(ADMIT),
            use_once: Script::new(USE_ONCE),
            epoch: Script::new(EPOCH),
            epochs: Cache::new(EPOCHS_MAX),
            replay_ttl,
            session_ttl,
            rates,
        }
    }

    /// Lets a verified request in once; `epoch` is that of its nonce, if nonces are on.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn admit(
        &self,
        claims: &Claims,
        jti: &str,
        epoch: Option<&str>,
    ) -> Result<Admitted, Denial> {
        let tenant_id = &claims.tenant_id;
        let epoch_key = epoch_key(Some(tenant_id));
        let mut call = self.admit.prepare_invoke();
        let holder = Holder::from(claims);
        call.key(&holder.fences())
            .key(format!("{{{tenant_id}}}:dpop:jti:{}", used_name(&claims.jkt, jti)))
            .key(session::key(tenant_id, &claims.device_id))
            .key(format!("{{{tenant_id}}}:rate:device:{}", claims.device_id))
            .key(format!("{{{tenant_id}}}:rate:tenant"))
            .key(&epoch_key)
            .arg(holder.issued_at_ms())
            .arg(milliseconds(self.replay_ttl))
            .arg(milliseconds(self.session_ttl));
        for quota in [self.rates.device, self.rates.tenant] {
            call.arg(quota.step_us()).arg(quota.burst.get());
        }
        call.arg(epoch.unwrap_or_default());
        let answer: Answer = self.tier.run(&call).await?;
        let (outcome, session, wait, device_left, device_full, tenant_left, tenant_full) = answer;
        self.judge(&outcome, wait, &epoch_key)?;
        let standing = |left, full_us| Standing { left, full_in: Duration::from_micros(full_us) };
        let standings = Standings {
            settings: self.rates,
            device: standing(device_left, device_full),
            tenant: standing(tenant_left, tenant_full),
        };
        Ok(Admitted { session, standings })
    }

    fn judge(&self, outcome: &str, wait_us: u64, epoch_key: &str) -> Result<(), Denial> {
        let limited = |limit| {
            let retry_after = Duration::from_micros(wait_us);
            Denial::Limited(Limited { limit, retry_after, settings: self.rates })
        };
        Err(match outcome {
            "admitted" => return Ok(()),
            "replayed" => Denial::Replayed,
            "device" => limited(Limit::Device),
            "tenant" => limited(Limit::Tenant),
            "forgotten" => {
                self.epochs.invalidate(epoch_key);
                Denial::Forgotten
            }
            _ => Denial::Fenced,
        })
    }

    /// The epoch of a tenant, or of proofs without a token, as far as this instance knows it.
    pub fn known_epoch(&self, tenant_id: Option<&TenantId>) -> Option<Arc<str>> {
        self.epochs.get(&epoch_key(tenant_id))
    }

    /// The epoch as the store has it now; one begins if there is none.
    ///
    /// # Errors
    /// The store did not answer in time.
    pub async fn current_epoch(
        &self,
        tenant_id: Option<&TenantId>,
    ) -> Result<Arc<str>, StoreError> {
        let key = epoch_key(tenant_id);
        let mut call = self.epoch.prepare_invoke();
        call.key(&key).arg(Ulid::generate().to_string());
        let epoch: String = self.tier.run(&call).await?;
        let epoch = Arc::from(epoch);
        self.epochs.insert(key, Arc::clone(&epoch));
        Ok(epoch)
    }

    /// Whether nobody revoked what the caller was let in with.
    ///
    /// # Errors
    /// The store did not answer in time.
    pub async fn stands(&self, caller: &Caller) -> Result<bool, StoreError> {
        fence::stands(&self.tier, caller.into()).await
    }

    /// Uses up the proof of a request without a token; `epoch` is that of its nonce, if nonces are
    /// on. There is no session to find.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub async fn use_once(&self, jkt: &str, jti: &str, epoch: Option<&str>) -> Result<(), Denial> {
        let epoch_key = epoch_key(None);
        let mut call = self.use_once.prepare_invoke();
        call.key(format!("g:dpop:jti:{}", used_name(jkt, jti)))
            .key(&epoch_key)
            .arg(milliseconds(self.replay_ttl))
            .arg(epoch.unwrap_or_default());
        let outcome: String = self.tier.run(&call).await?;
        self.judge(&outcome, 0, &epoch_key)
    }
}

fn epoch_key(tenant_id: Option<&TenantId>) -> String {
    tenant_id.map_or_else(|| "g:dpop:epoch".to_owned(), |id| format!("{{{id}}}:dpop:epoch"))
}

/// A hash, so that no `jti` shapes a key; scoped by the key that signed, so that nobody can use up
/// the proofs of others.
fn used_name(jkt: &str, jti: &str) -> String {
    jws::encode(jws::sha256(&[jkt.as_bytes(), &[0], jti.as_bytes()].concat()))
}
