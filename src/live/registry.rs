//! The registry: which streams this process serves, and what each tenant's are told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use events::TenantId;
use tokio::sync::{broadcast, oneshot};

use super::{
    Cursor, CursorKeys, Delivery, LiveError, Revocation, Subject, Subscriber,
    cursor::{CursorSealer, EntryId},
    hints::{self, Announced, Hints},
    streams::Entry,
};

/// Streams and feeds of this process.
pub(super) struct Registry {
    queue_max: usize,
    subscriptions_max: usize,
    cursor_keys: CursorKeys,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    feeds: HashMap<TenantId, Feed>,
    registered: HashMap<u64, Registered>,
    next_id: u64,
    /// Every refresh hint up to this entry has been handed out.
    hints_at: EntryId,
}

/// One tenant with desktops here.
struct Feed {
    sender: broadcast::Sender<Broadcast>,
    hints: Hints,
    /// Everything up to here has been handed out.
    cursor: Cursor,
    sealer: CursorSealer,
}

/// Where a follower hears its tenant.
pub(super) struct Joined {
    pub(super) events: broadcast::Receiver<Broadcast>,
    pub(super) hints: hints::Listener,
    /// The last entry before those that are heard.
    pub(super) hints_at: EntryId,
}

/// What a tenant's followers receive.
#[derive(Clone)]
pub(super) enum Broadcast {
    Event { cursor: Cursor, entry: Arc<Entry>, log: projections::Log, delivery: Arc<Delivery> },
    Reset(Cursor),
}

/// Why a stream has to end.
pub(super) enum End {
    Superseded,
    ForceLogout { reason: String },
}

struct Registered {
    subscriber: Arc<Subscriber>,
    /// Streams of the same device with a lower number end when a higher one appears; `None` for a
    /// poll.
    number: Option<u64>,
    end: oneshot::Sender<End>,
}

impl Registry {
    pub(super) fn new(queue_max: usize, subscriptions_max: usize, cursor_keys: CursorKeys) -> Self {
        Self { queue_max, subscriptions_max, cursor_keys, state: Mutex::default() }
    }

    /// Streams and polls that are open.
    pub(super) fn len(&self) -> usize {
        self.state().registered.len()
    }

    /// Joins the feed of a tenant, and whether that is new here: then the tail has to be woken, and
    /// goes on from `head`.
    pub(super) fn join(&self, tenant_id: &TenantId, head: Cursor) -> (Joined, bool) {
        let mut state = self.state();
        let hints_at = state.hints_at;
        if let Some(feed) = state.feeds.get(tenant_id) {
            let events = feed.sender.subscribe();
            return (Joined { events, hints: feed.hints.listener(), hints_at }, false);
        }
        let (sender, events) = broadcast::channel(self.queue_max);
        let sealer = self.cursor_keys.sealer(tenant_id);
        let hints = Hints::default();
        let joined = Joined { events, hints: hints.listener(), hints_at };
        state.feeds.insert(tenant_id.clone(), Feed { sender, hints, cursor: head, sealer });
        (joined, true)
    }

    /// Counts a stream in; how its end will be told.
    ///
    /// # Errors
    /// [`LiveError::Full`].
    pub(super) fn register(
        &self,
        subscriber: &Arc<Subscriber>,
        number: Option<u64>,
    ) -> Result<(u64, oneshot::Receiver<End>), LiveError> {
        let mut state = self.state();
        if state.registered.len() >= self.subscriptions_max {
            return Err(LiveError::Full);
        }
        let (end, ended) = oneshot::channel();
        let id = state.next_id;
        state.next_id += 1;
        state.registered.insert(id, Registered { subscriber: Arc::clone(subscriber), number, end });
        metrics::gauge!("bff_backoffice_live_streams").increment(1.0);
        Ok((id, ended))
    }

    /// Counts a stream out that ended by itself.
    pub(super) fn forget(&self, id: u64) {
        if self.state().registered.remove(&id).is_some() {
            metrics::gauge!("bff_backoffice_live_streams").decrement(1.0);
        }
    }

    /// Ends every stream here that a revocation means.
    pub(super) fn revoke(&self, revocation: &Revocation) {
        let meant = self.ids_where(|registered| {
            let Revocation { tenant_id, subject, at, .. } = revocation;
            is_meant(&registered.subscriber, tenant_id, subject, *at)
        });
        for id in meant {
            metrics::counter!("bff_backoffice_live_force_logouts_total").increment(1);
            self.end(id, End::ForceLogout { reason: revocation.reason.clone() });
        }
    }

