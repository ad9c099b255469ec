//! A widget's data as lines to read: a label and a value each.

use serde_json::{Map, Value};

use crate::http::messages::{self, Language};

/// Longer lists are for the boards.
const LINES_MAX: usize = 12;
const MICRO: i128 = 1_000_000;

/// One line; a value without a label stands for the whole widget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) value: String,
}

/// The data of a widget, member by member; what is nested stands beside the rest.
pub(super) fn lines(language: Language, data: &Map<String, Value>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, value) in data {
        add(language, (name, value), &mut lines);
    }
    lines.truncate(LINES_MAX);
    lines
}

fn add(language: Language, (name, value): (&str, &Value), lines: &mut Vec<Line>) {
    let mut push = |value: String| lines.push(Line { label: label(language, name), value });
    match value {
        // The picture stands beside the lines.
        Value::String(_) if name == "photoUrl" => (),
        Value::String(text) => push(text.clone()),
        Value::Number(number) if name == "occupancyPercent" => push(format!("{number} %")),
        Value::Number(number) => push(number.to_string()),
        Value::Array(items) => match items.first() {
            Some(Value::Object(_)) => {
                for item in items {
                    rate(language, item, lines);
                }
            }
            _ => push(items.len().to_string()),
        },
        Value::Object(members) => match money(members) {
            Some(amount) => push(amount),
            None => {
                for (name, value) in members {
                    add(language, (name, value), lines);
                }
            }
        },
        Value::Bool(_) | Value::Null => (),
    }
}

/// `{roomTypeId, rate}`.
fn rate(language: Language, item: &Value, lines: &mut Vec<Line>) {
    if let (Some(of), Some(rate)) = (item["roomTypeId"].as_str(), item.get("rate")) {
        add(language, (of, rate), lines);
    }
}

/// The name of a member as people call it; of one that has none, the name itself.
fn label(language: Language, name: &str) -> String {
    let key = format!("labels.{name}");
    let text = messages::text(language, &key);
    if text == key { name.to_owned() } else { text }
}

/// `1500.50 AFN`; `None` for what is no amount.
fn money(members: &Map<String, Value>) -> Option<String> {
    let micro: i128 = members.get("amountMicro")?.as_str()?.parse().ok()?;
    let currency = members.get("currency")?.as_str()?;
    let (sign, micro) = (if micro < 0 { "-" } else { "" }, micro.unsigned_abs());
    let hundredths = (micro + MICRO.unsigned_abs() / 200) / (MICRO.unsigned_abs() / 100);
    Some(format!("{sign}{}.{:02} {currency}", hundredths / 100, hundredths % 100))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(data: &Value) -> Vec<(String, String)> {
        let lines = lines(Language::English, data.as_object().unwrap());
        lines.into_iter().map(|line| (line.label, line.value)).collect()
    }

    #[test]
    fn members_are_read_whatever_their_shape() {
        let data = json!({
            "adr": { "amountMicro": "-1500505000", "currency": "AFN" },
            "batteryLow": ["lck_1", "lck_2"],
            "byStatus": { "clean": 3 },
            "occupancyPercent": 71,
            "rates": [{ "roomTypeId": "rmt_1", "rate": { "amountMicro": "5", "currency": "USD" } }],
            "nothing": null,
        });
        let expected = [
            ("Average rate", "-1500.51 AFN"),
            ("Battery low", "2"),
            ("Clean", "3"),
            ("Occupancy", "71 %"),
            ("rmt_1", "0.00 USD"),
        ];
        assert_eq!(of(&data), expected.map(|(label, value)| (label.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_widget_stays_short() {
        let data = json!({ "byStatus": (0..40).map(|n| (n.to_string(), n)).collect::<std::collections::BTreeMap<_, _>>() });
        assert_eq!(of(&data).len(), LINES_MAX);
    }
}
