//! `backoffice desktop`: a small client that signs its requests as the Electron desktop does.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use self::{
    client::{Client, Request},
    device::Device,
    live::Following,
    proof::DeviceKey,
    sign_in::Who,
    stack_file::StackFile,
};
use crate::{
    clock::{Clock, SystemClock},
    output,
};

pub mod client;
pub mod device;
pub mod frames;
pub mod live;
pub mod proof;
mod screens;
#[cfg(test)]
mod scripted;
pub mod sign_in;
pub mod stack_file;

/// How long `acknowledge latest` waits for an alert to appear, in steps of [`LOOK_INTERVAL`].
const LOOKS_MAX: u32 = 20;
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// `backoffice desktop …`
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Folder of the development stack; the device's key and tokens are kept in it
    #[arg(long, env = "STACK_DIR", default_value = ".dev")]
    pub stack_dir: PathBuf,
    /// The service with its base path (default: that of the stack)
    #[arg(long, env = "BACKOFFICE_URL")]
    pub backoffice_url: Option<Url>,
    /// The simulated platform (default: that of the stack)
    #[arg(long, env = "SIMULATOR_URL")]
    pub simulator_url: Option<Url>,
    #[command(subcommand)]
    pub command: Command,
}

/// What the desktop does.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Sign an operator in on a new device key
    SignIn(Who),
    /// What a desktop asks for at its start
    Bootstrap,
    /// The alert inbox, newest first
    Alerts {
        /// Property id (default: the operator's first)
        #[arg(long = "property")]
        property_id: Option<String>,
        /// raised, acknowledged, resolved or expired
        #[arg(long)]
        state: Option<String>,
        /// How many at most, 1–100
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// The dashboard of a property, widget by widget as they become ready
    Dashboard {
        /// Property id (default: the operator's first)
        #[arg(long = "property")]
        property_id: Option<String>,
        /// As a browser gets it
        #[arg(long)]
        html: bool,
    },
    /// A board of a property: today, arrivals, departures, in-house, front-desk, housekeeping or
    /// maintenance
    Board {
        /// As its route names it
        name: String,
        /// Property id (default: the operator's first)
        #[arg(long = "property")]
        property_id: Option<String>,
    },
    /// Acknowledge an alert
    Acknowledge {
        /// An alert's id, or `latest` for the newest one that is open
        alert: String,
        /// For the colleagues
        #[arg(long)]
        comment: Option<String>,
    },
    /// Have the simulated notification-service raise an alert
    Raise {
        /// info, low, medium, high or critical
        #[arg(long, default_value = "high")]
        severity: String,
        /// What the operator reads
        #[arg(long, default_value = "Boiler pressure is low")]
        title: String,
        /// What kind of alert it is, one word
        #[arg(long, default_value = "maintenance")]
        category: String,
        /// Property id (default: the operator's first)
        #[arg(long = "property")]
        property_id: Option<String>,
    },
    /// Print each live event as one line of JSON, until ctrl-C
    Live {
        /// Which ones, comma-separated
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "ai,alerts,dashboard-refresh-hints,session"
        )]
        channels: Vec<String>,
        /// Stop after so many events
        #[arg(long = "count")]
        events_max: Option<u64>,
    },
    /// Any request, signed: `request GET /bootstrap`
    Request {
        /// GET, POST …
        method: Method,
        /// Below the service's base path; may carry a query
        path: String,
        /// A JSON body
        body: Option<String>,
        /// A further header, `Name: value`; may be repeated
        #[arg(long = "header", short = 'H')]
        headers: Vec<String>,
    },
}

/// Runs one command and prints its answer as JSON on the standard output.
///
/// # Errors
/// The service or the simulator does not answer, or refuses; the problem has been printed or is in
/// the error.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let (backoffice_url, simulator_url) = urls(&options)?;
    let file = Device::path(&options.stack_dir);
    let clock = Arc::new(SystemClock);
    if let Command::SignIn(who) = options.command {
        let key = DeviceKey::generate();
        let http = client::http()?;
        let device = sign_in::sign_in(&http, &simulator_url, who, &key, clock.now()).await?;
        device.save(&file)?;
        return show(&json!({
            "tenantId": device.tenant_id,
            "operatorId": device.operator_id,
            "deviceId": device.device_id,
            "propertyIds": device.property_ids,
            "tokenExpiresAt": device.token_expires_at,
        }));
    }
    let mut client = Client::open(file, backoffice_url, simulator_url, clock)?;
    perform(&mut client, options.command).await
}

