//! Fills a property's inboxes: a few alerts and one suggestion of most categories.

use chrono::{DateTime, Duration, Utc};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{
    Site,
    templates::{ALERTS, AlertTemplate, SUGGESTIONS, SuggestionTemplate},
};
use crate::{
    identifier::seeded,
    world::{
        inbox::{Alert, AlertState, Suggestion, SuggestionState},
        tenancy::{Property, Tenant},
    },
};

pub fn fill(site: &mut Site<'_>, random: &mut ChaCha8Rng) {
    for _ in 0..random.random_range(2..=5) {
        let raised_at = site.now - Duration::minutes(random.random_range(1..=600));
        let id = seeded(random, "alr");
        let alert = draw_alert(random, id, (site.tenant, site.property), raised_at);
        site.world.alerts.insert(alert);
    }
    for template in &SUGGESTIONS {
        if random.random_bool(0.7) {
            let suggestion = suggestion(site, random, template);
            site.world.suggestions.insert(suggestion);
        }
    }
}

/// An alert of a random kind; tenants with a locale of their own get its text beside the English.
pub fn draw_alert(
    random: &mut ChaCha8Rng,
    id: String,
    (tenant, property): (&Tenant, &Property),
    raised_at: DateTime<Utc>,
) -> Alert {
    let template = &ALERTS[random.random_range(0..ALERTS.len())];
    Alert {
        id,
        tenant_id: tenant.id.clone(),
        property_id: property.id.clone(),
        severity: template.severity.into(),
        category: template.category.into(),
        title: title(template, tenant),
        body: None,
        source: template.source.into(),
        state: AlertState::Raised,
        raised_at,
        expires_at: None,
        acknowledgment: None,
        resolved_at: None,
    }
}

fn title(template: &AlertTemplate, tenant: &Tenant) -> Value {
    if tenant.locale.starts_with("fa") {
        json!({ "en": template.title_en, "fa-AF": template.title_dari })
    } else {
        json!(template.title_en)
    }
}

fn suggestion(
    site: &Site<'_>,
    random: &mut ChaCha8Rng,
    template: &SuggestionTemplate,
) -> Suggestion {
    let proposed_at = site.now - Duration::minutes(random.random_range(1..=300));
    let compliance_tags =
        if template.sharia_compliant { vec!["sharia_compliant".to_owned()] } else { Vec::new() };
    Suggestion {
        id: seeded(random, "sgn"),
        tenant_id: site.tenant.id.clone(),
        property_id: site.property.id.clone(),
        category: template.category.into(),
        title: json!(template.title),
        summary: json!(template.summary),
        confidence: f64::from(random.random_range(55..=98_u32)) / 100.0,
        proposal: json!({ "kind": template.category, "change": random.random_range(1..=10) }),
        provenance: json!({
            "modelId": "melma-ops-2",
            "promptTemplateId": format!("prt_{}", template.category),
            "latencyMs": random.random_range(180..=900),
        }),
        compliance_tags,
        state: SuggestionState::Proposed,
        proposed_at,
        expires_at: site.now + Duration::hours(random.random_range(6..=48)),
        decision: None,
    }
}
