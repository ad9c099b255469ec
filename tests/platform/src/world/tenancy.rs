//! Tenants, their properties and the people who work there.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Collection, money::Money, stay::Room};

/// A hotel group.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: String,
    pub name: String,
    pub compliance_profile: ComplianceProfile,
    /// BCP 47.
    pub locale: &'static str,
    /// ISO 4217.
    pub currency: &'static str,
    /// IANA zone of the first property.
    pub timezone: &'static str,
    /// Raised whenever the theme is published.
    pub theme_version: u32,
    pub large_charge_threshold: Money,
    pub properties: Vec<Property>,
    pub operators: Vec<Operator>,
    pub devices: Vec<Device>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ComplianceProfile {
    Sharia,
    Standard,
}

#[derive(Clone, Debug)]
pub struct Property {
    pub id: String,
    pub name: String,
    pub city: &'static str,
    pub timezone: &'static str,
}

/// Somebody who can be signed in; `roles` hold on all properties of the tenant.
#[derive(Clone, Debug, Serialize)]
pub struct Operator {
    pub id: String,
    pub roles: Vec<String>,
}

/// A desktop, assigned to an operator; its key arrives with the sign-in.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub id: String,
    pub operator_id: String,
}

impl Tenant {
    /// The tenant as `GET /sim/world` shows it, rooms included.
    pub fn document(&self, rooms: &Collection<Room>) -> Value {
        let properties: Vec<Value> = self
            .properties
            .iter()
            .map(|property| {
                let rooms: Vec<Value> = rooms
                    .of_tenant(&self.id)
                    .filter(|room| room.property_id == property.id)
                    .map(|room| json!({ "id": room.id, "number": room.number }))
                    .collect();
                json!({
                    "id": property.id,
                    "tenantId": self.id,
                    "propertyId": property.id,
                    "name": property.name,
                    "city": property.city,
                    "rooms": rooms,
                })
            })
            .collect();
        json!({
            "id": self.id,
            "name": self.name,
            "complianceProfile": self.compliance_profile,
            "locale": self.locale,
            "largeChargeThreshold": self.large_charge_threshold,
            "properties": properties,
            "operators": self.operators,
            "devices": self.devices,
        })
    }

    /// The tenant as tenant-service shows it.
    pub fn profile(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "status": "active",
            "complianceProfile": self.compliance_profile,
            "locale": self.locale,
            "direction": self.direction(),
            "currency": self.currency,
            "timezone": self.timezone,
            "themeBundleUrl": self.theme_bundle_url(),
            "themeVersion": self.theme_version.to_string(),
            "largeChargeThreshold": self.large_charge_threshold,
            "featureFlags": {},
        })
    }

    pub fn property_ids(&self) -> Vec<String> {
        self.properties.iter().map(|property| property.id.clone()).collect()
    }

    fn direction(&self) -> &'static str {
        match self.locale.split('-').next() {
            Some("fa" | "ps" | "ar") => "rtl",
            _ => "ltr",
        }
    }

    fn theme_bundle_url(&self) -> String {
        let theme_id = self.id.replacen("tnt_", "thm_", 1);
        format!("https://cdn.melmastoon.app/themes/{theme_id}/v{}.json", self.theme_version)
    }
}
