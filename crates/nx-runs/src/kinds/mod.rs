//! The kinds of resource that this frontier acts on, Agent, Toolset and Policy, and what the engine needs of them.

mod agent;
mod declared;
mod fields;
mod toolset;

pub use declared::{AgentRules, Declared, ToolRules};
pub(crate) use fields::nearest;
use nx_types::KindDescriptor;

/// The kinds, for the registry.
pub fn descriptors() -> Vec<KindDescriptor> {
    vec![agent::descriptor(), toolset::descriptor(), nx_guard::policy::descriptor()]
}
