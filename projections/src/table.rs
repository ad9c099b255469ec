//! Folds whose view is a table: it is written by requests too, or has to outlive Redis.

use crate::Fact;

/// Folds facts into rows.
///
/// Rows *join*: what is folded from some facts is written into the row that stands, whoever wrote
/// it, and of two words about one thing the later counts. So a fold gives the same row in whatever
/// order and however often the facts arrive, and a rebuild beside live folding loses nothing.
pub trait TableProjection {
    /// Names the view. Never reused for another meaning.
    const NAME: &'static str;
    type Row: Clone + PartialEq + Send + Sync;

    /// The id, within its tenant, of the row that a fact touches; `None` when it is not ours.
    fn row_id(fact: &Fact) -> Option<String>;

    /// What is known of the row after `fact`. Total: a fold cannot reject what happened.
    fn evolve(row: Option<Self::Row>, fact: &Fact) -> Self::Row;

    /// Whether a rebuild leaves the row out, because nothing more is asked about it.
    fn is_over(_row: &Self::Row) -> bool {
        false
    }
}
