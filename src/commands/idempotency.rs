//! One key, one effect, one answer: what to do when a request's key is known already.

pub mod turn;

use std::time::Duration;

use serde_json::{Number, Value};
use ulid::Ulid;

use self::turn::Turn;
use super::{Actor, CommandError, Resources};
pub use crate::ledger::StoredResponse;
use crate::ledger::{ClaimKey, ClaimState, ClaimWrite};

/// How long one request may work on a key before another may take it over. Longer than any
/// request's deadline.
pub const LEASE: Duration = Duration::from_secs(30);

/// A request under its key: what it is recognised by when it comes again.
#[derive(Clone, Debug)]
pub struct KeyedRequest {
    pub key: ClaimKey,
    pub fingerprint: [u8; 32],
    /// Names this attempt: only it may complete the claim it made.
    pub owner: Ulid,
    pub attempt: i32,
}

/// What a key that is known already means for the request that brings it.
#[derive(Debug)]
pub enum Known {
    /// It was answered: answer the same bytes.
    Answered(StoredResponse),
    /// Whoever worked on it is gone: go on where the ledger says it stopped.
    Resumed(KeyedRequest),
}

/// The answer to a request, and where the ledger stands after it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub response: StoredResponse,
    /// Position of the last event written; `None` when nothing was.
    pub position: Option<i64>,
    /// The answer is that of an earlier request under the same key.
    pub replayed: bool,
}

impl Outcome {
    pub fn new(response: StoredResponse, position: Option<i64>) -> Self {
        Self { response, position, replayed: false }
    }

    pub fn replayed(response: StoredResponse) -> Self {
        Self { response, position: None, replayed: true }
    }
}

impl KeyedRequest {
    /// A request as it comes in: `route` names method, path and query, `body` is its parsed JSON.
    pub fn new(resources: &Resources, actor: &Actor, key: Ulid, route: &str, body: &Value) -> Self {
        let caller = &actor.caller;
        let body = canonical(body);
        let fingerprint = resources.secrets.peppered(
            "idempotency-fingerprint",
            &[
                caller.tenant_id.as_str().as_bytes(),
                caller.device_id.as_str().as_bytes(),
                caller.operator_id.as_str().as_bytes(),
                route.as_bytes(),
                &body,
            ],
        );
        let key = ClaimKey {
            tenant_id: caller.tenant_id.clone(),
            device_id: caller.device_id.clone(),
            key,
        };
        Self { key, fingerprint, owner: Ulid::generate(), attempt: 1 }
    }

    /// The right to work on this request in this process.
    ///
    /// # Errors
    /// [`CommandError::InProgress`]: a repetition has it.
    pub fn take_turn(&self, resources: &Resources) -> Result<Turn, CommandError> {
        resources.turns.take(&self.key, self.fingerprint)
    }

    /// Claims the key, with the first append of a command.
    pub fn start(&self, actor: &Actor) -> ClaimWrite {
        ClaimWrite::Start {
            key: self.key.clone(),
            operator_id: actor.caller.operator_id.clone(),
            fingerprint: self.fingerprint,
            owner: self.owner,
            lease: LEASE,
        }
    }

    /// Stores the answer, with the last append of a command.
    pub fn complete(&self, response: StoredResponse) -> ClaimWrite {
        ClaimWrite::Complete {
            key: self.key.clone(),
            owner: self.owner,
            attempt: self.attempt,
            response,
        }
    }

    /// Ends without an answer, with the last append of a command: the effect may have happened, or
    /// was never tried. The same request goes on at once, as [`Known::Resumed`].
    pub fn give_up(&self) -> ClaimWrite {
        ClaimWrite::GiveUp { key: self.key.clone(), owner: self.owner, attempt: self.attempt }
    }

    /// Both at once, for a command that has nothing to do.
    pub fn start_and_complete(&self, actor: &Actor, response: StoredResponse) -> ClaimWrite {
        ClaimWrite::StartAndComplete {
            key: self.key.clone(),
            operator_id: actor.caller.operator_id.clone(),
            fingerprint: self.fingerprint,
            response,
        }
    }

    /// The key under which an upstream knows this request: a ULID of the whole claim, so that no
    /// other tenant or device meets it, and the same for every repetition.
    pub fn upstream_key(&self, resources: &Resources, purpose: &str) -> String {
        self.derived_ulid(resources, purpose).to_string()
    }

