//! Who is signed in where: memberships, registered devices, sessions and their refresh tokens.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::identifier;

/// Sessions kept; the oldest are forgotten beyond it, and their refresh tokens with them.
const SESSIONS_MAX: usize = 100_000;
/// Rotated-out refresh tokens a session remembers, to notice their reuse.
const USED_TOKENS_MAX: usize = 64;

/// What an operator may do in a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    pub roles: Vec<String>,
    pub property_ids: Vec<String>,
}

/// A desktop known to iam.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredDevice {
    pub id: String,
    pub operator_id: String,
    /// RFC 7638 thumbprint of its key.
    pub jkt: String,
    /// `active` or `revoked`.
    pub status: &'static str,
}

/// One sign-in. Its refresh tokens form one family, of which one is current.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub tenant_id: String,
    pub operator_id: String,
    pub device_id: String,
    pub jkt: String,
    pub locale: String,
    pub ttl_seconds: i64,
    /// Overrides of claims, applied to every token of the session.
    pub claims: Value,
    pub revoked: bool,
    refresh_token: String,
    used_tokens: Vec<String>,
}

/// What presenting a refresh token came to.
#[derive(Debug)]
pub enum Refresh {
    /// The session with its new current token.
    Rotated(Session),
    /// An old token came back: the session is revoked by it.
    Reused(Session),
    /// Unknown, forgotten, or of a revoked session.
    Invalid,
}

/// Everything iam and tenant-service know of people. Ordered, so that pages are stable.
#[derive(Default)]
pub struct Identity {
    memberships: HashMap<(String, String), Membership>,
    /// (tenant, operator), or the tenant as a whole with no operator.
    suspended: HashSet<(String, String)>,
    devices: BTreeMap<(String, String), RegisteredDevice>,
    sessions: BTreeMap<String, Session>,
    /// Refresh token → session, current and used ones alike.
    families: HashMap<String, String>,
    /// (tenant, operator) → preferences and their version.
    preferences: HashMap<(String, String), (Value, u32)>,
    /// (tenant, device) → stream → cursor.
    cursors: HashMap<(String, String), Map<String, Value>>,
}

impl Identity {
    pub fn membership(&self, tenant_id: &str, operator_id: &str) -> Option<&Membership> {
        self.memberships.get(&pair(tenant_id, operator_id))
    }

    pub fn set_membership(&mut self, tenant_id: &str, operator_id: &str, membership: Membership) {
        self.memberships.insert(pair(tenant_id, operator_id), membership);
    }

    pub fn remove_membership(&mut self, tenant_id: &str, operator_id: &str) {
        self.memberships.remove(&pair(tenant_id, operator_id));
    }

    /// Suspends an operator in a tenant, or the tenant when the operator is empty.
    pub fn suspend(&mut self, tenant_id: &str, operator_id: &str) {
        self.suspended.insert(pair(tenant_id, operator_id));
    }

    pub fn is_suspended(&self, tenant_id: &str, operator_id: &str) -> bool {
        ["", operator_id].iter().any(|who| self.suspended.contains(&pair(tenant_id, who)))
    }

    /// Registers the device or gives it another key or operator; revives a revoked one.
    pub fn register(&mut self, tenant_id: &str, device: RegisteredDevice) {
        self.devices.insert(pair(tenant_id, &device.id), device);
    }

    pub fn device_mut(
        &mut self,
        tenant_id: &str,
        device_id: &str,
    ) -> Option<&mut RegisteredDevice> {
        self.devices.get_mut(&pair(tenant_id, device_id))
    }

    pub fn devices(&self, tenant_id: &str) -> impl Iterator<Item = &RegisteredDevice> {
        self.devices.iter().filter(move |((of, _), _)| of == tenant_id).map(|(_, device)| device)
    }

    /// Opens a session with its first refresh token; `session`'s own token is replaced.
    pub fn open(&mut self, mut session: Session) -> Session {
        session.refresh_token = identifier::fresh("rft");
        self.families.insert(session.refresh_token.clone(), session.id.clone());
        self.sessions.insert(session.id.clone(), session.clone());
        if self.sessions.len() > SESSIONS_MAX
            && let Some((_, forgotten)) = self.sessions.pop_first()
        {
            self.families.remove(&forgotten.refresh_token);
            for token in &forgotten.used_tokens {
                self.families.remove(token);
            }
        }
        session
    }

