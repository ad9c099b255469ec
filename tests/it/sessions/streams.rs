//! Live streams whose token or session ends.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{happened, tenant};
use crate::support::{desktop::Desktop, service::World};

/// A stream looks whether its session stands before each heartbeat.
const RECHECKED_WITHIN: Duration = Duration::from_secs(16);

#[tokio::test(flavor = "multi_thread")]
async fn ss_03_a_stream_ends_with_its_token_and_says_so() {
    let world = World::start().await;
    let service = world.service().await;
    let lifetime = Duration::from_secs(4);
    let signed_in_at = Instant::now();
    let options = json!({ "ttlSeconds": lifetime.as_secs() });
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), options).await;
    let mut live = desktop.live(&service, "").await;

    let goodbye = live.next_of("reauth").await;

    assert!(goodbye["nonce"].is_string(), "for the proof of the refresh");
    let lived = signed_in_at.elapsed();
    // The token's times are whole seconds, cut off.
    assert!(lifetime <= lived + Duration::from_secs(1), "{lived:?}");
    assert!(lived < lifetime + Duration::from_secs(2), "{lived:?}");
    let alert = json!({ "propertyId": desktop.property(), "severity": "high", "title": "Late" });
    let subject = "melmastoon.notification.alert.raised.v1";
    happened(&world, desktop.text("tenantId"), subject, alert).await;
    assert!(live.ends().await);
    assert_eq!(live.unheard(), 0, "nothing after the token's end");
}

#[tokio::test(flavor = "multi_thread")]
async fn ss_04_a_stream_of_a_revoked_session_device_or_tenant_is_closed() {
    let world = World::start().await;
    let service = world.service().await;
    for (number, subject, member) in [
        (0, "melmastoon.iam.session.revoked.v1", "sessionId"),
        (1, "melmastoon.iam.device.revoked.v1", "deviceId"),
        (2, "melmastoon.tenant.suspended.v1", "nothing"),
    ] {
        let tenant_id = tenant(&world, number);
        let sid = format!("ses_of_{number}");
        let options = json!({ "claims": { "sid": sid } });
        let mut desktop = Desktop::sign_in(&world, &tenant_id, options).await;
        let mut live = desktop.live(&service, "").await;
        let id = if member == "sessionId" { sid } else { desktop.text("deviceId").to_owned() };
        let payload = json!({ member: id, "userId": desktop.text("operatorId") });

        let revoked_at = Instant::now();
        happened(&world, &tenant_id, subject, payload).await;

        live.next_of("force-logout").await;
        assert!(live.ends().await);
        assert!(revoked_at.elapsed() < Duration::from_secs(5), "{:?}", revoked_at.elapsed());
        assert_eq!(live.unheard(), 0, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ss_04_a_fence_nobody_was_told_of_ends_the_stream_before_its_next_heartbeat() {
    let world = World::start().await;
    let service = world.service().await;
    let mut fenced = Vec::new();
    for area in ["session", "device", "tenant"] {
        let number = fenced.len();
        let tenant_id = tenant(&world, number);
        let sid = format!("ses_of_{number}");
        let options = json!({ "claims": { "sid": sid } });
        let mut desktop = Desktop::sign_in(&world, &tenant_id, options).await;
        let live = desktop.live(&service, "").await;
        let key = match area {
            "session" => format!("{{{tenant_id}}}:fence:session:{sid}"),
            "device" => format!("{{{tenant_id}}}:fence:device:{}", desktop.text("deviceId")),
            _ => format!("{{{tenant_id}}}:fence:tenant"),
        };
        // Far ahead, so that every token is older.
        world.session_tier.command(&["SET", &key, "9999999999999"]).await;
        fenced.push((area, live));
    }
    for (area, live) in &mut fenced {
        let goodbye = live.next_of_within("force-logout", RECHECKED_WITHIN).await;
        assert_eq!(goodbye["reason"], "revoked", "{area}");
        assert!(live.ends().await);
    }
}
