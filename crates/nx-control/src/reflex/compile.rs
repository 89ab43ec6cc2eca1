//! A reflex's spec with its expressions compiled.

use std::collections::BTreeMap;

use nx_types::{Duration, EventType, FieldError, Header, Label, LabelId};
use serde_json::{Map, Value, json};

use crate::{
    expression::{Bindings, ExpressionError, Template},
    kinds::reflex::{EmitAction, InferAction, ReflexSpec, RunAction, WindowSpec, at, single},
};

/// What expressions see before the window is known.
const EVENT: &[&str] = &["event"];
/// What conditions and actions see.
const ALL: &[&str] = &["event", "window"];

/// A reflex, ready to be asked.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) types: Vec<EventType>,
    /// The label that events of the wanted source carry.
    pub(crate) labels: Option<[LabelId; 2]>,
    pub(crate) debounce: Option<Duration>,
    pub(crate) by: Template,
    pub(crate) when: Option<Template>,
    pub(crate) window: Option<Window>,
    pub(crate) action: Action,
}

/// A window's expressions.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) over: Duration,
    pub(crate) limit: usize,
    pub(crate) of: Option<Template>,
    pub(crate) filter: Option<Template>,
}

/// What to do, compiled.
#[derive(Debug)]
pub(crate) enum Action {
    Run { agent: String, key: Option<Template>, input: Template },
    Emit { kind: EventType, subject: Template, data: Template },
    Infer { model: String, subject: Template, field: &'static str, given: Template, context: Option<Template> },
}

/// What to do about one event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rendered {
    Run {
        agent: String,
        key: Option<String>,
        input: Value,
    },
    Emit {
        kind: EventType,
        subject: String,
        data: Value,
    },
    /// `request` is what the event `model.requested` says.
    Infer {
        model: String,
        subject: String,
        request: Value,
    },
}

impl Program {
    pub(crate) fn compile(spec: &ReflexSpec) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let by = collect(&mut errors, template(&Value::from(spec.by.as_str()), EVENT, "/spec/by"));
        let when = spec.when.as_deref().map(|text| collect(&mut errors, single(text, ALL, "/spec/when")));
        let window = spec.window.as_ref().map(|window| Window::compile(window, &mut errors));
        let action = match (&spec.run, &spec.emit, &spec.infer) {
            (Some(run), _, _) => Action::run(run, &mut errors),
            (None, Some(emit), _) => Action::emit(emit, &mut errors),
            (None, None, Some(infer)) => Action::infer(infer, &mut errors),
            (None, None, None) => None,
        };
        let (Some(by), Some(action), true) = (by, action, errors.is_empty()) else { return Err(errors) };
        Ok(Self {
            types: spec.on.as_slice().to_vec(),
            labels: spec.source.as_deref().map(|name| [true, false].map(|trusted| source_label(name, trusted).id())),
            debounce: spec.debounce,
            by,
            when: when.flatten(),
            window: window.flatten(),
            action,
        })
    }

    /// Whether the reflex listens to the event.
    pub(crate) fn hears(&self, header: &Header) -> bool {
        self.types.contains(&header.kind)
            && self.labels.is_none_or(|labels| header.label.is_some_and(|label| labels.contains(&label)))
    }
}

/// The label of what a source brings in.
pub(crate) fn source_label(name: &str, trusted: bool) -> Label {
    let source = format!("source/{name}");
    if trusted { Label::from_source(source) } else { Label::untrusted(&source) }
}

impl Window {
    fn compile(spec: &WindowSpec, errors: &mut Vec<FieldError>) -> Option<Self> {
        let before = errors.len();
        let of = spec.of.as_deref().map(|text| collect(errors, single(text, EVENT, "/spec/window/of")));
        let filter = spec.filter.as_deref().map(|text| collect(errors, single(text, EVENT, "/spec/window/where")));
        let window = Self { over: spec.over, limit: spec.limit as usize, of: of.flatten(), filter: filter.flatten() };
        (errors.len() == before).then_some(window)
    }
}

impl Action {
    fn run(spec: &RunAction, errors: &mut Vec<FieldError>) -> Option<Self> {
        let key = spec.key.as_deref().map(|key| collect(errors, template(&Value::from(key), ALL, "/spec/run/key")));
        let input = collect(errors, template(&spec.input, ALL, "/spec/run/input"))?;
        Some(Self::Run { agent: spec.agent.clone(), key: key.flatten(), input })
    }

    fn emit(spec: &EmitAction, errors: &mut Vec<FieldError>) -> Option<Self> {
        let subject = template(&Value::from(spec.subject.as_str()), ALL, "/spec/emit/subject");
        let subject = collect(errors, subject);
        let data = collect(errors, template(&spec.data, ALL, "/spec/emit/data"));
        Some(Self::Emit { kind: spec.kind.clone(), subject: subject?, data: data? })
    }

    fn infer(spec: &InferAction, errors: &mut Vec<FieldError>) -> Option<Self> {
        let subject = template(&Value::from(spec.subject.as_str()), ALL, "/spec/infer/subject");
        let subject = collect(errors, subject);
        let (field, given) = match &spec.inputs {
            Some(inputs) => ("inputs", inputs),
            None => ("input", spec.input.as_ref()?),
        };
        let given = collect(errors, template(given, ALL, &format!("/spec/infer/{field}")));
        let carried = (!spec.context.is_null()).then(|| template(&spec.context, ALL, "/spec/infer/context"));
        let context = carried.map(|context| collect(errors, context));
        Some(Self::Infer {
            model: spec.model.clone(),
            subject: subject?,
            field,
            given: given?,
            context: context.flatten(),
        })
    }

    pub(crate) fn render(&self, input: &Bindings) -> Result<Rendered, ExpressionError> {
        Ok(match self {
            Self::Run { agent, key, input: template } => Rendered::Run {
                agent: agent.clone(),
                key: key.as_ref().map(|key| key.render_text(input)).transpose()?,
                input: template.render(input)?,
            },
            Self::Emit { kind, subject, data } => {
                Rendered::Emit { kind: kind.clone(), subject: subject.render_text(input)?, data: data.render(input)? }
            }
            Self::Infer { model, subject, field, given, context } => {
                let subject = subject.render_text(input)?;
                let mut request = Map::new();
                request.insert("model".to_owned(), Value::from(model.as_str()));
                request.insert("subject".to_owned(), Value::from(subject.as_str()));
                request.insert((*field).to_owned(), given.render(input)?);
                if let Some(context) = context {
                    request.insert("context".to_owned(), context.render(input)?);
                }
                Rendered::Infer { model: model.clone(), subject, request: request.into() }
            }
        })
    }
}

fn template(value: &Value, variables: &[&str], pointer: &str) -> Result<Template, Vec<FieldError>> {
    Template::compile(value, variables).map_err(|errors| at(pointer, errors))
}

fn collect<T>(errors: &mut Vec<FieldError>, result: Result<T, Vec<FieldError>>) -> Option<T> {
    result.map_err(|found| errors.extend(found)).ok()
}

/// What expressions see of an event.
pub(crate) fn bind(header: &Header, data: &Value) -> Bindings {
    let mut input = Bindings::default();
    let fields = BTreeMap::from([
        ("type", Value::from(header.kind.as_str())),
        ("subject", Value::from(header.subject.as_str())),
        ("id", Value::from(header.id.to_string())),
        ("seq", Value::from(header.seq.0)),
        ("data", data.clone()),
    ]);
    input.set_map("event", &fields, &BTreeMap::from([("time", header.occurred)]));
    input.set("window", &json!({}));
    input
}