async fn perform(client: &mut Client, command: Command) -> anyhow::Result<()> {
    match command {
        Command::SignIn(_) => Ok(()),
        Command::Bootstrap => send(client, Method::GET, "/bootstrap", None, &[]).await,
        Command::Alerts { property_id, state, limit } => {
            let path = alerts_path(client.device(), property_id, state.as_deref(), limit)?;
            send(client, Method::GET, &path, None, &[]).await
        }
        Command::Dashboard { property_id, html } => {
            let property_id = property(client.device(), property_id)?;
            screens::dashboard(client, &property_id, html).await
        }
        Command::Board { name, property_id } => {
            let path = format!("/{name}?propertyId={}", property(client.device(), property_id)?);
            send(client, Method::GET, &path, None, &[]).await
        }
        Command::Acknowledge { alert, comment } => {
            let alert_id = if alert == "latest" { latest_open(client).await? } else { alert };
            let body = comment.map_or_else(|| json!({}), |comment| json!({ "comment": comment }));
            let path = format!("/alerts/{alert_id}/acknowledge");
            send(client, Method::POST, &path, Some(&body), &[]).await
        }
        Command::Raise { severity, title, category, property_id } => {
            let property_id = property(client.device(), property_id)?;
            let payload = json!({
                "propertyId": property_id,
                "severity": severity,
                "category": category,
                "title": title,
            });
            let tenant_id = client.device().tenant_id.clone();
            let simulator_url = client.simulator_url();
            show(&sign_in::raise_alert(client.http(), simulator_url, &tenant_id, &payload).await?)
        }
        Command::Live { channels, events_max } => {
            live::check_channels(&channels)?;
            live::follow(client, &Following { channels: &channels, events_max }).await
        }
        Command::Request { method, path, body, headers } => {
            let body: Option<Value> = body
                .map(|text| serde_json::from_str(&text).context("the body is not JSON"))
                .transpose()?;
            let headers =
                headers.iter().map(|text| header(text)).collect::<anyhow::Result<Vec<_>>>()?;
            send(client, method, &path, body.as_ref(), &headers).await
        }
    }
}

/// Sends and prints; an answer that is no 2xx is printed too and makes the command fail.
async fn send(
    client: &mut Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
    headers: &[(&str, String)],
) -> anyhow::Result<()> {
    let answer = client.send(&Request { method, path, body, headers }).await?;
    let status = answer.status();
    let text = answer.text().await.with_context(|| format!("{path} broke off its answer"))?;
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => show(&value)?,
        Err(_) if text.is_empty() => (),
        // Not JSON: a stream of JSON lines, HTML, or what a proxy says.
        Err(_) => output::line(text)?,
    }
    if !status.is_success() && status != StatusCode::NOT_MODIFIED {
        bail!("{path} answered {status}");
    }
    Ok(())
}

/// The newest alert that nobody has taken up. One just raised takes a moment to arrive.
async fn latest_open(client: &mut Client) -> anyhow::Result<String> {
    let path = alerts_path(client.device(), None, Some("raised"), 1)?;
    let request = Request { method: Method::GET, path: &path, body: None, headers: &[] };
    for look in 0..LOOKS_MAX {
        if look > 0 {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let page = client.json(&request).await?;
        if let Some(alert_id) = page["items"][0]["id"].as_str() {
            return Ok(alert_id.to_owned());
        }
    }
    bail!("no alert is open; raise one first")
}

fn alerts_path(
    device: &Device,
    property_id: Option<String>,
    state: Option<&str>,
    limit: u32,
) -> anyhow::Result<String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("propertyId", &property(device, property_id)?);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    query.append_pair("limit", &limit.to_string());
    Ok(format!("/alerts?{}", query.finish()))
}

fn property(device: &Device, named: Option<String>) -> anyhow::Result<String> {
    named
        .or_else(|| device.property_ids.first().cloned())
        .context("the operator has no property: name one with --property")
}

fn header(text: &str) -> anyhow::Result<(&str, String)> {
    let (name, value) = text.split_once(':').with_context(|| format!("{text:?} has no colon"))?;
    Ok((name.trim(), value.trim().to_owned()))
}

fn urls(options: &Options) -> anyhow::Result<(Url, Url)> {
    match (&options.backoffice_url, &options.simulator_url) {
        (Some(backoffice_url), Some(simulator_url)) => {
            Ok((backoffice_url.clone(), simulator_url.clone()))
        }
        (backoffice_url, simulator_url) => {
            let stack = StackFile::read(&options.stack_dir)?;
            Ok((
                backoffice_url.clone().unwrap_or(stack.backoffice_url),
                simulator_url.clone().unwrap_or(stack.simulator_url),
            ))
        }
    }
}

fn show(value: &Value) -> anyhow::Result<()> {
    output::line(serde_json::to_string_pretty(value)?)
}
