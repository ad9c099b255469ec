//! `Accept` (RFC 9110 §12.5.1): which of the forms that are offered a client likes best.

use http::{HeaderMap, header};

/// Ranges of one header that are looked at; the bound keeps a hostile one cheap.
const RANGES_MAX: usize = 32;

/// The best liked of these media types, ties to the first; without the header the first. `None` when
/// the client wants none of them.
pub fn accepted(headers: &HeaderMap, offered: &[&'static str]) -> Option<&'static str> {
    let mut accept = headers.get_all(header::ACCEPT).iter().peekable();
    if accept.peek().is_none() {
        return offered.first().copied();
    }
    let ranges: Vec<(&str, f32)> = accept
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(RANGES_MAX)
        .map(range)
        .collect();
    let mut best: Option<(&'static str, f32)> = None;
    for form in offered {
        let weight = weight_of(form, &ranges);
        if 0.0 < weight && best.is_none_or(|(_, best)| best < weight) {
            best = Some((form, weight));
        }
    }
    best.map(|(form, _)| form)
}

/// A range and its weight.
fn range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q="));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

/// By the most specific range that means it.
fn weight_of(form: &str, ranges: &[(&str, f32)]) -> f32 {
    let kind = form.split('/').next().unwrap_or_default();
    let specificity = |name: &str| match name.split_once('/') {
        Some(_) if name.eq_ignore_ascii_case(form) => Some(2),
        Some((of, "*")) if of.eq_ignore_ascii_case(kind) => Some(1),
        Some(("*", "*")) => Some(0),
        _ => None,
    };
    let meant = ranges.iter().filter_map(|(name, weight)| Some((specificity(name)?, *weight)));
    meant.max_by_key(|(specificity, _)| *specificity).map_or(0.0, |(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_form_that_is_offered_wins() {
        let offered = ["application/x-ndjson", "text/html", "application/json"];
        for (accept, expected) in [
            ("", None),
            ("*/*", Some("application/x-ndjson")),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some("text/html")),
            ("application/json", Some("application/json")),
            ("Text/HTML", Some("text/html")),
            ("text/*;q=0.3, application/json;q=0.5", Some("application/json")),
            ("application/*;q=0.5, application/x-ndjson;q=0", Some("application/json")),
            ("image/png", None),
            ("text/html;q=0", None),
            ("text/html;q=often", None),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(accepted(&headers, &offered), expected, "{accept}");
        }
        assert_eq!(accepted(&HeaderMap::new(), &offered), Some("application/x-ndjson"));
    }
}
