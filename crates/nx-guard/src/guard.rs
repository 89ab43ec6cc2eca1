//! The guard of a set of tools: what enters a run is labelled as its tool declares, what leaves it is traced and put
//! before the policies. It allows nothing by itself, and an error never means yes.

use std::{collections::BTreeSet, sync::Arc};

use nx_types::{Label, SharedLabel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error,
    call::{Call, Facts, Scores},
    decision::Decision,
    label::Labelled,
    origin::{Context, Limits, Planned},
    tool::{Effect, Output, Tool, Tools},
};

/// The name of the tool that a text leaving the run counts as a call of.
pub const OUTPUT: &str = "output";
/// The source that the trusted request has.
pub const REQUEST: &str = "request";
/// What the sources of extracted values begin with.
pub const EXTRACT: &str = "extract/";
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
    /// The event that holds it, by its place in the run.
    pub event: Option<u64>,
    /// Its result, or the text of its error, which nobody vouches for.
    pub result: Result<&'a Arc<Value>, &'a str>,
    /// What the detectors say of it.
    pub scores: Scores,
}

/// How a value that a tool gave back was labelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its labels.
    pub labels: Labelled,
    /// For an extraction: what came of it.
    pub endorsed: Option<Endorsed>,
}

/// What came of an extraction: an untrusted text's value becomes trusted, because it can say so little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsed {
    /// Most bits that the value carries.
    pub bits: u32,
    /// What it was made from: the sources of the run's context.
    pub from: BTreeSet<String>,
    /// Why it was not endorsed: what does not fit the shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The labels of what a tool gave back.
pub fn see(tool: &Tool, context: &Context, observed: &Observed<'_>) -> Seen {
    let source = observed.source;
    let suspect = observed.scores.injection >= SUSPECT || observed.result.is_err();
    let (Some(extract), Ok(value)) = (&tool.output.extract, observed.result) else {
        let nothing = Value::Null;
        let value = observed.result.map_or(&nothing, |value| value);
        return Seen { labels: tool.output.labels(source, value, suspect), endorsed: None };
    };
    let joined = context.joined();
    let refused = extract.check(value, &|source, value| context.vouches(source, value)).err();
    let label = if refused.is_some() {
        (**joined).clone().join(&Label::untrusted(source))
    } else {
        // What may not be read by everyone stays so: only trust is endorsed.
        let label = Label::from_source(format!("{EXTRACT}{source}"));
        Label { readers: joined.readers.clone(), purposes: joined.purposes.clone(), ..label }
    };
    let endorsed = Endorsed { bits: extract.bits(), from: joined.sources.clone(), refused };
    Seen { labels: Labelled::uniform(SharedLabel::new(label)), endorsed: Some(endorsed) }
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
        let mut context = Context::new(request, limits)?;
        if let Some(plan) = plan {
            for step in &plan {
                self.tools.get(&step.tool)?;
            }
            context.seal(plan)?;
        }
        Ok(context)
    }

    /// Takes in what a tool gave back, and says with which labels. An error leaves the context trusting less, never more.
    pub fn observe(&self, context: &mut Context, observed: &Observed<'_>) -> Result<Seen, Error> {
        let tool = match self.tools.get(observed.tool) {
            Ok(tool) => tool,
            Err(unknown) => {
                context.blind(observed.source);
                return Err(unknown);
            }
        };
        let seen = see(tool, context, observed);
        match observed.result {
            Ok(value) => context.add(observed.source, observed.event, value, seen.labels.clone())?,
            Err(text) => context.add(observed.source, observed.event, &Arc::new(text.into()), seen.labels.clone())?,
        }
        Ok(seen)
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
