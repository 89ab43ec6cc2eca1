//! CEL expressions: compiled once, evaluated under a bound that depends on the input's size alone, so that the same
//! event always has the same outcome on every machine.
//!
//! Expressions see what is handed to them and nothing else: no clock, no journal, no environment.

mod convert;
mod limits;
mod template;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, LazyLock},
    thread,
};

use cel::{Context, Program};
use nx_types::{Timestamp, kind::nearest};
use serde_json::Value;

pub use template::Template;

/// Most bytes of one expression.
pub const MAX_EXPRESSION_BYTES: usize = 2048;
/// Most elementary steps that one evaluation may need, estimated from the expression and its input.
pub const MAX_WORK: u64 = 2_000_000;
/// Most brackets within one another.
const MAX_NESTING: usize = 48;
/// The parser recurses; it gets a stack that the longest expression cannot exhaust.
const PARSER_STACK_BYTES: usize = 32 << 20;

/// Why an expression cannot be compiled or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is not CEL, or names what is not there.
    #[error("`{source_text}` is not a valid expression: {detail}")]
    Compile {
        /// The expression, cut.
        source_text: String,
        /// What is wrong with it.
        detail: String,
    },
    /// It has no value for this input.
    #[error("`{source_text}` cannot be evaluated: {detail}")]
    Evaluate {
        /// The expression, cut.
        source_text: String,
        /// What went wrong.
        detail: String,
    },
}

/// A compiled CEL expression.
pub struct Expression {
    source: String,
    program: Program,
    size: limits::Size,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

static ENVIRONMENT: LazyLock<Arc<cel::Env>> = LazyLock::new(|| Arc::new(cel::Env::stdlib()));

impl Expression {
    /// Compiles CEL that may use these variables.
    pub fn compile(source: &str, variables: &[&str]) -> Result<Self, ExpressionError> {
        let wrong = |detail: String| ExpressionError::Compile { source_text: clip(source), detail };
        let source = source.trim();
        if source.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        if source.len() > MAX_EXPRESSION_BYTES {
            let detail = format!("it has {} bytes, at most {MAX_EXPRESSION_BYTES} are allowed", source.len());
            return Err(wrong(detail));
        }
        if nesting(source) > MAX_NESTING {
            return Err(wrong(format!("it has more than {MAX_NESTING} brackets within one another")));
        }
        let program = parse(source.to_owned()).map_err(wrong)?;
        let size = limits::measure(program.expression()).map_err(wrong)?;
        check_names(&program, variables).map_err(wrong)?;
        Ok(Self { source: source.to_owned(), program, size })
    }

    /// The CEL text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The value for this input.
    pub fn evaluate(&self, input: &Bindings) -> Result<Value, ExpressionError> {
        let failed = |detail: String| ExpressionError::Evaluate { source_text: clip(&self.source), detail };
        let work = self.size.work(input.longest);
        if work > MAX_WORK {
            let detail = format!("it may need {work} steps on lists of {} items, over {MAX_WORK}", input.longest);
            return Err(failed(detail));
        }
        let value = self.program.execute(&input.context).map_err(|err| failed(clip_long(&err.to_string())))?;
        convert::to_json(&value).map_err(failed)
    }

    /// The value for this input, which must be `true` or `false`.
    pub fn evaluate_bool(&self, input: &Bindings) -> Result<bool, ExpressionError> {
        match self.evaluate(input)? {
            Value::Bool(flag) => Ok(flag),
            other => Err(ExpressionError::Evaluate {
                source_text: clip(&self.source),
                detail: format!("it must give `true` or `false`, not {}", convert::name(&other)),
            }),
        }
    }
}

/// The variables that an evaluation sees.
pub struct Bindings {
    context: Context<'static, 'static>,
    longest: u64,
}

impl fmt::Debug for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bindings").finish_non_exhaustive()
    }
}

impl Default for Bindings {
    fn default() -> Self {
        Self { context: Context::with_env(ENVIRONMENT.clone()), longest: 0 }
    }
}

impl Bindings {
    /// Adds a variable.
    pub fn set(&mut self, name: &str, value: &Value) {
        self.longest = self.longest.max(convert::longest(value));
        self.context.add_variable_from_value(name, convert::to_cel(value));
    }

    /// Adds a variable that is a map; `times` become CEL timestamps among its fields.
    pub fn set_map(&mut self, name: &str, fields: &BTreeMap<&str, Value>, times: &BTreeMap<&str, Timestamp>) {
        let mut map: HashMap<String, cel::Value> = HashMap::new();
        for (field, value) in fields {
            self.longest = self.longest.max(convert::longest(value));
            map.insert((*field).to_owned(), convert::to_cel(value));
        }
        for (field, time) in times {
            map.insert((*field).to_owned(), convert::time_to_cel(*time));
        }
        self.context.add_variable_from_value(name, map);
    }
}

/// How many brackets stand within one another, at most; those in quoted texts do not count.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest, mut quote, mut escaped) = (0usize, 0, None, false);
    for c in source.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Parses on a thread of its own: the parser's recursion is bounded by the expression's length alone.
fn parse(source: String) -> Result<Program, String> {
    let parser = thread::Builder::new()
        .name("expression-parser".to_owned())
        .stack_size(PARSER_STACK_BYTES)
        .spawn(move || {
            let program = ENVIRONMENT.compile(&source).map_err(|errors| first_error(&errors))?;
            // Checked here, because dropping and walking a deep tree recurses as well.
            limits::measure(program.expression())?;
            Ok(program)
        })
        .map_err(|err| format!("cannot start the parser: {err}"))?;
    parser.join().map_err(|_panic| "the parser gave up on it".to_owned())?
}

fn first_error(errors: &cel::ParseErrors) -> String {
    match errors.errors.first() {
        Some(error) => {
            let column = error.pos.1.max(0);
            format!("{} (line {}, column {column})", clip_long(error.msg.trim()), error.pos.0.max(1))
        }
        None => "it cannot be parsed".to_owned(),
    }
}

const FUNCTIONS: &[&str] = &[
    "all",
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "has",
    "hasValue",
    "int",
    "map",
    "matches",
    "max",
    "min",
    "none",
    "of",
    "ofNonZeroValue",
    "optFlatMap",
    "optMap",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
];

const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "google",
    "int",
    "list",
    "map",
    "null_type",
    "optional",
    "optional_type",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// Names are checked when the expression is written, not when the first event comes.
fn check_names(program: &Program, variables: &[&str]) -> Result<(), String> {
    let mut free = limits::Names::default();
    limits::names(program.expression(), &mut free);
    for name in &free.functions {
        let operator = name.starts_with(|c: char| !c.is_ascii_alphabetic()) || name.contains(['@', '.']);
        if !operator && !FUNCTIONS.contains(&name.as_str()) {
            let meant = nearest(name, FUNCTIONS.iter().copied()).unwrap_or_default();
            return Err(format!("there is no function `{name}`; did you mean `{meant}`?"));
        }
    }
    for name in &free.variables {
        if !variables.contains(&name.as_str()) && !TYPES.contains(&name.as_str()) {
            let valid = variables.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let meant = nearest(name, variables.iter().copied()).unwrap_or_default();
            return Err(format!("there is no variable `{name}`; did you mean `{meant}`? there are {valid}"));
        }
    }
    Ok(())
}

fn clip(text: &str) -> String {
    cut(text, 96)
}

fn clip_long(text: &str) -> String {
    cut(text, 240)
}

fn cut(text: &str, most: usize) -> String {
    let mut cut: String = text.chars().take(most).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests;
