//! Work that several callers want at the same time is done once, and given up when the last of them
//! has gone.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

/// Work under way in this process, by what it is about.
pub struct SingleFlight<K, T: Clone>(Mutex<HashMap<K, WeakShared<BoxFuture<'static, T>>>>);

/// A place among those who wait. The work goes on while one of them is polled.
pub type Flight<T> = Shared<BoxFuture<'static, T>>;

impl<K, T: Clone> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Clone> SingleFlight<K, T> {
    /// Joins the work about `key` that is under way, or begins it.
    pub fn join(&self, key: K, begin: impl FnOnce() -> BoxFuture<'static, T>) -> Flight<T> {
        // Nothing in here can leave the map half changed.
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key).and_then(under_way) {
            return flight;
        }
        flights.retain(|_, flight| under_way(flight).is_some());
        let flight = begin().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }
}

/// What has ended or was given up is begun anew.
fn under_way<T: Clone>(flight: &WeakShared<BoxFuture<'static, T>>) -> Option<Flight<T>> {
    flight.upgrade().filter(|flight| flight.peek().is_none())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures::future::join_all;
    use tokio::sync::oneshot;

    use super::*;

    type Flights = SingleFlight<&'static str, usize>;

    #[tokio::test]
    async fn callers_at_the_same_time_share_one_piece_of_work() {
        let (flights, count) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
        let begin = || {
            let count = Arc::clone(&count);
            async move {
                tokio::task::yield_now().await;
                count.fetch_add(1, Ordering::Relaxed)
            }
            .boxed()
        };
        let together = join_all((0..50).map(|_| flights.join("a", begin))).await;
        assert_eq!(together, [0; 50]);
        assert_eq!(flights.join("b", begin).await, 1, "another key is other work");
        assert_eq!(flights.join("a", begin).await, 2, "what has ended is no answer any more");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_given_up() {
        let flights = Flights::default();
        let (held, mut dropped) = oneshot::channel::<()>();
        let endless = || {
            async move {
                let _held = held;
                std::future::pending().await
            }
            .boxed()
        };
        let (one, other) = {
            let one = flights.join("a", endless);
            (one, flights.join("a", || unreachable!("it is under way")))
        };
        drop(one);
        assert!(dropped.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Empty));
        drop(other);
        assert!(dropped.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Closed));
        assert_eq!(flights.join("a", || async { 7 }.boxed()).await, 7);
    }
}
