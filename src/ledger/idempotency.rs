//! Table `idempotency`: what a client's `X-Idempotency-Key` stands for. Reads are from the primary:
//! a stale miss would run a command twice.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, TenantId};
use ulid::Ulid;

use super::{ReadError, pools::Pools};

/// One key of one device; another tenant or device may use the same ULID.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimKey {
    pub tenant_id: TenantId,
    pub device_id: DeviceId,
    /// `X-Idempotency-Key`.
    pub key: Ulid,
}

/// What an append does to a claim, in its own transaction.
#[derive(Clone, Debug)]
pub enum ClaimWrite {
    /// The command begins, and goes on after this append. Refused when the key is taken.
    Start {
        key: ClaimKey,
        operator_id: OperatorId,
        /// Of the request; another request under the same key is refused by it.
        fingerprint: [u8; 32],
        /// Names this attempt; only it can complete the claim.
        owner: Ulid,
        /// Database time; after it another request may take the claim over.
        lease: Duration,
    },
    /// The command ends with this append. Fenced when another attempt owns the claim.
    Complete { key: ClaimKey, owner: Ulid, attempt: i32, response: StoredResponse },
    /// The command begins and ends with this append. Refused when the key is taken.
    StartAndComplete {
        key: ClaimKey,
        operator_id: OperatorId,
        fingerprint: [u8; 32],
        response: StoredResponse,
    },
}

impl ClaimWrite {
    pub(super) fn key(&self) -> &ClaimKey {
        match self {
            Self::Start { key, .. }
            | Self::Complete { key, .. }
            | Self::StartAndComplete { key, .. } => key,
        }
    }
}

/// The answer that every repetition gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// HTTP status, 100–599.
    pub status: u16,
    /// Those worth repeating: content type, location, entity tag.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// How far the command behind a key has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    InProgress,
    Completed,
    /// Its effect upstream may or may not have happened.
    Unknown,
}

/// A claim as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    pub operator_id: OperatorId,
    pub fingerprint: [u8; 32],
    pub state: ClaimState,
    /// By the database's clock at the read.
    pub lease_expired: bool,
    pub attempt: i32,
    pub created_at: DateTime<Utc>,
    /// There when, and only when, the claim is completed.
    pub response: Option<StoredResponse>,
}

pub(super) async fn read(pools: &Pools, claim: &ClaimKey) -> Result<Option<ClaimRow>, ReadError> {
    let mut transaction = pools.begin(&claim.tenant_id).await?;
    let row = sqlx::query!(
        r#"
        select
            operator_id,
            fingerprint,
            state,
            lease_until < clock_timestamp() as "lease_expired!",
            attempt,
            created_at,
            status,
            headers::text as headers,
            body
        from idempotency
        where tenant_id = $1 and device_id = $2 and key = $3
        "#,
        claim.tenant_id.as_str(),
        claim.device_id.as_str(),
        claim.key.to_string(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let Some(row) = row else { return Ok(None) };

    let corrupt = |what: &'static str| ReadError::CorruptClaim { key: claim.key, what };
    let response = match (row.status, row.headers, row.body) {
        (Some(status), Some(headers), Some(body)) => Some(StoredResponse {
            status: status.try_into().map_err(|_| corrupt("status"))?,
            headers: serde_json::from_str(&headers).map_err(|_| corrupt("headers"))?,
            body,
        }),
        _ => None,
    };
    Ok(Some(ClaimRow {
        operator_id: row.operator_id.parse().map_err(|_| corrupt("operator_id"))?,
        fingerprint: row.fingerprint.try_into().map_err(|_| corrupt("fingerprint"))?,
        state: match row.state.as_str() {
            "in_progress" => ClaimState::InProgress,
            "completed" => ClaimState::Completed,
            "unknown" => ClaimState::Unknown,
            _ => return Err(corrupt("state")),
        },
        lease_expired: row.lease_expired,
        attempt: row.attempt,
        created_at: row.created_at,
        response,
    }))
}

/// The attempt's number, if the claim was still in progress and its lease over; else `None`.
pub(super) async fn take_over(
    pools: &Pools,
    claim: &ClaimKey,
    owner: Ulid,
    lease: Duration,
) -> Result<Option<i32>, ReadError> {
    let mut transaction = pools.begin(&claim.tenant_id).await?;
    let attempt = sqlx::query_scalar!(
        r#"
        update idempotency
        set owner = $4,
            attempt = attempt + 1,
            lease_until = clock_timestamp() + $5 * interval '1 millisecond'
        where tenant_id = $1
          and device_id = $2
          and key = $3
          and state <> 'completed'
          and lease_until < clock_timestamp()
        returning attempt
        "#,
        claim.tenant_id.as_str(),
        claim.device_id.as_str(),
        claim.key.to_string(),
        owner.to_string(),
        lease.as_secs_f64() * 1000.0,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(attempt)
}
