//! Values with expressions in them: `${…}` within a text is CEL. A text that is exactly one `${…}` keeps the type of
//! its value; otherwise values are written into the text. `$${` stands for a literal `${`.

use serde_json::{Map, Value};

use super::{Bindings, Expression, ExpressionError, clip};

/// Most expressions of one template.
const MAX_EXPRESSIONS: usize = 256;

/// A JSON value whose texts may hold expressions, compiled.
#[derive(Debug)]
pub struct Template(Node);

#[derive(Debug)]
enum Node {
    Plain(Value),
    Whole(Expression),
    Text(Vec<Piece>),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Expression(Expression),
}

impl Template {
    /// Compiles every expression of the value. Errors come with their JSON pointer within the value.
    pub fn compile(value: &Value, variables: &[&str]) -> Result<Self, Vec<(String, ExpressionError)>> {
        let mut compiler = Compiler { variables, errors: Vec::new(), count: 0 };
        let node = compiler.node(value, "");
        if compiler.errors.is_empty() { Ok(Self(node)) } else { Err(compiler.errors) }
    }

    /// The value for this input.
    pub fn render(&self, input: &Bindings) -> Result<Value, ExpressionError> {
        self.0.render(input)
    }

    /// The value for this input as a text: other scalars are written out.
    pub fn render_text(&self, input: &Bindings) -> Result<String, ExpressionError> {
        self.render(input).map(|value| text(&value))
    }

    /// The expression, if the template is a text of exactly one.
    pub fn expression(&self) -> Option<&Expression> {
        match &self.0 {
            Node::Whole(expression) => Some(expression),
            _ => None,
        }
    }
}

impl Node {
    fn render(&self, input: &Bindings) -> Result<Value, ExpressionError> {
        match self {
            Self::Plain(value) => Ok(value.clone()),
            Self::Whole(expression) => expression.evaluate(input),
            Self::Text(pieces) => {
                let mut whole = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(part) => whole.push_str(part),
                        Piece::Expression(expression) => whole.push_str(&text(&expression.evaluate(input)?)),
                    }
                }
                Ok(Value::String(whole))
            }
            Self::List(items) => {
                items.iter().map(|item| item.render(input)).collect::<Result<_, _>>().map(Value::Array)
            }
            Self::Map(fields) => {
                let mut map = Map::new();
                for (name, field) in fields {
                    map.insert(name.clone(), field.render(input)?);
                }
                Ok(Value::Object(map))
            }
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

struct Compiler<'a> {
    variables: &'a [&'a str],
    errors: Vec<(String, ExpressionError)>,
    count: usize,
}

impl Compiler<'_> {
    fn node(&mut self, value: &Value, pointer: &str) -> Node {
        match value {
            Value::String(text) => self.text(text, pointer),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                Node::List(items.map(|(place, item)| self.node(item, &format!("{pointer}/{place}"))).collect())
            }
            Value::Object(fields) => {
                let node = |(name, field): (&String, &Value)| {
                    let place = format!("{pointer}/{}", nx_types::json::escape(name));
                    (name.clone(), self.node(field, &place))
                };
                Node::Map(fields.iter().map(node).collect())
            }
            other => Node::Plain(other.clone()),
        }
    }

    fn text(&mut self, text: &str, pointer: &str) -> Node {
        let parts = match split(text) {
            Ok(parts) => parts,
            Err(detail) => {
                let error = ExpressionError::Compile { source_text: clip(text), detail: detail.to_owned() };
                self.errors.push((pointer.to_owned(), error));
                return Node::Plain(Value::Null);
            }
        };
        if let [Part::Expression(source)] = parts.as_slice() {
            return self.expression(source, pointer).map_or(Node::Plain(Value::Null), Node::Whole);
        }
        let mut pieces = Vec::new();
        for part in parts {
            match part {
                Part::Text(text) => pieces.push(Piece::Text(text)),
                Part::Expression(source) => pieces.extend(self.expression(source, pointer).map(Piece::Expression)),
            }
        }
        match pieces.as_slice() {
            [] => Node::Plain(Value::String(String::new())),
            [Piece::Text(text)] => Node::Plain(Value::String(text.clone())),
            _ => Node::Text(pieces),
        }
    }

    fn expression(&mut self, source: &str, pointer: &str) -> Option<Expression> {
        self.count += 1;
        let compiled = if self.count > MAX_EXPRESSIONS {
            let detail = format!("there are more than {MAX_EXPRESSIONS} expressions");
            Err(ExpressionError::Compile { source_text: clip(source), detail })
        } else {
            Expression::compile(source, self.variables)
        };
        compiled.map_err(|error| self.errors.push((pointer.to_owned(), error))).ok()
    }
}

#[derive(Debug, PartialEq)]
enum Part<'a> {
    Text(String),
    Expression(&'a str),
}

fn split(text: &str) -> Result<Vec<Part<'_>>, &'static str> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            plain.push_str(escaped);
            plain.push_str("${");
            rest = after;
            continue;
        }
        plain.push_str(before);
        let end = expression_end(after).ok_or("`${` is never closed by `}`")?;
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        let (source, tail) = after.split_at(end);
        parts.push(Part::Expression(source));
        rest = tail.strip_prefix('}').unwrap_or(tail);
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// Where the `}` stands that closes an expression: braces of map literals nest, and quoted texts hold any character.
fn expression_end(source: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (place, c) in source.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' => quote = Some(c),
                '{' => depth += 1,
                '}' if depth == 0 => return Some(place),
                '}' => depth -= 1,
                _ => {}
            },
        }
    }
    None
}