    /// Ends the streams of a device that are older than `number`.
    pub(super) fn supersede(&self, tenant_id: &str, device_id: &str, number: u64) {
        let older = self.ids_where(|registered| {
            registered.number.is_some_and(|own| own < number)
                && registered.subscriber.device_id.as_str() == device_id
                && registered.subscriber.tenant_id.as_str() == tenant_id
        });
        for id in older {
            self.end(id, End::Superseded);
        }
    }

    fn ids_where(&self, is_meant: impl Fn(&Registered) -> bool) -> Vec<u64> {
        let state = self.state();
        state.registered.iter().filter(|(_, it)| is_meant(it)).map(|(id, _)| *id).collect()
    }

    /// Tells a stream to end, once.
    pub(super) fn end(&self, id: u64, end: End) {
        let registered = self.state().registered.remove(&id);
        if let Some(registered) = registered {
            metrics::gauge!("bff_backoffice_live_streams").decrement(1.0);
            // Nobody receives it when the stream was dropped meanwhile, which ends it as well.
            let _ = registered.end.send(end);
        }
    }

    /// The tenants with desktops here and how far each has been handed out; forgets tenants
    /// without.
    pub(super) fn feeds(&self) -> Vec<(TenantId, Cursor)> {
        let mut state = self.state();
        state.feeds.retain(|_, feed| 0 < feed.sender.receiver_count());
        state.feeds.iter().map(|(tenant_id, feed)| (tenant_id.clone(), feed.cursor)).collect()
    }

    /// Hands an entry out; `false` when it is of another epoch than what was handed out before.
    pub(super) fn hand_out(
        &self,
        tenant_id: &TenantId,
        log: projections::Log,
        entry: Entry,
    ) -> bool {
        let mut state = self.state();
        let Some(feed) = state.feeds.get_mut(tenant_id) else { return true };
        if entry.epoch != feed.cursor.epoch {
            return false;
        }
        if entry.id <= feed.cursor.of(log) {
            return true;
        }
        feed.cursor.set(log, entry.id);
        let cursor = feed.cursor;
        let delivery = Arc::new(entry.delivery(feed.sealer.seal(&cursor)));
        // An error only means that the last follower has just left.
        let _ =
            feed.sender.send(Broadcast::Event { cursor, entry: Arc::new(entry), log, delivery });
        true
    }

    /// Moves an entry that nobody here can read out of the way.
    pub(super) fn skip(&self, tenant_id: &TenantId, log: projections::Log, id: EntryId) {
        if let Some(feed) = self.state().feeds.get_mut(tenant_id) {
            feed.cursor.set(log, id);
        }
    }

    /// Hands the refresh hint of an entry, if it can be read, to the followers of its tenant, past
    /// their events.
    pub(super) fn hint(&self, at: EntryId, announced: Option<Announced>) {
        let mut state = self.state();
        state.hints_at = at;
        let Some(announced) = announced else { return };
        if let Some(feed) = state.feeds.get(&announced.tenant_id) {
            feed.hints.say(announced);
        }
    }

    /// The entry up to which refresh hints have been handed out.
    pub(super) fn hints_at(&self) -> EntryId {
        self.state().hints_at
    }

    /// Tells a tenant's followers that events may be missing, and goes on from `head`.
    pub(super) fn reset(&self, tenant_id: &TenantId, head: Cursor) {
        if let Some(feed) = self.state().feeds.get_mut(tenant_id) {
            feed.cursor = head;
            let _ = feed.sender.send(Broadcast::Reset(head));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a revocation ends what `subscriber` was admitted with.
pub(super) fn is_meant(
    subscriber: &Subscriber,
    tenant_id: &TenantId,
    subject: &Subject,
    at: chrono::DateTime<chrono::Utc>,
) -> bool {
    let is_earlier_sign_in = subscriber.authenticated_at <= at;
    subscriber.tenant_id == *tenant_id
        && match subject {
            Subject::Session(sid) => subscriber.sid == *sid,
            Subject::Operator(operator_id) => {
                is_earlier_sign_in && subscriber.operator_id == *operator_id
            }
            Subject::Device(device_id) => is_earlier_sign_in && subscriber.device_id == *device_id,
            Subject::Tenant => is_earlier_sign_in,
        }
}
