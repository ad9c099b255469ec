//! Follows the live stream and prints each event, through breaks, until told to stop.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    client::{Client, Request},
    frames::{Frame, FrameReader},
};
use crate::output;

/// Used until the server names another.
const PAUSE_DEFAULT: Duration = Duration::from_secs(3);
/// Attempts in a row without a single event, after which following makes no sense.
const BREAKS_MAX: u32 = 20;

/// What the command line asks for.
pub struct Following<'a> {
    pub channels: &'a [String],
    /// Stops after so many events; endless when absent.
    pub events_max: Option<u64>,
}

/// Where a stream stands; carried over its breaks.
struct Position {
    last_event_id: Option<String>,
    pause: Duration,
    events_left: Option<u64>,
    breaks: u32,
}

/// What an event means for the stream it came on.
#[derive(Debug, PartialEq, Eq)]
enum Consequence {
    Continue,
    /// Come back with the cursor, and with this nonce if there is one.
    Reconnect,
    /// The token is about to end: get a new one.
    Renew,
    /// This device has no place on the stream any more.
    Leave,
}

/// # Errors
/// The service refuses the stream, ends it for good, or breaks it too often.
pub async fn follow(client: &mut Client, following: &Following<'_>) -> anyhow::Result<()> {
    let mut position = Position {
        last_event_id: None,
        pause: PAUSE_DEFAULT,
        events_left: following.events_max,
        breaks: 0,
    };
    let path = format!("/live?channels={}", following.channels.join(","));
    loop {
        let reason = match connect(client, &path, &position).await {
            Ok(stream) => match read(client, stream, &mut position).await {
                Ok(()) => return Ok(()),
                Err(Break::Final(error)) => return Err(error),
                Err(Break::Passing(reason)) => reason,
            },
            Err(Break::Final(error)) => return Err(error),
            Err(Break::Passing(reason)) => reason,
        };
        position.breaks += 1;
        ensure!(position.breaks <= BREAKS_MAX, "gave up: {reason:#}");
        eprintln!("live: {reason:#}; resuming in {:?}", position.pause);
        tokio::time::sleep(position.pause).await;
    }
}

enum Break {
    /// Asking again would not help.
    Final(anyhow::Error),
    Passing(anyhow::Error),
}

async fn connect(client: &mut Client, path: &str, position: &Position) -> Result<Response, Break> {
    let mut headers = vec![("Accept", "text/event-stream".to_owned())];
    headers.extend(position.last_event_id.clone().map(|id| ("Last-Event-ID", id)));
    let request = Request { method: Method::GET, path, body: None, headers: &headers };
    let answer = client.send(&request).await.map_err(Break::Passing)?;
    let status = answer.status();
    if status == StatusCode::OK {
        let content_type = answer.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            return Ok(answer);
        }
        return Err(Break::Final(anyhow::anyhow!("the answer is not an event stream")));
    }
    let body = answer.text().await.unwrap_or_else(|error| error.to_string());
    let refusal = anyhow::anyhow!("the service answered {status}: {body}");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Err(Break::Passing(refusal))
    } else {
        Err(Break::Final(refusal))
    }
}

/// Prints until the stream ends; `Ok` when as many events came as were asked for.
async fn read(client: &mut Client, answer: Response, position: &mut Position) -> Result<(), Break> {
    let mut reader = FrameReader::default();
    let mut bytes = answer.bytes_stream();
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.context("the stream broke").map_err(Break::Passing)?;
        let frames = reader.push(&chunk).map_err(Break::Final)?;
        if let Some(retry_ms) = reader.retry_ms {
            position.pause = Duration::from_millis(retry_ms.clamp(100, 60_000));
        }
        for frame in frames {
            if handle(client, &frame, position).await? {
                return Ok(());
            }
        }
    }
    Err(Break::Passing(anyhow::anyhow!("the service closed the stream")))
}

/// Prints one event and acts on it; answers whether it was the last one wanted.
async fn handle(
    client: &mut Client,
    frame: &Frame,
    position: &mut Position,
) -> Result<bool, Break> {
    let event = serde_json::from_str(&frame.data)
        .with_context(|| format!("an event of {} is not JSON", frame.event))
        .map_err(Break::Final)?;
    print(frame, &event).map_err(Break::Final)?;
    position.breaks = 0;
    if frame.id.is_some() {
        position.last_event_id.clone_from(&frame.id);
    }
    if frame.event == "session"
        && let Some(nonce) = event["nonce"].as_str()
    {
        client.take_nonce(nonce).map_err(Break::Final)?;
    }
    match consequence(&frame.event, &event) {
        Consequence::Continue => (),
        Consequence::Renew => client.renew_token().await.map_err(Break::Final)?,
        Consequence::Reconnect => {
            return Err(Break::Passing(anyhow::anyhow!("the service asks to reconnect")));
        }
        Consequence::Leave => {
            return Err(Break::Final(anyhow::anyhow!("the stream is over: {}", event["kind"])));
        }
    }
    if let Some(left) = &mut position.events_left {
        *left = left.saturating_sub(1);
    }
    Ok(position.events_left == Some(0))
}

