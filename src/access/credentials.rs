//! What a request shows at the door: exactly one token and exactly one proof, in headers only.

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use super::{dpop::PROOF_BYTES_MAX, refusal::Reason};

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Token and proof as sent, nothing verified yet.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    pub token: &'a str,
    pub proof: &'a str,
}

impl<'a> Credentials<'a> {
    /// Reads both headers. `query` is looked at only to refuse a second token in it;
    /// `bearer_with_proof` lets `Bearer` through for desktops that send a full proof beside it.
    ///
    /// # Errors
    /// The first thing that is wrong, the token's header before the proof's.
    pub fn read(
        headers: &'a HeaderMap,
        query: Option<&str>,
        bearer_with_proof: bool,
    ) -> Result<Self, Reason> {
        let token = read_token(headers, bearer_with_proof)?;
        let has_second_token = query.is_some_and(|query| {
            query.split('&').any(|pair| pair.split('=').next() == Some("access_token"))
        });
        if has_second_token {
            return Err(Reason::Malformed);
        }
        Ok(Self { token, proof: read_proof(headers)? })
    }
}

/// The one `DPoP` header (RFC 9449 §4.3-1), also for routes without a token.
///
/// # Errors
/// `ProofMissing` when there is none, more than one, or something else in it.
pub fn read_proof(headers: &HeaderMap) -> Result<&str, Reason> {
    let proof = only(headers, &DPOP).ok_or(Reason::ProofMissing)?;
    let is_jws = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if proof.is_empty() || proof.len() > PROOF_BYTES_MAX || !proof.bytes().all(is_jws) {
        return Err(Reason::ProofMissing);
    }
    Ok(proof)
}

/// The header's value without surrounding white space if it occurs exactly once and is ASCII.
pub fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value: &HeaderValue = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok().map(|text| text.trim_matches([' ', '\t']))
}

fn read_token(headers: &HeaderMap, bearer_with_proof: bool) -> Result<&str, Reason> {
    if !headers.contains_key(AUTHORIZATION) {
        return Err(Reason::TokenMissing);
    }
    let value = only(headers, &AUTHORIZATION).ok_or(Reason::Malformed)?;
    let scheme_end = value.find([' ', '\t']).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(scheme_end);
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    if is_bearer && !bearer_with_proof {
        return Err(Reason::BearerRefused);
    }
    if !is_bearer && !scheme.eq_ignore_ascii_case("dpop") {
        return Err(Reason::TokenMissing);
    }
    let token = rest.trim_start_matches(' ');
    if is_token68(token) { Ok(token) } else { Err(Reason::Malformed) }
}