    /// The same for every repetition of this request, and nobody else's: names what the request
    /// makes.
    pub fn derived_ulid(&self, resources: &Resources, purpose: &str) -> Ulid {
        let parts = [
            self.key.tenant_id.as_str().as_bytes(),
            self.key.device_id.as_str().as_bytes(),
            &self.key.key.to_bytes(),
        ];
        resources.secrets.derived_ulid(purpose, &parts)
    }

    /// Looks the key up; `None` when nobody has used it.
    ///
    /// # Errors
    /// [`CommandError::KeyReused`] and [`CommandError::InProgress`] are answers about the key; it
    /// is the primary that is asked, never a replica.
    pub async fn known(&self, resources: &Resources) -> Result<Option<Known>, CommandError> {
        let Some(row) = resources.ledger.read_claim(&self.key).await? else {
            return Ok(None);
        };
        if row.fingerprint != self.fingerprint {
            return Err(CommandError::KeyReused);
        }
        match (row.state, row.response) {
            (ClaimState::Completed, Some(response)) => Ok(Some(Known::Answered(response))),
            _ if row.lease_expired => {
                let taken = resources.ledger.take_over_claim(&self.key, self.owner).await?;
                let attempt = taken.ok_or(CommandError::InProgress)?;
                Ok(Some(Known::Resumed(Self { attempt, ..self.clone() })))
            }
            _ => Err(CommandError::InProgress),
        }
    }

    /// The same for a command that ends in the append it begins with: it leaves nothing to resume.
    ///
    /// # Errors
    /// As [`Self::known`].
    pub async fn answered(&self, resources: &Resources) -> Result<Option<Outcome>, CommandError> {
        match self.known(resources).await? {
            Some(Known::Answered(response)) => Ok(Some(Outcome::replayed(response))),
            Some(Known::Resumed(_)) => Err(CommandError::InProgress),
            None => Ok(None),
        }
    }
}

/// The largest integer up to which every one is a number of its own in JavaScript.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// Parsed and written again: member order, white space and the spelling of a number do not make
/// another request. Unicode is left as it is: what looks alike need not be the same.
fn canonical(body: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(&exact(body)).expect("a parsed JSON document can be written")
}

/// RFC 8785 knows doubles only, and would take two large integers for one. They are written out,
/// behind a character that no text of a request can hold.
fn exact(value: &Value) -> Value {
    match value {
        Value::Number(number) if is_beyond_doubles(number) => format!("\0{number}").into(),
        Value::Array(items) => items.iter().map(exact).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), exact(value))).collect()
        }
        other => other.clone(),
    }
}

fn is_beyond_doubles(number: &Number) -> bool {
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    magnitude.is_some_and(|magnitude| EXACT_MAX < magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_12_one_document_has_one_canonical_form_however_it_is_written() {
        for (one, other, same) in [
            (r#"{"a":1,"b":[true,null]}"#, "{ \"b\" : [true, null],\n\"a\":1 }", true),
            (r#"{"a":1}"#, r#"{"a":1.0}"#, true),
            (r#"{"a":100}"#, r#"{"a":1e2}"#, true),
            (r#"{"a":0.5}"#, r#"{"a":5e-1}"#, true),
            (r#"{"a":"x/y"}"#, r#"{"a":"\u0078\/y"}"#, true),
            (r#"{"a":"\u00e9"}"#, r#"{"a":"e\u0301"}"#, false),
            (r#"{"a":1}"#, r#"{"a":"1"}"#, false),
            (r#"{"a":null}"#, "{}", false),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, false),
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, false),
            (r#"{"a":-9007199254740993}"#, r#"{"a":-9007199254740992}"#, false),
            (
                r#"{"a":[{"b":18446744073709551615}]}"#,
                r#"{"a":[{"b":18446744073709551614}]}"#,
                false,
            ),
            (r#"{"a":9007199254740991}"#, r#"{"a":9007199254740991.0}"#, true),
        ] {
            let form = |text: &str| canonical(&serde_json::from_str(text).unwrap());
            assert_eq!(form(one) == form(other), same, "{one} and {other}");
        }
    }
}
