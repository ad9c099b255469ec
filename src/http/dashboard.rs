//! The dashboard of one property as frames: first which widgets there are, then each as soon as it
//! is ready, then how it went.

pub mod frames;
pub mod html;
mod lines;
mod own;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use events::{PropertyId, ledger::screen_view::ScreenViewEvent};
use futures::{Stream, StreamExt, stream::FuturesUnordered};
use serde_json::{Map, Value};
use tokio::time::Instant;
use ulid::Ulid;

use self::frames::{Announced, Document, End, Skeleton, Widget};
use super::{
    caller::Entrant,
    codes::Code,
    messages::{self, Language},
    views::record_view,
};
use crate::{
    access::policy::Scope,
    app::App,
    composition::{
        Place, Shown, State,
        part::Part,
        screens::{Content, WIDGETS, Widget as Row},
    },
    views::snapshot::{Snapshot, Standing},
};

/// A dashboard that is about to be shown.
#[derive(Clone)]
pub struct Dashboard(Arc<Request>);

struct Request {
    app: App,
    entrant: Entrant,
    place: Place,
    language: Language,
    began_at: Instant,
    standing: Vec<(Part, Standing)>,
}

impl Dashboard {
    /// Looks at what stands of a property's dashboard.
    pub async fn of(app: &App, entrant: &Entrant, property_id: PropertyId) -> Self {
        let began_at = Instant::now();
        let tenant_id = entrant.caller.tenant_id.clone();
        let place = Place { tenant_id, property_id, date: None };
        let mut parts: Vec<Part> = Vec::new();
        for part in WIDGETS.iter().filter(|row| may_see(entrant, row)).flat_map(Row::parts) {
            if !parts.contains(part) {
                parts.push(*part);
            }
        }
        let reader = &entrant.caller.device_id;
        let standing = app.composer().standing((&place, &parts), false, reader).await;
        let language = entrant.context.language();
        let (app, entrant) = (app.clone(), entrant.clone());
        Self(Arc::new(Request { app, entrant, place, language, began_at, standing }))
    }

    pub fn language(&self) -> Language {
        self.0.language
    }

    /// `hit`, `stale` or `miss`.
    pub fn cache_word(&self) -> &'static str {
        self.0.app.composer().cache_word(&self.0.standing)
    }

    pub fn skeleton(&self) -> Skeleton {
        let announced = |row: &Row| Announced {
            id: row.id,
            title: title(self.0.language, row.id),
            kind: row.kind.name(),
            deadline_ms: millis(row.deadline()),
        };
        Skeleton {
            dashboard_id: format!("dsh_{}", Ulid::generate()),
            property_id: self.0.place.property_id.to_string(),
            widgets: WIDGETS.iter().map(announced).collect(),
        }
    }

    /// The widgets as they become ready. Dropping the stream gives up what is still asked for.
    pub fn widgets(&self) -> impl Stream<Item = Widget> + Send + use<> {
        let composing: FuturesUnordered<_> = WIDGETS
            .iter()
            .map(|row| {
                let dashboard = self.clone();
                async move { dashboard.widget(row).await }
            })
            .collect();
        composing
    }

    /// How it went, once every widget is there; a share of these is recorded.
    pub fn end(&self, widgets: &[(&'static str, &'static str)]) -> End {
        let Request { app, entrant, place, began_at, .. } = &*self.0;
        let is_partial = |status: &str| !matches!(status, "ok" | "forbidden");
        let partial: Vec<&'static str> =
            widgets.iter().filter(|(_, status)| is_partial(status)).map(|(id, _)| *id).collect();
        let elapsed_ms = millis(began_at.elapsed());
        let view = ScreenViewEvent::DashboardViewed {
            property_id: place.property_id.clone(),
            partial: partial.iter().map(|id| (*id).to_owned()).collect(),
            elapsed_ms,
            at: app.clock().now(),
        };
        record_view(app, entrant, view);
        End { complete: partial.is_empty(), partial, elapsed_ms }
    }

    /// All of it, when the last widget is there.
    pub async fn document(&self) -> Document {
        let skeleton = self.skeleton();
        let mut widgets: Vec<Widget> = self.widgets().collect().await;
        let place = |widget: &Widget| WIDGETS.iter().position(|row| row.id == widget.id);
        widgets.sort_by_key(place);
        let statuses: Vec<_> = widgets.iter().map(|widget| (widget.id, widget.status)).collect();
        Document {
            dashboard_id: skeleton.dashboard_id,
            property_id: skeleton.property_id,
            widgets,
            end: self.end(&statuses),
        }
    }

    async fn widget(&self, row: &'static Row) -> Widget {
        let Request { app, entrant, place, language, .. } = &*self.0;
        if !may_see(entrant, row) {
            let user_message = Some(messages::text(*language, &messages::key(Code::ScopeDenied)));
            return Widget { user_message, ..Widget::of(row, "forbidden") };
        }
        let Content::Parts(parts, members) = row.content else {
            return own::widget(app, entrant, (row, &place.property_id)).await;
        };
        let standing = self.0.standing.iter().filter(|(part, _)| parts.contains(part));
        let shown = standing.map(|part| app.composer().show(place, part.clone()));
        let shown = futures::future::join_all(shown).await;
        let mut widget = of_parts(row, &shown);
        if let Some(data) = &mut widget.data {
            data.retain(|name, _| members.is_empty() || members.contains(&name.as_str()));
            name_in(&entrant.languages(), data);
        }
        widget.user_message = message(*language, widget.status);
        widget
    }
}

