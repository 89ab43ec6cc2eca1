//! The forms of texts and numbers, named in the description.
#![expect(dead_code, reason = "each stands for the form of a text in the description and is never made")]

use utoipa::ToSchema;

/// A run's id.
#[derive(ToSchema)]
#[schema(as = RunId, value_type = String, pattern = "^r_[0-9a-hjkmnp-tv-z]{16}$")]
pub(crate) struct Run(String);

/// An approval's id.
#[derive(ToSchema)]
#[schema(as = ApprovalId, value_type = String, pattern = "^a_[0-9a-hjkmnp-tv-z]{16}$")]
pub(crate) struct Approval(String);

/// A namespace.
#[derive(ToSchema)]
#[schema(as = Namespace, value_type = String, pattern = "^[a-z][a-z0-9-]{0,62}$")]
pub(crate) struct Namespace(String);

/// A SHA-256, hexadecimal.
#[derive(ToSchema)]
#[schema(as = Digest, value_type = String, pattern = "^[0-9a-f]{64}$")]
pub(crate) struct Digest(String);

/// An instant (RFC 3339, UTC).
#[derive(ToSchema)]
#[schema(as = Instant, value_type = String, format = DateTime)]
pub(crate) struct Instant(String);

/// A place in the log, from 0.
#[derive(ToSchema)]
#[schema(as = Seq, value_type = u64)]
pub(crate) struct Seq(u64);
