//! `GET /bootstrap`: everything a desktop needs after its start, in one call.

use std::{collections::BTreeMap, fmt};

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use events::ledger::operator_activity::Level;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{
        device_sync::hint::{self, Hint},
        preferences, shortcuts,
    },
    http::{caller::Entrant, messages::direction, problem::Problem},
    upstream::tenant,
};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    session: Session,
    operator: Operator,
    tenant_id: String,
    /// The properties the operator works for.
    property_ids: Vec<String>,
    locale: Locale,
    theme: Theme,
    /// Features by name; one that is not there is off.
    flags: BTreeMap<String, bool>,
    app: AppVersions,
    live: Live,
    /// As `GET /preferences`; null while they cannot be read: the desktop keeps those it has.
    #[schema(value_type = Option<std::collections::HashMap<String, Value>>)]
    preferences: Option<Map<String, Value>>,
    /// As `GET /shortcuts`; null while they cannot be read.
    shortcuts: Option<BTreeMap<String, String>>,
    /// What the operator's other devices have queued.
    queue_hints: Vec<Hint>,
    /// Shares of events that are recorded, by name, 0 to 1.
    sampling: BTreeMap<String, f64>,
    server_time: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BootstrapSession)]
pub struct Session {
    /// `bos_` and a ULID.
    id: String,
    device_id: String,
    /// When the access token must have been refreshed.
    token_expires_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BootstrapOperator)]
pub struct Operator {
    id: String,
    roles: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BootstrapLocale)]
pub struct Locale {
    /// BCP 47.
    tag: String,
    /// `ltr` or `rtl`.
    direction: &'static str,
}

/// What is said of the desktop's own versions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BootstrapAppVersions)]
pub struct AppVersions {
    /// The oldest version that is let in on this platform; null: any.
    version_floor: Option<String>,
    /// Where newer versions are.
    update_url: Option<String>,
}

/// Both null while tenant-service cannot be asked: the desktop keeps the theme it has.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BootstrapTheme)]
pub struct Theme {
    bundle_url: Option<String>,
    version: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BootstrapLive)]
pub struct Live {
    /// What `GET /live?channels=` knows.
    channels: Vec<&'static str>,
    heartbeat_seconds: u64,
}

#[utoipa::path(
    get,
    path = "/bootstrap",
    operation_id = "bootstrap",
    summary = "Everything a desktop needs after its start, in one call",
    tag = "session",
    responses(
        (status = 200, body = Bootstrap,
            description = "Session, operator, properties, locale, theme and live settings"),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
) -> Result<Json<Bootstrap>, Problem> {
    let caller = &entrant.caller;
    let actor = entrant.actor();
    let (profile, preferences, shortcuts, queue_hints) = tokio::join!(
        tenant::tenant(&app.commands().upstream, &caller.tenant_id),
        preferences::read(app.commands(), &actor),
        shortcuts::read(app.commands(), &actor, Level::Operator),
        hint::list(app.commands(), &actor),
    );
    let profile = match profile {
        Ok(profile) => profile,
        Err(error) => {
            tracing::warn!(error = %error, "the desktop starts without its tenant's profile");
            None
        }
    };
    let tenant_locale = profile.as_ref().and_then(|profile| profile.locale.clone());
    let tag = caller.locale.clone().or(tenant_locale).unwrap_or_else(|| "en".to_owned());
    let theme = profile.map_or_else(Theme::default, |profile| Theme {
        bundle_url: profile.theme_bundle_url,
        version: profile
            .theme_version
            .map(|version| version.as_str().map_or_else(|| version.to_string(), str::to_owned)),
    });
    let document = app.gate().flags().current();
    let floor = document.version_floor.of(caller.app.platform);
    Ok(Json(Bootstrap {
        session: Session {
            id: caller.session_id.to_string(),
            device_id: caller.device_id.to_string(),
            token_expires_at: caller.token_expires_at,
        },
        operator: Operator { id: caller.operator_id.to_string(), roles: caller.roles.clone() },
        tenant_id: caller.tenant_id.to_string(),
        property_ids: caller.property_ids.iter().map(ToString::to_string).collect(),
        locale: Locale { direction: direction(&tag), tag },
        theme,
        flags: document.flags.clone(),
        app: AppVersions {
            version_floor: floor.map(ToString::to_string),
            update_url: app.gate().update_url().map(ToString::to_string),
        },
        live: Live {
            channels: projections::Channel::ALL.map(projections::Channel::name).to_vec(),
            heartbeat_seconds: 15,
        },
        preferences: or_report("preferences", preferences)
            .map(|standing| standing.preferences.members),
        shortcuts: or_report("shortcuts", shortcuts).map(|standing| standing.shortcuts().shortcuts),
        queue_hints: or_report("hints of queues", queue_hints).unwrap_or_default(),
        sampling: document
            .sampling
            .iter()
            .map(|(name, share)| (name.clone(), share.get()))
            .collect(),
        server_time: app.clock().now(),
    }))
}

/// A desktop starts without what cannot be read, and asks for it later.
fn or_report<T, E: fmt::Display>(what: &str, read: Result<T, E>) -> Option<T> {
    read.inspect_err(|error| tracing::warn!(what, %error, "the desktop starts without it")).ok()
}
