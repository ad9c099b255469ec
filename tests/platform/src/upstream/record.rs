//! What an upstream received and what it did, so that a test can ask whether it happened once.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::exchange::Answer;

/// Calls kept per service; the oldest go first.
const CALLS_MAX: usize = 20_000;
/// Effects kept per service; with an effect its key is forgotten too.
const EFFECTS_MAX: usize = 100_000;

/// A request as it was received, before any check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    pub method: String,
    /// Without the service's name and the query.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// JSON where it is JSON, else text, else null.
    pub body: Value,
    pub at: DateTime<Utc>,
}

impl Call {
    pub fn idempotency_key(&self) -> Option<&str> {
        self.headers
            .get("idempotency-key")
            .or_else(|| self.headers.get("x-idempotency-key"))
            .map(String::as_str)
    }
}

#[derive(Default)]
pub struct Calls(VecDeque<Call>);

impl Calls {
    pub fn record(&mut self, call: Call) {
        if self.0.len() >= CALLS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(call);
    }

    /// Oldest first; under this key and later than `after`, where given.
    pub fn list(&self, key: Option<&str>, after: Option<DateTime<Utc>>) -> Vec<&Call> {
        self.0
            .iter()
            .filter(|call| key.is_none_or(|key| call.idempotency_key() == Some(key)))
            .filter(|call| after.is_none_or(|after| call.at > after))
            .collect()
    }
}

/// A mutation that was carried out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    pub upstream_key: String,
    pub method: String,
    pub path: String,
    pub tenant_id: String,
    pub body: Value,
    pub at: DateTime<Utc>,
}

/// Effects in their order, and what was answered under each (tenant, key).
#[derive(Default)]
pub struct Effects {
    done: VecDeque<Effect>,
    answers: HashMap<(String, String), (String, Answer)>,
}

/// What a key stands for.
pub enum Known {
    /// The same request was answered so.
    Answered(Answer),
    /// Another request was made under the key.
    Other,
    New,
}

impl Effects {
    pub fn find(&self, tenant_id: &str, key: &str, fingerprint: &str) -> Known {
        match self.answers.get(&(tenant_id.to_owned(), key.to_owned())) {
            Some((known, answer)) if known == fingerprint => Known::Answered(answer.clone()),
            Some(_) => Known::Other,
            None => Known::New,
        }
    }

    pub fn record(&mut self, effect: Effect, fingerprint: String, answer: Answer) {
        if self.done.len() >= EFFECTS_MAX
            && let Some(oldest) = self.done.pop_front()
        {
            self.answers.remove(&(oldest.tenant_id, oldest.upstream_key));
        }
        let key = (effect.tenant_id.clone(), effect.upstream_key.clone());
        self.answers.insert(key, (fingerprint, answer));
        self.done.push_back(effect);
    }

    /// Oldest first; under this key and later than `after`, where given.
    pub fn list(&self, key: Option<&str>, after: Option<DateTime<Utc>>) -> Vec<&Effect> {
        self.done
            .iter()
            .filter(|effect| key.is_none_or(|key| effect.upstream_key == key))
            .filter(|effect| after.is_none_or(|after| effect.at > after))
            .collect()
    }
}
