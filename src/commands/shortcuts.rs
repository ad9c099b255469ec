//! The keys of the desktop's actions: the map that comes with the service, what the tenant has made
//! of it for everybody, and what each operator has made of that.

mod keys;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use events::ledger::operator_activity::Level;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::keys::{Overrides, is_action, is_keys};
use self::{
    keys::{MAP_REVISION, doubled, merged},
    table::{EVERYBODY, Row},
};
use super::{
    Actor, CommandError, Resources,
    idempotency::{KeyedRequest, Outcome},
    keyed_work::unavailable,
    preferences::note,
};
use crate::{aggregates::operator_activity::Command, ledger::StoredResponse};

/// The map of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Shortcuts)]
pub struct Shortcuts {
    /// Action → keys. An action without keys is not in it.
    pub shortcuts: BTreeMap<String, String>,
    /// What the operator has changed, or of the tenant's map the tenant: action → keys, or null for
    /// none.
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub overrides: Overrides,
}

/// What stands at the levels that a map is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    tenant: Row,
    /// `None` in the tenant's own map.
    operator: Option<Row>,
}

/// What is wanted: all overrides there shall be at a level.
#[derive(Clone, Debug)]
pub struct Wish {
    pub level: Level,
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
    /// Another action has the keys that this one is to have.
    #[error("the keys for {0} are taken")]
    Taken(String),
}

impl Standing {
    pub fn shortcuts(&self) -> Shortcuts {
        let overrides = self.own().overrides.clone();
        let shortcuts = match &self.operator {
            None => merged(&[&self.tenant.overrides]),
            Some(operator) => merged(&[&self.tenant.overrides, &operator.overrides]),
        };
        Shortcuts { shortcuts, overrides }
    }

    /// Of the whole map, quotes and all.
    pub fn entity_tag(&self) -> String {
        let tenant = self.tenant.version;
        match &self.operator {
            None => format!("\"{MAP_REVISION}-{tenant}\""),
            Some(operator) => format!("\"{MAP_REVISION}-{tenant}-{}\"", operator.version),
        }
    }

    /// The level that is nearest to whom the map is for.
    fn own(&self) -> &Row {
        self.operator.as_ref().unwrap_or(&self.tenant)
    }

    /// The same with another row there.
    fn with_own(&self, row: Row) -> Self {
        match &self.operator {
            None => Self { tenant: row, operator: None },
            Some(_) => Self { tenant: self.tenant.clone(), operator: Some(row) },
        }
    }

    /// The action that cannot have the keys that `overrides` give it at this level.
    fn taken(&self, overrides: &Overrides) -> Option<String> {
        match &self.operator {
            None => doubled(&[], overrides),
            Some(_) => doubled(&[&self.tenant.overrides], overrides),
        }
    }

    fn answer(&self) -> StoredResponse {
        let mut response = StoredResponse::json(200, &self.shortcuts());
        response.headers.push(("etag".to_owned(), self.entity_tag()));
        response
    }
}

/// The caller's map, or the tenant's.
///
/// # Errors
/// [`CommandError::Unavailable`].
pub async fn read(
    resources: &Resources,
    actor: &Actor,
    level: Level,
) -> Result<Standing, CommandError> {
    let read = async {
        let mut transaction = resources.ledger.pools().begin(&actor.caller.tenant_id).await?;
        let standing = standing(&mut transaction, actor, level).await?;
        sqlx::Result::Ok(standing)
    };
    read.await.map_err(unavailable)
}

/// Changes the caller's map, or the tenant's. Runs to its end even when the client hangs up: call it
/// in a task of its own.
///
/// # Errors
/// See [`ShortcutError`]; nothing is changed then, except after [`CommandError::Unavailable`]: the
/// same key finds out.
pub async fn write(
    resources: &Resources,
    actor: &Actor,
    (wish, keyed): (&Wish, &KeyedRequest),
) -> Result<Outcome, ShortcutError> {
    if let Some(known) = keyed.answered(resources).await? {
        return Ok(known);
    }
    let (before, after) = change(resources, actor, (wish, keyed)).await?;
    let response = after.answer();
    let command = Command::NoteShortcuts {
        level: wish.level,
        members: changed(&before, &after.own().overrides),
        at: resources.clock.now(),
    };
    let claim = keyed.start_and_complete(actor, response.clone());
    match note(resources, actor, keyed, (command, claim)).await {
        Ok(position) => Ok(Outcome::new(response, Some(position))),
        // The same request was faster: its answer is the one that counts.
        Err(CommandError::InProgress) => {
            Ok(keyed.answered(resources).await?.ok_or(CommandError::InProgress)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Compares and sets; answers what was overridden before and what stands after. A repetition finds
/// its own change and leaves it.
async fn change(
    resources: &Resources,
    actor: &Actor,
    (wish, keyed): (&Wish, &KeyedRequest),
) -> Result<(Overrides, Standing), ShortcutError> {
    let claim = format!("{}/{}", keyed.key.device_id, keyed.key.key);
    let tenant_id = &actor.caller.tenant_id;
    let changing = async {
        let mut transaction = resources.ledger.pools().begin(tenant_id).await?;
        let before = standing(&mut transaction, actor, wish.level).await?;
        if before.own().changed_by.as_deref() == Some(claim.as_str()) {
            // What was there before it is gone: all that is the level's own counts as changed.
            return Ok(Ok((Overrides::new(), before)));
        }
        let tag = before.entity_tag();
        if wish.if_match.as_ref().is_some_and(|wished| *wished != tag && wished != "*") {
            return Ok(Err(ShortcutError::Changed));
        }
        if let Some(action) = before.taken(&wish.overrides) {
            return Ok(Err(ShortcutError::Taken(action)));
        }
        let row = Row {
            overrides: wish.overrides.clone(),
            version: before.own().version + 1,
            changed_by: Some(claim.clone()),
        };
        let whose = (tenant_id, owner(actor, wish.level));
        let at = resources.clock.now();
        let is_set = table::set(&mut transaction, whose, (before.own(), &row), at).await?;
        transaction.commit().await?;
        let after = before.with_own(row);
        let changed = is_set.then(|| (before.own().overrides.clone(), after));
        sqlx::Result::Ok(changed.ok_or(ShortcutError::Changed))
    };
    changing.await.map_err(unavailable)?
}

fn changed(before: &Overrides, after: &Overrides) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

async fn standing(
    db: &mut sqlx::PgConnection,
    actor: &Actor,
    level: Level,
) -> sqlx::Result<Standing> {
    let tenant_id = &actor.caller.tenant_id;
    let tenant = table::read(&mut *db, tenant_id, EVERYBODY).await?;
    let operator = match level {
        Level::Tenant => None,
        Level::Operator => Some(table::read(db, tenant_id, owner(actor, level)).await?),
    };
    Ok(Standing { tenant, operator })
}

fn owner(actor: &Actor, level: Level) -> &str {
    match level {
        Level::Tenant => EVERYBODY,
        Level::Operator => actor.caller.operator_id.as_str(),
    }
}
