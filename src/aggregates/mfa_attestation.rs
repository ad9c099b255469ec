//! A step-up is good for one action of the operator, device and key it was made with, for what it
//! was made for, for five minutes.

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::{
    AttestationId, DeviceId, OperatorId,
    ledger::mfa_attestation::{MfaAttestationEvent, StepUpFactor, StepUpScope},
};
use serde::{Deserialize, Serialize};

/// How long a step-up is worth something.
pub const LIFETIME: TimeDelta = TimeDelta::minutes(5);
/// How far the clocks of two instances may be apart.
const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::seconds(10);

/// What is known of one step-up. Stream `mfa_…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MfaAttestation {
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    New,
    Issued(Issuance),
    Consumed {
        issuance: Issuance,
        key: String,
    },
    Refused,
}

/// Who stepped up, and with which key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearer {
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    /// RFC 7638, base64url.
    pub key_thumbprint: String,
}

/// What an operator steps up for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    pub scope: StepUpScope,
    /// The one object the action may be about; `None`: any.
    pub resource: Option<String>,
}

/// A confirmed step-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuance {
    pub attestation_id: AttestationId,
    pub bearer: Bearer,
    pub purpose: Purpose,
    pub factor: StepUpFactor,
    pub at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub iam_attestation_id: Option<String>,
}

/// A step-up that iam-service did not confirm.
#[derive(Clone, Debug)]
pub struct Denial {
    pub attestation_id: AttestationId,
    pub bearer: Bearer,
    pub purpose: Purpose,
    pub factor: StepUpFactor,
    pub at: DateTime<Utc>,
    /// iam-service's problem code.
    pub code: String,
}

/// An action that needs the step-up.
#[derive(Clone, Debug)]
pub struct Use {
    pub bearer: Bearer,
    pub purpose: Purpose,
    /// ULID under which the action was asked for.
    pub key: String,
    pub at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub enum Command {
    Issue(Issuance),
    Refuse(Denial),
    /// Writes nothing when the same key has consumed it before: that action goes on.
    Consume(Use),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this id was used for another step-up")]
    AlreadyDecided,
    /// Never issued, refused, or of somebody else: nobody learns which.
    #[error("there is no such attestation")]
    Unknown,
    #[error("the attestation is for something else")]
    ScopeMismatch,
    #[error("the attestation was used for another action")]
    Used,
    #[error("the attestation is too old")]
    Expired,
}

impl Aggregate for MfaAttestation {
    const TYPE: &'static str = "mfa-attestation";
    type Command = Command;
    type Event = MfaAttestationEvent;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: MfaAttestationEvent) {
        self.state = match event {
            MfaAttestationEvent::SteppedUp {
                attestation_id,
                operator_id,
                device_id,
                key_thumbprint,
                scope,
                resource,
                factor,
                stepped_up_at,
                expires_at,
                iam_attestation_id,
            } => State::Issued(Issuance {
                attestation_id,
                bearer: Bearer { operator_id, device_id, key_thumbprint },
                purpose: Purpose { scope, resource },
                factor,
                at: stepped_up_at,
                expires_at,
                iam_attestation_id,
            }),
            MfaAttestationEvent::Consumed { idempotency_key: key, .. } => {
                match std::mem::take(&mut self.state) {
                    State::Issued(issuance) => State::Consumed { issuance, key },
                    other => other,
                }
            }
            MfaAttestationEvent::Refused { .. } => State::Refused,
        };
    }
}

impl MfaAttestation {
    /// The step-up, once it was confirmed.
    pub fn issuance(&self) -> Option<&Issuance> {
        match &self.state {
            State::Issued(issuance) | State::Consumed { issuance, .. } => Some(issuance),
            State::New | State::Refused => None,
        }
    }

