//! The guard of a set of tools: what enters a run is labelled as its tool declares, what leaves it is traced and put
//! before the policies. It allows nothing by itself, and an error never means yes.

use nx_types::{Label, Seq};
use serde_json::Value;

use crate::{
    Error,
    call::{Call, Facts, Scores},
    decision::Decision,
    origin::{Context, Limits, Planned},
    tool::{Effect, Output, Tool, Tools, Trust},
};

/// The name of the tool that a text leaving the run counts as a call of.
pub const OUTPUT: &str = "output";
/// The source that the trusted request has.
pub const REQUEST: &str = "request";
/// Score of the injection detector from which a value is trusted no more, whatever its tool declares.
pub const SUSPECT: u8 = 90;

/// The guard of a set of tools.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    tools: Tools,
    output: Tool,
}

/// What a tool gave back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed<'a> {
    /// The tool.
    pub tool: &'a str,
    /// The source that its values are known by; the tool's name, or a part of what it serves (`mail/m_88`).
    pub source: &'a str,
    /// The journal's entry.
    pub seq: Option<Seq>,
    /// Its result, or the text of its error, which nobody vouches for.
    pub result: Result<&'a Value, &'a str>,
    /// What the detectors say of it.
    pub scores: Scores,
}

impl Guard {
    /// A guard of these tools.
    pub fn new(tools: Tools) -> Self {
        let output = Tool {
            name: OUTPUT.to_owned(),
            description: String::new(),
            input_schema: Value::Null,
            effect: Effect::Read,
            output: Output::default(),
            sinks: Some(Vec::new()),
        };
        Self { tools, output }
    }

    /// The tools.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The context of a new run, with its plan if there is one.
    pub fn begin(&self, request: &Value, plan: Option<Vec<Planned>>, limits: Limits) -> Result<Context, Error> {
        let mut context = Context::with_limits(request, REQUEST, &Label::default(), limits)?;
        if let Some(plan) = plan {
            for step in &plan {
                self.tools.get(&step.tool)?;
            }
            context.seal(plan)?;
        }
        Ok(context)
    }

    /// Takes in what a tool gave back. An error leaves the context trusting less, never more.
    pub fn observe(&self, context: &mut Context, observed: &Observed<'_>) -> Result<(), Error> {
        let suspect = observed.scores.injection >= SUSPECT;
        match (self.tools.get(observed.tool), observed.result) {
            (Ok(tool), Ok(value)) => context.add(observed.source, observed.seq, value, &tool.output, suspect),
            (Ok(tool), Err(text)) => {
                let output = Output {
                    trust: Trust::Untrusted,
                    readers: tool.output.readers.clone(),
                    purposes: tool.output.purposes.clone(),
                    ..Output::default()
                };
                context.add(observed.source, observed.seq, &Value::from(text), &output, true)
            }
            (Err(unknown), _) => {
                context.blind(observed.source);
                Err(unknown)
            }
        }
    }

    /// Decides about a call. `decide` is the policies' answer to it.
    pub fn check(
        &self,
        context: &Context,
        (tool, args): (&str, &Value),
        facts: &Facts,
        decide: &dyn Fn(&Call<'_>) -> Result<Decision, Error>,
    ) -> Result<Decision, Error> {
        let tool = self.tools.get(tool)?;
        let traced = context.trace(tool, args)?;
        let mut decision = decide(&Call { tool, traced: &traced, facts })?;
        decision.origins = traced.origins;
        Ok(decision)
    }

    /// Decides about a text that leaves the run towards the principal. `decide` is the policies' answer to it.
    pub fn output(
        &self,
        context: &Context,
        text: &str,
        facts: &Facts,
        decide: &dyn Fn(&Call<'_>) -> Result<Decision, Error>,
    ) -> Result<Decision, Error> {
        let readers = facts.roles.iter().chain([&facts.principal]).cloned().collect();
        let traced = context.trace_text(text, &readers)?;
        let mut decision = decide(&Call { tool: &self.output, traced: &traced, facts })?;
        decision.origins = traced.origins;
        Ok(decision)
    }
}