/// The widget of these parts: as good as the worst of them, as old as the oldest.
fn of_parts(row: &Row, shown: &[Shown]) -> Widget {
    let states = || shown.iter().map(|shown| shown.state);
    let worst = states().max().unwrap_or(State::Kept);
    let source = if states().any(|state| state == State::Live) { "live" } else { "snapshot" };
    let snapshots: Vec<&Snapshot> =
        shown.iter().filter_map(|shown| shown.snapshot.as_deref()).collect();
    let data = snapshots
        .iter()
        .filter_map(|snapshot| serde_json::from_str::<Map<String, Value>>(&snapshot.summary).ok());
    let data: Map<String, Value> = data.flatten().collect();
    Widget {
        as_of: snapshots.iter().map(|snapshot| snapshot.as_of).min(),
        source: (!snapshots.is_empty()).then_some(source),
        data: (!snapshots.is_empty()).then_some(data),
        ..Widget::of(row, worst.word())
    }
}

/// A name in many languages becomes one text in the first of these that it has.
fn name_in(languages: &[String], data: &mut Map<String, Value>) {
    let Some(name) = data.get_mut("name") else { return };
    let values = name["values"].as_object();
    let found = languages.iter().find_map(|tag| values?.get(tag).cloned());
    *name = found.unwrap_or_else(|| name["default"].take());
}

/// What is said of a widget or section that is not there.
pub fn message(language: Language, status: &str) -> Option<String> {
    let code = match status {
        "timeout" => Code::UpstreamTimeout,
        "error" => Code::UpstreamUnavailable,
        _ => return None,
    };
    Some(messages::text(language, &messages::key(code)))
}

/// The title of a widget, or of the section of the same name.
pub fn title(language: Language, id: &str) -> String {
    messages::text(language, &format!("titles.{id}"))
}

fn may_see(entrant: &Entrant, row: &Row) -> bool {
    Scope::named(row.scope).is_some_and(|scope| entrant.require(scope).is_ok())
}

/// As answers and events say how long something took.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Numbers by name, as widgets show them.
fn counted(names: impl Iterator<Item = String>) -> Map<String, Value> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().map(|(name, count)| (name, count.into())).collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::composition::Absence;

    #[test]
    fn every_widgets_scope_is_one() {
        for row in WIDGETS {
            assert!(Scope::named(row.scope).is_some(), "{}", row.id);
        }
    }

    #[test]
    fn every_widget_has_a_title_in_every_language() {
        for language in Language::ALL {
            for row in WIDGETS {
                let title = title(language, row.id);
                assert!(!title.starts_with("titles."), "{} in {language:?}", row.id);
            }
        }
    }

    #[test]
    fn a_widget_is_as_good_as_the_worst_of_its_parts_and_as_old_as_the_oldest() {
        let row = WIDGETS.iter().find(|row| row.id == "rooms").unwrap();
        let part = |seconds, summary: Value, state| {
            let as_of = DateTime::from_timestamp(seconds, 0).unwrap();
            let summary = summary.to_string();
            let snapshot = Snapshot { summary, items: None, as_of, mark: None };
            Shown { snapshot: Some(Arc::new(snapshot)), state }
        };
        let fresh = part(20, json!({ "byStatus": { "clean": 3 } }), State::Kept);
        let live = part(10, json!({ "occupied": 4 }), State::Live);
        let widget = of_parts(row, &[fresh.clone(), live.clone()]);
        assert_eq!((widget.status, widget.source), ("ok", Some("live")));
        assert_eq!(widget.as_of.unwrap().timestamp(), 10);
        assert_eq!(json!(widget.data), json!({ "byStatus": { "clean": 3 }, "occupied": 4 }));
        let old = Shown { state: State::Stale, ..live };
        assert_eq!(of_parts(row, &[fresh.clone(), old.clone()]).status, "stale");
        let gone = Shown { snapshot: None, state: State::Absent(Absence::Timeout) };
        let widget = of_parts(row, &[old, gone.clone()]);
        assert_eq!((widget.status, widget.data.is_some()), ("timeout", true));
        let widget = of_parts(row, &[gone]);
        assert_eq!((widget.data, widget.source, widget.as_of), (None, None, None));
    }

    #[test]
    fn a_name_is_said_in_the_first_language_it_has() {
        let name = json!({ "default": "Kabul Inn", "values": { "ps": "کابل" } });
        let data = Map::from_iter([("name".to_owned(), name)]);
        for (languages, expected) in [(["ps-AF", "ps"], "کابل"), (["de", "fr"], "Kabul Inn")] {
            let mut data = data.clone();
            name_in(&languages.map(str::to_owned), &mut data);
            assert_eq!(data["name"], expected);
        }
    }
}
