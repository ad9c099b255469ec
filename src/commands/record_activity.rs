//! What an operator did at the desktop, told in batches: one event an item, of a closed catalogue
//! of verbs, without anything personal.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use chrono::{DateTime, TimeDelta, Utc};
use events::ledger::operator_activity::{Activity, Origin, Scalar, Target};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Actor, CommandError, Resources,
    idempotency::{KeyedRequest, Outcome},
    preferences::note,
};
use crate::{aggregates::operator_activity::Command, ledger::StoredResponse};

pub use crate::aggregates::operator_activity::BATCH_MAX;

/// How long ago something may have been done that is told directly; what is older comes by way of
/// sync-service.
const AGE_MAX: TimeDelta = TimeDelta::hours(24);
/// How far a device's clock may be ahead.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(10);
const WORD_CHARS_MAX: usize = 64;

static CATALOGUE: LazyLock<HashMap<String, Row>> = LazyLock::new(|| {
    toml::from_str(include_str!("record_activity/verbs.toml"))
        .expect("the catalogue is valid, which a test reads")
});

/// One verb.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Row {
    /// What it may be about; empty: nothing.
    targets: Vec<String>,
    properties: BTreeMap<String, Shape>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shape {
    Switch,
    Number,
    Word,
}

/// One thing as the desktop tells it.
#[derive(Clone, Debug)]
pub struct Item {
    pub verb: String,
    pub at: DateTime<Utc>,
    pub target: Option<Target>,
    pub properties: BTreeMap<String, Value>,
}

/// Which member of an item is not of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 0.
    pub item: usize,
    /// `verb`, `at`, `target`, or `properties.<name>` for a name that is known.
    pub member: String,
}

/// Body of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ActivityRecorded)]
pub struct Recorded {
    /// Events that were recorded.
    pub recorded: usize,
}

/// Holds the items against the catalogue and the time.
///
/// # Errors
/// Every mistake, in the order of the items.
pub fn check(items: Vec<Item>, now: DateTime<Utc>) -> Result<Vec<Activity>, Vec<Mistake>> {
    let mut activities = Vec::with_capacity(items.len());
    let mut mistakes = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        match activity(item, now) {
            Ok(activity) => activities.push(activity),
            Err(members) => {
                mistakes.extend(members.into_iter().map(|member| Mistake { item: index, member }));
            }
        }
    }
    if mistakes.is_empty() { Ok(activities) } else { Err(mistakes) }
}

/// Records a batch. Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`CommandError`].
pub async fn run(
    resources: &Resources,
    actor: &Actor,
    (activities, keyed): (Vec<Activity>, &KeyedRequest),
) -> Result<Outcome, CommandError> {
    let response = StoredResponse::json(200, &Recorded { recorded: activities.len() });
    let claim = keyed.start_and_complete(actor, response.clone());
    // Nearly every batch comes once: the key is looked up where it turns out to be taken.
    match note(resources, actor, keyed, (Command::Record(activities), claim)).await {
        Ok(position) => Ok(Outcome::new(response, Some(position))),
        Err(CommandError::InProgress) => {
            keyed.answered(resources).await?.ok_or(CommandError::InProgress)
        }
        Err(error) => Err(error),
    }
}

/// An item of the catalogue; else the members that are not.
fn activity(item: Item, now: DateTime<Utc>) -> Result<Activity, Vec<String>> {
    let Some(row) = CATALOGUE.get(&item.verb) else { return Err(vec!["verb".to_owned()]) };
    let mut mistakes = Vec::new();
    if item.at < now - AGE_MAX || now + AHEAD_MAX < item.at {
        mistakes.push("at".to_owned());
    }
    let is_about = |target: &Target| row.targets.contains(&target.kind) && is_word(&target.id);
    if item.target.as_ref().is_some_and(|target| !is_about(target)) {
        mistakes.push("target".to_owned());
    }
    let mut properties = BTreeMap::new();
    for (name, value) in item.properties {
        match row.properties.get(&name).map(|shape| shape.read(&value)) {
            Some(Some(value)) => {
                properties.insert(name, value);
            }
            Some(None) => mistakes.push(format!("properties.{name}")),
            // A name that is not ours may be anything and is not repeated.
            None => mistakes.push("properties".to_owned()),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let Item { verb, at, target, .. } = item;
    Ok(Activity { verb, at, target, properties, origin: Origin::Online, replay_id: None })
}

impl Shape {
    fn read(self, value: &Value) -> Option<Scalar> {
        match (self, value) {
            (Self::Switch, Value::Bool(switch)) => Some(Scalar::Switch(*switch)),
            (Self::Number, Value::Number(number)) => number.as_i64().map(Scalar::Number),
            (Self::Word, Value::String(word)) if is_word(word) => Some(Scalar::Word(word.clone())),
            _ => None,
        }
    }
}

/// An id or a name of the desktop's own: no spaces, no addresses, no sentences.
pub(super) fn is_word(text: &str) -> bool {
    (1..=WORD_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_catalogue_is_good() {
        assert!(20 < CATALOGUE.len());
        for (verb, row) in CATALOGUE.iter() {
            assert!(is_word(verb) && verb.contains('.'), "{verb}");
            assert!(row.targets.iter().chain(row.properties.keys()).all(|name| is_word(name)));
        }
    }

    #[test]
    fn an_item_of_the_catalogue_is_taken_as_it_is() {
        let item = item("reservation.opened", json!({ "fromSearch": true, "tab": "guests" }));
        let target = Target { kind: "reservation".to_owned(), id: "rsv_1".to_owned() };
        let item = Item { target: Some(target.clone()), ..item };

        let activities = check(vec![item], now()).unwrap();

        assert_eq!(activities[0].target, Some(target));
        assert_eq!(activities[0].properties["tab"], Scalar::Word("guests".to_owned()));
        assert_eq!(activities[0].properties["fromSearch"], Scalar::Switch(true));
    }

    #[test]
    fn what_is_not_of_the_catalogue_is_named_without_its_content() {
        let sentence = json!({ "page": "Amina from room 4" });
        let number = json!({ "page": 4 });
        let unknown = json!({ "guestName": "Amina" });
        let target =
            |kind: &str, id: &str| Some(Target { kind: kind.to_owned(), id: id.to_owned() });
        let nothing = || json!({});
        for (item, member) in [
            (item("guest.insulted", nothing()), "verb"),
            (item("help.opened", sentence), "properties.page"),
            (item("help.opened", number), "properties.page"),
            (item("help.opened", unknown), "properties"),
            (Item { target: target("guest", "g_1"), ..item("room.opened", nothing()) }, "target"),
            (Item { target: target("room", "a b"), ..item("room.opened", nothing()) }, "target"),
            (Item { target: target("room", "r1"), ..item("help.opened", nothing()) }, "target"),
            (Item { at: now() - TimeDelta::hours(25), ..item("help.opened", nothing()) }, "at"),
            (Item { at: now() + TimeDelta::hours(1), ..item("help.opened", nothing()) }, "at"),
        ] {
            let good = self::item("help.opened", json!({}));
            let mistakes = check(vec![good, item], now()).unwrap_err();
            assert_eq!(mistakes, [Mistake { item: 1, member: member.to_owned() }]);
        }
    }

    fn item(verb: &str, properties: Value) -> Item {
        let properties = serde_json::from_value(properties).unwrap();
        Item { verb: verb.to_owned(), at: now(), target: None, properties }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }
}
