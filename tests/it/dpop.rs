//! The proof verifier against the conformance list: one table of cases, held against the pure
//! function with a clock set by hand and against the running service.

mod case;
mod claims;
mod ed25519;
mod jose_form;
mod jose_header;
mod jose_key;
mod over_http;
mod pure;
mod rules;
mod signature;
mod time;
mod token;
mod transport;
mod uri;
mod vectors;
