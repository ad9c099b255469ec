//! What the body of a mutation may hold, as data: the same rows check a request, describe it, and
//! say what of it the ledger keeps.

use chrono::NaiveDate;
use events::AlertId;
use serde_json::{Map, Value};

/// The member that names the property, where a body does.
pub const PROPERTY: &str = "propertyId";
/// The member that a threshold is compared with.
pub const AMOUNT: &str = "amount";

/// One member of a body.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub description: &'static str,
    /// JSON.
    pub example: &'static str,
}

/// What a member is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An upstream's id, opaque, 1–64 characters.
    Id,
    /// What somebody wrote, one character at least. Never recorded: it may name people.
    Text {
        chars_max: usize,
    },
    /// `YYYY-MM-DD`.
    Date,
    /// `{amountMicro, currency}`, more than zero.
    Money,
    OneOf(&'static [&'static str]),
}

/// A member that is not as it has to be. The code is one of those of problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the member.
    pub field: String,
    pub code: &'static str,
}

/// An amount that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Millionths of the unit.
    pub micro: i64,
    /// ISO 4217.
    pub currency: String,
}

pub(super) const fn required(name: &'static str, kind: Kind, description: &'static str) -> Member {
    Member { name, kind, required: true, description, example: "" }
}

pub(super) const fn optional(name: &'static str, kind: Kind, description: &'static str) -> Member {
    Member { name, kind, required: false, description, example: "" }
}

impl Member {
    pub(super) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }
}

/// What is wrong with a body: nothing, or one fault a member, by name.
pub fn faults(members: &[Member], body: &Map<String, Value>) -> Vec<Fault> {
    let unknown = body
        .keys()
        .filter(|name| members.iter().all(|member| member.name != name.as_str()))
        // The name is the client's own text; it is not repeated.
        .map(|_| Fault { field: String::new(), code: "UNKNOWN_MEMBER" });
    let mut faults: Vec<Fault> = unknown.take(1).collect();
    for member in members {
        match body.get(member.name) {
            None if member.required => faults.push(fault(member.name, "REQUIRED")),
            None => (),
            Some(value) => faults.extend(member.kind.fault(member.name, value)),
        }
    }
    faults.sort_by(|one, other| one.field.cmp(&other.field));
    faults
}

/// The part of a valid body that the ledger keeps: ids, dates, amounts and choices, no text.
pub fn recorded(members: &[Member], body: &Map<String, Value>) -> Map<String, Value> {
    members
        .iter()
        .filter(|member| !matches!(member.kind, Kind::Text { .. }))
        .filter_map(|member| Some((member.name.to_owned(), body.get(member.name)?.clone())))
        .collect()
}

/// `{amountMicro, currency}`, when it is one of more than zero.
pub fn amount(value: &Value) -> Option<Amount> {
    let money = value.as_object().filter(|money| money.len() == 2)?;
    let micro = integer(money.get("amountMicro")?.as_str()?).filter(|micro| 0 < *micro)?;
    let currency = money.get("currency")?.as_str().filter(|text| is_currency(text))?;
    Some(Amount { micro, currency: currency.to_owned() })
}

/// A whole number as the platform writes it in text: no sign but a minus, no leading zero.
pub fn integer(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Kind {
    fn fault(self, name: &str, value: &Value) -> Option<Fault> {
        if matches!(self, Self::Money) {
            return money_fault(name, value);
        }
        let Some(text) = value.as_str() else { return Some(fault(name, "INVALID")) };
        let code = match self {
            Self::Text { chars_max } => text_code(text, chars_max)?,
            Self::Id => (!is_id(text)).then_some("INVALID")?,
            Self::Date => (!is_date(text)).then_some("INVALID")?,
            Self::OneOf(choices) => (!choices.contains(&text)).then_some("INVALID")?,
            Self::Money => "INVALID",
        };
        Some(fault(name, code))
    }
}

fn money_fault(name: &str, value: &Value) -> Option<Fault> {
    let Some(money) = value.as_object() else { return Some(fault(name, "INVALID")) };
    for member in ["amountMicro", "currency"] {
        if !money.contains_key(member) {
            return Some(fault(&format!("{name}.{member}"), "REQUIRED"));
        }
    }
    if money.len() != 2 {
        return Some(fault(name, "UNKNOWN_MEMBER"));
    }
    let micro = money["amountMicro"].as_str().and_then(integer);
    match micro {
        None => Some(fault(&format!("{name}.amountMicro"), "INVALID")),
        Some(micro) if micro <= 0 => Some(fault(&format!("{name}.amountMicro"), "TOO_SMALL")),
        Some(_) if amount(value).is_none() => Some(fault(&format!("{name}.currency"), "INVALID")),
        Some(_) => None,
    }
}

fn text_code(text: &str, chars_max: usize) -> Option<&'static str> {
    if text.trim().is_empty() {
        return Some("TOO_SHORT");
    }
    if chars_max < text.chars().count() {
        return Some("TOO_LONG");
    }
    let is_line_break = |character| matches!(character, '\n' | '\r' | '\t');
    let has_control = text.chars().any(|it| it.is_control() && !is_line_break(it));
    has_control.then_some("INVALID")
}

