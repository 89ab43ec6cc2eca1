use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const VARIABLES: &[&str] = &["event", "window"];

fn input() -> Bindings {
    let mut input = Bindings::default();
    let data = json!({ "confidence": 0.58, "count": 3, "name": "P88", "items": [1, 2, 3], "on": true, "none": null });
    let fields = BTreeMap::from([("data", data), ("subject", json!("parcel/P88"))]);
    let times = BTreeMap::from([("time", "2026-05-04T03:02:01.5Z".parse().expect("is a time"))]);
    input.set_map("event", &fields, &times);
    input.set("window", &json!({ "count": 4, "mean": 1.5 }));
    input
}

fn value(source: &str) -> Result<Value, String> {
    let expression = Expression::compile(source, VARIABLES).map_err(|err| err.to_string())?;
    expression.evaluate(&input()).map_err(|err| err.to_string())
}

fn render(template: &Value) -> Result<Value, String> {
    let template = Template::compile(template, VARIABLES)
        .map_err(|errors| errors.iter().map(|(place, err)| format!("{place}: {err}")).collect::<Vec<_>>().join("; "))?;
    template.render(&input()).map_err(|err| err.to_string())
}

#[test]
fn values_keep_their_type() {
    for (source, expected) in [
        ("event.data.confidence < 0.6", json!(true)),
        ("event.data.count + 1", json!(4)),
        ("event.data.count > 2.5", json!(true)),
        ("event.data.confidence * 2.0", json!(1.16)),
        ("event.subject", json!("parcel/P88")),
        ("event.data.items.map(x, x * 2)", json!([2, 4, 6])),
        ("event.data.items.exists(x, x > 2) && has(event.data.name)", json!(true)),
        ("{'a': [event.data.count, null]}", json!({ "a": [3, null] })),
        ("event.time", json!("2026-05-04T03:02:01.500000Z")),
        ("event.time.getHours()", json!(3)),
        ("event.time - duration('1h') < event.time", json!(true)),
        ("has(event.data.absent) ? 1 : 2", json!(2)),
        ("string(event.data.count) + '!'", json!("3!")),
        ("window.mean > 1.0", json!(true)),
        ("event.data.none == null", json!(true)),
    ] {
        assert_eq!(value(source), Ok(expected), "{source}");
    }
}

#[test]
fn mistakes_are_named_when_the_expression_is_written() {
    for (source, part) in [
        ("", "empty"),
        ("event.data.", "line 1"),
        ("evnt.data.x", "did you mean `event`"),
        ("event.data.items.exist(x, x > 1)", "did you mean `exists`"),
        ("siz(event.data.items)", "did you mean `size`"),
    ] {
        let error = Expression::compile(source, VARIABLES).expect_err("is wrong").to_string();
        assert!(error.contains(part), "{source}: {error}");
    }
}

#[test]
fn failures_are_errors_not_panics() {
    for source in ["event.data.absent", "event.data.count / 0", "event.data.name + 1", "event.data.items[9]", "1.0/0.0"]
    {
        let error = value(source).expect_err("has no value");
        assert!(error.starts_with(&format!("`{source}` cannot be evaluated")), "{error}");
    }
}

#[test]
fn cost_is_bounded_before_it_is_paid() {
    let deep = format!("{}1{}", "(".repeat(900), ")".repeat(900));
    let unary = format!("{}true", "!".repeat(2000));
    let minus = format!("{}1", "-".repeat(2000));
    let ternary = format!("{}1", "true?1:".repeat(280));
    let lists = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let long = format!("'{}'", "a".repeat(3000));
    let sum = vec!["1"; 900].join("+");
    for source in [&deep, &unary, &minus, &ternary, &lists, &long, &sum] {
        // Either refused or evaluated: never an overflow.
        drop(value(source));
    }
    assert!(value(&lists).expect_err("is nested").contains("brackets"));
    assert_eq!(value(&format!("{}1{}", "(".repeat(48), ")".repeat(48))), Ok(json!(1)));
    assert_eq!(value("size('((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((')"), Ok(json!(60)));
    // A quote that is never closed hides brackets from the count, but not from the parser.
    drop(value(&format!("'{}", "(".repeat(2000))));
    drop(value(&format!("r'\\'+{}1{}+'\\'", "(".repeat(900), ")".repeat(900))));
    assert!(value(&sum).expect_err("is too deep").contains("deeper"));
    let loops =
        "event.data.items.all(a, event.data.items.all(b, event.data.items.all(c, event.data.items.all(d, true))))";
    assert!(value(loops).expect_err("loops too deep").contains("comprehensions"));
    let heavy = Expression::compile("event.items.all(a, event.items.all(b, a == b))", VARIABLES).expect("compiles");
    let mut input = Bindings::default();
    input.set("event", &json!({ "items": vec![1; 4000] }));
    assert!(heavy.evaluate(&input).expect_err("is too much").to_string().contains("steps"));
}

#[test]
fn templates_mix_text_and_values() {
    assert_eq!(
        render(&json!({
            "whole": "${event.data.count}",
            "mixed": "parcel ${event.data.name} (${event.data.confidence})",
            "brace": "${ {'a': '}'}.a }",
            "quoted": "${'it\\'s {'}",
            "escaped": "costs $${5}",
            "plain": ["text", 1, null],
        })),
        Ok(json!({
            "whole": 3,
            "mixed": "parcel P88 (0.58)",
            "brace": "}",
            "quoted": "it's {",
            "escaped": "costs ${5}",
            "plain": ["text", 1, null],
        }))
    );
    let error = render(&json!({ "a": ["${event.data", "${evnt}"] })).expect_err("is wrong");
    assert!(error.contains("/a/0: ") && error.contains("never closed") && error.contains("/a/1: "), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_the_compiler_panic(source in "[a-z0-9.()\\[\\]{}'\"+*/!?:<>=&| \\\\$-]{0,80}") {
        drop(value(&source));
        drop(render(&Value::String(source)));
    }

    #[test]
    fn text_without_expressions_is_itself(text in "[^$]{0,40}") {
        prop_assert_eq!(render(&Value::String(text.clone())), Ok(Value::String(text)));
    }

    #[test]
    fn escaped_text_is_itself(text in "[a-z{}$ ]{0,40}") {
        let escaped = text.replace("${", "$${");
        prop_assert_eq!(render(&Value::String(escaped)), Ok(Value::String(text)));
    }

    #[test]
    fn json_survives_the_way_through(number in -1_000_000_000i64..1_000_000_000, real in -1e9f64..1e9, text in ".{0,20}") {
        let data = json!({ "n": number, "r": real, "t": text, "l": [number, { "x": text }] });
        let mut input = Bindings::default();
        input.set("event", &data);
        let expression = Expression::compile("event", VARIABLES).expect("compiles");
        prop_assert_eq!(expression.evaluate(&input), Ok(data));
    }
}
