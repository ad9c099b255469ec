//! Which events are on their way, and up to where all of them have arrived.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

/// The events after the cursor that have been read, in the order of their positions, which has no
/// gaps.
#[derive(Debug)]
pub(super) struct Window {
    settled: i64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    is_settled: bool,
    recorded_at: DateTime<Utc>,
}

impl Window {
    /// Empty, after the position up to which everything is settled.
    pub(super) fn after(position: i64) -> Self {
        Self { settled: position, entries: VecDeque::new() }
    }

    /// Takes in the event at the next position.
    pub(super) fn push(&mut self, recorded_at: DateTime<Utc>) {
        self.entries.push_back(Entry { is_settled: false, recorded_at });
    }

    /// The event at `position` is published, or its key is parked at or before it.
    pub(super) fn settle(&mut self, position: i64) {
        let entry = usize::try_from(position - self.settled - 1)
            .ok()
            .and_then(|index| self.entries.get_mut(index));
        if let Some(entry) = entry {
            entry.is_settled = true;
        }
        while self.entries.front().is_some_and(|entry| entry.is_settled) {
            self.entries.pop_front();
            self.settled += 1;
        }
    }

    /// The highest position with nothing unsettled at or before it.
    pub(super) fn settled(&self) -> i64 {
        self.settled
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the oldest unsettled event was recorded.
    pub(super) fn oldest(&self) -> Option<DateTime<Utc>> {
        self.entries.front().map(|entry| entry.recorded_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_contiguous_counts() {
        let mut window = Window::after(10);
        (0..3).for_each(|_| window.push(DateTime::UNIX_EPOCH));

        window.settle(12);
        assert_eq!((window.settled(), window.len()), (10, 3));
        window.settle(11);
        assert_eq!((window.settled(), window.len()), (12, 1));
        window.settle(13);
        assert_eq!((window.settled(), window.len(), window.oldest()), (13, 0, None));
    }

    #[test]
    fn settling_what_is_not_there_changes_nothing() {
        let mut window = Window::after(10);
        window.settle(10);
        window.settle(11);
        assert_eq!(window.settled(), 10);
    }
}