    /// What a command leads to; `None` when it was done before.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn decide(&self, command: Command) -> Result<Option<MfaAttestationEvent>, Rejection> {
        match command {
            Command::Issue(issuance) => self.is_new().map(|()| Some(stepped_up(issuance))),
            Command::Refuse(denial) => self.is_new().map(|()| Some(refused(denial))),
            Command::Consume(wish) => self.consume(wish),
        }
    }

    fn is_new(&self) -> Result<(), Rejection> {
        if self.state == State::New { Ok(()) } else { Err(Rejection::AlreadyDecided) }
    }

    fn consume(&self, wish: Use) -> Result<Option<MfaAttestationEvent>, Rejection> {
        let issuance = self.issuance().ok_or(Rejection::Unknown)?;
        if issuance.bearer != wish.bearer {
            return Err(Rejection::Unknown);
        }
        let is_for_it = issuance.purpose.scope == wish.purpose.scope
            && (issuance.purpose.resource.is_none()
                || issuance.purpose.resource == wish.purpose.resource);
        if !is_for_it {
            return Err(Rejection::ScopeMismatch);
        }
        if let State::Consumed { key, .. } = &self.state {
            return if *key == wish.key { Ok(None) } else { Err(Rejection::Used) };
        }
        if issuance.expires_at <= wish.at {
            return Err(Rejection::Expired);
        }
        if wish.at + CLOCK_SKEW_MAX < issuance.at {
            return Err(Rejection::Unknown);
        }
        Ok(Some(MfaAttestationEvent::Consumed {
            attestation_id: issuance.attestation_id.clone(),
            idempotency_key: wish.key,
            scope: wish.purpose.scope,
            resource: wish.purpose.resource,
            consumed_at: wish.at,
        }))
    }
}

fn stepped_up(issuance: Issuance) -> MfaAttestationEvent {
    let Issuance { attestation_id, bearer, purpose, factor, at, expires_at, iam_attestation_id } =
        issuance;
    MfaAttestationEvent::SteppedUp {
        attestation_id,
        operator_id: bearer.operator_id,
        device_id: bearer.device_id,
        key_thumbprint: bearer.key_thumbprint,
        scope: purpose.scope,
        resource: purpose.resource,
        factor,
        stepped_up_at: at,
        expires_at,
        iam_attestation_id,
    }
}

