//! The keys of the desktop's actions: the map that comes with the service, and what each operator
//! has made of it. Table `shortcut_override`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    Actor, CommandError, Resources,
    idempotency::{KeyedRequest, Known, Outcome},
    keyed_work::unavailable,
    preferences::note,
};
use crate::{aggregates::operator_activity::Command, ledger::StoredResponse};

/// Action → keys; `None`: the action has none.
pub type Overrides = BTreeMap<String, Option<String>>;

static MAP: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    toml::from_str(include_str!("shortcuts/map.toml"))
        .expect("the map is valid, which a test reads")
});
/// Grows when the map changes, so that a desktop's copy does not outlive it.
const MAP_REVISION: u32 = 1;
const MODIFIERS: [&str; 3] = ["Ctrl", "Alt", "Shift"];
const NAMED_KEYS: [&str; 14] = [
    "Enter",
    "Backspace",
    "Delete",
    "Insert",
    "Home",
    "End",
    "PageUp",
    "PageDown",
    "Space",
    "Tab",
    "Up",
    "Down",
    "Left",
    "Right",
];

/// The map of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Shortcuts)]
pub struct Shortcuts {
    /// Action → keys. An action without keys is not in it.
    pub shortcuts: BTreeMap<String, String>,
    /// What the operator has changed: action → keys, or null for none.
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub overrides: Overrides,
}

/// What stands, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub overrides: Overrides,
    /// 0 before the first change.
    version: i64,
    changed_by: Option<String>,
}

