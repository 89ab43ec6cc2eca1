use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::time::Duration;

/// What a belt does.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Belt {
    /// Its speed.
    #[serde(default = "one")]
    speed: u32,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    grace: Option<Duration>,
    wait: Duration,
    #[serde(default)]
    motors: Vec<Motor>,
    #[serde(default)]
    action: Option<Action>,
    #[serde(default)]
    extra: BTreeMap<String, Value>,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Forward.
    #[default]
    Forward,
    /// Backward.
    Backward,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Motor {
    name: String,
    #[serde(default)]
    power_w: f64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    Stop { within: Duration },
    Slow(u32),
}

impl Spec for Belt {
    fn validate(&self) -> Vec<FieldError> {
        if self.speed > 9 { vec![FieldError::new("/spec/speed", "too fast")] } else { Vec::new() }
    }
}

const BELT: KindDescriptor = KindDescriptor::of::<Belt>("Belt", "belts", "A belt.", "").with_secret(&["/extra"]);

fn errors(spec: &Value) -> Vec<String> {
    (BELT.check)(spec).expect_err("is wrong").iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_filled() {
    let full = (BELT.check)(&json!({ "wait": "90s" })).expect("is right");
    assert_eq!(full["wait"], json!("1m30s"));
    assert_eq!(full["speed"], json!(1));
    assert_eq!(full["mode"], json!("forward"));
    let again = (BELT.check)(&full).expect("a filled spec is right");
    assert_eq!(again, full);
}

#[test]
fn all_errors_come_at_once_with_their_place() {
    let found = errors(&json!({
        "sped": 3, "mode": "foward", "grace": "soon", "motors": [{ "nme": "a" }, 4], "action": { "stp": {} },
    }));
    assert_eq!(
        found,
        [
            "field `wait` is missing at `/spec`",
            "unknown field `sped`; did you mean `speed`? valid are `action`, `extra`, `grace`, `mode`, `motors`, \
             `speed` or `wait` at `/spec/sped`",
            "unknown value `foward`; did you mean `forward`? valid are `backward` or `forward` at `/spec/mode`",
            "`soon` is not a duration, for example `1h30m` at `/spec/grace`",
            "field `name` is missing at `/spec/motors/0`",
            "unknown field `nme`; did you mean `name`? valid are `name` or `power_w` at `/spec/motors/0/nme`",
            "expected a map, got `4` at `/spec/motors/1`",
            "unknown field `stp`; did you mean `stop`? valid are `slow` or `stop` at `/spec/action`",
        ]
    );
}

#[test]
fn unions_report_the_branch_that_was_meant() {
    assert_eq!(
        errors(&json!({ "wait": "1s", "action": { "stop": { "withn": "3s" } } })),
        [
            "field `within` is missing at `/spec/action/stop`",
            "unknown field `withn`; the only valid one is `within` at `/spec/action/stop/withn`",
        ]
    );
    assert_eq!(
        errors(&json!({ "wait": "1s", "action": { "slow": "x" } })),
        ["expected a whole number, got the text `x` at `/spec/action/slow`"]
    );
    assert_eq!(errors(&json!({ "wait": "1s", "action": 3 })), ["expected a map, got `3` at `/spec/action`"]);
}

#[test]
fn rules_beyond_the_schema_are_checked_last() {
    assert_eq!(errors(&json!({ "wait": "1s", "speed": 10 })), ["too fast at `/spec/speed`"]);
    assert_eq!(errors(&json!({ "wait": 1 })), ["expected a duration such as `1h30m`, got `1` at `/spec/wait`"]);
    assert_eq!(errors(&json!({ "wait": "1s", "speed": -1 })), ["must be at least 0, is -1 at `/spec/speed`"]);
}

#[test]
fn numbers_that_lose_digits_are_refused() {
    let found = errors(&json!({ "wait": "1s", "extra": { "n": 9007199254740993u64 } }));
    assert!(found[0].contains("2^53"), "{found:?}");
}

#[test]
fn nearest_names() {
    assert_eq!(nearest("agnt", ["input", "agent"]), Some("agent"));
    assert_eq!(nearest("keyWindow", ["key", "key_window"]), Some("key_window"));
    assert_eq!(nearest("x", []), None);
}
