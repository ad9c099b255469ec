//! What is asked of a service, on whose behalf, and what it answered.

use events::{DeviceId, OperatorId, PropertyId, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use ulid::Ulid;

use super::{Service, UpstreamError};

/// One call.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub service: Service,
    pub method: Method,
    /// From the service's base, with its leading slash; ids stand in it as they are.
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    /// `None` where the service finds the tenant itself, from what the body proves.
    pub tenant_id: Option<&'a TenantId>,
    pub context: &'a CallContext,
    /// The key under which the service recognises a repetition. A mutation without one is sent
    /// once.
    pub idempotency_key: Option<&'a str>,
    /// Beyond those every call carries: `If-Match`, an attestation.
    pub headers: HeaderMap,
    pub body: Option<Value>,
    /// When the caller stops waiting; the service's own timeout ends an attempt earlier.
    pub deadline: Option<Instant>,
}

/// On whose behalf a call is made; absent members are not sent.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    pub operator_id: Option<OperatorId>,
    pub device_id: Option<DeviceId>,
    pub property_id: Option<PropertyId>,
    pub roles: Vec<String>,
    /// ULID.
    pub request_id: String,
    /// W3C trace context with our own span.
    pub traceparent: String,
    /// BCP 47.
    pub locale: Option<String>,
}

/// What a service answered with 2xx or 3xx.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Quotes and all.
    pub etag: Option<String>,
    /// `Null` when the answer has no body.
    pub body: Value,
}

impl<'a> Call<'a> {
    pub fn new(
        service: Service,
        method: Method,
        path: String,
        tenant_id: &'a TenantId,
        context: &'a CallContext,
    ) -> Self {
        let call = Self::of_no_tenant(service, method, path, context);
        Self { tenant_id: Some(tenant_id), ..call }
    }

    /// A call whose tenant the service finds itself.
    pub fn of_no_tenant(
        service: Service,
        method: Method,
        path: String,
        context: &'a CallContext,
    ) -> Self {
        Self {
            service,
            method,
            path,
            query: Vec::new(),
            tenant_id: None,
            context,
            idempotency_key: None,
            headers: HeaderMap::new(),
            body: None,
            deadline: None,
        }
    }

    /// Anything but a read.
    pub fn is_mutation(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// The headers of a request, but for the body's and the identity's; `None` when a value does
    /// not fit.
    pub(super) fn request_headers(&self) -> Option<HeaderMap> {
        let context = self.context;
        let roles = context.roles.join(",");
        let optional = [
            ("x-tenant-id", self.tenant_id.map(TenantId::as_str)),
            ("x-property-id", context.property_id.as_ref().map(PropertyId::as_str)),
            ("x-device-id", context.device_id.as_ref().map(DeviceId::as_str)),
            ("x-operator-id", context.operator_id.as_ref().map(OperatorId::as_str)),
            ("x-operator-roles", Some(roles.as_str()).filter(|roles| !roles.is_empty())),
            // Some services read the one, some the other.
            ("idempotency-key", self.idempotency_key),
            ("x-idempotency-key", self.idempotency_key),
            ("x-request-id", Some(context.request_id.as_str())),
            ("traceparent", Some(context.traceparent.as_str())),
            (header::ACCEPT_LANGUAGE.as_str(), context.locale.as_deref()),
        ];
        let mut headers = self.headers.clone();
        for (name, value) in optional {
            if let Some(value) = value {
                let value = HeaderValue::from_str(value).ok()?;
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Some(headers)
    }
}

impl Answer {
    /// The body as `T`, which reads only the members it knows.
    ///
    /// # Errors
    /// [`UpstreamError::Failed`] when the body has another shape.
    pub fn read<T: DeserializeOwned>(self, service: Service) -> Result<T, UpstreamError> {
        serde_json::from_value(self.body).map_err(|source| UpstreamError::Failed {
            service,
            status: Some(self.status),
            source: Some(source.into()),
        })
    }
}

impl CallContext {
    /// For calls the service makes for itself, on no operator's behalf.
    pub fn internal() -> Self {
        let trace_id = Ulid::generate().0;
        let span_id = Ulid::generate().random() & u128::from(u64::MAX) | 1;
        Self {
            request_id: Ulid::generate().to_string(),
            traceparent: format!("00-{trace_id:032x}-{span_id:016x}-01"),
            ..Self::default()
        }
    }
}
