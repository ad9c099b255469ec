//! Proofs signed by jose, dpop, oauth4webapi, jwcrypto and `requests_oauth2client`: what they sign well
//! is let in, what they sign badly is refused, and what is let in their own verifiers accept.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::support::service::{Service, World};

/// One proof and what became of it.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    /// `ok`, `proof` or `token`.
    expected: String,
    status: i32,
    code: Option<String>,
    challenge: Option<String>,
    oracle: Oracle,
}

/// What the library's own verifier says.
#[derive(Debug, Deserialize)]
struct Oracle {
    accepts: bool,
    #[serde(default)]
    says: String,
}

struct Services {
    world: World,
    without_nonces: Service,
    with_nonces: Service,
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_hdr_01_what_jose_and_dpop_sign_is_judged_as_oauth4webapi_judges_it() {
    let services = services().await;
    let rows = services.run("node", "node/signers.mjs");
    let accepted = judged(&rows);
    assert!(15 <= accepted, "{accepted} accepted");
    assert!(45 <= rows.len() - accepted, "{} of {} accepted", accepted, rows.len());
    for row in rows.iter().filter(|row| row.status == 200) {
        assert!(row.oracle.accepts, "accepted here, refused there: {row:?}");
    }
    let refused_there = rows.iter().filter(|row| !row.oracle.accepts).count();
    println!("{} rows, {accepted} accepted, {refused_there} refused there", rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_hdr_01_what_jwcrypto_signs_is_judged_as_it_should_be() {
    let services = services().await;
    let rows = services.run("python/bin/python", "python/signers.py");
    let accepted = judged(&rows);
    assert!(8 <= accepted, "{accepted} accepted");
    assert!(25 <= rows.len() - accepted, "{} of {} accepted", accepted, rows.len());
    for row in rows.iter().filter(|row| row.status == 200) {
        // Its verifier compares addresses letter by letter.
        assert!(row.oracle.accepts || row.id.contains("htu"), "refused there: {row:?}");
    }
    println!("{} rows, {accepted} accepted", rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_non_16_no_client_is_given_the_nonce_it_has_just_sent() {
    let services = services().await;
    let rows = services.run("python/bin/python", "python/signers.py");
    let clients: Vec<&Row> =
        rows.iter().filter(|row| row.id.starts_with("requests_oauth2client")).collect();
    let seen: Vec<(i32, Option<&str>)> =
        clients.iter().map(|row| (row.status, row.code.as_deref())).collect();
    // Given one when it had none; good still; given one for one that is none.
    assert_eq!(seen, [(200, Some("taken")), (200, Some("kept")), (200, Some("taken"))]);
}

async fn services() -> Services {
    let world = World::start().await;
    let without_nonces = world.service_with(&[("DPOP_NONCE", "off")]).await;
    let with_nonces = world.service().await;
    Services { world, without_nonces, with_nonces }
}

impl Services {
    /// Runs a script beside this file with a program of target/counterparts or of the machine.
    fn run(&self, program: &str, script: &str) -> Vec<Row> {
        let installed = installed();
        assert!(installed.is_dir(), "ops/dev/counterparts.sh installs what is missing");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/counterparts").join(script);
        // A module finds its packages from where it stands.
        let script = installed.join(script);
        fs::copy(source, &script).expect("ops/dev/counterparts.sh makes the folder");
        let program = Some(installed.join(program)).filter(|path| path.is_file());
        let output = Command::new(program.as_deref().unwrap_or(Path::new("node")))
            .arg(script)
            .arg(self.world.simulator.url())
            .args([&self.without_nonces.root_url, &self.with_nonces.root_url])
            .env("NO_PROXY", "*")
            .output()
            .expect("needs node 20, and python 3.11 with venv for ops/dev/counterparts.sh");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).expect("a list of rows")
    }
}

fn installed() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    target.join("counterparts")
}

/// Holds every row to what is expected of it; answers how many were let in.
fn judged(rows: &[Row]) -> usize {
    for row in rows {
        let (status, error) = match row.expected.as_str() {
            "ok" => (200, None),
            "proof" => (401, Some("invalid_dpop_proof")),
            "token" => (401, Some("invalid_token")),
            other => panic!("{other} is not an outcome"),
        };
        assert_eq!(row.status, status, "{row:?}: {}", row.oracle.says);
        if let Some(error) = error {
            let challenge = row.challenge.as_deref().unwrap();
            assert!(challenge.starts_with(&format!("DPoP error=\"{error}\"")), "{row:?}");
            assert!(challenge.ends_with("algs=\"ES256\""), "{row:?}");
            assert!(row.code.as_deref().unwrap().starts_with("MELMASTOON.AUTH."), "{row:?}");
        }
    }
    rows.iter().filter(|row| row.status == 200).count()
}
