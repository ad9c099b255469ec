//! `GET /ai/suggestions`: the suggestions for the caller's properties, newest first.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use projections::{
    SuggestionInbox,
    suggestion_inbox::{Suggestion, SuggestionState},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        caller::{Entrant, properties},
        extract::Query,
        inbox,
        listing::{Page, Parameters, Place, Window, name, word},
        problem::Problem,
    },
};

const CATEGORY_CHARS_MAX: usize = 64;

/// One suggestion, in the caller's language. It is advice: what is accepted is done by a request of
/// its own.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Suggestion)]
pub struct Item {
    id: String,
    property_id: String,
    /// `rate_change`, `housekeeping_reorder` …; the list grows.
    category: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// How sure the model is, 0–1.
    confidence: f64,
    /// What is suggested, as the orchestrator says it.
    #[schema(value_type = Object)]
    proposal: Value,
    /// The model and prompt it comes from.
    #[schema(value_type = Object)]
    provenance: Value,
    compliance_tags: Vec<String>,
    /// `proposed`, `decided`, `withdrawn` or `expired`.
    state: String,
    proposed_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    /// `accept`, `reject` or `modify`, once it is decided and known.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<DateTime<Utc>>,
    /// The operator, where it was decided here.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
}

/// What is asked for.
struct Wish {
    category: Option<String>,
    state: Option<SuggestionState>,
    window: Window,
    /// Hide what is not marked compliant.
    is_by_sharia: bool,
}

