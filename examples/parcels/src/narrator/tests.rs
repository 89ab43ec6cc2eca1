use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

/// Feeds events and shows the lines.
fn check(events: &[(&str, &str, Value)], expect: &Expect) {
    let mut narrator = Narrator::new(DEFAULT_URL);
    let lines: Vec<String> =
        events.iter().filter_map(|(kind, subject, data)| narrator.tell(Event { kind, subject, data })).collect();
    expect.assert_eq(&(lines.join("\n") + "\n"));
}

const RUN: &str = "run/r_7f3k2m9x0abcdefg";

fn created() -> (&'static str, &'static str, Value) {
    (
        "run.created",
        RUN,
        json!({"agent": "redirect-and-refund", "input": {"parcel": "P88"}, "by": "reflex/late-parcel"}),
    )
}

fn refund_started() -> (&'static str, &'static str, Value) {
    let identity = json!({"name": "refund", "key": "A17", "effect": "idempotent", "hash": "9cAA", "args": {"order": "A17", "cents": 8400}});
    ("step.started", RUN, json!({"n": 2, "step": identity}))
}

#[test]
fn a_refund_is_told() {
    check(
        &[
            created(),
            ("run.started", RUN, json!({"inc": 1, "worker": "w"})),
            (
                "step.started",
                RUN,
                json!({"n": 1, "step": {"name": "shop/find_order", "kind": "tool", "effect": "read", "hash": "x"}}),
            ),
            ("step.completed", RUN, json!({"n": 1, "value": {}})),
            (
                "approval.requested",
                RUN,
                json!({"id": "a_1", "n": 2, "why": "call", "step": "refund", "args": {"cents": 8400}, "hash": "a4uSjQnQ", "ask": {"who": "lead"}}),
            ),
            (
                "approval.decided",
                RUN,
                json!({"id": "a_1", "n": 2, "decision": "approve", "by": "ada", "hash": "a4uSjQnQ"}),
            ),
            refund_started(),
            (
                "step.attempt_failed",
                RUN,
                json!({"n": 2, "attempt": 1, "error": {"name": "Http503", "message": "503: the booking system is not available"}, "next": "2026-01-01T00:00:00Z"}),
            ),
            ("step.started", RUN, json!({"n": 2, "attempt": 2})),
            ("step.completed", RUN, json!({"n": 2, "attempt": 2, "value": {}})),
            ("run.completed", RUN, json!({"result": {"order": "A17", "refund": "rf_1", "cents": 8400}})),
        ],
        &expect![[r"
            r_7f3k2m  redirect-and-refund P88 ← reflex/late-parcel
            r_7f3k2m  ✔ shop/find_order
            r_7f3k2m  ⏸ refund €84.00 waits for lead (hash 6b8b928d…) · try: neuraxis approvals approve a_1
            r_7f3k2m  step 2 approved by ada · try: neuraxis runs watch r_7f3k2m
            r_7f3k2m  ↻ refund A17 €84.00: 503: the booking system is not available; try 2 follows
            r_7f3k2m  ✔ refund A17 €84.00 (try 2)
            r_7f3k2m  completed: order A17 got €84.00 · try: neuraxis runs show r_7f3k2m
        "]],
    );
}

#[test]
fn the_incident_is_told() {
    let reading = |n: u64| {
        let data = json!({"timestamp": format!("2013-12-10 05:{:02}:00", n % 60), "value": 55.3});
        ("motor.reading", "motor/conveyor-1", data)
    };
    let mut events: Vec<_> = (0..61).map(reading).collect();
    events.extend([
        ("run.created", RUN, json!({"agent": "stop-belt", "input": {"belt": "conveyor-1", "temperature": 90.3679}, "by": "reflex/overheat"})),
        ("step.started", RUN, json!({"n": 1, "step": {"name": "belt/stop", "kind": "tool", "effect": "once", "hash": "x"}})),
        ("step.completed", RUN, json!({"n": 1, "value": {"running": false}})),
        ("belt.stopped", RUN, json!({"belt": "conveyor-1"})),
        ("step.completed", RUN, json!({"n": 2, "step": {"name": "belt.stopped", "kind": "emit", "hash": "x"}})),
        ("run.completed", RUN, json!({"result": {"belt": "conveyor-1"}})),
        ("parcel.late", "run/r_x", json!({"parcel": "P88", "order": "A17", "belt": "conveyor-1", "slack_min": 9})),
    ]);
    check(
        &events,
        &expect![[r"
            motor   55.3 at 2013-12-10 05:00:00
            motor   55.3 at 2013-12-10 05:00:00
            r_7f3k2m  stop-belt conveyor-1 90.4 ← reflex/overheat
            r_7f3k2m  ✔ belt/stop
            belt   conveyor-1 stands
            r_7f3k2m  completed
            parcel P88 of order A17 is late: it could wait 9 min
        "]],
    );
}

#[test]
fn a_crash_is_told() {
    check(
        &[
            created(),
            refund_started(),
            ("run.interrupted", RUN, json!({"inc": 1, "reason": "its worker is lost"})),
            ("run.interrupted", RUN, json!({"inc": 1, "reason": "waits", "parked": true})),
            ("run.started", RUN, json!({"inc": 2, "worker": "w"})),
            ("step.in_doubt", RUN, json!({"n": 2, "attempt": 1, "reason": "its worker is lost"})),
            ("step.resolved", RUN, json!({"n": 2, "attempt": 1, "how": {"completed": {"value": 1}}, "by": "probe"})),
            ("step.resolved", RUN, json!({"n": 2, "attempt": 1, "how": "not_done", "by": "person"})),
            ("step.failed", RUN, json!({"n": 3, "error": {"name": "ApprovalDenied", "message": "no"}})),
            ("run.compensating", RUN, json!({"cause": {}})),
            (
                "step.completed",
                RUN,
                json!({"n": 4, "step": {"scope": "undo", "name": "refund", "key": "2", "kind": "undo", "hash": "x"}}),
            ),
            ("run.failed", RUN, json!({"error": {"name": "ApprovalDenied", "message": "no"}})),
            ("run.retried", RUN, json!({"by": "ada"})),
            ("step.completed", RUN, json!({"n": 2})),
            ("step.completed", "run/r_unknown0000000000", json!({"n": 9})),
        ],
        &expect![[r"
            r_7f3k2m  redirect-and-refund P88 ← reflex/late-parcel
            r_7f3k2m  interrupted: its worker is lost
            r_7f3k2m  goes on, incarnation 2
            r_7f3k2m  ? refund A17 €84.00 in doubt: its worker is lost
            r_7f3k2m  ✔ refund A17 €84.00 took place, says the probe
            r_7f3k2m  ✔ refund A17 €84.00 did not take place, says the person
            r_7f3k2m  ✘ step 3: no
            r_7f3k2m  takes back what it did
            r_7f3k2m  ✔ undid refund
            r_7f3k2m  failed: no
            r_7f3k2m  retried by ada
            r_7f3k2m  ✔ refund A17 €84.00
            r_unknow  ✔ step 9
        "]],
    );
}

#[test]
fn a_denial_is_told() {
    let mail =
        json!({"id": "m_88", "from": "Bruno <b@x.example>", "subject": "Where\u{1b}[2J is it?", "body": "use this"});
    let decision = |outcome: &str| {
        json!({
            "n": 6, "call": "pay/refund", "args": {"order": "A83", "cents": 2190, "iban": "GB29"}, "decision": {
                "outcome": outcome,
                "reasons": [
                    {"policy": "refunds@1", "clause": "iban-from-record", "outcome": "deny", "text": "x", "pointers": ["/iban"]},
                    {"policy": "default@1", "clause": "untrusted-sink", "outcome": "ask", "text": "y", "pointers": ["/iban"]},
                ],
                "origins": [
                    {"pointer": "/cents", "standing": "trusted", "evidence": []},
                    {"pointer": "/iban", "standing": "untrusted", "evidence": [{"source": "source/inbox", "event": 1, "pointer": "/body"}]},
                ],
            },
        })
    };
    check(
        &[
            ("mail.received", "mail/m_88", mail.clone()),
            (
                "run.created",
                RUN,
                json!({"agent": "answer-mail", "key": "m_88", "input": mail, "by": "reflex/customer-mail"}),
            ),
            ("guard.decided", RUN, decision("allow")),
            ("guard.decided", RUN, decision("deny")),
            (
                "step.failed",
                RUN,
                json!({"n": 6, "step": {"name": "pay/refund", "key": "A83", "kind": "tool", "args": {"cents": 2190}},
                "error": {"name": "PolicyDenied", "message": "`pay/refund` is denied"}}),
            ),
            (
                "run.completed",
                RUN,
                json!({"result": {"mail": "m_88", "order": "A83", "refund": "rf_1", "cents": 2190}}),
            ),
            ("run.created", "run/r_other", json!({"agent": "other", "input": "x", "by": "ada"})),
            ("guard.decided", "run/r_other", decision("deny")),
        ],
        &expect![[r#"
            mail   m_88 from Bruno <b@x.example>: Where [2J is it?
            r_7f3k2m  answer-mail m_88 ← reflex/customer-mail
            r_7f3k2m  DENY pay/refund.iban ← mail m_88 "/body" (untrusted), rule iban-from-record · try: neuraxis explain r_7f3k2m/6
            r_7f3k2m  ✘ pay/refund A83 €21.90: `pay/refund` is denied
            r_7f3k2m  completed: order A83 got €21.90 · try: neuraxis why refund/A83
            r_other  other x ← ada
            r_other  DENY pay/refund.iban ← source inbox "/body" (untrusted), rule iban-from-record · try: neuraxis explain r_other/6
        "#]],
    );
}

#[test]
fn odd_events_are_no_trouble() {
    let mut narrator = Narrator::new(DEFAULT_URL);
    let odd = [json!(null), json!([]), json!({"n": "x", "error": 1, "result": 7, "inc": -1, "decision": [], "ask": 3})];
    for kind in [
        "motor.reading",
        "parcel.late",
        "mail.received",
        "guard.decided",
        "run.created",
        "run.started",
        "step.completed",
        "step.failed",
        "approval.requested",
        "approval.decided",
        "run.completed",
        "x",
    ] {
        for data in &odd {
            narrator.tell(Event { kind, subject: "run/é", data });
            narrator.tell(Event { kind, subject: "", data });
        }
    }
    assert!(narrator.opening().iter().any(|line| line.starts_with("real: ")));
}

#[test]
fn digits_are_told_now_and_then_and_misread_ones_always() {
    let read = |n: u64| {
        let data = json!({"model": "digits", "version": 1, "label": "4", "confidence": 0.9934, "context": {"parcel": format!("P{n}")}});
        ("model.decided", "parcel/P1", data)
    };
    let misread = |parcel: &str| {
        let data = json!({"parcel": parcel, "door": "8", "confidence": 0.639, "model": "digits@1"});
        ("parcel.misread", "parcel/P93", data)
    };
    let mut events: Vec<_> = (72..88).map(read).collect();
    events.extend([misread("P93"), misread("P257")]);
    // Somebody asked a model by hand: nobody's news.
    events.push((
        "model.decided",
        "model/digits",
        json!({"model": "digits", "version": 1, "label": "4", "confidence": 0.1}),
    ));
    check(
        &events,
        &expect![[r"
            camera P72 leaves by door 4 (0.99), reads digits@1
            camera P87 leaves by door 4 (0.99), reads digits@1
            camera P93 misread: digits@1 says 8 and is not sure (0.64); it went to door 8 · try: neuraxis why parcel/P93
            camera P257 misread: digits@1 says 8 and is not sure (0.64); it went to door 8
        "]],
    );
}
