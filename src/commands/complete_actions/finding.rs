//! What became of one action: what lock-integration-service has said of it, what it answers when
//! asked again, or what it shows.

use std::time::Duration;

use events::{
    Metadata,
    ledger::lock_action::{LockDemand, LockFailure, LockFinding},
    upstream::{UpstreamEvent, lock::CredentialChange},
};
use serde_json::Value;
use sqlx::PgPool;

use super::{Due, REPEATED_FOR};
use crate::{
    aggregates::lock_action::{Command, Failure, Outcome, Wanted},
    commands::{
        Resources,
        lock_action::asking::{self, Voucher},
    },
    inbox::read,
    upstream::{
        CallContext, UpstreamError,
        lock_integration::{self, Trace},
    },
};

/// From then on what a read does not show has not happened and will not: longer than
/// lock-integration-service works on a request after the last repetition.
const SETTLED_AFTER: Duration = Duration::from_secs(150);
/// The states of a key that opens nothing, and never will again.
const ENDED: [&str; 2] = ["revoked", "failed"];

/// All that is needed to look into one action.
pub(super) struct Search<'a> {
    pub(super) resources: &'a Resources,
    pub(super) jobs: &'a PgPool,
    pub(super) due: &'a Due,
    pub(super) wanted: &'a Wanted,
    pub(super) metadata: &'a Metadata,
    pub(super) context: &'a CallContext,
}

impl Search<'_> {
    /// The outcome and where it was found; `None` while nobody knows.
    ///
    /// # Errors
    /// When the database fails; lock-integration-service may.
    pub(super) async fn outcome(&self) -> anyhow::Result<Option<(Outcome, LockFinding)>> {
        if let Some(outcome) = self.told().await? {
            return Ok(Some((outcome, LockFinding::Event)));
        }
        if self.due.age < REPEATED_FOR {
            return Ok(self.repeated().await);
        }
        match self.shown().await {
            Ok(outcome) => Ok(outcome.map(|outcome| (outcome, LockFinding::Read))),
            Err(error) => {
                let stream = &self.due.stream;
                tracing::warn!(%stream, error = %error, "an action on a lock cannot be looked into");
                Ok(None)
            }
        }
    }

    /// By lock-integration-service's own event.
    async fn told(&self) -> anyhow::Result<Option<Outcome>> {
        let key = &self.wanted.upstream_key;
        let said = read::said_of_key(self.jobs, &self.due.tenant_id, key).await?;
        Ok(said.and_then(|(subject, payload)| told(&self.wanted.demand, &subject, payload)))
    }

    /// By asking again.
    async fn repeated(&self) -> Option<(Outcome, LockFinding)> {
        let (operator_id, device_id) =
            (self.metadata.operator_id.as_ref()?, self.metadata.device_id.as_ref()?);
        let voucher = Voucher {
            tenant_id: &self.due.tenant_id,
            operator_id,
            device_id,
            context: self.context.clone(),
        };
        let said = asking::ask(&self.resources.upstream, self.wanted, &voucher).await.again();
        match asking::command(&said, self.resources.clock.now()) {
            Command::Settle { outcome, found_by, .. } => Some((outcome, found_by)),
            _ => None,
        }
    }

    /// By what lock-integration-service shows of the key. Nothing is asked for.
    async fn shown(&self) -> Result<Option<Outcome>, UpstreamError> {
        let upstream = &self.resources.upstream;
        let tenant_id = &self.due.tenant_id;
        let found = match &self.wanted.demand {
            LockDemand::Issue { reservation_id, .. } => {
                let wish = (reservation_id, self.wanted.upstream_key.as_str());
                lock_integration::search(upstream, tenant_id, self.context, wish).await?
            }
            LockDemand::Revoke { key_credential_id: id, .. } => {
                let key = lock_integration::credential(upstream, tenant_id, self.context, id);
                match key.await? {
                    Some(key) if ENDED.contains(&key.state.as_str()) => Trace::Done(id.clone()),
                    Some(_) => Trace::NotDone,
                    None => Trace::Undecided,
                }
            }
        };
        Ok(match found {
            Trace::Done(key) => Some(Outcome::Done(key)),
            Trace::NotDone if SETTLED_AFTER <= self.due.age => Some(not_applied(String::new())),
            Trace::NotDone | Trace::Undecided => None,
        })
    }
}

/// What an event says; `None` when it says nothing that fits.
fn told(demand: &LockDemand, subject: &str, payload: Value) -> Option<Outcome> {
    let Ok(Some(UpstreamEvent::LockCredential(change))) = UpstreamEvent::read(subject, payload)
    else {
        return None;
    };
    let CredentialChange { key_credential_id, .. } = change;
    match (demand, subject) {
        (_, "melmastoon.lock.credential.failed.v1") => Some(not_applied(String::new())),
        (LockDemand::Issue { .. }, "melmastoon.lock.credential.issued.v1") => {
            key_credential_id.map(Outcome::Done)
        }
        (
            LockDemand::Revoke { key_credential_id: revoked, .. },
            "melmastoon.lock.credential.revoked.v1",
        ) => Some(Outcome::Done(revoked.clone())),
        _ => None,
    }
}

fn not_applied(code: String) -> Outcome {
    Outcome::Failed(Failure { reason: LockFailure::NotApplied, status: None, code })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use events::ledger::lock_action::RevokeReason;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_tells_the_outcome_of_the_action_it_fits_and_nothing_of_another() {
        let issue = LockDemand::Issue {
            reservation_id: "rsv_1".parse().unwrap(),
            rooms: vec!["rom_1".parse().unwrap()],
            valid_from: DateTime::UNIX_EPOCH,
            valid_until: DateTime::UNIX_EPOCH,
            preferred_kinds: Vec::new(),
        };
        let revoke = LockDemand::Revoke {
            key_credential_id: "key_1".parse().unwrap(),
            reason: RevokeReason::Lost,
            attestation_id: "mfa_01HZX3V7Q8M4N5P6R7S8T9W0XZ".parse().unwrap(),
            iam_attestation_id: None,
        };
        let key = |id: &str| Some(Outcome::Done(id.parse().unwrap()));
        let failed = Some(not_applied(String::new()));
        for (demand, word, payload, outcome) in [
            (&issue, "issued", json!({ "keyCredentialId": "key_2" }), key("key_2")),
            (&issue, "issued", json!({}), None),
            (&issue, "issued", json!({ "keyCredentialId": 2 }), None),
            (&issue, "revoked", json!({ "keyCredentialId": "key_2" }), None),
            (&issue, "failed", json!({}), failed.clone()),
            (&revoke, "revoked", json!({ "keyCredentialId": "key_1" }), key("key_1")),
            (&revoke, "issued", json!({ "keyCredentialId": "key_1" }), None),
            (&revoke, "failed", json!({}), failed),
            (&revoke, "expired", json!({}), None),
        ] {
            let subject = format!("melmastoon.lock.credential.{word}.v1");
            assert_eq!(told(demand, &subject, payload), outcome, "{demand:?}: {word}");
        }
    }
}
