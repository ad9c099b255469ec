//! Lists by page, newest first: their parameters, their order, their cursors.

use std::{cmp::Reverse, collections::BTreeMap, str::FromStr};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IntoDeserializer},
};
use utoipa::ToSchema;

use super::{
    X_CACHE,
    caller::Entrant,
    codes::Code,
    problem::{FieldError, Problem},
    seal::Purpose,
};
use crate::app::App;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 100;

/// An item's place in a list: newest first, then by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place(Reverse<i64>, String);

/// One page, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    items: Vec<T>,
    /// Ask with it for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub after: Option<Place>,
    pub limit: usize,
}

/// The parameters of a list; every wrong one is named.
pub struct Parameters<'a> {
    query: &'a BTreeMap<String, String>,
    wrong: Vec<FieldError>,
}

impl Place {
    pub fn new(at: DateTime<Utc>, id: impl Into<String>) -> Self {
        Self(Reverse(at.timestamp_micros()), id.into())
    }

    /// The cursor behind this place, for the caller's tenant only.
    pub fn seal(&self, app: &App, entrant: &Entrant) -> String {
        seal_cursor((app, entrant), self)
    }

    /// The place of a cursor; `None` when it is none of this tenant's.
    pub fn open(app: &App, entrant: &Entrant, cursor: &str) -> Option<Self> {
        open_cursor((app, entrant), cursor)
    }
}

impl<T: Serialize> Page<T> {
    /// These items, and where the next page begins.
    pub fn new(
        (app, entrant): (&App, &Entrant),
        items: impl Iterator<Item = T>,
        next: Option<Place>,
    ) -> Self {
        Self { items: items.collect(), next_cursor: next.map(|place| place.seal(app, entrant)) }
    }

    /// `is_hit`: the page was read from views that were there.
    pub fn into_response(self, is_hit: bool) -> Response {
        let cache = if is_hit { "hit" } else { "miss" };
        ([(X_CACHE, cache)], Json(self)).into_response()
    }
}

impl<'a> Parameters<'a> {
    pub fn new(query: &'a BTreeMap<String, String>) -> Self {
        Self { query, wrong: Vec::new() }
    }

    /// A parameter that is read by `read`, which says no to a wrong one.
    pub fn get<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.query.get(name)?;
        let value = read(text);
        if value.is_none() {
            self.wrong.push(FieldError { field: name.to_owned(), code: "INVALID".to_owned() });
        }
        value
    }

    /// `cursor` and `limit`.
    pub fn window(&mut self, open_cursor: impl FnOnce(&str) -> Option<Place>) -> Window {
        let after = self.get("cursor", open_cursor);
        Window { after, limit: self.limit() }
    }

    /// `limit`, 1–100, default 50.
    pub fn limit(&mut self) -> usize {
        let limit = self.get("limit", |text| {
            usize::from_str(text).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit))
        });
        limit.unwrap_or(LIMIT_DEFAULT)
    }

    /// # Errors
    /// `VALIDATION_FAILED` naming every wrong parameter.
    pub fn check(self) -> Result<(), Problem> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        let mut problem = Problem::new(Code::ValidationFailed);
        problem.errors = self.wrong;
        Err(problem)
    }
}

impl Window {
    /// The items in this window, and where the next one begins; absent on the last page.
    pub fn select<T>(&self, items: impl Iterator<Item = (Place, T)>) -> (Vec<T>, Option<Place>) {
        let is_after = |place: &Place| self.after.as_ref().is_none_or(|after| after < place);
        let mut placed: Vec<(Place, T)> = items.filter(|(place, _)| is_after(place)).collect();
        placed.sort_by(|(one, _), (other, _)| one.cmp(other));
        let more = self.limit < placed.len();
        placed.truncate(self.limit);
        let next = placed.last().map(|(place, _)| place.clone()).filter(|_| more);
        (placed.into_iter().map(|(_, item)| item).collect(), next)
    }
}

/// What a `nextCursor` says, for the caller's tenant only.
pub fn seal_cursor((app, entrant): (&App, &Entrant), place: &impl Serialize) -> String {
    let content = serde_json::to_vec(place).expect("a place is made of numbers and texts");
    app.seal().seal(Purpose::PageCursor, &entrant.caller.tenant_id, &content)
}

/// The place that a cursor names; `None` when it is none of this tenant's, or of another list.
pub fn open_cursor<T: DeserializeOwned>(
    (app, entrant): (&App, &Entrant),
    cursor: &str,
) -> Option<T> {
    let tenant_id = &entrant.caller.tenant_id;
    let content = app.seal().open(Purpose::PageCursor, tenant_id, cursor).ok()?;
    serde_json::from_slice(&content).ok()
}

/// The enum value of this name.
pub fn word<T: for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
    let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    T::deserialize(deserializer).ok()
}

/// The name of an enum's value.
pub fn name(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("an enum without data is a JSON string");
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_the_list_newest_first_without_gap_or_repeat() {
        let mut window = Window { after: None, limit: 2 };
        let mut seen = Vec::new();
        loop {
            let items = [3, 9, 1, 7, 5, 7].into_iter().enumerate();
            let placed = items.map(|(number, at)| (place(number, at), at));
            let (page, next) = window.select(placed);
            assert!(page.len() <= 2);
            seen.extend(page);
            match next {
                Some(next) => window.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, [9, 7, 7, 5, 3, 1]);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let query = [("limit", "0"), ("state", "open"), ("cursor", "x"), ("other", "y")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut parameters = Parameters::new(&query);
        let state: Option<u8> = parameters.get("state", |_| None);
        let window = parameters.window(|_| None);
        let problem = parameters.check().unwrap_err();
        assert_eq!((state, window), (None, Window { after: None, limit: LIMIT_DEFAULT }));
        let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["state", "cursor", "limit"]);
    }

    fn place(number: usize, seconds: i64) -> Place {
        Place::new(DateTime::from_timestamp(seconds, 0).unwrap(), format!("id_{number}"))
    }
}