#[utoipa::path(
    get,
    path = "/ai/suggestions",
    operation_id = "listSuggestions",
    summary = "The suggestions for the caller's properties, newest first",
    tag = "ai",
    params(
        ("propertyId" = Option<String>, Query,
            description = "One property; else that of X-Property-Id, else all of the caller's"),
        ("X-Property-Id" = Option<String>, Header, description = "The property the desktop shows"),
        ("category" = Option<String>, Query,
            description = "Only this category, such as rate_change"),
        ("state" = Option<String>, Query,
            description = "proposed, decided, withdrawn or expired"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("limit" = Option<usize>, Query, description = "1–100, default 50"),
        ("X-Min-Position" = Option<String>, Header,
            description = "`X-Ledger-Position` of an earlier answer: waits until it can be read"),
    ),
    responses(
        (status = 200, body = Page<Item>,
            description = "A page of suggestions; for a tenant that works by the Sharia only those \
                marked compliant",
            headers(("X-Cache" = String,
                description = "hit, or miss when the view was rebuilt now"))),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let mut wish = Wish::read(&query, |cursor| Place::open(&app, &entrant, cursor))?;
    let properties = properties(&entrant, query.get("propertyId").map(String::as_str))?;
    entrant.wait_for_min_position(&app).await?;
    let (is_by_sharia, inbox) = tokio::join!(
        app.profiles().works_by_sharia(&entrant.caller.tenant_id),
        inbox::read::<SuggestionInbox>(&app, &entrant, &properties),
    );
    wish.is_by_sharia = is_by_sharia;
    let inbox = inbox?;
    let now = app.clock().now();
    let (suggestions, next) = select(inbox.items, &wish, now);
    let languages = entrant.languages();
    let items = suggestions.iter().filter_map(|suggestion| item(suggestion, now, &languages));
    Ok(Page::new((&app, &entrant), items, next).into_response(inbox.is_hit))
}

impl Wish {
    /// Reads the parameters; every wrong one is named. Until it is known better, what is not marked
    /// compliant is hidden.
    fn read(
        query: &BTreeMap<String, String>,
        open_cursor: impl FnOnce(&str) -> Option<Place>,
    ) -> Result<Self, Problem> {
        let mut parameters = Parameters::new(query);
        let wish = Self {
            category: parameters.get("category", category),
            state: parameters.get("state", word),
            window: parameters.window(open_cursor),
            is_by_sharia: true,
        };
        parameters.check().map(|()| wish)
    }
}

/// The orchestrator's list of categories grows, so any word is one.
fn category(text: &str) -> Option<String> {
    let is_word = (1..=CATEGORY_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    is_word.then(|| text.to_owned())
}

/// The page that is asked for, and where the next one begins.
fn select(
    suggestions: Vec<Suggestion>,
    wish: &Wish,
    now: DateTime<Utc>,
) -> (Vec<Suggestion>, Option<Place>) {
    let placed = suggestions
        .into_iter()
        .filter(|suggestion| !wish.is_by_sharia || suggestion.is_sharia_compliant())
        .filter(|suggestion| wish.state.is_none_or(|state| suggestion.state(now) == state))
        .filter_map(|suggestion| {
            let proposed = suggestion.proposed.as_ref()?;
            if wish.category.as_ref().is_some_and(|category| proposed.category != *category) {
                return None;
            }
            Some((Place::new(proposed.at, suggestion.id.clone()), suggestion))
        });
    wish.window.select(placed)
}

/// A suggestion as clients see it; `None` while only its decision is known.
fn item(suggestion: &Suggestion, now: DateTime<Utc>, languages: &[String]) -> Option<Item> {
    let proposed = suggestion.proposed.as_ref()?;
    let decided = suggestion.decided();
    let languages = || languages.iter().map(String::as_str);
    Some(Item {
        id: suggestion.id.to_string(),
        property_id: suggestion.property_id.to_string(),
        category: proposed.category.clone(),
        title: proposed.title.pick(languages()).to_owned(),
        summary: proposed.summary.as_ref().map(|text| text.pick(languages()).to_owned()),
        confidence: proposed.confidence,
        proposal: proposed.proposal.clone(),
        provenance: proposed.provenance.clone(),
        compliance_tags: proposed.compliance_tags.clone(),
        state: name(&suggestion.state(now)),
        proposed_at: proposed.at,
        expires_at: proposed.expires_at,
        decision: decided.and_then(|decided| decided.decision.clone()),
        decided_at: decided.map(|decided| decided.at),
        decided_by: decided.and_then(|decided| decided.by.clone()),
    })
}

#[cfg(test)]
mod tests {
    use events::upstream::notification::Localized;
    use projections::suggestion_inbox::{Decided, Proposed, SHARIA_COMPLIANT};

    use super::*;

    #[test]
    fn only_what_is_asked_for_is_listed() {
        let mut decided = suggestion(1, "staffing");
        decided.decided_here = Some(Decided { at: at(5), decision: None, by: None });
        let open = suggestion(2, "rate_change");
        let all = vec![open.clone(), decided.clone()];
        let listed = |wish: &Wish| select(all.clone(), wish, at(9)).0;
        let by_state = Wish { state: Some(SuggestionState::Decided), ..wish() };
        assert_eq!(listed(&by_state), [decided]);
        let by_category = Wish { category: Some("rate_change".to_owned()), ..wish() };
        assert_eq!(listed(&by_category), [open]);
    }

    #[test]
    fn by_the_sharia_only_what_is_marked_is_listed() {
        let mut marked = suggestion(1, "rate_change");
        if let Some(proposed) = marked.proposed.as_mut() {
            proposed.compliance_tags.push(SHARIA_COMPLIANT.to_owned());
        }
        let all = vec![marked.clone(), suggestion(2, "rate_change")];
        let wish = Wish { is_by_sharia: true, ..wish() };
        assert_eq!(select(all, &wish, at(9)).0, [marked]);
    }

    #[test]
    fn a_decision_without_its_suggestion_is_not_listed() {
        let mut unknown = suggestion(1, "rate_change");
        unknown.proposed = None;
        assert_eq!(select(vec![unknown], &wish(), at(9)).0, []);
    }

    #[test]
    fn every_wrong_parameter_is_named_and_nothing_is_shown_until_the_tenant_is_known() {
        let query = [("limit", "0"), ("state", "open"), ("category", "a b"), ("cursor", "x")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let problem = Wish::read(&query, |_| None).err().unwrap();
        assert_eq!(problem.errors.len(), 4);
        assert!(Wish::read(&BTreeMap::new(), |_| None).ok().unwrap().is_by_sharia);
    }

    fn wish() -> Wish {
        let window = Window { after: None, limit: 10 };
        Wish { category: None, state: None, window, is_by_sharia: false }
    }

    fn suggestion(number: usize, category: &str) -> Suggestion {
        let proposed = Proposed {
            category: category.to_owned(),
            title: Localized::One("Do it".to_owned()),
            summary: None,
            confidence: 0.5,
            proposal: Value::Null,
            provenance: Value::Null,
            compliance_tags: Vec::new(),
            at: at(1),
            expires_at: None,
        };
        Suggestion {
            id: format!("sgn_{number}").parse().unwrap(),
            property_id: "ppt_1".parse().unwrap(),
            proposed: Some(proposed),
            decided_here: None,
            decided_there: None,
            overruled: false,
            withdrawn_at: None,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
