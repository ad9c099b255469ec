//! What an operator prefers: tenant-service's word, mirrored in `operator_preferences` so that it
//! can be read while that service is away.

use chrono::TimeDelta;
use cqrs_es::CqrsFramework;
use events::StreamId;
use http::HeaderValue;
use serde_json::{Map, Value, json};

use super::{
    Actor, CommandError, Resources,
    idempotency::{KeyedRequest, Outcome},
    keyed_work::{Begun, Render, WorkError, begin, end_without, unavailable},
};
use crate::{
    aggregates::{OperatorActivity, operator_activity::Command},
    ledger::{ClaimWrite, StoredResponse, event_store::TenantStore},
    upstream::{
        UpstreamError,
        tenant_preferences::{self, Preferences, Write},
    },
};

/// How long the mirror answers for tenant-service.
pub const KEPT: TimeDelta = TimeDelta::days(30);

/// What was read, and whether tenant-service was there to say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub preferences: Preferences,
    pub is_stale: bool,
}

/// What the operator wants them to be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// All of them: a member that is left out is gone.
    pub members: Map<String, Value>,
    /// The version that must be the current one.
    pub if_match: Option<HeaderValue>,
}

/// The caller's preferences.
///
/// # Errors
/// [`WorkError::Upstream`] when tenant-service cannot be asked and the mirror is empty or too old.
pub async fn read(resources: &Resources, actor: &Actor) -> Result<Standing, WorkError> {
    let caller = &actor.caller;
    let operator = (&caller.tenant_id, &caller.operator_id);
    let context = actor.call_context(None);
    match tenant_preferences::read(&resources.upstream, operator, &context).await {
        Ok(preferences) => {
            // The answer does not wait for a mirror that cannot be written.
            if let Err(error) = mirror(resources, actor, &preferences).await {
                tracing::warn!(error = %error, "preferences were not mirrored");
            }
            Ok(Standing { preferences, is_stale: false })
        }
        Err(error @ UpstreamError::Problem(_)) => Err(WorkError::Upstream(error)),
        Err(error) => {
            let mirrored = mirrored(resources, actor).await.map_err(unavailable)?;
            let Some(preferences) = mirrored else { return Err(WorkError::Upstream(error)) };
            tracing::warn!(error = %error, "preferences are answered from their mirror");
            Ok(Standing { preferences, is_stale: true })
        }
    }
}

/// Changes the caller's preferences. Runs to its end even when the client hangs up: call it in a
/// task of its own.
///
/// # Errors
/// See [`WorkError`]. Another version than the wished one is no error here: the answer says so.
pub async fn write(
    resources: &Resources,
    actor: &Actor,
    (wish, keyed): (&Wish, &KeyedRequest),
    render: Render<'_>,
) -> Result<Outcome, WorkError> {
    let keyed = match begin(resources, actor, keyed).await? {
        Begun::Answered(outcome) => return Ok(outcome),
        Begun::Mine(keyed) => keyed,
    };
    let caller = &actor.caller;
    let upstream_key = keyed.upstream_key(resources, "preferences-upstream-key");
    let write = Write {
        members: &wish.members,
        if_match: wish.if_match.as_ref(),
        idempotency_key: &upstream_key,
    };
    let operator = (&caller.tenant_id, &caller.operator_id);
    let context = actor.call_context(None);
    let written =
        match tenant_preferences::write(&resources.upstream, operator, &context, write).await {
            Ok(written) => written,
            Err(error) => return end_without(resources, actor, (&keyed, error), render).await,
        };
    let before = mirrored(resources, actor).await.map_err(unavailable)?;
    let members =
        changed(before.map(|before| before.members).unwrap_or_default(), &written.members);
    let response = answer(&written);
    let at = resources.clock.now();
    let noted = (Command::NotePreferences { members, at }, keyed.complete(response.clone()));
    let position = note(resources, actor, &keyed, noted).await?;
    // After the event, which compares with what was there before.
    if let Err(error) = mirror(resources, actor, &written).await {
        tracing::warn!(error = %error, "changed preferences were not mirrored");
    }
    Ok(Outcome::new(response, Some(position)))
}

