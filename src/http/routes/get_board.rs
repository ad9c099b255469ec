//! `GET` of every board: what one desk works on.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::NaiveDate;
use serde_json::json;
use utoipa::openapi::path::{PathItem, PathsBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    app::App,
    composition::screens::{BOARDS, Board as Row},
    http::{
        X_CACHE,
        boards::{self, After, Board, Section, Wish},
        caller::{Entrant, property},
        extract::Query,
        listing::Parameters,
        problem::Problem,
    },
};

const STATE_CHARS_MAX: usize = 32;

/// The route of each board.
pub(super) fn router() -> OpenApiRouter<App> {
    BOARDS.iter().fold(OpenApiRouter::new(), |router, board| {
        let handle = move |State(app): State<App>,
                           entrant: Entrant,
                           Query(query): Query<BTreeMap<String, String>>| async move {
            handle(&app, &entrant, (board, query)).await
        };
        let item: PathItem = serde_json::from_value(json!({ "get": operation(board) }))
            .expect("the description of a board is an operation");
        let paths = PathsBuilder::new().path(format!("/{}", board.name), item).build();
        router.routes((schemas(), paths, get(handle)))
    })
}

async fn handle(
    app: &App,
    entrant: &Entrant,
    (board, query): (&'static Row, BTreeMap<String, String>),
) -> Result<Response, Problem> {
    let mut parameters = Parameters::new(&query);
    let date = parameters.get("date", |text| text.parse::<NaiveDate>().ok());
    let state = parameters.get("state", state);
    let after = parameters.get("cursor", |cursor| After::open(app, entrant, board, cursor));
    let limit = parameters.limit();
    parameters.check()?;
    let property_id = property(entrant, query.get("propertyId").map(String::as_str))?;
    let wish = Wish { board, property_id, date, state, after, limit };
    let (board, cache_word) = boards::read(app, entrant, &wish).await;
    Ok(([(X_CACHE, cache_word)], Json(board)).into_response())
}

/// The upstreams' words grow, so any word is one.
fn state(text: &str) -> Option<String> {
    let is_word = (1..=STATE_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_word.then(|| text.to_owned())
}

fn operation(board: &Row) -> serde_json::Value {
    let parameter = |name: &str, place: &str, schema: serde_json::Value, description: &str| {
        json!({ "name": name, "in": place, "required": false, "schema": schema,
            "description": description })
    };
    let text = || json!({ "type": "string" });
    let title = board.name.replace('-', " ");
    json!({
        "operationId": format!("{}Board", camel(board.name)),
        "summary": format!("The board of a property's {title}"),
        "tags": ["screens"],
        "parameters": [
            parameter("propertyId", "query", text(),
                "Else that of X-Property-Id, else the caller's only one"),
            parameter("X-Property-Id", "header", text(), "The property the desktop shows"),
            parameter("date", "query", json!({ "type": "string", "format": "date" }),
                "Property-local day; else the upstreams' today"),
            parameter("state", "query", json!({ "type": "string", "pattern": "^[a-z_]{1,32}$" }),
                "Only items in this state, such as dirty"),
            parameter("cursor", "query", text(),
                "`nextCursor` of a section: only its next page"),
            parameter("limit", "query",
                json!({ "type": "integer", "minimum": 1, "maximum": 100 }),
                "Items of each section, default 50"),
        ],
        "responses": { "200": {
            "description": "The sections, each by itself: one that is not there says why and \
                does not take the others with it",
            "headers": { "X-Cache": { "schema": text(),
                "description": "hit: all from fresh snapshots; stale: some older; miss: some \
                    asked for now" } },
            "content": { "application/json":
                { "schema": { "$ref": "#/components/schemas/Board" } } },
        } },
    })
}

/// `in-house` → `inHouse`.
fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(1);
        name + &initial.to_ascii_uppercase() + rest
    })
}

fn schemas() -> Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)> {
    use utoipa::{PartialSchema, ToSchema};

    let mut schemas = vec![
        (Board::name().into_owned(), Board::schema()),
        (Section::name().into_owned(), Section::schema()),
    ];
    Board::schemas(&mut schemas);
    schemas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_as_programs_name_things() {
        assert_eq!(
            ["today", "in-house", "front-desk"].map(camel),
            ["today", "inHouse", "frontDesk"]
        );
    }

    #[test]
    fn a_state_is_a_word() {
        assert_eq!(state("out_of_order"), Some("out_of_order".to_owned()));
        for wrong in ["", "Dirty", "a b", "a'b", &"x".repeat(33)] {
            assert_eq!(state(wrong), None, "{wrong}");
        }
    }
}
