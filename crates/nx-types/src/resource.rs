//! The envelope of declared intent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{id::Namespace, time::Timestamp};

/// The one version of the envelope.
pub const API_VERSION: &str = "neuraxis/v1";

/// Declared intent: `spec` is what should be, `status` what a controller reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// [`API_VERSION`].
    pub api_version: String,
    /// The kind: `Agent`, `Reflex`, …
    pub kind: String,
    /// Name, namespace, annotations.
    pub metadata: Metadata,
    /// What should be; the kind's schema says its shape.
    #[serde(default)]
    pub spec: serde_json::Value,
    /// What is, as the kind's controller reports it; ignored on `apply`.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub status: serde_json::Value,
}

/// A resource's name and what the store knows of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// 1 to 63 of a-z, 0-9 and `-`.
    pub name: String,
    /// The namespace; `default` when left out.
    #[serde(default)]
    pub namespace: Namespace,
    /// Free texts of the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How often `spec` has changed, from 1. Set by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The stored row's version, for optimistic concurrency. Set by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<u64>,
    /// When it was first applied. Set by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}