/// The body of an answer: `{preferences}`, under the entity tag.
fn answer(preferences: &Preferences) -> StoredResponse {
    let mut response = StoredResponse::json(200, &json!({ "preferences": preferences.members }));
    response
        .headers
        .extend(preferences.entity_tag.iter().map(|tag| ("etag".to_owned(), tag.clone())));
    response
}

/// Names of the members that are there, gone or others than before.
pub(super) fn changed(before: Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let mut members: Vec<String> = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(*value))
        .map(|(name, _)| name.clone())
        .collect();
    members
        .extend(before.into_iter().map(|(name, _)| name).filter(|name| !after.contains_key(name)));
    members.sort_unstable();
    members
}

/// Records what a request changed of the operator's desk, in the request's own stream.
///
/// # Errors
/// See [`CommandError`]. [`CommandError::InProgress`] where the claim is refused.
pub(super) async fn note(
    resources: &Resources,
    actor: &Actor,
    keyed: &KeyedRequest,
    (command, claim): (Command, ClaimWrite),
) -> Result<i64, CommandError> {
    let key = &keyed.key;
    let parts =
        [key.tenant_id.as_str().as_bytes(), key.device_id.as_str().as_bytes(), &key.key.to_bytes()];
    let stream = StreamId::activity(resources.secrets.derived_ulid("activity-stream", &parts));
    let store = TenantStore::<OperatorActivity>::new(
        &resources.ledger,
        &resources.clock,
        actor.caller.tenant_id.clone(),
        actor.metadata(&resources.instance, None, Some(key.key)),
    )
    .with_claim(claim)
    .presuming_new();
    let framework = CqrsFramework::new(store.clone(), vec![], ());
    match framework.execute(stream.as_str(), command).await {
        Ok(()) => Ok(store.receipt().unwrap_or_default().position),
        // The stream is the request's own: it was told by a repetition.
        Err(cqrs_es::AggregateError::AggregateConflict) => Err(CommandError::InProgress),
        Err(error) => Err(CommandError::from_aggregate(error)),
    }
}

async fn mirrored(resources: &Resources, actor: &Actor) -> sqlx::Result<Option<Preferences>> {
    let caller = &actor.caller;
    let mut transaction = resources.ledger.pools().begin(&caller.tenant_id).await?;
    let row = sqlx::query!(
        r#"
        select preferences::text as "preferences!", entity_tag
        from operator_preferences
        where tenant_id = $1 and operator_id = $2 and read_at > $3
        "#,
        caller.tenant_id.as_str(),
        caller.operator_id.as_str(),
        resources.clock.now() - KEPT,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    Ok(row.and_then(|row| {
        let members = serde_json::from_str(&row.preferences).ok()?;
        Some(Preferences { members, entity_tag: row.entity_tag })
    }))
}

/// Writes only what is new, or once an hour that it is still so.
async fn mirror(
    resources: &Resources,
    actor: &Actor,
    preferences: &Preferences,
) -> sqlx::Result<()> {
    let caller = &actor.caller;
    let members = serde_json::to_string(&preferences.members).expect("an object is JSON");
    let mut transaction = resources.ledger.pools().begin(&caller.tenant_id).await?;
    sqlx::query!(
        r#"
        insert into operator_preferences as known
            (tenant_id, operator_id, preferences, entity_tag, read_at)
        values ($1, $2, $3::text::jsonb, $4, $5)
        on conflict (tenant_id, operator_id) do update
        set preferences = excluded.preferences,
            entity_tag = excluded.entity_tag,
            read_at = excluded.read_at
        where known.preferences <> excluded.preferences
           or known.entity_tag is distinct from excluded.entity_tag
           or known.read_at < excluded.read_at - interval '1 hour'
        "#,
        caller.tenant_id.as_str(),
        caller.operator_id.as_str(),
        members,
        preferences.entity_tag,
        resources.clock.now(),
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_came_went_or_became_others_are_changed() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let before = object(json!({ "same": 1, "other": 1, "gone": 1 }));
        let after = object(json!({ "same": 1, "other": 2, "new": null }));
        assert_eq!(changed(before, &after), ["gone", "new", "other"]);
    }
}
