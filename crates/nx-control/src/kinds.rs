//! The kinds that this crate acts on: `Secret`, `Reflex`, `Source`.

pub mod reflex;
pub mod secret;
pub mod source;

use nx_types::KindDescriptor;

/// First words of event types that only the part which owns them may write: an outside event or a reflex that could
/// forge one would start runs or decide approvals without anybody's leave.
const RESERVED: &[&str] = &[
    "approval",
    "artifact",
    "checkpoint",
    "incarnation",
    "key",
    "label",
    "log",
    "model",
    "namespace",
    "reflex",
    "resource",
    "run",
    "signal",
    "source",
    "step",
    "worker",
];

/// Whether events of this type are written by the product itself.
pub fn is_reserved(event_type: &str) -> bool {
    let first = event_type.split('.').next().unwrap_or(event_type);
    RESERVED.contains(&first)
}

/// Why a user's event must not have this type; `None` if it may.
fn reserved_message(event_type: &str) -> Option<String> {
    is_reserved(event_type).then(|| {
        format!("`{event_type}` is reserved: types that start so are written by Neuraxis itself; choose another")
    })
}

/// The descriptors of this crate's kinds.
pub fn kinds() -> Vec<KindDescriptor> {
    vec![
        KindDescriptor::of::<secret::SecretSpec>(
            "Secret",
            "secrets",
            "values that are sealed and never printed",
            include_str!("kinds/secret.yaml"),
        )
        .with_secret(&["/values"]),
        KindDescriptor::of::<reflex::ReflexSpec>(
            "Reflex",
            "reflexes",
            "what happens by itself when an event meets a condition: an agent runs or another event is written",
            include_str!("kinds/reflex.yaml"),
        ),
        KindDescriptor::of::<source::SourceSpec>(
            "Source",
            "sources",
            "where events come from: HTTP requests or a replayed file",
            include_str!("kinds/source.yaml"),
        ),
    ]
}
