//! Causes.

use nx_runs::service::WhyNode;
use nx_types::{Seq, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::text;

/// What happened, and what it followed from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhyBody {
    /// The place in the log.
    #[schema(value_type = text::Seq)]
    seq: Seq,
    /// The event's type.
    #[serde(rename = "type")]
    kind: String,
    /// What it is about.
    subject: String,
    /// When.
    #[schema(value_type = text::Instant)]
    time: Timestamp,
    /// One line for people: `refund/A17 €84`, `approved by lead (hash 9c…)`.
    text: String,
    /// The details that the line is made of; `null` if they were erased.
    data: Value,
    /// What it followed from; the first is the direct cause.
    #[schema(no_recursion)]
    because: Vec<Self>,
    /// A link that only joins two others; the text form passes over it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    plumbing: bool,
    /// Causes exist but were cut off by the bound of depth or breadth.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    truncated: bool,
}

impl From<WhyNode> for WhyBody {
    fn from(node: WhyNode) -> Self {
        let WhyNode { seq, kind, subject, time, text, data, because, plumbing, truncated } = node;
        let because = because.into_iter().map(Self::from).collect();
        Self { seq, kind, subject, time, text, data, because, plumbing, truncated }
    }
}
