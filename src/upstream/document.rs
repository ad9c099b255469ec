//! Fetches a small public document, such as an issuer's key set, with the limits of every other
//! call.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use url::Url;

use super::Upstream;

/// Why a document was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the document did not arrive in time")]
    Timeout,
    #[error("the document could not be fetched")]
    Failed(#[source] reqwest::Error),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the document is longer than {0} bytes")]
    TooLong(usize),
}

impl Upstream {
    /// Gets a document without any identity and without following redirects. `size_max` is in
    /// bytes; `within` spans everything from the connection to the last byte.
    ///
    /// # Errors
    /// Late, too long, unreachable, or any status but 200.
    pub async fn document(
        &self,
        url: Url,
        size_max: usize,
        within: Duration,
    ) -> Result<Bytes, DocumentError> {
        let fetching = async {
            let mut response =
                self.0.client.get(url).send().await.map_err(DocumentError::Failed)?;
            if response.status() != http::StatusCode::OK {
                return Err(DocumentError::Status(response.status().as_u16()));
            }
            let mut bytes = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(DocumentError::Failed)? {
                if size_max < bytes.len() + chunk.len() {
                    return Err(DocumentError::TooLong(size_max));
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes.freeze())
        };
        tokio::time::timeout(within, fetching).await.map_err(|_elapsed| DocumentError::Timeout)?
    }
}