/// RFC 9110 §11.2.
fn is_token68(text: &str) -> bool {
    let letters = text.trim_end_matches('=');
    !letters.is_empty()
        && letters.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header's name and value.
    type Line<'a> = (&'a str, &'a [u8]);

    fn read(lines: &[Line<'_>], query: Option<&str>, bearer: bool) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                name.parse::<HeaderName>().expect("a name"),
                HeaderValue::from_bytes(value).expect("a value"),
            );
        }
        Credentials::read(&headers, query, bearer)
            .map(|_| ())
            .map_err(|reason| format!("{reason:?}"))
    }

    const TOKEN: Line<'static> = ("authorization", b"DPoP e30.e30.AA");
    const PROOF: Line<'static> = ("dpop", b"e30.e30.AA");

    #[test]
    fn one_token_and_one_proof_are_read() {
        assert_eq!(read(&[TOKEN, PROOF], None, false), Ok(()), "dp_hdr_01");
        assert_eq!(read(&[TOKEN, ("DPOP", PROOF.1)], None, false), Ok(()), "dp_hdr_09");
        assert_eq!(read(&[TOKEN, ("dpop", b" e30.e30.AA\t")], None, false), Ok(()), "dp_hdr_10");
        for scheme in ["dpop", "DPOP", "dPoP"] {
            let value = format!("{scheme} e30.e30.AA");
            let line = ("authorization", value.as_bytes());
            assert_eq!(read(&[line, PROOF], None, false), Ok(()), "dp_hdr_14 {scheme}");
        }
        let spaces = ("authorization", &b"DPoP  e30.e30.AA"[..]);
        assert_eq!(read(&[spaces, PROOF], None, false), Ok(()), "dp_hdr_15");
        let bearer = ("authorization", &b"Bearer e30.e30.AA"[..]);
        assert_eq!(read(&[bearer, PROOF], None, true), Ok(()), "dp_hdr_17 switch on");
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("e30.{}.AA", "A".repeat(4096));
        let cases: &[(&str, &[Line<'_>], &str)] = &[
            ("dp_hdr_02", &[], "TokenMissing"),
            ("dp_hdr_03", &[TOKEN], "ProofMissing"),
            ("dp_hdr_04", &[PROOF], "TokenMissing"),
            ("dp_hdr_05", &[TOKEN, PROOF, PROOF], "ProofMissing"),
            ("dp_hdr_06_a", &[TOKEN, PROOF, ("dpop", b"x")], "ProofMissing"),
            ("dp_hdr_06_b", &[TOKEN, ("dpop", b"x"), PROOF], "ProofMissing"),
            ("dp_hdr_07", &[TOKEN, ("dpop", b"e30.e30.AA, e30.e30.AA")], "ProofMissing"),
            ("dp_hdr_08_empty", &[TOKEN, ("dpop", b"")], "ProofMissing"),
            ("dp_hdr_08_spaces", &[TOKEN, ("dpop", b"   ")], "ProofMissing"),
            ("dp_hdr_11_space", &[TOKEN, ("dpop", b"e30. e30.AA")], "ProofMissing"),
            ("dp_hdr_11_tab", &[TOKEN, ("dpop", b"e30.\te30.AA")], "ProofMissing"),
            ("dp_hdr_11_quote", &[TOKEN, ("dpop", b"\"e30.e30.AA\"")], "ProofMissing"),
            ("dp_hdr_12", &[TOKEN, ("dpop", b"e30.\xffe30.AA")], "ProofMissing"),
            ("dp_hdr_13", &[TOKEN, ("dpop", long.as_bytes())], "ProofMissing"),
            ("dp_hdr_16_tab", &[("authorization", b"DPoP\te30.e30.AA"), PROOF], "Malformed"),
            ("dp_hdr_16_none", &[("authorization", b"DPoP"), PROOF], "Malformed"),
            ("dp_hdr_16_junk", &[("authorization", b"DPoP e30.e30.AA x"), PROOF], "Malformed"),
            ("dp_hdr_17", &[("authorization", b"Bearer e30.e30.AA"), PROOF], "BearerRefused"),
            ("dp_hdr_18", &[("authorization", b"BeArEr e30.e30.AA")], "BearerRefused"),
            ("dp_hdr_19", &[TOKEN, ("authorization", b"Bearer e30.e30.AA"), PROOF], "Malformed"),
            ("dp_hdr_19_same", &[TOKEN, TOKEN, PROOF], "Malformed"),
            ("dp_hdr_21", &[("proxy-authorization", TOKEN.1), PROOF], "TokenMissing"),
            ("dp_hdr_22", &[("cookie", b"token=e30.e30.AA"), PROOF], "TokenMissing"),
            ("dp_hdr_basic", &[("authorization", b"Basic QTpC"), PROOF], "TokenMissing"),
        ];
        for (case, lines, expected) in cases {
            assert_eq!(read(lines, None, false), Err((*expected).to_owned()), "{case}");
        }
        let bearer_alone = [("authorization", &b"Bearer e30.e30.AA"[..])];
        assert_eq!(read(&bearer_alone, None, true), Err("ProofMissing".to_owned()), "dp_hdr_18");
        assert_eq!(
            read(&[TOKEN, PROOF], Some("a=b&access_token=x"), false),
            Err("Malformed".to_owned()),
            "dp_hdr_20 with header"
        );
        assert_eq!(
            read(&[PROOF], Some("access_token=x"), false),
            Err("TokenMissing".to_owned()),
            "dp_hdr_20"
        );
    }
}
