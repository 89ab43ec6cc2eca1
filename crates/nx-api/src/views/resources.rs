//! Resources.

use std::collections::BTreeMap;

use nx_control::{Ingested, Page};
use nx_types::{Metadata, Namespace, Resource, Seq, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::text;

/// A manifest: what should be. `GET /api/kinds/{kind}/schema` has the kind's whole schema.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the form of a manifest in the description; it is checked against its kind, as JSON")]
pub(crate) struct Manifest {
    /// `neuraxis/v1`, also when left out.
    #[schema(nullable = false, pattern = "^neuraxis/v1$")]
    api_version: Option<String>,
    /// The kind: `Agent`, `Reflex`, …
    kind: String,
    /// Name, namespace, annotations.
    metadata: ManifestMetadata,
    /// What should be; the kind's schema says its shape.
    #[schema(value_type = Object)]
    spec: Value,
    /// Ignored: what is, is reported and not declared.
    status: Option<Value>,
}

/// A manifest's name, and what the store knows of it.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the form of a manifest in the description")]
struct ManifestMetadata {
    /// The name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    name: String,
    /// The namespace; that of the request when left out.
    #[schema(value_type = Option<text::Namespace>)]
    namespace: Option<String>,
    /// Free texts of the user.
    annotations: Option<BTreeMap<String, String>>,
    /// Ignored: set by the store.
    generation: Option<Value>,
    /// The version that is changed; a conflict if it is not the present one.
    resource_version: Option<u64>,
    /// Ignored: set by the store.
    created: Option<Value>,
}

/// A resource; secret values are left out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceBody {
    /// `neuraxis/v1`.
    api_version: String,
    /// The kind.
    kind: String,
    /// Name, namespace, annotations.
    metadata: MetadataBody,
    /// What should be, with what was left out filled in; the kind's schema says its shape.
    #[schema(value_type = Object)]
    spec: Value,
    /// What is, as the kind's controller reports it; absent where it reports nothing.
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Object, required = false)]
    status: Value,
}

impl From<Resource> for ResourceBody {
    fn from(resource: Resource) -> Self {
        let Resource { api_version, kind, metadata, spec, status } = resource;
        Self { api_version, kind, metadata: metadata.into(), spec, status }
    }
}

/// A resource's name and what the store knows of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetadataBody {
    /// The name.
    name: String,
    /// The namespace.
    #[schema(value_type = text::Namespace)]
    namespace: Namespace,
    /// Free texts of the user.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    annotations: BTreeMap<String, String>,
    /// How often `spec` has changed, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    generation: Option<u64>,
    /// The stored row's version, for optimistic concurrency.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    resource_version: Option<u64>,
    /// When it was first applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::Instant>, nullable = false)]
    created: Option<Timestamp>,
}

impl From<Metadata> for MetadataBody {
    fn from(metadata: Metadata) -> Self {
        let Metadata { name, namespace, annotations, generation, resource_version, created } = metadata;
        Self { name, namespace, annotations, generation, resource_version, created }
    }
}

/// A page of resources, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourcesBody {
    /// The resources.
    items: Vec<ResourceBody>,
    /// Pass as `cursor` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

impl From<Page> for ResourcesBody {
    fn from(page: Page) -> Self {
        Self { items: page.items.into_iter().map(ResourceBody::from).collect(), next: page.next }
    }
}

/// Events that a source took, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IngestedAllBody {
    /// Each event.
    items: Vec<IngestedBody>,
}

/// An event that a source took.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IngestedBody {
    /// Its sender's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// Its place in the log.
    #[schema(value_type = text::Seq)]
    seq: Seq,
    /// It had been recorded before; nothing was recorded now.
    duplicate: bool,
}

impl From<Vec<Ingested>> for IngestedAllBody {
    fn from(items: Vec<Ingested>) -> Self {
        let item = |Ingested { id, seq, duplicate }| IngestedBody { id, seq, duplicate };
        Self { items: items.into_iter().map(item).collect() }
    }
}