/// What the operator wants: all overrides there shall be.
#[derive(Clone, Debug)]
pub struct Wish {
    pub overrides: Overrides,
    /// `If-Match` as it was sent.
    pub if_match: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ShortcutError {
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The map is not the one that the wish is about.
    #[error("the shortcuts have been changed in the meantime")]
    Changed,
}

/// Whether there is such an action.
pub fn is_action(name: &str) -> bool {
    MAP.contains_key(name)
}

/// Whether this is how keys are written: modifiers in their order, then one key. A letter, a digit
/// or a named key needs a modifier; a function key does not.
pub fn is_keys(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('+').collect();
    let key = parts.pop().unwrap_or_default();
    let places: Option<Vec<usize>> =
        parts.iter().map(|part| MODIFIERS.iter().position(|modifier| modifier == part)).collect();
    let Some(places) = places else { return false };
    if !places.is_sorted_by(|one, other| one < other) {
        return false;
    }
    let is_function = key
        .strip_prefix('F')
        .and_then(|number| number.parse::<u8>().ok())
        .is_some_and(|number| (1..=12).contains(&number) && key == format!("F{number}"));
    let is_plain =
        matches!(key.as_bytes(), [byte] if byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_function || (!places.is_empty() && (is_plain || NAMED_KEYS.contains(&key)))
}

/// Two actions of the resulting map that would have the same keys.
pub fn doubled(overrides: &Overrides) -> Option<String> {
    let mut taken = BTreeSet::new();
    merged(overrides)
        .into_iter()
        .find(|(_, keys)| !taken.insert(keys.clone()))
        .map(|(name, _)| name)
}

impl Standing {
    pub fn shortcuts(&self) -> Shortcuts {
        Shortcuts { shortcuts: merged(&self.overrides), overrides: self.overrides.clone() }
    }

    /// Quotes and all.
    pub fn entity_tag(&self) -> String {
        format!("\"{MAP_REVISION}-{}\"", self.version)
    }

    fn answer(&self) -> StoredResponse {
        let mut response = StoredResponse::json(200, &self.shortcuts());
        response.headers.push(("etag".to_owned(), self.entity_tag()));
        response
    }
}

fn merged(overrides: &Overrides) -> BTreeMap<String, String> {
    MAP.iter()
        .filter_map(|(action, keys)| {
            let keys = match overrides.get(action) {
                Some(own) => own.as_ref()?,
                None => keys,
            };
            Some((action.clone(), keys.clone()))
        })
        .collect()
}

/// The caller's map.
///
/// # Errors
/// [`CommandError::Unavailable`].
pub async fn read(resources: &Resources, actor: &Actor) -> Result<Standing, CommandError> {
    let read = async {
        let mut transaction = resources.ledger.pools().begin(&actor.caller.tenant_id).await?;
        let standing = standing(&mut transaction, actor).await?;
        transaction.commit().await?;
        sqlx::Result::Ok(standing)
    };
    read.await.map_err(unavailable)
}

/// Changes the caller's map. Runs to its end even when the client hangs up: call it in a task of
/// its own.
///
/// # Errors
/// See [`ShortcutError`]; nothing is changed then, except after [`CommandError::Unavailable`]: the
/// same key finds out.
pub async fn write(
    resources: &Resources,
    actor: &Actor,
    (wish, keyed): (&Wish, &KeyedRequest),
) -> Result<Outcome, ShortcutError> {
    if let Some(known) = answered(resources, keyed).await? {
        return Ok(known);
    }
    let (before, after) = change(resources, actor, (wish, keyed)).await?;
    let response = after.answer();
    let command =
        Command::NoteShortcuts { members: changed(&before, &after), at: resources.clock.now() };
    let claim = keyed.start_and_complete(actor, response.clone());
    match note(resources, actor, keyed, (command, claim)).await {
        Ok(position) => Ok(Outcome::new(response, Some(position))),
        // The same request was faster: its answer is the one that counts.
        Err(CommandError::InProgress) => {
            Ok(answered(resources, keyed).await?.ok_or(CommandError::InProgress)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A claim of this command is never left open.
async fn answered(
    resources: &Resources,
    keyed: &KeyedRequest,
) -> Result<Option<Outcome>, CommandError> {
    match keyed.known(resources).await? {
        Some(Known::Answered(response)) => Ok(Some(Outcome::replayed(response))),
        Some(Known::Resumed(_)) => Err(CommandError::InProgress),
        None => Ok(None),
    }
}

/// Compares and sets. A repetition finds its own change and leaves it.
async fn change(
    resources: &Resources,
    actor: &Actor,
    (wish, keyed): (&Wish, &KeyedRequest),
) -> Result<(Overrides, Standing), ShortcutError> {
    let claim = format!("{}/{}", keyed.key.device_id, keyed.key.key);
    let changing = async {
        let mut transaction = resources.ledger.pools().begin(&actor.caller.tenant_id).await?;
        let before = standing(&mut transaction, actor).await?;
        if before.changed_by.as_deref() == Some(claim.as_str()) {
            // What was there before it is gone: all that is the operator's own counts as changed.
            return Ok(Some((Overrides::new(), before)));
        }
        let tag = before.entity_tag();
        if wish.if_match.as_ref().is_some_and(|wished| *wished != tag && wished != "*") {
            return Ok(None);
        }
        let after = Standing {
            overrides: wish.overrides.clone(),
            version: before.version + 1,
            changed_by: Some(claim.clone()),
        };
        let is_set = set(&mut transaction, actor, (&before, &after), resources.clock.now()).await?;
        transaction.commit().await?;
        sqlx::Result::Ok(is_set.then_some((before.overrides, after)))
    };
    changing.await.map_err(unavailable)?.ok_or(ShortcutError::Changed)
}

fn changed(before: &Overrides, after: &Standing) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.overrides.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.overrides.get(*name))
        .cloned()
        .collect()
}

async fn standing(db: &mut PgConnection, actor: &Actor) -> sqlx::Result<Standing> {
    let row = sqlx::query!(
        r#"
        select overrides::text as "overrides!", version, changed_by
        from shortcut_override
        where tenant_id = $1 and operator_id = $2
        "#,
        actor.caller.tenant_id.as_str(),
        actor.caller.operator_id.as_str(),
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok(Standing { overrides: Overrides::new(), version: 0, changed_by: None });
    };
    let overrides: Overrides =
        serde_json::from_str(&row.overrides).map_err(|error| sqlx::Error::Decode(error.into()))?;
    // An action that this version does not have any more has no keys to give.
    let overrides = overrides.into_iter().filter(|(name, _)| is_action(name)).collect();
    Ok(Standing { overrides, version: row.version, changed_by: Some(row.changed_by) })
}

/// False when somebody else was faster.
async fn set(
    db: &mut PgConnection,
    actor: &Actor,
    (before, after): (&Standing, &Standing),
    at: chrono::DateTime<chrono::Utc>,
) -> sqlx::Result<bool> {
    let overrides = serde_json::to_string(&after.overrides).expect("a map of texts is JSON");
    let done = sqlx::query!(
        r#"
        insert into shortcut_override as known
            (tenant_id, operator_id, overrides, version, changed_at, changed_by)
        values ($1, $2, $3::text::jsonb, $4, $5, $6)
        on conflict (tenant_id, operator_id) do update
        set overrides = excluded.overrides,
            version = excluded.version,
            changed_at = excluded.changed_at,
            changed_by = excluded.changed_by
        where known.version = $7
        "#,
        actor.caller.tenant_id.as_str(),
        actor.caller.operator_id.as_str(),
        overrides,
        after.version,
        at,
        after.changed_by.as_deref().unwrap_or_default(),
        before.version,
    )
    .execute(db)
    .await?;
    Ok(0 < done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_that_comes_with_the_service_is_good() {
        assert!(20 < MAP.len());
        for (action, keys) in MAP.iter() {
            assert!(is_keys(keys), "{action}: {keys}");
        }
        assert_eq!(doubled(&Overrides::new()), None);
    }

    #[test]
    fn keys_are_written_in_one_way() {
        for good in ["F1", "F12", "Ctrl+A", "Ctrl+Alt+Shift+9", "Alt+F4", "Shift+Enter"] {
            assert!(is_keys(good), "{good}");
        }
        for bad in [
            "",
            "A",
            "F0",
            "F13",
            "F01",
            "Enter",
            "ctrl+a",
            "Ctrl+",
            "Ctrl+a",
            "Alt+Ctrl+A",
            "Ctrl+Ctrl+A",
            "Ctrl",
            "Ctrl+AB",
            "Ctrl+A+B",
        ] {
            assert!(!is_keys(bad), "{bad}");
        }
    }

    #[test]
    fn an_override_replaces_removes_and_may_not_double() {
        let overrides = |keys: &[(&str, Option<&str>)]| -> Overrides {
            keys.iter().map(|(name, keys)| ((*name).to_owned(), keys.map(str::to_owned))).collect()
        };
        let own = overrides(&[("search.open", Some("Ctrl+J")), ("desktop.help", None)]);
        assert_eq!(merged(&own)["search.open"], "Ctrl+J");
        assert!(!merged(&own).contains_key("desktop.help"));
        assert_eq!(doubled(&own), None);
        assert!(doubled(&overrides(&[("search.open", Some("F1"))])).is_some());
        assert_eq!(
            doubled(&overrides(&[("search.open", Some("F1")), ("desktop.help", None)])),
            None
        );
    }
}
