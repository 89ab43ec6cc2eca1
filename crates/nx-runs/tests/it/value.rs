//! The value store: what goes in comes out, and what was stored before is not stored again.

use std::{fmt::Write as _, sync::Arc};

use expect_test::{Expect, expect};
use nx_runs::{
    Error,
    machine::{Identity, Kind, RunEvent, StepCompleted},
    value::Store,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A run's values as stored, and what reads them.
#[derive(Default)]
struct Bench {
    store: Store,
    log: Vec<(RunEvent, Vec<u8>)>,
}

fn event(args: Value, value: Value) -> RunEvent {
    let step = Identity {
        scope: String::new(),
        name: "f".to_owned(),
        key: None,
        occ: 1,
        kind: Kind::Code,
        effect: Default::default(),
        hash: nx_runs::machine::digest::of(&args).unwrap(),
        args: Arc::new(args),
        rev: 0,
        over: None,
        undo: None,
        note: None,
        refs: false,
        flow: None,
    };
    let value = Arc::new(value);
    RunEvent::StepCompleted(StepCompleted {
        n: 1,
        step: Some(Box::new(step)),
        value,
        from: None,
        attempt: 1,
        later: false,
        labels: None,
        seen: None,
    })
}

impl Bench {
    fn add(&mut self, args: Value, value: Value) -> usize {
        let event = event(args, value);
        let version = self.log.len() as u64 + 1;
        let data = self.store.encode(version, &event).unwrap();
        let bytes = data.len();
        self.log.push((event, data));
        bytes
    }

    /// Decodes everything in order with a fresh store, and hands that store over.
    fn reload(&self) -> Store {
        let mut store = Store::new();
        let mut fetch = |version: u64| -> Result<(String, Vec<u8>), Error> {
            Ok(("step.completed".to_owned(), self.log[version as usize - 1].1.clone()))
        };
        for (place, (event, data)) in self.log.iter().enumerate() {
            let decoded = store.decode(place as u64 + 1, event.kind(), data, &mut fetch).unwrap();
            assert_eq!(&decoded, event);
        }
        store
    }

    /// Decodes single events, the last first.
    fn check_each(&self) {
        let mut fetch = |version: u64| -> Result<(String, Vec<u8>), Error> {
            Ok(("step.completed".to_owned(), self.log[version as usize - 1].1.clone()))
        };
        for (place, (event, data)) in self.log.iter().enumerate().rev() {
            let decoded = Store::new().decode(place as u64 + 1, event.kind(), data, &mut fetch).unwrap();
            assert_eq!(&decoded, event);
        }
    }
}

fn text(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..bytes).map(letter).collect()
}

fn check(values: &[Value], stored: &Expect) {
    let mut bench = Bench::default();
    let mut shown = String::new();
    for value in values {
        bench.add(Value::Null, value.clone());
        let raw: Value = serde_json::from_slice(&bench.log.last().unwrap().1).unwrap();
        writeln!(shown, "{}", raw["value"]).unwrap();
    }
    bench.reload();
    bench.check_each();
    stored.assert_eq(&shown);
}

