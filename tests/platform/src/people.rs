//! What events of iam and tenant-service do to people: revoked, locked, suspended, given other
//! roles.

use serde_json::Value;

use crate::{envelope::Event, identity::Membership, world::World};

/// Lets the event happen at iam and tenant-service too.
pub fn take_in(world: &mut World, event: &Event) {
    let Some(tenant_id) = event.tenant_id.as_deref() else {
        return;
    };
    let identity = &mut world.identity;
    let who = operator(&event.payload);
    match event.subject.as_str() {
        "melmastoon.iam.session.revoked.v1" => {
            identity.revoke(tenant_id, |session| event.payload["sessionId"] == session.id.as_str());
        }
        "melmastoon.iam.user.locked.v1" => {
            identity.revoke(tenant_id, |session| session.operator_id == who);
        }
        "melmastoon.iam.device.revoked.v1" => {
            identity.revoke(tenant_id, |session| {
                event.payload["deviceId"] == session.device_id.as_str()
            });
        }
        "melmastoon.tenant.suspended.v1" => {
            identity.suspend(tenant_id, "");
            identity.revoke(tenant_id, |_| true);
        }
        "melmastoon.tenant.membership.suspended.v1" => {
            identity.suspend(tenant_id, &who);
            identity.revoke(tenant_id, |session| session.operator_id == who);
        }
        "melmastoon.tenant.membership.removed.v1" => {
            identity.remove_membership(tenant_id, &who);
            identity.revoke(tenant_id, |session| session.operator_id == who);
        }
        "melmastoon.tenant.membership.role_changed.v1" => {
            if let Some(known) = identity.membership(tenant_id, &who).cloned() {
                let membership = Membership {
                    roles: texts(&event.payload["roles"]).unwrap_or(known.roles),
                    property_ids: texts(&event.payload["propertyIds"])
                        .unwrap_or(known.property_ids),
                };
                identity.set_membership(tenant_id, &who, membership);
            }
        }
        _ => {}
    }
}

fn operator(payload: &Value) -> String {
    let id = payload["operatorId"].as_str().or_else(|| payload["userId"].as_str());
    id.unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let texts = value.as_array()?.iter().filter_map(|text| text.as_str().map(str::to_owned));
    Some(texts.collect())
}