    /// The session as tokens name it and its tenant, whose claims a tester may have overridden.
    pub fn session_named(&self, tenant_id: &str, sid: &str) -> Option<&Session> {
        let own = self.sessions.get(sid).filter(|session| session.is_named(tenant_id, sid));
        own.or_else(|| self.sessions.values().find(|session| session.is_named(tenant_id, sid)))
    }

    /// The session a refresh token, current or used, belongs to.
    pub fn session_of_token(&self, refresh_token: &str) -> Option<&Session> {
        self.sessions.get(self.families.get(refresh_token)?)
    }

    /// Takes a refresh token for the next one of its family (rotation with reuse detection).
    pub fn rotate(&mut self, refresh_token: &str) -> Refresh {
        let session =
            self.families.get(refresh_token).and_then(|family| self.sessions.get_mut(family));
        let Some(session) = session.filter(|session| !session.revoked) else {
            return Refresh::Invalid;
        };
        if session.refresh_token != refresh_token {
            session.revoked = true;
            return Refresh::Reused(session.clone());
        }
        let next = identifier::fresh("rft");
        let used = std::mem::replace(&mut session.refresh_token, next.clone());
        session.used_tokens.push(used);
        if session.used_tokens.len() > USED_TOKENS_MAX {
            self.families.remove(&session.used_tokens.remove(0));
        }
        self.families.insert(next, session.id.clone());
        Refresh::Rotated(session.clone())
    }

    /// Marks sessions of the tenant revoked and returns them; sessions already revoked included,
    /// because the platform delivers at least once.
    pub fn revoke(&mut self, tenant_id: &str, which: impl Fn(&Session) -> bool) -> Vec<Session> {
        self.sessions
            .values_mut()
            .filter(|session| session.tenant_id == tenant_id && which(session))
            .map(|session| {
                session.revoked = true;
                session.clone()
            })
            .collect()
    }

    /// Preferences and their version; version 0 stands for never written.
    pub fn preferences(&self, tenant_id: &str, operator_id: &str) -> (Value, u32) {
        self.preferences
            .get(&pair(tenant_id, operator_id))
            .cloned()
            .unwrap_or_else(|| (Value::Object(Map::new()), 0))
    }

    /// Replaces the preferences and returns their new version.
    pub fn set_preferences(&mut self, tenant_id: &str, operator_id: &str, value: Value) -> u32 {
        let entry =
            self.preferences.entry(pair(tenant_id, operator_id)).or_insert((Value::Null, 0));
        *entry = (value, entry.1 + 1);
        entry.1
    }

    /// How far sync-service has a device on each stream.
    pub fn cursors(&self, tenant_id: &str, device_id: &str) -> Map<String, Value> {
        self.cursors.get(&pair(tenant_id, device_id)).cloned().unwrap_or_default()
    }

    pub fn set_cursor(&mut self, tenant_id: &str, device_id: &str, (stream, cursor): (&str, &str)) {
        let cursors = self.cursors.entry(pair(tenant_id, device_id)).or_default();
        cursors.insert(stream.to_owned(), Value::String(cursor.to_owned()));
    }
}

impl Session {
    /// A session not yet opened; `Identity::open` gives it its refresh token.
    pub fn new(tenant_id: &str, device: &RegisteredDevice) -> Self {
        Self {
            id: identifier::fresh("ses"),
            tenant_id: tenant_id.into(),
            operator_id: device.operator_id.clone(),
            device_id: device.id.clone(),
            jkt: device.jkt.clone(),
            locale: String::new(),
            ttl_seconds: 0,
            claims: Value::Null,
            revoked: false,
            refresh_token: String::new(),
            used_tokens: Vec::new(),
        }
    }

    fn is_named(&self, tenant_id: &str, sid: &str) -> bool {
        let holds = |names: &[&str], actual: &str, wanted: &str| {
            let overriding = names.iter().find_map(|name| self.claims[*name].as_str());
            overriding.unwrap_or(actual) == wanted
        };
        holds(&["sid", "session_id"], &self.id, sid)
            && holds(&["tenant_id", "tid"], &self.tenant_id, tenant_id)
    }

    pub fn refresh_token(&self) -> &str {
        &self.refresh_token
    }
}

fn pair(first: &str, second: &str) -> (String, String) {
    (first.to_owned(), second.to_owned())
}
