//! property-service: what a property is called and looks like.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Service, UpstreamError, reading::Reading};

/// A name in the languages it was written in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    pub default: String,
    /// BCP 47 → text.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
}

/// A property's card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Property {
    pub name: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// IANA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_in_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_out_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo_url: Option<String>,
}

/// `GET /api/v1/properties/{id}`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn property(reading: &Reading<'_>) -> Result<Property, UpstreamError> {
    let path = format!("/api/v1/properties/{}", reading.property_id);
    reading.document((Service::Property, path)).await
}
