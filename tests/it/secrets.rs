//! Secrets of the running binary: strict files, keys that change while it runs, and no trace of
//! them anywhere else.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use backoffice::{live::CursorKeys, secrets::Secrets};
use events::TenantId;
use reqwest::{Method, StatusCode};
use secrecy::zeroize::Zeroizing;
use serde_json::json;
use ulid::Ulid;

use crate::support::{desktop::Desktop, service::World, wait};

#[tokio::test(flavor = "multi_thread")]
async fn se_01_keys_change_while_the_service_runs_and_refuse_nobody() {
    let world = World::start().await;
    let service = world.service().await;
    let tenant: TenantId = world.simulator.tenant_ids()[0].parse().unwrap();
    let mut desktop = Desktop::sign_in(&world, tenant.as_str(), json!({})).await;
    let before = desktop.get(&service, "/live/poll?waitMs=0").await;
    let old_cursor = before.body["next"].as_str().unwrap().to_owned();
    let (live_key, nonce_key) = (secret(), secret());

    replace(world.secrets_dir(), "sse-signing-key", &live_key);
    replace(world.secrets_dir(), "dpop-nonce-key", &nonce_key);
    wait::until("both are taken up", async || {
        let said = service.log();
        said.contains(r#""live":true"#) && said.contains(r#""nonce":true"#)
    })
    .await;

    // A proof under the old nonce and a cursor under the old key.
    let path = format!("/live/poll?waitMs=0&after={old_cursor}");
    let answer = desktop.bare(&service, &Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers().contains_key("dpop-nonce"), "a nonce of the new key is handed out");
    let answer = desktop.get(&service, &path).await;
    let next = answer.body["next"].as_str().unwrap();
    let new_keys = CursorKeys::new(live_key.clone().into(), Vec::new());
    assert!(new_keys.decode(&tenant, next).is_ok(), "the new key seals");
    assert!(new_keys.decode(&tenant, &old_cursor).is_err());

    replace(world.secrets_dir(), "sse-signing-key", "short");
    wait::until("the alarm", async || service.log().contains("those of before stay")).await;
    let answer = desktop.get(&service, &path).await;
    let next = answer.body["next"].as_str().unwrap();
    assert!(new_keys.decode(&tenant, next).is_ok(), "the last usable key stays");
    replace(world.secrets_dir(), "sse-signing-key", &live_key);

    replace(world.secrets_dir(), "pepper", &secret());
    wait::until("the alarm", async || service.log().contains("not changed while")).await;
    assert_eq!(desktop.get(&service, "/alerts").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn se_01_a_start_with_an_unusable_secret_is_refused_and_names_the_file_only() {
    let world = World::start().await;
    let path = world.secrets_dir().join("pepper");
    for (name, mode, content, expected) in [
        ("readable by others", 0o444, secret(), "other users"),
        ("short", 0o400, "hunter2".to_owned(), "must hold 32 to 4096 bytes"),
        ("empty", 0o400, String::new(), "must hold 32 to 4096 bytes"),
        ("two lines", 0o400, format!("{}\n{}", secret(), secret()), "one line"),
    ] {
        replace(world.secrets_dir(), "pepper", &content);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (started, said) = world.run(&["relay", "redrive"]);
        assert!(
            !started && said.contains("SECRETS_DIR") && said.contains("pepper"),
            "{name}: {said}"
        );
        assert!(said.contains(expected), "{name}: {said}");
        assert!(content.is_empty() || !said.contains(&content), "{name}: {said}");
    }
    fs::remove_file(&path).unwrap();
    let (started, said) = world.run(&["relay", "redrive"]);
    assert!(!started && said.contains("cannot be read"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn se_02_a_running_service_shows_its_secrets_nowhere_and_dumps_no_memory() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &world.simulator.tenant_ids()[0], json!({})).await;
    desktop.get(&service, "/bootstrap").await;
    let process = Path::new("/proc").join(service.process_id().to_string());
    let read =
        |name: &str| String::from_utf8_lossy(&fs::read(process.join(name)).unwrap()).into_owned();

    let limits = read("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");

    let metrics = reqwest::get(format!("{}/metrics", service.admin_url)).await.unwrap();
    let places = [
        ("environment", read("environ")),
        ("arguments", read("cmdline")),
        ("log", service.log()),
        ("metrics", metrics.text().await.unwrap()),
    ];
    for ((place, text), known) in
        places.iter().zip(["SECRETS_DIR", "serve", "/bootstrap", "bff_backoffice_request_total"])
    {
        assert!(text.contains(known), "what is looked through is the {place}: {text}");
    }
    for file in fs::read_dir(world.secrets_dir()).unwrap() {
        let secret = fs::read_to_string(file.unwrap().path()).unwrap();
        for (place, text) in &places {
            assert!(!text.contains(secret.trim()), "a secret in the {place}");
        }
    }
    let (token, proof_key) = (desktop.text("accessToken"), "\"d\":");
    assert!(!places[2].1.contains(token) && !places[2].1.contains(proof_key));
}

/// Written and compared so that the test itself never holds what it looks for.
const NEEDLE_REVERSED: &[u8] = b"yranac-esioreZ";

#[test]
fn se_02_a_dropped_secret_is_gone_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    for name in
        ["pepper", "sse-signing-key", "dpop-nonce-key", "personal-data-key", "sync-signing-key"]
    {
        // By another process, so that no buffer of this one has had it.
        let script =
            "printf '%s%s%s' Zeroise -canary 0123456789012345678901234 > \"$1\"; chmod 400 \"$1\"";
        let path = folder.path().join(name);
        let written = Command::new("sh").args(["-c", script, "sh"]).arg(path).status();
        assert!(written.unwrap().success());
    }
    let secrets = Secrets::read(folder.path()).unwrap();
    let copy = secrets.clone();
    let held = occurrences();
    assert!(8 <= held, "found where it is known to be: {held}");

    drop((secrets, copy));

    assert_eq!(occurrences(), 0);
}

/// How often the needle stands in the writable memory of this process.
fn occurrences() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = fs::File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with("rw") || rest.ends_with("[vvar]") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let (mut at, end) = (address(start), address(end));
        let mut piece = Zeroizing::new(vec![0; 1 << 16]);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap().min(piece.len());
            if memory.seek(SeekFrom::Start(at)).is_err()
                || memory.read_exact(&mut piece[..wanted]).is_err()
            {
                break;
            }
            found += piece[..wanted]
                .windows(NEEDLE_REVERSED.len())
                .filter(|window| window.iter().rev().eq(NEEDLE_REVERSED))
                .count();
            // Otherwise this very buffer would be found.
            piece.fill(0);
            at += u64::try_from(wanted).unwrap();
        }
    }
    found
}

fn secret() -> String {
    (0..2).map(|_| Ulid::generate().to_string()).collect()
}

/// As a rotation does: the file is exchanged, never half written.
fn replace(folder: &Path, name: &str, content: &str) {
    let temporary = folder.join(format!("{name}.new"));
    fs::write(&temporary, content).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o400)).unwrap();
    fs::rename(temporary, folder.join(name)).unwrap();
}
