//! DP-HTU-01…13, 15…21 and 24…27: what names the request, by RFC 3986, and what does not.

use backoffice::access::dpop::{ProofError, PublicBases, RequestPath};
use serde_json::{Value, json};

use super::{
    case::{Case, Subject, bad, good, numbered},
    over_http, pure,
};

const SAME: [u8; 9] = [1, 2, 3, 4, 5, 11, 12, 13, 17];
const OTHER: [u8; 15] = [6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 18, 19, 21, 26, 27];

#[test]
fn dp_htu_01_02_03_04_05_11_12_13_17_what_rfc_3986_equates_names_the_request() {
    pure::hold(&same());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_htu_01_02_03_04_05_11_12_13_17_the_same_uri_spelt_otherwise_is_good_over_http() {
    over_http::hold(&same()).await;
}

#[test]
fn dp_htu_06_07_08_09_11_12_13_15_16_17_18_19_21_26_27_what_it_tells_apart_does_not() {
    pure::hold(&other());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_htu_06_07_08_09_11_12_13_15_16_17_18_19_21_26_27_another_uri_is_refused_over_http() {
    over_http::hold(&other()).await;
}

/// Requests and bases of other shapes than the one the cases above are about.
#[test]
fn dp_htu_05_10_11_12_13_17_19_20_25_forms_of_request_and_base() {
    for (id, base, htu, path, expected) in [
        ("DP-HTU-05", "http://h.example", "http://h.example:80/a", "/a", true),
        ("DP-HTU-05", "https://h.example:443", "https://h.example/a", "/a", true),
        ("DP-HTU-05", "https://h.example:8443", "https://h.example:8443/a", "/a", true),
        ("DP-HTU-05", "https://h.example:8443", "https://h.example/a", "/a", false),
        ("DP-HTU-10", "https://h.example", "https://h.example", "/", true),
        ("DP-HTU-10", "https://h.example", "https://h.example?q#f", "/", true),
        ("DP-HTU-10", "https://h.example/", "https://h.example/", "/", true),
        ("DP-HTU-11", "https://h.example", "https://h.example/~a", "/%7Ea", true),
        ("DP-HTU-11", "https://h.example", "https://h.example/%7ea", "/~a", true),
        ("DP-HTU-12", "https://h.example", "https://h.example/a%2fb", "/a%2Fb", true),
        ("DP-HTU-12", "https://h.example", "https://h.example/a/b", "/a%2Fb", false),
        ("DP-HTU-12", "https://h.example", "https://h.example/a%2Fb", "/a/b", false),
        ("DP-HTU-12", "https://h.example", "https://h.example/a%252Fb", "/a%2Fb", false),
        ("DP-HTU-13", "https://h.example", "https://h.example/x/%2E%2e/a", "/a", true),
        ("DP-HTU-13", "https://h.example", "https://h.example/../a", "/a", true),
        ("DP-HTU-17", "http://127.0.0.1:8083", "http://0x7f.1:8083/a", "/a", false),
        ("DP-HTU-17", "http://127.0.0.1:8083", "http://2130706433:8083/a", "/a", false),
        // A port that is not the scheme's is compared by its letters.
        ("DP-HTU-17", "http://127.0.0.1:8083", "http://127.0.0.1:08083/a", "/a", false),
        ("DP-HTU-19", "https://xn--bcher-kva.example", "https://xn--bcher-kva.example/", "/", true),
        ("DP-HTU-19", "https://xn--bcher-kva.example", "https://XN--BCHER-kva.example/", "/", true),
        ("DP-HTU-19", "https://xn--bcher-kva.example", "https://b\u{fc}cher.example/", "/", false),
        // The forms of one address are one address, as RFC 5952 spells it.
        ("DP-HTU-20", "http://[::1]:8083", "http://[0:0:0:0:0:0:0:1]:8083/a", "/a", true),
        ("DP-HTU-20", "http://[::1]:8083", "http://[::1]:8083/a", "/a", true),
        ("DP-HTU-20", "http://[2001:db8::a]", "http://[2001:DB8::A]/a", "/a", true),
        ("DP-HTU-20", "http://[::1]:8083", "http://[::2]:8083/a", "/a", false),
        ("DP-HTU-20", "http://[::1]:8083", "http://[::1%25eth0]:8083/a", "/a", false),
        ("DP-HTU-20", "http://127.0.0.1", "http://[::ffff:127.0.0.1]/a", "/a", false),
        ("DP-HTU-25", "https://h.example/svc1", "https://h.example/svc1/a", "/a", true),
        ("DP-HTU-25", "https://h.example/svc1/", "https://h.example/svc1/a", "/a", true),
        ("DP-HTU-25", "https://h.example/svc1", "https://h.example/a", "/a", false),
        ("DP-HTU-25", "https://h.example/svc1", "https://h.example/svc2/a", "/a", false),
        ("DP-HTU-25", "https://h.example/svc1", "https://h.example/svc1a", "/a", false),
        ("DP-HTU-25", "https://h.example/svc1", "https://h.example/svc1/../a", "/a", false),
        ("DP-HTU-25", "https://h.example", "https://h.example/api/a", "/a", true),
        ("DP-HTU-25", "https://h.example", "https://h.example/api/a", "/api/a", true),
        ("DP-HTU-25", "https://h.example", "https://h.example/a", "/api/a", true),
        ("DP-HTU-25", "https://h.example", "https://h.example/apia", "/a", false),
        ("DP-HTU-25", "https://h.example", "https://h.example/api/api/a", "/a", false),
    ] {
        let bases = PublicBases::parse([base]).unwrap();
        let named = bases.names(htu, &RequestPath::parse(path).unwrap());
        assert_eq!(named, expected, "{id}: {htu} for {path} below {base}");
    }
}

/// Every base stands for the whole service: the list says where clients may reach it, not which
/// listener they reached.
#[test]
fn dp_htu_24_every_configured_base_is_good_and_no_other() {
    let bases = PublicBases::parse(["https://one.example", "http://127.0.0.1:8083"]).unwrap();
    let path = RequestPath::parse("/a").unwrap();
    for (htu, expected) in [
        ("https://one.example/a", true),
        ("http://127.0.0.1:8083/a", true),
        ("https://two.example/a", false),
        ("http://one.example/a", false),
        ("https://127.0.0.1:8083/a", false),
    ] {
        assert_eq!(bases.names(htu, &path), expected, "DP-HTU-24: {htu}");
    }
}

fn names(id: &'static str, what: &str, htu: impl Fn(&Subject) -> String + 'static) -> Case {
    good(id, what, move |it| it.claim("htu", json!(htu(it))))
}

fn differs(id: &'static str, what: &str, htu: impl Fn(&Subject) -> String + 'static) -> Case {
    bad(id, what, ProofError::Uri, move |it| it.claim("htu", json!(htu(it))))
}

fn host(it: &Subject) -> &str {
    it.base.strip_prefix("https://").expect("the cases are about https")
}

fn same() -> Vec<Case> {
    let cases = vec![
        names("DP-HTU-01", "exactly", Subject::htu),
        names("DP-HTU-02", "a query and a fragment", |it| format!("{}?q=1#f", it.htu())),
        names("DP-HTU-02", "an empty fragment", |it| format!("{}#", it.htu())),
        names("DP-HTU-02", "an empty query", |it| format!("{}?", it.htu())),
        names("DP-HTU-02", "a query that looks like a path", |it| format!("{}?/x/../y", it.htu())),
        // Over HTTP every request has a query that its proof does not name.
        names("DP-HTU-03", "no query", Subject::htu),
        names("DP-HTU-04", "scheme and host in upper case", |it| {
            format!("HTTPS://{}{}", host(it).to_uppercase(), it.path)
        }),
        names("DP-HTU-05", "the default port", |it| format!("{}:443{}", it.base, it.path)),
        names("DP-HTU-05", "an empty port", |it| format!("{}:{}", it.base, it.path)),
        names("DP-HTU-11", "a letter encoded", |it| {
            format!("{}{}", it.base, it.path.replacen('a', "%61", 1))
        }),
        names("DP-HTU-11", "a letter of the host encoded", |it| {
            format!("https://{}{}", host(it).replacen('a', "%61", 1), it.path)
        }),
        names("DP-HTU-12", "hexadecimal digits in lower case", |it| {
            format!("{}{}", it.base, it.path.replacen('l', "%6c", 1))
        }),
        names("DP-HTU-12", "hexadecimal digits in upper case", |it| {
            format!("{}{}", it.base, it.path.replacen('l', "%6C", 1))
        }),
        names("DP-HTU-13", "dot segments", |it| format!("{}/x/../.{}", it.base, it.path)),
        names("DP-HTU-13", "dot segments, encoded", |it| {
            format!("{}/x/%2e%2E{}", it.base, it.path)
        }),
        names("DP-HTU-17", "a port with a zero before", |it| {
            format!("{}:0443{}", it.base, it.path)
        }),
    ];
    numbered(cases, "DP-HTU", &SAME)
}

fn other() -> Vec<Case> {
    let cases = [origins(), paths(), tricks(), types()].into_iter().flatten().collect();
    numbered(cases, "DP-HTU", &OTHER)
}

fn origins() -> Vec<Case> {
    vec![
        differs("DP-HTU-06", "another port", |it| format!("{}:8443{}", it.base, it.path)),
        differs("DP-HTU-06", "the port of http", |it| format!("{}:80{}", it.base, it.path)),
        differs("DP-HTU-06", "port 0", |it| format!("{}:0{}", it.base, it.path)),
        differs("DP-HTU-06", "port 65979, 443 modulo 2¹⁶", |it| {
            format!("{}:65979{}", it.base, it.path)
        }),
        differs("DP-HTU-06", "http", |it| format!("http://{}{}", host(it), it.path)),
        differs("DP-HTU-06", "ftp", |it| format!("ftp://{}{}", host(it), it.path)),
        differs("DP-HTU-15", "user and password", |it| {
            format!("https://u:p@{}{}", host(it), it.path)
        }),
        differs("DP-HTU-15", "an empty user", |it| format!("https://@{}{}", host(it), it.path)),
        differs("DP-HTU-16", "another host", |it| format!("https://evil.example{}", it.path)),
        differs("DP-HTU-16", "our host before another", |it| {
            format!("https://{}.evil.example{}", host(it), it.path)
        }),
        differs("DP-HTU-16", "our host as the user of another", |it| {
            format!("https://{}@evil.example{}", host(it), it.path)
        }),
        differs("DP-HTU-16", "our host behind another", |it| {
            format!("https://evil.example/{}{}", host(it), it.path)
        }),
        differs("DP-HTU-16", "a letter more", |it| format!("https://{}s{}", host(it), it.path)),
        differs("DP-HTU-16", "a letter less", |it| {
            format!("https://{}{}", &host(it)[1..], it.path)
        }),
        differs("DP-HTU-19", "letters that look alike", |it| {
            format!("https://{}{}", host(it).replacen('a', "\u{430}", 1), it.path)
        }),
        differs("DP-HTU-21", "a dot behind the host", |it| format!("{}.{}", it.base, it.path)),
        differs("DP-HTU-26", "an address inside", |it| format!("http://10.0.0.7:8080{}", it.path)),
    ]
}

fn paths() -> Vec<Case> {
    vec![
        differs("DP-HTU-07", "a letter in upper case", |it| {
            format!("{}{}", it.base, it.path.replacen('b', "B", 1))
        }),
        differs("DP-HTU-07", "all in upper case", |it| {
            format!("{}{}", it.base, it.path.to_uppercase())
        }),
        differs("DP-HTU-08", "a slash behind", |it| format!("{}/", it.htu())),
        differs("DP-HTU-09", "two slashes before", |it| format!("{}/{}", it.base, it.path)),
        differs("DP-HTU-09", "two slashes inside", |it| {
            format!("{}/{}", it.base, it.path[1..].replacen('/', "//", 1))
        }),
        differs("DP-HTU-11", "a letter encoded twice", |it| {
            format!("{}{}", it.base, it.path.replacen('a', "%2561", 1))
        }),
        differs("DP-HTU-12", "a slash encoded", |it| {
            format!("{}/{}", it.base, it.path[1..].replacen('/', "%2F", 1))
        }),
        differs("DP-HTU-13", "dot segments to elsewhere", |it| {
            format!("{}{}/../x", it.base, it.path)
        }),
        differs("DP-HTU-13", "a dot segment behind", |it| format!("{}/.", it.htu())),
        differs("DP-HTU-16", "another path", |it| format!("{}/x", it.base)),
        differs("DP-HTU-16", "no path", |it| it.base.clone()),
        differs("DP-HTU-16", "the path as a query", |it| format!("{}/?{}", it.base, it.path)),
    ]
}

/// What browsers read as our address, and RFC 3986 does not.
fn tricks() -> Vec<Case> {
    vec![
        differs("DP-HTU-17", "backslashes", |it| {
            format!(r"https:\\{}{}", host(it), it.path.replace('/', "\\"))
        }),
        differs("DP-HTU-17", "a backslash for the path's slash", |it| {
            format!(r"{}\{}", it.base, &it.path[1..])
        }),
        differs("DP-HTU-17", "no slashes", |it| format!("https:{}{}", host(it), it.path)),
        differs("DP-HTU-17", "one slash", |it| format!("https:/{}{}", host(it), it.path)),
        differs("DP-HTU-17", "four slashes", |it| format!("https:////{}{}", host(it), it.path)),
        differs("DP-HTU-17", "a tab in the host", |it| {
            format!("https://{}{}", host(it).replacen('.', "\t.", 1), it.path)
        }),
        differs("DP-HTU-17", "a newline in the host", |it| {
            format!("https://{}{}", host(it).replacen('.', "\n.", 1), it.path)
        }),
        differs("DP-HTU-17", "a space before", |it| format!(" {}", it.htu())),
        differs("DP-HTU-17", "a space behind", |it| format!("{} ", it.htu())),
        differs("DP-HTU-17", "a NUL behind", |it| format!("{}\0", it.htu())),
        differs("DP-HTU-17", "a full-width letter", |it| {
            format!("https://{}{}", host(it).replacen('a', "\u{ff41}", 1), it.path)
        }),
        differs("DP-HTU-17", "a soft hyphen", |it| {
            format!("https://{}{}", host(it).replacen('a', "a\u{ad}", 1), it.path)
        }),
        differs("DP-HTU-17", "an ideographic full stop", |it| {
            format!("https://{}{}", host(it).replacen('.', "\u{3002}", 1), it.path)
        }),
        differs("DP-HTU-17", "a stray percent sign", |it| format!("{}%", it.htu())),
        differs("DP-HTU-18", "a path", |it| it.path.clone()),
        differs("DP-HTU-18", "no scheme", |it| format!("{}{}", host(it), it.path)),
        differs("DP-HTU-18", "a scheme of the peer's", |it| format!("//{}{}", host(it), it.path)),
        differs("DP-HTU-18", "nothing", |_| String::new()),
        differs("DP-HTU-18", "junk", |_| ":::*;".to_owned()),
        differs("DP-HTU-27", "1,500 letters behind", |it| {
            format!("{}?{}", it.htu(), "q".repeat(1500))
        })
        .too_long(),
        differs("DP-HTU-27", "20 KB", |it| format!("{}?{}", it.htu(), "q".repeat(20_000)))
            .too_long(),
        differs("DP-HTU-27", "64 KB", |it| format!("{}?{}", it.htu(), "q".repeat(65_536)))
            .too_long()
            .unsendable(),
    ]
}

fn types() -> Vec<Case> {
    let mut cases = Vec::new();
    for htu in [json!(7), Value::Null, json!(["https://api.example/a/b"]), json!({}), json!(true)] {
        let what = format!("htu {htu}");
        cases.push(bad("DP-HTU-18", what, ProofError::Malformed, move |it| {
            it.claim("htu", htu.clone())
        }));
    }
    cases
}
