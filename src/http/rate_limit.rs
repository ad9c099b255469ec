//! The headers that tell a client how much it may still ask (draft-ietf-httpapi-ratelimit-headers).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::access::rate::{Limited, Settings, Standing, Standings};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// `RateLimit` and `RateLimit-Policy` of an answer to a request that was let in.
pub fn tell(headers: &mut HeaderMap, standings: &Standings) {
    let Standings { settings, device, tenant } = standings;
    insert(headers, RATE_LIMIT_POLICY, policy(settings));
    insert(headers, RATE_LIMIT, format!("{}, {}", left("device", device), left("tenant", tenant)));
}

/// The same of a request that came too soon.
pub fn headers_of(limited: &Limited) -> [(HeaderName, HeaderValue); 2] {
    let none = Standing { left: 0, full_in: limited.retry_after };
    let texts = [
        (RATE_LIMIT_POLICY, policy(&limited.settings)),
        (RATE_LIMIT, left(limited.limit.name(), &none)),
    ];
    texts.map(|(name, text)| (name, value(text)))
}

/// `"device";q=100;w=2`: so many at once, and as many again after so many seconds.
fn policy(settings: &Settings) -> String {
    let item = |name: &str, quota: crate::access::rate::Quota| {
        format!("\"{name}\";q={};w={}", quota.burst, whole_seconds(quota.window()))
    };
    format!("{}, {}", item("device", settings.device), item("tenant", settings.tenant))
}

/// `"device";r=99;t=1`: so many are left, and all are there again after so many seconds.
fn left(name: &str, standing: &Standing) -> String {
    format!("\"{name}\";r={};t={}", standing.left, whole_seconds(standing.full_in))
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(0 < duration.subsec_nanos())
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: String) {
    headers.insert(name, value(text));
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names and numbers fit into a header")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rate::Limit;

    #[test]
    fn the_fields_are_lists_of_structured_items() {
        let standings = Standings {
            settings: Settings::default(),
            device: Standing { left: 99, full_in: Duration::from_millis(20) },
            tenant: Standing { left: 0, full_in: Duration::from_secs(1) },
        };
        let mut headers = HeaderMap::new();
        tell(&mut headers, &standings);
        assert_eq!(headers["ratelimit-policy"], r#""device";q=100;w=2, "tenant";q=1000;w=1"#);
        assert_eq!(headers["ratelimit"], r#""device";r=99;t=1, "tenant";r=0;t=1"#);

        let limited = Limited {
            limit: Limit::Tenant,
            retry_after: Duration::from_millis(1),
            settings: Settings::default(),
        };
        let [_, (name, value)] = headers_of(&limited);
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("ratelimit", r#""tenant";r=0;t=1"#));
    }
}
