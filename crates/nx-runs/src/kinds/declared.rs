//! The declarations as the engine uses them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use neuraxis_sdk::frames::Effect;
use nx_guard::{
    policy::{Policy, PolicySet, PolicySpec, with_default},
    tool::{Tool, Tools},
};
use nx_types::{Duration, Resource};

use super::{agent::AgentSpec, toolset::ToolsetSpec};
use crate::Error;

/// All that is declared in a namespace.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    agents: BTreeMap<String, AgentRules>,
    tools: HashMap<String, BTreeMap<String, ToolRules>>,
    policies: Option<Arc<PolicySet>>,
    warnings: Vec<String>,
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
#[derive(Debug, Clone, PartialEq)]
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
    /// The tool as the guard sees it.
    pub guard: Arc<Tool>,
}

impl Declared {
    /// Reads Agents, Toolsets and Policies among the resources; others, and specs that do not fit their kind, are left out (the
    /// registry has refused those).
    pub fn of<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let mut declared = Self::default();
        let mut policies = Vec::new();
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
                        let rules = tool_rules(&name, &spec);
                        declared.tools.insert(name, rules);
                    }
                }
                "Policy" => {
                    if let Ok(spec) = serde_json::from_value::<PolicySpec>(resource.spec.clone()) {
                        policies.push(Policy { name, revision: resource.metadata.generation.unwrap_or(1), spec });
                    }
                }
                _ => {}
            }
        }
        declared.policies = declared.compile(policies);
        declared
    }

    /// The policies with those that ship. A policy that fits by itself but not with the others is left out, loudly: the
    /// registry has refused it unless what it refers to has changed since.
    fn compile(&mut self, policies: Vec<Policy>) -> Option<Arc<PolicySet>> {
        let tools = self.guard_tools();
        match PolicySet::compile(&with_default(policies), &tools) {
            Ok(compiled) => {
                self.warnings = compiled.warnings.iter().map(ToString::to_string).collect();
                Some(Arc::new(compiled.set))
            }
            Err(error) => {
                tracing::error!(%error, "policies do not compile; every guarded call is refused until they do");
                None
            }
        }
    }

    /// Every tool that is declared, as the guard sees it.
    pub(crate) fn guard_tools(&self) -> Tools {
        let tools = self.tools.values().flat_map(BTreeMap::values).map(|rules| (*rules.guard).clone());
        Tools::new(tools).unwrap_or_default()
    }

    /// What is doubtful about the policies, in words.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The policies of the namespace.
    pub fn policies(&self) -> Result<&PolicySet, Error> {
        match &self.policies {
            Some(set) => Ok(set),
            None => {
                Err(Error::invalid("the policies of the namespace do not compile; `neuraxis policy test` says why"))
            }
        }
    }

    /// The policies of a namespace that declares none: those that ship.
    pub fn shipped() -> &'static PolicySet {
        static SHIPPED: LazyLock<PolicySet> = LazyLock::new(|| {
            let compiled = PolicySet::compile(&with_default(Vec::new()), &Tools::default());
            #[expect(clippy::expect_used, reason = "a test compiles what ships")]
            compiled.expect("the policies that ship compile").set
        });
        &SHIPPED
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

fn tool_rules(toolset: &str, spec: &ToolsetSpec) -> BTreeMap<String, ToolRules> {
    let rules = |name: &str, tool: &super::toolset::Tool| ToolRules {
        guard: Arc::new(super::toolset::guarded(toolset, name, tool)),
        effect: tool.effect.unwrap_or(Effect::Once),
        undo: tool.undo.clone(),
        probe: tool.probe.clone(),
        key_window: tool.key_window,
        timeout: tool.timeout,
    };
    spec.tools.iter().map(|(name, tool)| (name.clone(), rules(name, tool))).collect()
}
