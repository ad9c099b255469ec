//! A board of one property: sections that are each listed, filtered and paged by themselves.

use chrono::{DateTime, NaiveDate, Utc};
use events::{PropertyId, ledger::screen_view::ScreenViewEvent};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    caller::Entrant,
    dashboard::{message, millis, title},
    listing::{open_cursor, seal_cursor},
    views::record_view,
};
use crate::{
    app::App,
    composition::{Place, Shown, State, part::Part, screens::Board as Row},
    upstream::{
        billing::Folio,
        housekeeping::{Room, Task},
        maintenance::WorkOrder,
        reservation::Stay,
    },
};

/// A board as it is answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Board)]
pub struct Board {
    /// As its route names it.
    #[serde(rename = "board")]
    name: &'static str,
    property_id: String,
    /// The day that was asked for; absent for the upstreams' today.
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<NaiveDate>,
    sections: Vec<Section>,
}

/// One section, in the order of its upstream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BoardSection)]
pub struct Section {
    id: &'static str,
    /// In the caller's language.
    title: String,
    /// `ok`, `stale`, `timeout` or `error`.
    status: &'static str,
    /// When its upstream said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<DateTime<Utc>>,
    /// Its upstream has said something newer, or may have.
    stale: bool,
    /// For the operator, when it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_message: Option<String>,
    /// Counts over the whole section, by the section; null when nothing is known.
    summary: Option<Map<String, Value>>,
    #[schema(value_type = Vec<Item>)]
    items: Vec<Value>,
    /// Items that the filter leaves, on all pages.
    total: usize,
    /// Ask with it for the section's next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// What a section lists; all of one section are of one kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = BoardItem)]
pub enum Item {
    Stay(Stay),
    Room(Room),
    Task(Task),
    WorkOrder(WorkOrder),
    Folio(Folio),
}

/// What is asked of a board.
#[derive(Clone, Debug)]
pub struct Wish {
    pub board: &'static Row,
    pub property_id: PropertyId,
    pub date: Option<NaiveDate>,
    /// Only items in this state.
    pub state: Option<String>,
    /// Only the section of this cursor, behind it.
    pub after: Option<After>,
    /// Items of each section.
    pub limit: usize,
}

/// The last item of a page. The list may have changed when the next one is asked for: it goes on
/// behind the item, or where the item was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    section: String,
    index: usize,
    id: String,
}

impl After {
    /// The place of a cursor; `None` when it is none of this tenant's, or of another board.
    pub fn open(app: &App, entrant: &Entrant, board: &Row, cursor: &str) -> Option<Self> {
        let after: Self = open_cursor((app, entrant), cursor)?;
        let is_shown = board.sections.iter().any(|part| part.row().name == after.section);
        is_shown.then_some(after)
    }

    /// Where the next page begins.
    fn start(&self, items: &[Value]) -> usize {
        let is_it = |item: &Value| item["id"] == self.id.as_str();
        let found = items.iter().position(is_it).map(|index| index + 1);
        found.unwrap_or(self.index).min(items.len())
    }
}

/// The board, and whether it was read from fresh snapshots: `hit`, `stale` or `miss`.
pub async fn read(app: &App, entrant: &Entrant, wish: &Wish) -> (Board, &'static str) {
    let began_at = Instant::now();
    let place = Place {
        tenant_id: entrant.caller.tenant_id.clone(),
        property_id: wish.property_id.clone(),
        date: wish.date,
    };
    let is_wanted =
        |part: &Part| wish.after.as_ref().is_none_or(|after| after.section == part.row().name);
    let parts: Vec<Part> = wish.board.sections.iter().copied().filter(is_wanted).collect();
    let reader = &entrant.caller.device_id;
    let standing = app.composer().standing((&place, &parts), true, reader).await;
    let cache_word = app.composer().cache_word(&standing);
    let shown = standing.into_iter().map(|part| app.composer().show(&place, part));
    let shown = join_all(shown).await;
    let sections: Vec<Section> = parts
        .iter()
        .zip(shown)
        .map(|(part, shown)| Section::of((app, entrant), *part, &shown, wish))
        .collect();
    let partial = sections.iter().filter(|it| it.status != "ok").map(|it| it.id.to_owned());
    let view = ScreenViewEvent::WorkbenchViewed {
        property_id: wish.property_id.clone(),
        board: wish.board.name.to_owned(),
        partial: partial.collect(),
        elapsed_ms: millis(began_at.elapsed()),
        at: app.clock().now(),
    };
    record_view(app, entrant, view);
    let property_id = wish.property_id.to_string();
    (Board { name: wish.board.name, property_id, date: wish.date, sections }, cache_word)
}

