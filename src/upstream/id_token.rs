//! How we prove to a service who we are: a Google ID token for its audience, or a fixed one in
//! development.

use std::collections::HashMap;

use google_cloud_auth::credentials::idtoken::{self, IDTokenCredentials};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Service;

/// Where ID tokens come from.
#[derive(Clone, Debug)]
pub enum Settings {
    /// The same text for every service: development and tests.
    Static(SecretString),
    /// Minted for each audience by the platform's credentials (on Cloud Run: the metadata server).
    Google,
}

/// No credentials could be built for a service.
#[derive(Debug, thiserror::Error)]
#[error("no identity for {service}")]
pub struct BuildError {
    pub service: Service,
    #[source]
    source: google_cloud_auth::build_errors::Error,
}

/// No token could be had now.
#[derive(Debug, thiserror::Error)]
#[error("no id token")]
pub struct IdTokenError(#[source] google_cloud_auth::errors::CredentialsError);

/// The tokens of all services. Google's client keeps each cached and refreshes it ahead of its end.
pub(super) enum IdTokens {
    Static(SecretString),
    Google(HashMap<Service, IDTokenCredentials>),
}

impl IdTokens {
    /// The audience of a service is the origin it is reached at.
    ///
    /// # Errors
    /// The platform's credentials are missing or of a kind that mints no ID tokens.
    pub(super) fn new(
        settings: &Settings,
        base_urls: &HashMap<Service, Url>,
    ) -> Result<Self, BuildError> {
        match settings {
            Settings::Static(token) => Ok(Self::Static(token.clone())),
            Settings::Google => base_urls
                .iter()
                .map(|(&service, base_url)| {
                    idtoken::Builder::new(base_url.origin().ascii_serialization())
                        .build()
                        .map(|credentials| (service, credentials))
                        .map_err(|source| BuildError { service, source })
                })
                .collect::<Result<_, _>>()
                .map(Self::Google),
        }
    }

    /// # Errors
    /// The platform mints none now.
    pub(super) async fn token(&self, service: Service) -> Result<String, IdTokenError> {
        match self {
            Self::Static(token) => Ok(token.expose_secret().to_owned()),
            Self::Google(credentials) => {
                credentials[&service].id_token().await.map_err(IdTokenError)
            }
        }
    }
}
