//! Which mutations need a second factor, and the record of one that came without.

use cqrs_es::AggregateError;
use events::ledger::mfa_attestation::StepUpScope;
use serde_json::Value;

use super::{ProxyError, Request, failed};
use crate::{
    aggregates::{mfa_attestation::Purpose, operator_action::Command},
    commands::{
        Resources,
        consume_attestation::{self, AttestationError, Attested, Demand},
    },
    upstream::{
        money::Money,
        mutations::{StepUp, body},
        tenant,
    },
};

impl Request<'_> {
    /// The step-up that the action takes along; `None` when it needs none.
    ///
    /// # Errors
    /// [`ProxyError::StepUp`] once the refusal is in the ledger.
    pub(super) async fn attested(
        &self,
        resources: &Resources,
    ) -> Result<Option<(StepUpScope, Attested)>, ProxyError> {
        let Some(scope) = self.demanded(resources).await else { return Ok(None) };
        let resource = self.wish.target_id.clone();
        let demand = Demand {
            presented: self.wish.attestation.as_deref(),
            purpose: Purpose { scope, resource },
            key: self.keyed.key.key,
        };
        let checked =
            consume_attestation::check(&resources.ledger, &resources.clock, self.actor, &demand);
        match checked.await {
            Ok(attested) => Ok(Some((scope, attested))),
            Err(AttestationError::Command(error)) => Err(error.into()),
            Err(error) => {
                self.record_refusal(resources, &error).await?;
                Err(ProxyError::StepUp(error))
            }
        }
    }

    async fn demanded(&self, resources: &Resources) -> Option<StepUpScope> {
        match self.wish.mutation.step_up {
            StepUp::Never => None,
            StepUp::Always(scope) => Some(scope),
            StepUp::AtThreshold(scope) => self.is_large(resources).await.then_some(scope),
        }
    }

    /// Whether the amount reaches the tenant's threshold. What cannot be compared is large: a second
    /// factor is asked for rather than forgotten.
    async fn is_large(&self, resources: &Resources) -> bool {
        let amount = self.wish.body.get(body::AMOUNT).unwrap_or(&Value::Null);
        match tenant::tenant(&resources.upstream, &self.actor.caller.tenant_id).await {
            Ok(Some(tenant)) => tenant
                .large_charge_threshold
                .is_some_and(|threshold| is_reached(&threshold, amount)),
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(error = %error, "the tenant's threshold is unknown, so it counts as reached");
                true
            }
        }
    }

    /// Without a claim: the same key may come again with a step-up that is good.
    async fn record_refusal(
        &self,
        resources: &Resources,
        error: &AttestationError,
    ) -> Result<(), ProxyError> {
        let command = Command::RefuseStepUp {
            action: self.action(),
            code: error.code().to_owned(),
            at: resources.clock.now(),
        };
        match self.execute(resources, &self.store(resources), command).await {
            // The same request under way elsewhere has the word.
            Ok(()) | Err(AggregateError::UserError(_) | AggregateError::AggregateConflict) => {
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }
}

fn is_reached(threshold: &Money, amount: &Value) -> bool {
    match (body::integer(&threshold.amount_micro), body::amount(amount)) {
        (Some(from), Some(amount)) if amount.currency == threshold.currency => from <= amount.micro,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_amount_is_large_from_the_threshold_on_and_where_it_cannot_be_compared() {
        let threshold =
            |amount: &str| Money { amount_micro: amount.to_owned(), currency: "AFN".to_owned() };
        for (from, amount, currency, large) in [
            ("1000", "999", "AFN", false),
            ("1000", "1000", "AFN", true),
            ("1000", "1001", "AFN", true),
            ("1000", "1", "USD", true),
            ("a lot", "1", "AFN", true),
        ] {
            let amount = json!({ "amountMicro": amount, "currency": currency });
            assert_eq!(is_reached(&threshold(from), &amount), large, "{amount} of {from}");
        }
        assert!(is_reached(&threshold("1000"), &Value::Null));
    }
}
