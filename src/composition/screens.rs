//! The dashboard's widgets and the boards: which parts each shows.

use std::time::Duration;

use super::part::{Part, ROWS};

/// What is shown of a widget, for clients that draw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A few numbers.
    Counter,
    /// One amount or percentage.
    Figure,
    /// Numbers by name.
    Breakdown,
    /// A property's card.
    Card,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Figure => "figure",
            Self::Breakdown => "breakdown",
            Self::Card => "card",
        }
    }
}

/// Where a widget's data is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The members of the parts' summaries with these names; all of them when none is named.
    Parts(&'static [Part], &'static [&'static str]),
    /// The alert inbox of the property, by severity.
    Alerts,
    /// The suggestion inbox of the property, by category.
    Suggestions,
    /// What the devices at the property last said of themselves.
    SyncHealth,
}

/// A widget of the dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Widget {
    /// Also the key of its title.
    pub id: &'static str,
    pub kind: Kind,
    /// What a caller needs to see it, beside the dashboard's own scope: the name of a scope.
    pub scope: &'static str,
    pub content: Content,
}

/// A section of a board: what one part lists, or its summary where it lists nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its route, and the end of its scope: `board.<name>`.
    pub name: &'static str,
    pub sections: &'static [Part],
}

/// A widget of our own views is read within this: one that is built first is compared with its
/// upstream.
const OWN_DEADLINE: Duration = Duration::from_millis(1200);

