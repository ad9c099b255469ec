//! Whether an operator may have an action done: the lock and the key are where they work, and the
//! step-up is good for it.

use cqrs_es::CqrsFramework;
use events::{
    LockActionId, StreamId,
    ledger::{
        lock_action::{LockActionKind, LockDemand, LockFailure},
        mfa_attestation::StepUpScope,
    },
};
use ulid::Ulid;

use super::{Deed, LockActionError, Request};
use crate::{
    aggregates::{
        LockAction,
        lock_action::{Command, Denial, Failure},
        mfa_attestation::Purpose,
    },
    commands::{
        CommandError, Resources,
        consume_attestation::{self, AttestationError, Attested, Demand},
    },
    ledger::{StreamWrite, event_store::TenantStore},
    upstream::lock_integration::{self, Lock},
};

impl Request<'_> {
    /// The lock and the key where the operator works. What is elsewhere does not exist.
    pub(super) async fn find(&self, resources: &Resources) -> Result<Lock, LockActionError> {
        let Resources { upstream, .. } = resources;
        let caller = &self.actor.caller;
        let (tenant_id, context) = (&caller.tenant_id, self.actor.call_context(None));
        let lock = lock_integration::lock(upstream, tenant_id, &context, &self.wish.lock_id);
        let lock = lock.await?.filter(|lock| caller.property_ids.contains(&lock.property_id));
        let lock = lock.ok_or(LockActionError::NotFound)?;
        match &self.wish.deed {
            Deed::Issue { rooms, .. } if rooms.contains(&lock.room_id) => Ok(lock),
            Deed::Issue { .. } => Err(LockActionError::OtherRooms),
            Deed::Revoke { key_credential_id: id, .. } => {
                let key = lock_integration::credential(upstream, tenant_id, &context, id).await?;
                let opens_it = key.is_some_and(|key| {
                    key.property_id == lock.property_id && key.rooms.contains(&lock.room_id)
                });
                if opens_it { Ok(lock) } else { Err(LockActionError::NotFound) }
            }
        }
    }

    /// What is demanded, with the step-up that allows it and what uses that up. A refusal is
    /// recorded.
    pub(super) async fn allowed(
        &self,
        resources: &Resources,
    ) -> Result<(LockDemand, Vec<StreamWrite>), LockActionError> {
        match &self.wish.deed {
            Deed::Issue { reservation_id, rooms, valid_from, valid_until, preferred_kinds } => {
                let demand = LockDemand::Issue {
                    reservation_id: reservation_id.clone(),
                    rooms: rooms.clone(),
                    valid_from: *valid_from,
                    valid_until: *valid_until,
                    preferred_kinds: preferred_kinds.clone(),
                };
                Ok((demand, Vec::new()))
            }
            Deed::Revoke { key_credential_id, reason } => {
                let attested = self.attested(resources).await?;
                let writes = attested.writes();
                let demand = LockDemand::Revoke {
                    key_credential_id: key_credential_id.clone(),
                    reason: *reason,
                    attestation_id: attested.attestation_id,
                    iam_attestation_id: attested.iam_attestation_id,
                };
                Ok((demand, writes))
            }
        }
    }

    async fn attested(&self, resources: &Resources) -> Result<Attested, LockActionError> {
        let demand = Demand {
            presented: self.presented,
            purpose: Purpose {
                scope: StepUpScope::LockRevoke,
                resource: Some(self.wish.lock_id.to_string()),
            },
            key: self.keyed.key.key,
        };
        let Resources { ledger, clock, .. } = resources;
        match consume_attestation::check(ledger, clock, self.actor, &demand).await {
            Ok(attested) => Ok(attested),
            Err(AttestationError::Command(error)) => Err(error.into()),
            Err(refusal) => {
                self.deny(resources, &refusal).await?;
                Err(LockActionError::Attestation(refusal))
            }
        }
    }

    /// Records that the operator was not allowed to; no key is claimed for it.
    async fn deny(
        &self,
        resources: &Resources,
        refusal: &AttestationError,
    ) -> Result<(), CommandError> {
        let action_id = LockActionId::new(Ulid::generate());
        let stream = StreamId::lock_action(&action_id);
        let denial = Denial {
            action_id,
            action: LockActionKind::Revoke,
            lock_id: self.wish.lock_id.clone(),
            failure: Failure {
                reason: LockFailure::MfaRefused,
                status: Some(403),
                code: refusal.code().to_owned(),
            },
            at: resources.clock.now(),
        };
        let key = self.keyed.key.key;
        let metadata = self.actor.metadata(&resources.instance, None, Some(key));
        let tenant_id = self.actor.caller.tenant_id.clone();
        let Resources { ledger, clock, .. } = resources;
        let store = TenantStore::<LockAction>::new(ledger, clock, tenant_id, metadata);
        CqrsFramework::new(store.presuming_new(), vec![], ())
            .execute(stream.as_str(), Command::Deny(denial))
            .await
            .map_err(CommandError::from_aggregate)
    }
}
