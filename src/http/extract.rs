//! Path and query of a request, refused in our own shape.

use axum::extract::{self, FromRequestParts};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{codes::Code, problem::Problem};

/// The parameters of the route's path. What cannot be one of ours does not exist: 404.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

/// The parameters of the query. Unknown shape, or one of them twice: 400 `VALIDATION_FAILED`.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send + 'static,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|_refusal| Problem::new(Code::ResourceNotFound))
    }
}

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|_refusal| {
            // The refusal quotes what it found.
            Problem::new(Code::ValidationFailed).detail("the query cannot be read")
        })
    }
}