/// As all upstream ids are.
pub fn is_id(text: &str) -> bool {
    // Dots alone would mean another path.
    text.parse::<AlertId>().is_ok() && text.bytes().any(|byte| byte != b'.')
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn fault(field: &str, code: &'static str) -> Fault {
    Fault { field: field.to_owned(), code }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::upstream::mutations::ROWS;

    #[test]
    fn every_row_accepts_the_example_it_shows() {
        for row in ROWS {
            let body: Map<String, Value> = row
                .body
                .iter()
                .map(|member| {
                    let example = serde_json::from_str(member.example);
                    (member.name.to_owned(), example.expect(member.name))
                })
                .collect();
            assert_eq!(faults(row.body, &body), [], "{}", row.verb);
        }
    }

    #[test]
    fn a_member_has_to_be_what_it_is_said_to_be() {
        let id = "x".repeat(65);
        for (kind, wrong, code) in [
            (Kind::Id, json!("a b"), "INVALID"),
            (Kind::Id, json!(".."), "INVALID"),
            (Kind::Id, json!(id), "INVALID"),
            (Kind::Id, json!(7), "INVALID"),
            (Kind::Id, json!(null), "INVALID"),
            (Kind::Text { chars_max: 3 }, json!("four"), "TOO_LONG"),
            (Kind::Text { chars_max: 3 }, json!(" "), "TOO_SHORT"),
            (Kind::Text { chars_max: 3 }, json!("a\u{1b}"), "INVALID"),
            (Kind::Date, json!("2027-02-30"), "INVALID"),
            (Kind::Date, json!("2027-2-3"), "INVALID"),
            (Kind::Date, json!("2027-02-03T00:00:00Z"), "INVALID"),
            (Kind::OneOf(&["a", "b"]), json!("c"), "INVALID"),
        ] {
            let members = [required("it", kind, "")];
            let body = Map::from_iter([("it".to_owned(), wrong.clone())]);
            let expected = Fault { field: "it".to_owned(), code };
            assert_eq!(faults(&members, &body), [expected], "{wrong}");
        }
    }

    #[test]
    fn money_is_a_whole_number_of_millionths_above_zero_in_a_currency() {
        let members = [required("amount", Kind::Money, "")];
        for (wrong, field, code) in [
            (json!({ "amountMicro": 5, "currency": "AFN" }), "amount.amountMicro", "INVALID"),
            (json!({ "amountMicro": "1.5", "currency": "AFN" }), "amount.amountMicro", "INVALID"),
            (json!({ "amountMicro": "+5", "currency": "AFN" }), "amount.amountMicro", "INVALID"),
            (json!({ "amountMicro": "05", "currency": "AFN" }), "amount.amountMicro", "INVALID"),
            (
                json!({ "amountMicro": "9223372036854775808", "currency": "AFN" }),
                "amount.amountMicro",
                "INVALID",
            ),
            (json!({ "amountMicro": "0", "currency": "AFN" }), "amount.amountMicro", "TOO_SMALL"),
            (json!({ "amountMicro": "-5", "currency": "AFN" }), "amount.amountMicro", "TOO_SMALL"),
            (json!({ "amountMicro": "5", "currency": "afn" }), "amount.currency", "INVALID"),
            (json!({ "amountMicro": "5" }), "amount.currency", "REQUIRED"),
            (json!({ "amountMicro": "5", "currency": "AFN", "x": 1 }), "amount", "UNKNOWN_MEMBER"),
            (json!("5 AFN"), "amount", "INVALID"),
        ] {
            let body = Map::from_iter([("amount".to_owned(), wrong.clone())]);
            let expected = Fault { field: field.to_owned(), code };
            assert_eq!(faults(&members, &body), [expected], "{wrong}");
            assert_eq!(amount(&wrong), None, "{wrong}");
        }
        let right = json!({ "amountMicro": "9223372036854775807", "currency": "AFN" });
        let read = amount(&right).unwrap();
        assert_eq!((read.micro, read.currency.as_str()), (i64::MAX, "AFN"));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named_once_each() {
        let members = [required("a", Kind::Id, ""), optional("b", Kind::Id, "")];
        let body = Map::from_iter([
            ("secret one".to_owned(), json!(1)),
            ("secret two".to_owned(), json!(1)),
        ]);
        let found = faults(&members, &body);
        let found: Vec<_> = found.iter().map(|it| (it.field.as_str(), it.code)).collect();
        assert_eq!(found, [("", "UNKNOWN_MEMBER"), ("a", "REQUIRED")]);
    }

    #[test]
    fn the_ledger_keeps_no_text() {
        let members = [required("a", Kind::Id, ""), optional("b", Kind::Text { chars_max: 9 }, "")];
        let body = json!({ "a": "x", "b": "a name" });
        let kept = recorded(&members, body.as_object().unwrap());
        assert_eq!(Value::Object(kept), json!({ "a": "x" }));
    }
}
