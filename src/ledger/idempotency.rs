//! Table `idempotency`: what a client's `X-Idempotency-Key` stands for. Reads are from the primary:
//! a stale miss would run a command twice.

pub mod archive;
pub mod purge;

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, TenantId};
use serde::Serialize;
use ulid::Ulid;

use super::{
    ReadError,
    personal::{MasterKey, answer},
    pools::Pools,
};

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
    /// The command ends without an answer: its effect may have happened, or was never tried. The
    /// same request may go on at once. Fenced as `Complete`.
    GiveUp { key: ClaimKey, owner: Ulid, attempt: i32 },
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
            | Self::GiveUp { key, .. }
            | Self::StartAndComplete { key, .. } => key,
        }
    }

    /// The answer that the claim is completed with, if it is.
    pub(super) fn response_mut(&mut self) -> Option<&mut StoredResponse> {
        match self {
            Self::Start { .. } | Self::GiveUp { .. } => None,
            Self::Complete { response, .. } | Self::StartAndComplete { response, .. } => {
                Some(response)
            }
        }
    }
}

/// Headers that a repetition is answered with too; every other one is made anew or left out.
const HEADERS_KEPT: [&str; 4] = ["content-type", "content-language", "location", "etag"];

/// The answer that every repetition gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// HTTP status, 100–599.
    pub status: u16,
    /// Those worth repeating: content type and language, location, entity tag.
    pub headers: Vec<(String, String)>,
    /// Sealed in the table, in the clear here.
    pub body: Vec<u8>,
}

impl StoredResponse {
    /// A JSON document; `body` has string keys only.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let body = serde_json::to_vec(body).expect("a document has string keys only");
        Self { status, headers, body }
    }

    /// Keeps of `headers` those worth repeating; names in any case.
    pub fn new(
        status: u16,
        headers: impl IntoIterator<Item = (String, String)>,
        body: Vec<u8>,
    ) -> Self {
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .filter(|(name, _)| HEADERS_KEPT.contains(&name.as_str()))
            .collect();
        Self { status, headers, body }
    }
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

pub(super) async fn read(
    pools: &Pools,
    master_key: &MasterKey,
    claim: &ClaimKey,
) -> Result<Option<ClaimRow>, ReadError> {
    let mut transaction = pools.begin(&claim.tenant_id).await?;
    let row = sqlx::query!(
        r#"
        select
            server.is_standby as "is_standby!",
            operator_id as "operator_id?",
            fingerprint as "fingerprint?",
            state as "state?",
            lease_until < clock_timestamp() as lease_expired,
            attempt as "attempt?",
            created_at as "created_at?",
            status,
            headers::text as headers,
            body
        from (select pg_is_in_recovery() as is_standby) server
        left join idempotency on tenant_id = $1 and device_id = $2 and key = $3
        "#,
        claim.tenant_id.as_str(),
        claim.device_id.as_str(),
        claim.key.to_string(),
    )
    .fetch_one(&mut *transaction)
    .await?;
    if row.is_standby {
        return Err(ReadError::Standby);
    }
    let Some(operator_id) = row.operator_id else { return Ok(None) };

    let corrupt = |what: &'static str| ReadError::CorruptClaim { key: claim.key, what };
    let response = match (row.status, row.headers, row.body) {
        (Some(status), Some(headers), Some(body)) => {
            let sealed = StoredResponse {
                status: status.try_into().map_err(|_| corrupt("status"))?,
                headers: serde_json::from_str(&headers).map_err(|_| corrupt("headers"))?,
                body,
            };
            let opened = answer::open(master_key, claim, sealed);
            Some(opened.map_err(|source| ReadError::Answer { key: claim.key, source })?)
        }
        _ => None,
    };
    let fingerprint = row.fingerprint.and_then(|fingerprint| fingerprint.try_into().ok());
    Ok(Some(ClaimRow {
        operator_id: operator_id.parse().map_err(|_| corrupt("operator_id"))?,
        fingerprint: fingerprint.ok_or_else(|| corrupt("fingerprint"))?,
        state: match row.state.as_deref() {
            Some("in_progress") => ClaimState::InProgress,
            Some("completed") => ClaimState::Completed,
            Some("unknown") => ClaimState::Unknown,
            _ => return Err(corrupt("state")),
        },
        lease_expired: row.lease_expired.ok_or_else(|| corrupt("lease_until"))?,
        attempt: row.attempt.ok_or_else(|| corrupt("attempt"))?,
        created_at: row.created_at.ok_or_else(|| corrupt("created_at"))?,
        response,
    }))
}

/// The attempt's number, if the claim had no answer yet and its lease was over; else `None`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_41_only_headers_worth_repeating_are_kept() {
        let header = |name: &str| (name.to_owned(), format!("value of {name}"));
        let all = [
            "Content-Type",
            "content-language",
            "Location",
            "ETag",
            "Date",
            "DPoP-Nonce",
            "traceparent",
            "x-request-id",
            "Set-Cookie",
            "WWW-Authenticate",
            "X-Ledger-Position",
        ];
        let response = StoredResponse::new(201, all.map(header), b"{}".to_vec());

        let kept: Vec<&str> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["content-type", "content-language", "location", "etag"]);
        assert_eq!(response.headers[3].1, "value of ETag");
    }
}