#[test]
fn forms_are_few() {
    let a = "a".repeat(64);
    let longer = format!("{a}bc");
    check(
        &[json!(a), json!([a, 1]), json!([a, 1, 2]), json!(longer), json!({"x": a, "y": 1}), json!([a, 1])],
        &expect![[r#"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            [{"$ref":"1v"},1]
            {"$ext":["2v",[2]]}
            {"$str":["1v","bc"]}
            {"x":{"$ref":"1v"},"y":1}
            {"$ref":"2v"}
        "#]],
    );
}

#[test]
fn objects_are_stored_by_their_changes() {
    let state = |n: u32| json!({"a": "x".repeat(100), "b": "y".repeat(50), "c": "z".repeat(60), "d": 1, "e": n});
    check(
        &[state(1), state(2), state(3)],
        &expect![[r#"
            {"a":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","b":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy","c":"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz","d":1,"e":1}
            {"$set":["1v",{"e":2},1]}
            {"$set":["2v",{"e":3},2]}
        "#]],
    );
}

#[test]
fn what_looks_like_a_form_is_wrapped() {
    check(
        &[
            json!({"$ref": [1, "/value"]}),
            json!([{"$ext": {"$esc": 1}}]),
            json!({"$set": "x".repeat(70), "other": 1}),
            json!({"$set": "x".repeat(70), "other": 1}),
            json!({"$blob": "0f"}),
        ],
        &expect![[r#"
            {"$esc":{"$ref":[1,"/value"]}}
            [{"$esc":{"$ext":{"$esc":{"$esc":1}}}}]
            {"$esc":{"$set":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","other":1}}
            {"$ref":"3v"}
            {"$blob":"0f"}
        "#]],
    );
}

/// `LangGraph`'s case: a list of messages that grows by 1 KiB a step, handed in and returned by each of 200 steps.
fn growing(store_again: bool) -> (usize, usize) {
    let mut bench = Bench::default();
    let mut messages = Vec::new();
    let mut stored = 0;
    for n in 0..200 {
        let args = Value::Array(messages.clone());
        messages.push(json!({"role": "user", "content": text(n, 1000)}));
        stored += bench.add(json!({"messages": args}), json!({"messages": messages, "count": n}));
        if store_again && n % 50 == 49 {
            bench.store = bench.reload();
        }
    }
    bench.check_each();
    (stored, 200 * 1024)
}

#[test]
fn a_growing_list_costs_its_growth() {
    let (stored, content) = growing(false);
    assert!(stored * 10 <= content * 13, "{stored} bytes for {content}");
    let (stored, content) = growing(true);
    assert!(stored * 10 <= content * 13, "{stored} bytes for {content}, loaded again four times");
}

#[test]
fn a_growing_text_costs_its_growth() {
    let mut bench = Bench::default();
    let mut all = String::new();
    let mut stored = 0;
    for n in 0..200 {
        all.push_str(&text(n, 1024));
        stored += bench.add(Value::Null, json!(all));
    }
    bench.reload();
    bench.check_each();
    assert!(stored * 10 <= 200 * 1024 * 13, "{stored} bytes");
}

#[test]
fn small_items_do_not_multiply() {
    let mut bench = Bench::default();
    let mut all = Vec::new();
    let mut stored = 0;
    for n in 0..1000 {
        all.push(json!(n));
        stored += bench.add(Value::Null, json!(all));
    }
    bench.reload();
    assert!(stored < 1000 * 200, "{stored} bytes");
}

#[test]
fn a_bomb_is_refused() {
    let mut log = vec![format!(r#"{{"n":1,"value":["{}"]}}"#, "x".repeat(1000))];
    for version in 1..=40 {
        let place = format!(r#"{{"$ref":"{version}v"}}"#);
        log.push(format!(r#"{{"n":1,"value":[{place},{place}]}}"#));
    }
    let mut fetch = |version: u64| -> Result<(String, Vec<u8>), Error> {
        Ok(("step.completed".to_owned(), log[version as usize - 1].clone().into_bytes()))
    };
    let last = log.last().unwrap().as_bytes();
    let error = Store::new().decode(41, "step.completed", last, &mut fetch).unwrap_err();
    expect!["value refused: a stored value is damaged: it expands beyond 64 MiB"].assert_eq(&error.to_string());
}

#[test]
fn damage_is_an_error() {
    let mut shown = String::new();
    for value in [
        r#"{"$ref":"1v"}"#,
        r#"{"$ref":"2/nowhere"}"#,
        r#"{"$ref":"x"}"#,
        r#"{"$ref":["1v"]}"#,
        r#"{"$ext":["2v",[1]]}"#,
        r#"{"$ext":[]}"#,
        r#"{"$cat":["2v"]}"#,
        r#"{"$ext":[{"$cat":[["v",1,99999999999,0]]},[]]}"#,
        r#"{"$str":["2v/a","x"]}"#,
        r#"{"$set":["2v/a",{},1]}"#,
        r#"{"$esc":1}"#,
    ] {
        let data = format!(r#"{{"n":1,"value":{value}}}"#);
        let mut fetch = |_: u64| -> Result<(String, Vec<u8>), Error> {
            Ok(("step.completed".to_owned(), br#"{"n":1,"value":{"a":1}}"#.to_vec()))
        };
        let error = Store::new().decode(1, "step.completed", data.as_bytes(), &mut fetch).unwrap_err();
        writeln!(shown, "{error}").unwrap();
    }
    expect![[r"
        value refused: a stored value is damaged: a reference leads to a reference
        value refused: a stored value is damaged: a reference leads nowhere
        value refused: a stored value is damaged: a place has no version
        value refused: a stored value is damaged: a place is no text
        value refused: a stored value is damaged: what is extended is no array
        value refused: a stored value is damaged: `$ext` has another form
        value refused: a stored value is damaged: a piece of an array is none
        value refused: a stored value is damaged: a group is too large
        value refused: a stored value is damaged: what is extended is no text
        value refused: a stored value is damaged: what is changed is no object
        value refused: a stored value is damaged: `$esc` holds no object
    "]]
    .assert_eq(&shown);
}

/// Values in which pieces of earlier ones recur.
fn values() -> impl Strategy<Value = Vec<Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no NaN", |n| n.is_finite()).prop_map(Value::from),
        "[a-c$~/\u{e9}]{0,8}".prop_map(Value::from),
        (0u64..6, prop_oneof![Just(70usize), Just(140), Just(300)]).prop_map(|(seed, n)| Value::from(text(seed, n))),
        (0u64..3, 0usize..400).prop_map(|(seed, n)| Value::from(text(seed, n))),
    ];
    let key =
        prop_oneof!["[a-d]", Just("$ref".to_owned()), Just("$ext".to_owned()), Just("$esc".to_owned()), "[~/]{1,2}"];
    let value = leaf.prop_recursive(4, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..7).prop_map(|fields| json!(fields)),
        ]
    });
    prop::collection::vec(value, 1..6)
}

/// What happens to a value between two steps.
#[derive(Debug, Clone)]
enum Change {
    Append(usize),
    Wrap,
    Field(usize),
    Take,
    Text,
    Keep,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0usize..6).prop_map(Change::Append),
        1 => Just(Change::Wrap),
        2 => (0usize..6).prop_map(Change::Field),
        1 => Just(Change::Take),
        2 => Just(Change::Text),
        1 => Just(Change::Keep),
    ]
}

fn changed(value: Value, change: &Change, pool: &[Value]) -> Value {
    let pick = |place: usize| pool[place % pool.len()].clone();
    match (change, value) {
        (Change::Append(place), Value::Array(mut items)) => {
            items.push(pick(*place));
            Value::Array(items)
        }
        (Change::Append(place), value) => json!([value, pick(*place)]),
        (Change::Wrap, value) => json!({"a": value, "b": 1, "c": 2, "d": pick(0)}),
        (Change::Field(place), Value::Object(mut fields)) => {
            fields.insert("e".to_owned(), pick(*place));
            Value::Object(fields)
        }
        (Change::Take, Value::Array(mut items)) if !items.is_empty() => items.remove(0),
        (Change::Text, Value::String(held)) => Value::from(held + "more"),
        (_, value) => value,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(pool in values(), changes in prop::collection::vec(change(), 1..100), again in 0usize..100) {
        let mut bench = Bench::default();
        let mut value = pool[0].clone();
        for (place, step) in changes.iter().enumerate() {
            let before = value.clone();
            value = changed(value, step, &pool);
            bench.add(before, value.clone());
            if place == again {
                bench.store = bench.reload();
            }
        }
        bench.reload();
        bench.check_each();
    }
}