fn refused(denial: Denial) -> MfaAttestationEvent {
    MfaAttestationEvent::Refused {
        attestation_id: denial.attestation_id,
        operator_id: denial.bearer.operator_id,
        device_id: denial.bearer.device_id,
        scope: denial.purpose.scope,
        resource: denial.purpose.resource,
        factor: denial.factor,
        refused_at: denial.at,
        code: denial.code,
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    type Rules = TestFramework<MfaAttestation>;

    #[test]
    fn an_id_is_given_once() {
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Issue(issuance()))
            .then_expect_events(vec![issued()]);
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Refuse(denial()))
            .then_expect_events(vec![refused(denial())]);
        for given in [issued(), refused(denial())] {
            Rules::with(())
                .given(vec![given])
                .when(Command::Issue(issuance()))
                .then_expect_error(Rejection::AlreadyDecided);
        }
    }

    #[test]
    fn it_is_good_for_one_action_and_for_its_repetitions() {
        Rules::with(())
            .given(vec![issued()])
            .when(Command::Consume(wish(0)))
            .then_expect_events(vec![consumed(0)]);
        // Whoever repeats the action may come late: the attestation was used in time.
        for seconds in [1, 301] {
            Rules::with(())
                .given(vec![issued(), consumed(0)])
                .when(Command::Consume(wish(seconds)))
                .then_expect_events(vec![]);
        }
        Rules::with(())
            .given(vec![issued(), consumed(0)])
            .when(Command::Consume(Use { key: "other".to_owned(), ..wish(1) }))
            .then_expect_error(Rejection::Used);
    }

    #[test]
    fn id_46_what_it_is_bound_to_and_how_long_it_lives() {
        let bearer = || wish(0).bearer;
        for (case, wish, expected) in [
            (
                "operator",
                Use {
                    bearer: Bearer { operator_id: "usr_2".parse().unwrap(), ..bearer() },
                    ..wish(0)
                },
                Rejection::Unknown,
            ),
            (
                "device",
                Use {
                    bearer: Bearer { device_id: "dev_2".parse().unwrap(), ..bearer() },
                    ..wish(0)
                },
                Rejection::Unknown,
            ),
            (
                "key",
                Use { bearer: Bearer { key_thumbprint: "k2".to_owned(), ..bearer() }, ..wish(0) },
                Rejection::Unknown,
            ),
            (
                "scope",
                Use {
                    purpose: Purpose { scope: StepUpScope::FolioRefund, ..wish(0).purpose },
                    ..wish(0)
                },
                Rejection::ScopeMismatch,
            ),
            ("resource", with_resource(Some("lck_2")), Rejection::ScopeMismatch),
            ("no resource", with_resource(None), Rejection::ScopeMismatch),
            ("301 s", wish(301), Rejection::Expired),
            ("300 s", wish(300), Rejection::Expired),
            ("future", wish(-11), Rejection::Unknown),
        ] {
            let attestation = given(vec![issued()]);
            assert_eq!(attestation.decide(Command::Consume(wish)), Err(expected), "id_46 {case}");
        }
        for seconds in [299, 0, -10] {
            let decided = given(vec![issued()]).decide(Command::Consume(wish(seconds)));
            assert_eq!(decided, Ok(Some(consumed(seconds))), "id_46 {seconds} s");
        }
    }

    #[test]
    fn without_a_resource_it_is_good_for_any() {
        let mut issuance = issuance();
        issuance.purpose.resource = None;
        let attestation = given(vec![stepped_up(issuance)]);
        for resource in [Some("lck_2"), None] {
            let decided = attestation.decide(Command::Consume(with_resource(resource)));
            assert!(matches!(decided, Ok(Some(_))), "{resource:?}");
        }
    }

    #[test]
    fn what_was_never_confirmed_is_good_for_nothing() {
        for events in [vec![], vec![refused(denial())], vec![consumed(0)]] {
            let decided = given(events).decide(Command::Consume(wish(0)));
            assert_eq!(decided, Err(Rejection::Unknown));
        }
    }

    fn given(events: Vec<MfaAttestationEvent>) -> MfaAttestation {
        let mut attestation = MfaAttestation::default();
        for event in events {
            attestation.apply(event);
        }
        attestation
    }

    fn issued() -> MfaAttestationEvent {
        stepped_up(issuance())
    }

    fn issuance() -> Issuance {
        Issuance {
            attestation_id: id(),
            bearer: wish(0).bearer,
            purpose: wish(0).purpose,
            factor: StepUpFactor::Totp,
            at: at(0),
            expires_at: at(0) + LIFETIME,
            iam_attestation_id: None,
        }
    }

    fn denial() -> Denial {
        let Issuance { attestation_id, bearer, purpose, factor, at, .. } = issuance();
        Denial { attestation_id, bearer, purpose, factor, at, code: "WRONG".to_owned() }
    }

    fn consumed(seconds: i64) -> MfaAttestationEvent {
        MfaAttestationEvent::Consumed {
            attestation_id: id(),
            idempotency_key: "key".to_owned(),
            scope: StepUpScope::LockRevoke,
            resource: Some("lck_1".to_owned()),
            consumed_at: at(seconds),
        }
    }

    fn wish(seconds: i64) -> Use {
        Use {
            bearer: Bearer {
                operator_id: "usr_1".parse().unwrap(),
                device_id: "dev_1".parse().unwrap(),
                key_thumbprint: "k1".to_owned(),
            },
            purpose: Purpose { scope: StepUpScope::LockRevoke, resource: Some("lck_1".to_owned()) },
            key: "key".to_owned(),
            at: at(seconds),
        }
    }

    fn with_resource(resource: Option<&str>) -> Use {
        let purpose = Purpose { resource: resource.map(str::to_owned), ..wish(0).purpose };
        Use { purpose, ..wish(0) }
    }

    fn id() -> AttestationId {
        "mfa_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1000 + seconds, 0).unwrap()
    }
}
