//! What notification-service says of alerts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{AlertId, PropertyId};

/// Subject `melmastoon.notification.alert.raised.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRaised {
    pub alert_id: AlertId,
    pub property_id: PropertyId,
    pub severity: Severity,
    pub category: String,
    pub title: Localized,
    #[serde(default)]
    pub body: Option<Localized>,
    #[serde(default)]
    pub source: String,
    pub raised_at: DateTime<Utc>,
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Subject `melmastoon.notification.alert.acknowledged.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertAcknowledged {
    pub alert_id: AlertId,
    pub property_id: PropertyId,
    #[serde(default)]
    pub by: Option<String>,
    pub at: DateTime<Utc>,
}

/// Subject `melmastoon.notification.alert.resolved.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertResolved {
    pub alert_id: AlertId,
    pub property_id: PropertyId,
    #[serde(default)]
    pub by: Option<String>,
    pub at: DateTime<Utc>,
}

/// How urgent an alert is, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

/// Text as upstreams send it: one string for all, or one a locale (BCP 47).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Localized {
    One(String),
    ByLocale(BTreeMap<String, String>),
}

impl Localized {
    /// The text for the first of `locales` that has one; then English; then any; empty when there
    /// is none.
    pub fn pick<'a>(&'a self, locales: impl IntoIterator<Item = &'a str>) -> &'a str {
        match self {
            Self::One(text) => text,
            Self::ByLocale(texts) => locales
                .into_iter()
                .chain(["en"])
                .find_map(|locale| texts.get(locale))
                .or_else(|| texts.values().next())
                .map_or("", String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_falls_back_through_the_locales_to_english() {
        let text = Localized::ByLocale(
            [("en", "Lock"), ("ps", "قلف")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        );
        assert_eq!(text.pick(["ps-AF", "ps"]), "قلف");
        assert_eq!(text.pick(["fr"]), "Lock");
    }
}