const fn figure(id: &'static str, members: &'static [&'static str]) -> Widget {
    let content = Content::Parts(&[Part::Kpis], members);
    Widget { id, kind: Kind::Figure, scope: "dashboard.read", content }
}

const fn widget(
    (id, kind): (&'static str, Kind),
    scope: &'static str,
    parts: &'static [Part],
) -> Widget {
    Widget { id, kind, scope, content: Content::Parts(parts, &[]) }
}

/// The dashboard, in its order.
pub const WIDGETS: &[Widget] = &[
    widget(("property", Kind::Card), "dashboard.read", &[Part::Property]),
    figure("occupancy", &["occupancyPercent"]),
    figure("adr", &["adr"]),
    figure("revpar", &["revpar"]),
    widget(("arrivals", Kind::Counter), "board.arrivals", &[Part::Arrivals]),
    widget(("departures", Kind::Counter), "board.departures", &[Part::Departures]),
    widget(("in-house", Kind::Counter), "board.in-house", &[Part::InHouse]),
    widget(("rooms", Kind::Breakdown), "board.housekeeping", &[Part::RoomStatus, Part::Occupancy]),
    widget(("tasks", Kind::Counter), "board.housekeeping", &[Part::Tasks]),
    widget(("work-orders", Kind::Counter), "dashboard.read", &[Part::WorkOrders]),
    widget(("rates", Kind::Breakdown), "board.front-desk", &[Part::Rates]),
    widget(("folios", Kind::Counter), "folio.payment", &[Part::Folios]),
    widget(("cash-drawer", Kind::Figure), "folio.payment", &[Part::CashDrawer]),
    widget(("lock-health", Kind::Counter), "dashboard.read", &[Part::LockHealth]),
    Widget { id: "alerts", kind: Kind::Breakdown, scope: "alerts.read", content: Content::Alerts },
    Widget {
        id: "suggestions",
        kind: Kind::Breakdown,
        scope: "ai.read",
        content: Content::Suggestions,
    },
    Widget {
        id: "sync-health",
        kind: Kind::Counter,
        scope: "dashboard.read",
        content: Content::SyncHealth,
    },
];

/// The boards, in the order of the routes.
pub const BOARDS: &[Board] = &[
    Board {
        name: "today",
        sections: &[Part::Arrivals, Part::Departures, Part::InHouse, Part::Tasks, Part::WorkOrders],
    },
    Board { name: "arrivals", sections: &[Part::Arrivals, Part::Rooms] },
    Board { name: "departures", sections: &[Part::Departures, Part::Folios] },
    Board { name: "in-house", sections: &[Part::InHouse] },
    Board {
        name: "front-desk",
        sections: &[Part::Rooms, Part::Occupancy, Part::Arrivals, Part::Departures, Part::InHouse],
    },
    Board { name: "housekeeping", sections: &[Part::Rooms, Part::Tasks] },
    Board { name: "maintenance", sections: &[Part::WorkOrders, Part::LockHealth] },
];

impl Widget {
    /// The parts it is made of; none when it is read from our own views.
    pub const fn parts(&self) -> &'static [Part] {
        match self.content {
            Content::Parts(parts, _) => parts,
            Content::Alerts | Content::Suggestions | Content::SyncHealth => &[],
        }
    }

    /// How long it is waited for.
    pub fn deadline(&self) -> Duration {
        self.parts().iter().map(|part| part.row().deadline).max().unwrap_or(OWN_DEADLINE)
    }
}

/// The parts that these boards and widgets show, each once; a name that is none shows nothing.
pub fn parts_of(boards: &[&str], widgets: &[&str]) -> Vec<Part> {
    let of_boards = BOARDS.iter().filter(|board| boards.contains(&board.name));
    let of_widgets = WIDGETS.iter().filter(|widget| widgets.contains(&widget.id));
    let shown: Vec<Part> = of_boards
        .flat_map(|board| board.sections)
        .chain(of_widgets.flat_map(Widget::parts))
        .copied()
        .collect();
    ROWS.iter().map(|row| row.part).filter(|part| shown.contains(part)).collect()
}

/// The parts that an event with this subject says have changed.
pub fn parts_changed_by(subject: &str) -> Vec<Part> {
    let means = |prefix: &&str| subject.starts_with(*prefix);
    ROWS.iter().filter(|row| row.subjects.iter().any(means)).map(|row| row.part).collect()
}

/// The widgets and the boards that show one of these parts.
pub fn showing(parts: &[Part]) -> (Vec<&'static str>, Vec<&'static str>) {
    let any_of = |shown: &[Part]| shown.iter().any(|part| parts.contains(part));
    let widgets = WIDGETS.iter().filter(|widget| any_of(widget.parts())).map(|it| it.id);
    let boards = BOARDS.iter().filter(|board| any_of(board.sections)).map(|it| it.name);
    (widgets.collect(), boards.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::upstream::mutations;

    #[test]
    fn every_name_that_the_mutation_table_uses_is_a_screen() {
        for row in mutations::ROWS {
            for board in row.boards {
                assert!(BOARDS.iter().any(|it| it.name == *board), "{}: {board}", row.verb);
            }
            for widget in row.widgets {
                assert!(WIDGETS.iter().any(|it| it.id == *widget), "{}: {widget}", row.verb);
            }
            assert!(!parts_of(row.boards, row.widgets).is_empty(), "{}", row.verb);
        }
    }

    #[test]
    fn every_part_is_shown_somewhere_and_every_widget_once() {
        let (widgets, boards) = (
            WIDGETS.iter().flat_map(Widget::parts).copied(),
            BOARDS.iter().flat_map(|board| board.sections).copied(),
        );
        let shown: Vec<Part> = widgets.chain(boards).collect();
        for row in &ROWS {
            assert!(shown.contains(&row.part), "{}", row.name);
        }
        let ids: BTreeSet<&str> = WIDGETS.iter().map(|widget| widget.id).collect();
        assert_eq!(ids.len(), WIDGETS.len());
    }

    #[test]
    fn an_event_changes_what_shows_it_and_nothing_else() {
        let parts = parts_changed_by("melmastoon.maintenance.work_order.resolved.v1");
        assert_eq!(parts, [Part::WorkOrders]);
        let (widgets, boards) = showing(&parts);
        assert_eq!((widgets, boards), (vec!["work-orders"], vec!["today", "maintenance"]));
        assert_eq!(parts_changed_by("melmastoon.theme.bundle.published.v1"), []);
    }
}
