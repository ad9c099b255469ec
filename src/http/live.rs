//! What streams and polls have in common: who listens, to which channels, from where on.

use std::{collections::BTreeMap, time::Duration};

use events::TenantId;
use projections::Channel;

use super::{caller::Entrant, codes::Code, problem::Problem};
use crate::{
    access::policy::Scope,
    app::App,
    live::{Cursor, LiveError, Subscriber},
};

/// The listener that a request describes. A cursor in the header goes before one in the query.
///
/// # Errors
/// `VALIDATION_FAILED` for an unknown channel or a cursor that is not one of this tenant's.
pub async fn subscriber(
    app: &App,
    entrant: &Entrant,
    query: &BTreeMap<String, String>,
    cursor: Option<(&str, &str)>,
) -> Result<Subscriber, Problem> {
    let caller = &entrant.caller;
    let channels = match query.get("channels") {
        None => Channel::ALL.to_vec(),
        Some(names) => channels(names)?,
    };
    let channels = channels.into_iter().filter(|channel| may_hear(entrant, *channel));
    let cursor = cursor
        .map(|(field, text)| {
            let cursor = open(app, &caller.tenant_id, text);
            cursor.ok_or_else(|| Problem::new(Code::ValidationFailed).field(field, "INVALID"))
        })
        .transpose()?;
    // Only suggestions are hidden: whoever hears none need not be asked for.
    let channels: Vec<Channel> = channels.collect();
    let hears_suggestions = channels.contains(&Channel::Ai);
    let works_by_sharia =
        hears_suggestions && app.profiles().works_by_sharia(&caller.tenant_id).await;
    Ok(Subscriber {
        tenant_id: caller.tenant_id.clone(),
        operator_id: caller.operator_id.clone(),
        device_id: caller.device_id.clone(),
        sid: caller.sid.clone(),
        authenticated_at: caller.token_issued_at,
        property_ids: caller.property_ids.clone(),
        channels,
        works_by_sharia,
        cursor,
    })
}

fn channels(names: &str) -> Result<Vec<Channel>, Problem> {
    names
        .split(',')
        .map(|name| {
            Channel::from_name(name.trim())
                .ok_or_else(|| Problem::new(Code::ValidationFailed).field("channels", "INVALID"))
        })
        .collect()
}

/// What a caller's roles may not read they do not hear either.
fn may_hear(entrant: &Entrant, channel: Channel) -> bool {
    match channel {
        Channel::Alerts => entrant.require(Scope::AlertsRead).is_ok(),
        Channel::Ai => entrant.require(Scope::AiRead).is_ok(),
        // Whoever has any screen has today's board, if not the dashboard.
        Channel::DashboardRefreshHints => [Scope::DashboardRead, Scope::BoardToday]
            .into_iter()
            .any(|scope| entrant.require(scope).is_ok()),
        Channel::Session => true,
    }
}

fn open(app: &App, tenant_id: &TenantId, text: &str) -> Option<Cursor> {
    app.cursor_keys().decode(tenant_id, text).ok()
}

/// Why a stream cannot be opened, as clients see it.
pub fn live_problem(error: LiveError) -> Problem {
    let code = match error {
        LiveError::Redis(_) | LiveError::Unavailable => Code::DependencyUnavailable,
        LiveError::Full => Code::Overloaded,
    };
    Problem::new(code).retry_after(Duration::from_secs(3)).cause(error)
}
