//! Shows the screens of a property: each frame as soon as it is there.

use anyhow::{Context, ensure};
use reqwest::{Method, Response};

use super::client::{Client, Request};
use crate::output;

/// Prints the dashboard line by line as it arrives: JSON frames, or the page as a browser gets it.
///
/// # Errors
/// The service refuses it, or breaks it off.
pub async fn dashboard(client: &mut Client, property_id: &str, html: bool) -> anyhow::Result<()> {
    let path = format!("/dashboard?propertyId={property_id}");
    let accept = if html { "text/html" } else { "application/x-ndjson" };
    let headers = [("Accept", accept.to_owned())];
    let request = Request { method: Method::GET, path: &path, body: None, headers: &headers };
    let answer = client.send(&request).await?;
    let status = answer.status();
    print(answer).await.with_context(|| format!("{path} broke off its answer"))?;
    ensure!(status.is_success(), "{path} answered {status}");
    Ok(())
}

async fn print(mut answer: Response) -> anyhow::Result<()> {
    let mut rest = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            output::line(String::from_utf8_lossy(&line[..end]))?;
        }
    }
    if rest.is_empty() { Ok(()) } else { output::line(String::from_utf8_lossy(&rest)) }
}
