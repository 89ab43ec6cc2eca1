//! Frames as texts: unknown fields and fields of another kind are refused, and nothing is lost on the way.

use neuraxis_sdk::frames::Worker;
use serde_json::{Value, json};

use crate::server::RUN;

fn step(more: &Value) -> Value {
    let mut frame = json!({"t": "step", "call": 1, "run": RUN, "inc": 1, "name": "n"});
    for (key, value) in more.as_object().unwrap() {
        frame[key] = value.clone();
    }
    frame
}

#[test]
fn steps_round_trip() {
    for more in [
        json!({"kind": "code", "effect": "once", "args": {"a": [1, null]}, "probe": true, "key_window_ms": 5, "was": "m"}),
        json!({"kind": "code", "effect": "code", "args": null, "outcome": {"ok": 1}, "scope": "g0.1", "key": "k"}),
        json!({"kind": "code", "effect": "read", "args": 1, "outcome": {"error": {"name": "E", "message": "m"}}}),
        json!({"kind": "tool", "args": 1, "timeout_ms": 3, "undo": {"tool": "pay/cancel"}}),
        json!({"kind": "sleep", "ms": 1}),
        json!({"kind": "signal", "within_ms": 1}),
        json!({"kind": "approval", "args": 1, "approve": {"who": "lead", "edit": true, "quorum": 2, "message": "m"}}),
        json!({"kind": "child", "agent": "a", "input": null}),
        json!({"kind": "emit", "args": {}}),
        json!({"kind": "now"}),
        json!({"kind": "random"}),
        json!({"kind": "uuid"}),
    ] {
        let frame = step(&more);
        let read: Worker = serde_json::from_value(frame.clone()).unwrap_or_else(|error| panic!("{frame}: {error}"));
        assert_eq!(serde_json::to_value(read).unwrap(), frame);
    }
}

#[test]
fn what_does_not_belong_is_refused() {
    for (more, why) in [
        (json!({"kind": "sleep", "ms": 1, "args": null}), "`args` does not belong"),
        (json!({"kind": "now", "effect": "read"}), "`effect` does not belong"),
        (json!({"kind": "sleep"}), "missing field `ms`"),
        (json!({"kind": "child"}), "missing field `agent`"),
        (json!({"kind": "dance"}), "unknown variant `dance`"),
        (json!({"kind": "now", "extra": 1}), "unknown field `extra`"),
        (json!({"kind": "code", "retry": {"tries": 1}}), "unknown field `tries`"),
    ] {
        let error = serde_json::from_value::<Worker>(step(&more)).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
    let error = serde_json::from_value::<Worker>(json!({"t": "stopped", "run": RUN, "inc": 1, "x": 1}));
    assert!(error.is_err());
}