/// One line an event, so that other tools can read it.
fn print(frame: &Frame, event: &Value) -> anyhow::Result<()> {
    output::line(json!({ "id": frame.id, "event": frame.event, "data": event }))
}

fn consequence(channel: &str, event: &Value) -> Consequence {
    match (channel, event["kind"].as_str()) {
        ("session", Some("reconnect")) => Consequence::Reconnect,
        ("session", Some("reauth")) => Consequence::Renew,
        ("session", Some("force-logout" | "superseded" | "version-blocked")) => Consequence::Leave,
        _ => Consequence::Continue,
    }
}

/// # Errors
/// A name is not one of the service's channels.
pub fn check_channels(channels: &[String]) -> anyhow::Result<()> {
    for channel in channels {
        if !["ai", "alerts", "dashboard-refresh-hints", "session"].contains(&channel.as_str()) {
            bail!("{channel:?} is no channel: ai, alerts, dashboard-refresh-hints, session");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desktop::{
        client::tests::{claims, signed_in},
        scripted::ScriptedServer,
    };

    #[tokio::test]
    async fn a_broken_stream_is_resumed_behind_the_last_event_with_the_nonce_it_gave() {
        let server = ScriptedServer::start(&[
            "200 OK\nContent-Type: text/event-stream\n\n: connected\n\nretry: 100\n\n\
             id: c-1\nevent: alerts\ndata: {}\n\nid: c-2\nevent: session\n\
             data: {\"kind\":\"reconnect\",\"nonce\":\"n-9\"}\n\n",
            "200 OK\nContent-Type: text/event-stream\n\nid: c-3\nevent: ai\ndata: {}\n\n",
        ])
        .await;
        let (_folder, mut client) = signed_in(&server.url);
        let channels = ["alerts".to_owned(), "session".to_owned()];

        let following = Following { channels: &channels, events_max: Some(2) };
        follow(&mut client, &following).await.unwrap();

        let asked = server.asked();
        assert_eq!(asked[0].line, "GET /bff/backoffice/v1/live?channels=alerts,session HTTP/1.1");
        assert_eq!(asked[0].header("last-event-id"), None);
        assert_eq!(asked[1].header("last-event-id"), Some("c-2"));
        assert_eq!(claims(&asked[1])["nonce"], "n-9");
    }

    #[tokio::test]
    async fn a_refresh_hint_does_not_move_the_place_behind_which_a_stream_is_resumed() {
        let server = ScriptedServer::start(&[
            "200 OK\nContent-Type: text/event-stream\n\nretry: 100\n\n\
             id: c-1\nevent: alerts\ndata: {}\n\nevent: dashboard-refresh-hints\n\
             data: {\"kind\":\"dashboard.refresh\",\"widgets\":[\"rates\"],\"boards\":[]}\n\n",
            "200 OK\nContent-Type: text/event-stream\n\nid: c-2\nevent: ai\ndata: {}\n\n",
        ])
        .await;
        let (_folder, mut client) = signed_in(&server.url);

        let following = Following { channels: &[], events_max: Some(3) };
        follow(&mut client, &following).await.unwrap();

        assert_eq!(server.asked()[1].header("last-event-id"), Some("c-1"));
    }

    #[tokio::test]
    async fn a_stream_that_was_taken_over_is_not_fought_for() {
        let server =
            ScriptedServer::start(&["200 OK\nContent-Type: text/event-stream\n\nevent: session\n\
             data: {\"kind\":\"superseded\"}\n\n"])
            .await;
        let (_folder, mut client) = signed_in(&server.url);

        let following = Following { channels: &[], events_max: None };
        let error = follow(&mut client, &following).await.unwrap_err();

        assert!(error.to_string().contains("superseded"), "{error}");
    }

    #[test]
    fn only_the_session_channel_steers_the_stream() {
        let event = |kind: &str| json!({ "kind": kind });
        assert_eq!(consequence("alerts", &event("reconnect")), Consequence::Continue);
        assert_eq!(consequence("session", &event("reconnect")), Consequence::Reconnect);
        assert_eq!(consequence("session", &event("reauth")), Consequence::Renew);
        assert_eq!(consequence("session", &event("force-logout")), Consequence::Leave);
        assert_eq!(consequence("session", &event("superseded")), Consequence::Leave);
        assert_eq!(consequence("session", &event("hello")), Consequence::Continue);
        assert_eq!(consequence("session", &event("reset")), Consequence::Continue);
    }
}
