//! What a request is called and in which language it is answered, known before anything else is
//! done with it.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use ulid::Ulid;

use super::messages::Language;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One request's names; cheap to clone. An extractor, and in the extensions of every request.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Context>);

#[derive(Debug)]
struct Context {
    request_id: String,
    trace: Trace,
    path: String,
    accepted: Option<Language>,
    locale: OnceLock<Language>,
    route: OnceLock<String>,
}

/// W3C trace context, version 00.
#[derive(Debug)]
struct Trace {
    /// As received, or minted.
    echoed: String,
    id: String,
    /// Our own span, the parent of what we cause.
    span: String,
    flags: String,
}

impl RequestContext {
    /// Honours `X-Request-Id` when it is a ULID and `traceparent` when it is well formed; else
    /// mints them. `path` is as the client sent it, before any prefix is stripped.
    pub fn new(headers: &HeaderMap, path: &str) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(&X_REQUEST_ID)
            .filter(|id| is_ulid(id))
            .map_or_else(|| Ulid::generate().to_string(), str::to_owned);
        Self(Arc::new(Context {
            request_id,
            trace: text(&TRACEPARENT).and_then(Trace::read).unwrap_or_else(Trace::mint),
            path: path.to_owned(),
            accepted: text(&header::ACCEPT_LANGUAGE).and_then(Language::negotiate),
            locale: OnceLock::new(),
            route: OnceLock::new(),
        }))
    }

    /// ULID.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// 32 lower-case hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.0.trace.id
    }

    /// For calls this request causes: the client's trace, our span.
    pub fn traceparent(&self) -> String {
        let Trace { id, span, flags, .. } = &self.0.trace;
        format!("00-{id}-{span}-{flags}")
    }

    /// The raw path the client asked for, `/api` and all, without the query.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// What the client asked for, else what the session or tenant prefers, else English.
    pub fn language(&self) -> Language {
        self.0.accepted.or_else(|| self.0.locale.get().copied()).unwrap_or_default()
    }

    /// Notes the session's locale, or the tenant's; the first one noted stands.
    pub fn prefer_locale(&self, tag: &str) {
        if let Some(language) = Language::of_tag(tag) {
            self.0.locale.get_or_init(|| language);
        }
    }

    /// The template of the matched route, for logs and metrics; `unmatched` when there is none.
    pub fn route(&self) -> &str {
        self.0.route.get().map_or("unmatched", String::as_str)
    }

    pub(super) fn set_route(&self, template: &str) {
        self.0.route.get_or_init(|| template.to_owned());
    }

    pub(super) fn echo(&self, headers: &mut HeaderMap) {
        let names = [(X_REQUEST_ID, self.request_id()), (TRACEPARENT, &self.0.trace.echoed)];
        for (name, value) in names {
            let value = HeaderValue::from_str(value).expect("both were checked or minted in ASCII");
            headers.insert(name, value);
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Absent only where the layers are: a route tested by itself.
        Ok(parts
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_else(|| Self::new(&parts.headers, parts.uri.path())))
    }
}

impl Trace {
    fn read(value: &str) -> Option<Self> {
        let parts: Vec<&str> = value.split('-').collect();
        let [version @ "00", trace_id, parent_id, flags] = parts[..] else { return None };
        let well_formed = [(version, 2), (trace_id, 32), (parent_id, 16), (flags, 2)]
            .into_iter()
            .all(|(part, length)| part.len() == length && part.bytes().all(is_lower_hex));
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        (well_formed && !zero(trace_id) && !zero(parent_id)).then(|| Self {
            echoed: value.to_owned(),
            id: trace_id.to_owned(),
            span: span_id(),
            flags: flags.to_owned(),
        })
    }

    fn mint() -> Self {
        let id = format!("{:032x}", Ulid::generate().0);
        let span = span_id();
        let echoed = format!("00-{id}-{span}-01");
        Self { echoed, id, span, flags: "01".to_owned() }
    }
}

fn span_id() -> String {
    // Never zero, which the specification reserves.
    format!("{:016x}", Ulid::generate().random() & u128::from(u64::MAX) | 1)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Crockford's alphabet in either case, within 128 bits.
fn is_ulid(text: &str) -> bool {
    text.len() == 26 && text.as_bytes()[0] <= b'7' && Ulid::from_string(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ULID: &str = "01HZX3V7Q8M4N5P6R7S8T9W0XY";
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn a_clients_names_are_honoured() {
        let context = context(&[("x-request-id", ULID), ("traceparent", PARENT)]);

        assert_eq!(context.request_id(), ULID);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let onward = context.traceparent();
        assert!(onward.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(onward.ends_with("-00"));
        assert!(!onward.contains("00f067aa0ba902b7"), "our own span");
        let mut echoed = HeaderMap::new();
        context.echo(&mut echoed);
        assert_eq!(echoed["traceparent"], PARENT);
    }

    #[test]
    fn malformed_names_are_replaced() {
        for wrong in ["", "nonsense", "81HZX3V7Q8M4N5P6R7S8T9W0XY", "01HZX3V7Q8M4N5P6R7S8T9W0X!"] {
            let context = context(&[("x-request-id", wrong)]);
            assert_ne!(context.request_id(), wrong);
            assert!(is_ulid(context.request_id()));
        }
        for wrong in [
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            let context = context(&[("traceparent", wrong)]);
            assert!(Trace::read(&context.traceparent()).is_some());
            assert_ne!(context.0.trace.echoed, wrong);
        }
    }

    #[test]
    fn the_clients_language_goes_before_the_sessions() {
        let asked = context(&[("accept-language", "fr")]);
        asked.prefer_locale("ps-AF");
        assert_eq!(asked.language(), Language::French);

        let silent = context(&[]);
        assert_eq!(silent.language(), Language::English);
        silent.prefer_locale("xx");
        silent.prefer_locale("ps-AF");
        silent.prefer_locale("ar");
        assert_eq!(silent.language(), Language::Pashto);
    }

    fn context(headers: &[(&'static str, &str)]) -> RequestContext {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        RequestContext::new(&headers, "/")
    }
}