impl Section {
    fn of(asked: (&App, &Entrant), part: Part, shown: &Shown, wish: &Wish) -> Self {
        let language = asked.1.context.language();
        let status = shown.state.word();
        let snapshot = shown.snapshot.as_deref();
        let items = snapshot.and_then(|snapshot| snapshot.items.as_deref());
        let items: Vec<Value> =
            items.and_then(|items| serde_json::from_str(items).ok()).unwrap_or_default();
        let id = part.row().name;
        let page = page(items, (id, wish));
        Self {
            id,
            title: title(language, id),
            status,
            as_of: snapshot.map(|snapshot| snapshot.as_of),
            stale: shown.state == State::Stale,
            user_message: message(language, status),
            summary: snapshot.and_then(|snapshot| serde_json::from_str(&snapshot.summary).ok()),
            items: page.items,
            total: page.total,
            next_cursor: page.next.map(|after| seal_cursor(asked, &after)),
        }
    }
}

struct Page {
    items: Vec<Value>,
    total: usize,
    next: Option<After>,
}

/// The items in the state that is asked for, behind the cursor.
fn page(mut items: Vec<Value>, (section, wish): (&str, &Wish)) -> Page {
    if let Some(state) = &wish.state {
        // Rooms have a status.
        items.retain(|item| item["state"] == state.as_str() || item["status"] == state.as_str());
    }
    let total = items.len();
    let start = wish.after.as_ref().map_or(0, |after| after.start(&items));
    let end = (start + wish.limit).min(total);
    let last = items.get(end.wrapping_sub(1)).filter(|_| end < total);
    let next = last.map(|last| After {
        section: section.to_owned(),
        index: end,
        id: last["id"].as_str().unwrap_or_default().to_owned(),
    });
    Page { items: items.drain(start..end).collect(), total, next }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::composition::screens::BOARDS;

    fn wish(state: Option<&str>, limit: usize) -> Wish {
        Wish {
            board: &BOARDS[0],
            property_id: "ppt_1".parse().unwrap(),
            date: None,
            state: state.map(str::to_owned),
            after: None,
            limit,
        }
    }

    fn items(ids: &[&str]) -> Vec<Value> {
        ids.iter().map(|id| json!({ "id": id, "state": "open" })).collect()
    }

    fn ids(page: &Page) -> Vec<&str> {
        page.items.iter().map(|item| item["id"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_cover_a_section_in_its_order() {
        let mut wish = wish(None, 2);
        let all = ["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        loop {
            let page = page(items(&all), ("arrivals", &wish));
            assert_eq!(page.total, 5);
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page.next else { break };
            wish.after = Some(next);
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_list_that_has_changed_goes_on_behind_the_last_item_or_where_it_was() {
        let after = After { section: "arrivals".into(), index: 2, id: "b".into() };
        assert_eq!(after.start(&items(&["x", "a", "b", "c"])), 3);
        assert_eq!(after.start(&items(&["a", "c", "d"])), 2);
        assert_eq!(after.start(&items(&["a"])), 1);
    }

    #[test]
    fn a_state_is_a_rooms_status_too() {
        let mut all = items(&["a"]);
        all.push(json!({ "id": "r", "status": "dirty" }));
        let dirty = page(all.clone(), ("rooms", &wish(Some("dirty"), 9)));
        assert_eq!((ids(&dirty), dirty.total), (vec!["r"], 1));
        assert_eq!(page(all, ("rooms", &wish(Some("closed"), 9))).total, 0);
    }
}
