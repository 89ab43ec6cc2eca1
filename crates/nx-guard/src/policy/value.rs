//! JSON values as Cedar takes them. What has no exact form there is an error, never something near it.

use cedar_policy::RestrictedExpression;
use serde_json::{Number, Value};

use super::shape::Shape;

/// Deepest nesting of an argument that policies look at.
const MAX_DEPTH: usize = 32;
/// Cedar's decimals have this many digits behind the point.
const DECIMALS: usize = 4;
/// So many before it are always held.
const WHOLE_DIGITS: usize = 14;

/// The value, `None` for null, which is as if it were not there. `Err` says why it has no form in Cedar.
pub(super) fn cedar(value: &Value, shape: &Shape) -> Result<Option<RestrictedExpression>, String> {
    convert(value, shape, MAX_DEPTH)
}

fn convert(value: &Value, shape: &Shape, depth: usize) -> Result<Option<RestrictedExpression>, String> {
    let depth = depth.checked_sub(1).ok_or_else(|| format!("it nests deeper than {MAX_DEPTH}"))?;
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(yes) => RestrictedExpression::new_bool(*yes),
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Number(value) => number(value, shape)?,
        Value::Array(items) => {
            let item_shape = if let Shape::Set(item) = shape { item } else { &Shape::Open };
            let items = items
                .iter()
                .map(|item| convert(item, item_shape, depth)?.ok_or_else(|| "a list holds null".to_owned()));
            RestrictedExpression::new_set(items.collect::<Result<Vec<_>, _>>()?)
        }
        Value::Object(fields) => {
            let shape_of = |name: &str| match shape {
                Shape::Record(members) => members.get(name).map_or(&Shape::Open, |(shape, _)| shape),
                _ => &Shape::Open,
            };
            let mut members = Vec::with_capacity(fields.len());
            for (name, field) in fields {
                if let Some(member) = convert(field, shape_of(name), depth)? {
                    members.push((name.clone(), member));
                }
            }
            RestrictedExpression::new_record(members).map_err(|error| error.to_string())?
        }
    }))
}

fn number(value: &Number, shape: &Shape) -> Result<RestrictedExpression, String> {
    Ok(match exact(value, shape)? {
        Exact::Whole(number) => RestrictedExpression::new_long(number),
        Exact::Decimal(text) => RestrictedExpression::new_decimal(text),
    })
}

/// The number as it is written in a clause.
pub(super) fn literal(value: &Number, shape: &Shape) -> Result<String, String> {
    Ok(match exact(value, shape)? {
        Exact::Whole(number) => number.to_string(),
        Exact::Decimal(text) => format!("decimal(\"{text}\")"),
    })
}

/// A number that Cedar holds.
enum Exact {
    Whole(i64),
    Decimal(String),
}

fn exact(value: &Number, shape: &Shape) -> Result<Exact, String> {
    match (value.as_i64(), shape) {
        (Some(whole), Shape::Decimal) => decimal(&whole.to_string()),
        (Some(whole), _) => Ok(Exact::Whole(whole)),
        (None, _) if value.is_u64() => Err(format!("{value} is larger than policies can count; pass it as text")),
        (None, Shape::Long) => whole(value),
        (None, _) => decimal(&value.as_f64().map(|value| value.to_string()).unwrap_or_default()),
    }
}

/// `100.0` where an integer is declared.
fn whole(value: &Number) -> Result<Exact, String> {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => {
            Ok(Exact::Whole(number as i64))
        }
        _ => Err(format!("{value} is no integer, and its tool declares one")),
    }
}

/// `text` is a number without an exponent.
fn decimal(text: &str) -> Result<Exact, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    let held = (1..=WHOLE_DIGITS).contains(&unsigned.len()) && (1..=DECIMALS).contains(&part.len());
    if held && digits(unsigned) && digits(part) {
        Ok(Exact::Decimal(format!("{whole}.{part}")))
    } else {
        Err(format!(
            "{text} has more digits than policies can hold, {WHOLE_DIGITS} and {DECIMALS} behind the point; pass it as text"
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(value: &Value, shape: &Shape) -> String {
        match cedar(value, shape) {
            Ok(Some(expression)) => {
                let context = cedar_policy::Context::from_pairs([("x".to_owned(), expression)]).unwrap();
                context.get("x").unwrap().to_string()
            }
            Ok(None) => "nothing".to_owned(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        for (value, shape, wanted) in [
            (json!(7), Shape::Open, "7"),
            (json!(7), Shape::Decimal, "decimal(\"7.0\")"),
            (json!(-0.5), Shape::Open, "decimal(\"-0.5\")"),
            (json!(12.25), Shape::Decimal, "decimal(\"12.25\")"),
            (json!(100.0), Shape::Long, "100"),
            (json!(100.0), Shape::Open, "decimal(\"100.0\")"),
            (json!(null), Shape::Long, "nothing"),
        ] {
            assert_eq!(said(&value, &shape), wanted, "{value}");
        }
        for (value, shape) in [
            (json!(u64::MAX), Shape::Open),
            (json!(i64::MAX), Shape::Decimal),
            (json!(0.00001), Shape::Open),
            (json!(1e300), Shape::Open),
            (json!(1e18), Shape::Long),
            (json!(1.5), Shape::Long),
            (json!([1, null]), Shape::Open),
        ] {
            assert!(said(&value, &shape).starts_with("error"), "{value}");
        }
        assert_eq!(said(&json!({"a": null, "b": ["x"]}), &Shape::Open), "{\"b\": [\"x\"]}");
    }
}
