//! Pure folds from facts to views, one file per read model. No I/O, no async, no clock, no chance.

pub mod alert_inbox;
pub mod device_sync_status;
pub mod fact;
pub mod live;
pub mod session_map;
pub mod suggestion_inbox;
pub mod table;

pub use alert_inbox::AlertInbox;
pub use device_sync_status::DeviceSyncStatus;
pub use fact::{Fact, FactEvent, Log};
pub use live::{Channel, LiveEvent};
pub use session_map::SessionMap;
pub use suggestion_inbox::SuggestionInbox;
pub use table::TableProjection;

use events::PropertyId;
use serde::{Serialize, de::DeserializeOwned};

/// Folds facts into the items of one view a property.
///
/// A view is read and written by two logs that advance on their own, so a fold must give the same
/// item in whatever order the facts of different logs arrive; within one log facts arrive in the
/// order of their positions, each at least once.
pub trait Projection {
    /// Names the checkpoints and the keys. Never reused for another meaning.
    const NAME: &'static str;
    /// Bump when [`Self::evolve`] or [`Self::Item`] changes meaning: an old binary never reads the
    /// views of a new one.
    const REVISION: u32;
    type Item: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync;

    /// The view and the item in it that a fact touches; `None` when it is not ours.
    fn route(fact: &Fact) -> Option<Route>;

    /// The item after `fact`. Total: a fold cannot reject what happened.
    fn evolve(item: Option<Self::Item>, fact: &Fact) -> Self::Item;
}

/// Where a fact belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub property_id: PropertyId,
    /// The item's id, unique in its view.
    pub item_id: String,
}
