//! The declarations as the engine uses them.

use std::collections::{BTreeMap, HashMap};

use neuraxis_sdk::frames::Effect;
use nx_types::{Duration, Resource};

use super::{agent::AgentSpec, toolset::ToolsetSpec};

/// All that is declared in a namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    agents: BTreeMap<String, AgentRules>,
    tools: HashMap<String, BTreeMap<String, ToolRules>>,
}

/// What is declared of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentRules {
    /// How long after its creation a run ends at the latest.
    pub deadline: Option<Duration>,
    /// Most steps.
    pub steps: Option<u64>,
    /// Most runs that workers execute at once.
    pub concurrency: Option<u32>,
    /// Versions of the code that take new runs; empty is any.
    pub versions: Vec<String>,
    /// Go on with the version that a run began with, for as long as a worker offers it.
    pub sticky: bool,
}

/// What is declared of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolRules {
    /// What calling it does to the world.
    pub effect: Effect,
    /// The tool that undoes it.
    pub undo: Option<String>,
    /// The tool that tells whether a call took place.
    pub probe: Option<String>,
    /// How long the outside honours an idempotency key.
    pub key_window: Option<Duration>,
    /// Longest time of one call.
    pub timeout: Option<Duration>,
}

impl Declared {
    /// Reads Agents and Toolsets among the resources; others, and specs that do not fit their kind, are left out (the
    /// registry has refused those).
    pub fn of<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let mut declared = Self::default();
        for resource in resources {
            let name = resource.metadata.name.clone();
            match resource.kind.as_str() {
                "Agent" => {
                    if let Ok(spec) = serde_json::from_value::<AgentSpec>(resource.spec.clone()) {
                        declared.agents.insert(name, agent_rules(spec));
                    }
                }
                "Toolset" => {
                    if let Ok(spec) = serde_json::from_value::<ToolsetSpec>(resource.spec.clone()) {
                        declared.tools.insert(name, tool_rules(&spec));
                    }
                }
                _ => {}
            }
        }
        declared
    }

    /// What is declared of an agent.
    pub fn agent(&self, name: &str) -> Option<&AgentRules> {
        self.agents.get(name)
    }

    /// What is declared of a tool.
    pub fn tool(&self, toolset: &str, tool: &str) -> Option<&ToolRules> {
        self.tools.get(toolset)?.get(tool)
    }

    /// The agents' names.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        self.agents.keys().map(String::as_str)
    }
}

fn agent_rules(spec: AgentSpec) -> AgentRules {
    AgentRules {
        deadline: spec.limits.deadline,
        steps: spec.limits.steps,
        concurrency: spec.limits.concurrency,
        versions: spec.workers.versions,
        sticky: spec.workers.sticky,
    }
}

fn tool_rules(spec: &ToolsetSpec) -> BTreeMap<String, ToolRules> {
    let rules = |tool: &super::toolset::Tool| ToolRules {
        effect: tool.effect.unwrap_or(Effect::Once),
        undo: tool.undo.clone(),
        probe: tool.probe.clone(),
        key_window: tool.key_window,
        timeout: tool.timeout,
    };
    spec.tools.iter().map(|(name, tool)| (name.clone(), rules(tool))).collect()
}
