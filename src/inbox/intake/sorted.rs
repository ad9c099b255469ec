//! A batch of messages, read: what goes into the inbox, what is set aside, what is nobody's.

use std::collections::HashSet;

use super::super::{
    dead_letter::DeadLetter,
    envelope::{self, Heard, Incoming},
};
use crate::pubsub::Delivery;

/// A batch, read.
#[derive(Default)]
pub(super) struct Sorted {
    pub events: Vec<Incoming>,
    pub dead_letters: Vec<DeadLetter>,
    pub ignored: u64,
    /// Each once.
    pub heard: HashSet<Heard>,
}

impl Sorted {
    pub(super) fn of(topic: &str, batch: &[Delivery]) -> Self {
        let mut sorted = Self::default();
        for delivery in batch {
            match envelope::read(topic, &delivery.attributes, &delivery.data) {
                Ok(Some(incoming)) => {
                    sorted.heard.insert(Heard::of(&incoming));
                    sorted.events.push(incoming);
                }
                Ok(None) => {
                    let (attributes, data) = (&delivery.attributes, &delivery.data);
                    sorted.heard.extend(envelope::heard(topic, attributes, data));
                    sorted.ignored += 1;
                }
                Err(unreadable) => {
                    let reason = unreadable.reason();
                    tracing::warn!(
                        topic,
                        message_id = delivery.message_id,
                        reason,
                        "a message of another service cannot be read and is set aside"
                    );
                    sorted.dead_letters.push(letter_of(topic, delivery, &reason));
                }
            }
        }
        sorted
    }
}

pub(super) fn letter_of(topic: &str, delivery: &Delivery, reason: &str) -> DeadLetter {
    DeadLetter {
        tenant_id: envelope::claimed_tenant(topic, &delivery.attributes, &delivery.data)
            .unwrap_or_else(events::TenantId::system),
        topic: topic.to_owned(),
        message_id: delivery.message_id.clone(),
        reason: reason.to_owned(),
        attributes: delivery.attributes.clone(),
        raw: delivery.data.to_vec(),
    }
}
