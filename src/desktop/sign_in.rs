//! Signs an operator in at the simulated platform, as a desktop does at the real one.

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{device::Device, proof::DeviceKey};

/// Who signs in; what is left out is taken from the simulated world.
#[derive(Args, Clone, Debug, Default)]
pub struct Who {
    /// Tenant id (default: the first standard tenant of the simulated world)
    #[arg(long = "tenant")]
    pub tenant_id: Option<String>,
    /// Operator id (default: a property manager of the tenant)
    #[arg(long = "operator")]
    pub operator_id: Option<String>,
    /// Device id (default: a new device)
    #[arg(long = "device")]
    pub device_id: Option<String>,
    /// Role; may be repeated (default: those of a front desk and a property manager)
    #[arg(long = "role")]
    pub roles: Vec<String>,
    /// Property id; may be repeated (default: all of the tenant)
    #[arg(long = "property")]
    pub property_ids: Vec<String>,
    /// Language of the operator, BCP 47
    #[arg(long)]
    pub locale: Option<String>,
}

/// What an issuer grants, at sign-in and at each refresh.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    pub access_token: String,
    pub refresh_token: String,
    /// Seconds.
    pub expires_in: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedIn {
    #[serde(flatten)]
    grant: Grant,
    tenant_id: String,
    operator_id: String,
    device_id: String,
    property_ids: Vec<String>,
}

impl Grant {
    pub fn expires_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + TimeDelta::seconds(self.expires_in)
    }
}

/// Signs in with `key`, which the tokens are bound to from then on.
///
/// # Errors
/// The simulator does not answer, or refuses; its own words are in the error.
pub async fn sign_in(
    http: &Client,
    simulator_url: &Url,
    who: Who,
    key: &DeviceKey,
    now: DateTime<Utc>,
) -> anyhow::Result<Device> {
    let who = complete(http, simulator_url, who).await?;
    let mut body = json!({ "tenantId": who.tenant_id, "deviceJwk": key.public_jwk() });
    let chosen = [
        ("operatorId", who.operator_id.map(Value::from)),
        ("deviceId", who.device_id.map(Value::from)),
        ("locale", who.locale.map(Value::from)),
        ("roles", (!who.roles.is_empty()).then(|| who.roles.into())),
        ("propertyIds", (!who.property_ids.is_empty()).then(|| who.property_ids.into())),
    ];
    for (name, value) in chosen {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    let answer = http
        .post(join(simulator_url, "/sim/sign-in")?)
        .json(&body)
        .send()
        .await
        .context("the simulated platform does not answer")?;
    let signed_in: SignedIn = read(answer).await.context("the sign-in failed")?;
    Ok(Device {
        key: key.secret(),
        device_id: signed_in.device_id,
        tenant_id: signed_in.tenant_id,
        operator_id: signed_in.operator_id,
        property_ids: signed_in.property_ids,
        token_expires_at: signed_in.grant.expires_at(now),
        access_token: signed_in.grant.access_token,
        refresh_token: signed_in.grant.refresh_token,
        nonce: None,
    })
}

/// Has the simulated notification-service raise an alert.
///
/// # Errors
/// The simulator does not answer, or has no broker to publish to.
pub async fn raise_alert(
    http: &Client,
    simulator_url: &Url,
    tenant_id: &str,
    payload: &Value,
) -> anyhow::Result<Value> {
    let body = json!({
        "producer": "notification-service",
        "subject": "melmastoon.notification.alert.raised.v1",
        "tenantId": tenant_id,
        "payload": payload,
    });
    let answer = http
        .post(join(simulator_url, "/sim/events")?)
        .json(&body)
        .send()
        .await
        .context("the simulated platform does not answer")?;
    read(answer).await.context("the alert was not raised")
}

async fn complete(http: &Client, simulator_url: &Url, mut who: Who) -> anyhow::Result<Who> {
    if who.tenant_id.is_some() && who.operator_id.is_some() {
        return Ok(who);
    }
    let answer = http
        .get(join(simulator_url, "/sim/world")?)
        .send()
        .await
        .context("the simulated platform does not answer")?;
    let world: Value = read(answer).await?;
    let (tenant_id, operator_id) = ready_made(&world, who.tenant_id.as_deref())
        .context("the simulated world has no such tenant, or nobody works there")?;
    who.tenant_id = Some(tenant_id);
    who.operator_id.get_or_insert(operator_id);
    Ok(who)
}

/// A tenant and one of its operators, by preference a standard tenant and a property manager.
fn ready_made(world: &Value, tenant_id: Option<&str>) -> Option<(String, String)> {
    let tenants = world["tenants"].as_array()?;
    let tenant = match tenant_id {
        Some(tenant_id) => tenants.iter().find(|tenant| tenant["id"] == tenant_id)?,
        None => tenants
            .iter()
            .find(|tenant| tenant["complianceProfile"] == "standard")
            .or_else(|| tenants.first())?,
    };
    let operators = tenant["operators"].as_array()?;
    let manages = |operator: &&Value| {
        operator["roles"].as_array().is_some_and(|roles| roles.contains(&"property_manager".into()))
    };
    let operator = operators.iter().find(manages).or_else(|| operators.first())?;
    Some((tenant["id"].as_str()?.to_owned(), operator["id"].as_str()?.to_owned()))
}

fn join(base: &Url, path: &str) -> anyhow::Result<Url> {
    base.join(path).with_context(|| format!("{base} is no base for {path}"))
}

async fn read<T: serde::de::DeserializeOwned>(answer: reqwest::Response) -> anyhow::Result<T> {
    let (status, url) = (answer.status(), answer.url().clone());
    let body = answer.bytes().await.with_context(|| format!("{url} broke off its answer"))?;
    ensure!(
        status == StatusCode::OK || status == StatusCode::CREATED || status == StatusCode::ACCEPTED,
        "{url} answered {status}: {}",
        String::from_utf8_lossy(&body)
    );
    serde_json::from_slice(&body)
        .with_context(|| format!("{url} answered something else than expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_manager_of_a_standard_tenant_is_ready_made() {
        assert_eq!(ready_made(&world(), None), Some(("tnt_2".into(), "usr_2".into())));
    }

    #[test]
    fn a_named_tenant_is_taken_and_a_missing_one_is_not_replaced() {
        assert_eq!(ready_made(&world(), Some("tnt_1")), Some(("tnt_1".into(), "usr_0".into())));
        assert_eq!(ready_made(&world(), Some("tnt_9")), None);
    }

    fn world() -> Value {
        json!({ "tenants": [
            { "id": "tnt_1", "complianceProfile": "sharia",
              "operators": [{ "id": "usr_0", "roles": ["housekeeper"] }] },
            { "id": "tnt_2", "complianceProfile": "standard", "operators": [
                { "id": "usr_1", "roles": ["front_desk"] },
                { "id": "usr_2", "roles": ["front_desk", "property_manager"] },
            ] },
        ] })
    }
}
