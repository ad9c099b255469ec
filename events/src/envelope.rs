//! What travels with an event: the metadata stored beside it and the envelope it is published in.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    DeviceId, EventId, Ledger, OperatorId, PropertyId, RetentionClass, SessionId, StreamId,
    TenantId,
};

/// Who wrote the event, from where and on whose behalf. Column `metadata`, canonical JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_id: Option<OperatorId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property_id: Option<PropertyId>,
    /// The role under which the operator was allowed to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// `win32`, `darwin` or `linux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_platform: Option<String>,
    /// `good`, `flaky` or `offline-recently`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<String>,
    /// ULID of the request that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// W3C traceparent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The instance that wrote it.
    pub producer_instance: String,
    /// Share of events of this kind that are recorded, in per mille: 1000 is all of them.
    pub sampling_per_mille: u16,
}

/// The message body on Pub/Sub: `{"envelope": {…}, "payload": {…}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    pub envelope: Envelope,
    /// The event's `data` without its personal fields, byte for byte what `leafHash` covers.
    pub payload: Value,
}

/// What a consumer needs to dedupe, order, audit and route an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    pub event_id: EventId,
    /// The kind.
    pub subject: String,
    /// The kind's version, from 1.
    pub version: u32,
    pub ledger: Ledger,
    /// Gapless over all ledgers of a shard, from 1.
    pub position: i64,
    /// Gapless in a log (tenant, ledger, period), from 0.
    pub ledger_index: i64,
    /// `2026` or `2026-11`.
    pub period: String,
    pub stream_id: StreamId,
    /// Position in the stream, from 1.
    pub stream_version: i64,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub published_at: DateTime<Utc>,
    pub producer: String,
    pub tenant_id: TenantId,
    #[serde(flatten)]
    pub metadata: Metadata,
    pub schema_uri: String,
    pub retention_class: RetentionClass,
    /// 0–1.
    pub sampling_rate: f64,
    /// Hex SHA-256 of the event's leaf.
    pub leaf_hash: String,
}
