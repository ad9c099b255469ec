//! An alert is acknowledged once; the first operator's word stands, and notification-service is
//! told until it answers.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::{
    AlertId, OperatorId, PropertyId, ledger::alert_acknowledgment::AlertAcknowledgmentEvent,
};
use serde::{Deserialize, Serialize};

/// What is known of the acknowledgment of one alert. Stream `ali:<alertId>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertAcknowledgment {
    pub standing: Option<Standing>,
    pub forward: Forward,
}

/// The acknowledgment that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub alert_id: AlertId,
    pub property_id: PropertyId,
    pub by: OperatorId,
    pub at: DateTime<Utc>,
}

/// How far notification-service knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forward {
    #[default]
    Pending,
    Done,
    /// Refused for good.
    Failed,
}

#[derive(Clone, Debug)]
pub enum Command {
    Acknowledge(Standing, Option<String>),
    RecordForwarded { at: DateTime<Utc>, already_acknowledged: bool },
    RecordForwardFailed { at: DateTime<Utc>, status: u16, code: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the alert is acknowledged already")]
    AlreadyAcknowledged { standing: Standing, forward: Forward },
    #[error("nobody acknowledged the alert")]
    NotAcknowledged,
    #[error("notification-service has answered already")]
    AlreadyForwarded,
}

impl Aggregate for AlertAcknowledgment {
    const TYPE: &'static str = "alert-acknowledgment";
    type Command = Command;
    type Event = AlertAcknowledgmentEvent;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        let event = self.decide(command)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: AlertAcknowledgmentEvent) {
        match event {
            AlertAcknowledgmentEvent::Acknowledged {
                alert_id,
                property_id,
                acknowledged_by: by,
                acknowledged_at: at,
                comment: _,
            } => self.standing = Some(Standing { alert_id, property_id, by, at }),
            AlertAcknowledgmentEvent::Forwarded { .. } => self.forward = Forward::Done,
            AlertAcknowledgmentEvent::ForwardFailed { .. } => self.forward = Forward::Failed,
        }
    }
}

impl AlertAcknowledgment {
    fn decide(&self, command: Command) -> Result<AlertAcknowledgmentEvent, Rejection> {
        match command {
            Command::Acknowledge(Standing { alert_id, property_id, by, at }, comment) => {
                match &self.standing {
                    Some(standing) => Err(Rejection::AlreadyAcknowledged {
                        standing: standing.clone(),
                        forward: self.forward,
                    }),
                    None => Ok(AlertAcknowledgmentEvent::Acknowledged {
                        alert_id,
                        property_id,
                        acknowledged_by: by,
                        acknowledged_at: at,
                        comment,
                    }),
                }
            }
            Command::RecordForwarded { at, already_acknowledged } => {
                let standing = self.awaiting_forward()?;
                Ok(AlertAcknowledgmentEvent::Forwarded {
                    alert_id: standing.alert_id.clone(),
                    property_id: standing.property_id.clone(),
                    forwarded_at: at,
                    already_acknowledged,
                })
            }
            Command::RecordForwardFailed { at, status, code } => {
                let standing = self.awaiting_forward()?;
                Ok(AlertAcknowledgmentEvent::ForwardFailed {
                    alert_id: standing.alert_id.clone(),
                    property_id: standing.property_id.clone(),
                    failed_at: at,
                    status,
                    code,
                })
            }
        }
    }

    fn awaiting_forward(&self) -> Result<&Standing, Rejection> {
        let standing = self.standing.as_ref().ok_or(Rejection::NotAcknowledged)?;
        match self.forward {
            Forward::Pending => Ok(standing),
            Forward::Done | Forward::Failed => Err(Rejection::AlreadyForwarded),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    type Rules = TestFramework<AlertAcknowledgment>;

    #[test]
    fn an_alert_nobody_took_up_is_acknowledged() {
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Acknowledge(standing(), Some("on my way".to_owned())))
            .then_expect_events(vec![acknowledged(Some("on my way"))]);
    }

    #[test]
    fn the_first_acknowledgment_stands() {
        Rules::with(())
            .given(vec![acknowledged(None)])
            .when(Command::Acknowledge(Standing { by: operator("usr_2"), ..standing() }, None))
            .then_expect_error(Rejection::AlreadyAcknowledged {
                standing: standing(),
                forward: Forward::Pending,
            });
    }

    #[test]
    fn notification_service_is_told_once() {
        let tell = || Command::RecordForwarded { at: at(9), already_acknowledged: false };
        Rules::with(())
            .given(vec![acknowledged(None)])
            .when(tell())
            .then_expect_events(vec![forwarded()]);
        Rules::with(())
            .given(vec![acknowledged(None), forwarded()])
            .when(tell())
            .then_expect_error(Rejection::AlreadyForwarded);
    }

    #[test]
    fn an_answer_to_nothing_is_refused() {
        Rules::with(())
            .given_no_previous_events()
            .when(Command::RecordForwardFailed { at: at(9), status: 404, code: String::new() })
            .then_expect_error(Rejection::NotAcknowledged);
    }

    fn acknowledged(comment: Option<&str>) -> AlertAcknowledgmentEvent {
        let Standing { alert_id, property_id, by, at } = standing();
        AlertAcknowledgmentEvent::Acknowledged {
            alert_id,
            property_id,
            acknowledged_by: by,
            acknowledged_at: at,
            comment: comment.map(str::to_owned),
        }
    }

    fn forwarded() -> AlertAcknowledgmentEvent {
        let Standing { alert_id, property_id, .. } = standing();
        AlertAcknowledgmentEvent::Forwarded {
            alert_id,
            property_id,
            forwarded_at: at(9),
            already_acknowledged: false,
        }
    }

    fn standing() -> Standing {
        Standing {
            alert_id: "ntf_1".parse().unwrap(),
            property_id: "ppt_1".parse().unwrap(),
            by: operator("usr_1"),
            at: at(5),
        }
    }

    fn operator(id: &str) -> OperatorId {
        id.parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
