//! The forms of what the guard's requests carry, for the description alone: `nx-guard` reads them, and names what does not
//! fit.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A tool as its program declares it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct ToolForm {
    /// Its name, for example `send_email`.
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// What it does, in words.
    #[schema(max_length = 65536, required = false)]
    description: String,
    /// The JSON Schema of its arguments.
    #[serde(rename = "inputSchema")]
    #[schema(value_type = Option<Object>)]
    input_schema: Value,
    /// What calling it does to the world; `once` when left out.
    #[schema(required = false)]
    effect: EffectForm,
    /// How far its output may be trusted; `untrusted` when left out.
    #[schema(required = false)]
    output: OutputForm,
    /// Arguments that nothing untrusted may choose: names, or pointers in which `*` is any part. When left out, all of a tool
    /// with an effect and none of a `read`.
    #[schema(max_items = 256)]
    sinks: Option<Vec<String>>,
}

/// Nothing, something that repeating does not repeat, or something that happens again with each call.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EffectForm {
    Read,
    Idempotent,
    Once,
}

/// Whether the service vouches for what it gives back, or anyone may have written it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TrustForm {
    Trusted,
    Untrusted,
}

/// A word, or the whole.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a description")]
pub(crate) enum OutputForm {
    Word(TrustForm),
    Whole(OutputPlaces),
}

/// The output of a tool, place by place: names, or pointers in which `*` is any part.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct OutputPlaces {
    /// The trust of what no place names; `untrusted` when left out.
    #[schema(required = false)]
    trust: TrustForm,
    /// Places that the service vouches for.
    #[schema(required = false, max_items = 256)]
    trusted: Vec<String>,
    /// Places that it does not vouch for; these win.
    #[schema(required = false, max_items = 256)]
    untrusted: Vec<String>,
    /// Who may read it; anyone when left out.
    readers: Option<Vec<String>>,
    /// What it may be used for; anything when left out.
    purposes: Option<Vec<String>>,
    /// The output of a quarantined extraction: `{schema, capacityBits?}`.
    #[schema(value_type = Option<Object>)]
    extract: Option<Value>,
}

/// A call of a plan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct PlannedForm {
    /// The tool.
    tool: String,
    /// Arguments that the plan fixes; it says nothing of others.
    #[schema(required = false)]
    args: BTreeMap<String, Value>,
}

/// A message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct MessageForm {
    /// Who speaks; `user` when left out.
    #[schema(required = false)]
    role: RoleForm,
    /// The text.
    content: String,
}

/// Whoever runs the model, whoever asks, the model, or data that a tool gave.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleForm {
    System,
    User,
    Assistant,
    Tool,
}
