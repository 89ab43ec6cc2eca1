//! Once steps whose worker was lost.

use expect_test::expect;
use neuraxis_sdk::frames::{Body, Effect, Found, Grant, Outcome, Step};
use nx_runs::machine::{Command, Purpose, Ruling, Slot, ToolSpec};
use serde_json::json;

use super::{Bench, code, error, tool, value};

fn once_with_probe() -> Body {
    Body::Code { effect: Effect::Once, args: json!(1), probe: true, key_window_ms: None }
}

#[test]
fn a_person_settles_a_doubt() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).restart().once("pay", json!(1));
    bench.decide(Ruling::Complete { value: value(json!("paid")) }).restart().once("pay", json!(1));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
          + step.in_doubt {"n":1,"attempt":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay","args":1}
          > 2: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":1,"decision":{"complete":{"value":"paid"}}}
          + step.resolved {"n":1,"attempt":1,"how":{"completed":{"value":"paid"}},"by":"person"}
          > 2: value "paid" live
        lost
          + run.interrupted {"inc":2,"reason":"gone"}
        start
          + run.started {"inc":3,"worker":"w1"}
          > start inc 3 recorded 1 live false
        3 pay
          > 3: recorded "paid" live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn not_done_grants_another_attempt() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).restart().once("pay", json!(1)).decide(Ruling::NotDone).done(json!("paid"));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
          + step.in_doubt {"n":1,"attempt":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay","args":1}
          > 2: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":1,"decision":"not_done"}
          + step.resolved {"n":1,"attempt":1,"how":"not_done","by":"person"}
          + step.started {"n":1,"attempt":2}
          > 2: execute 1.2 key
        done
          + step.completed {"n":1,"value":"paid","attempt":2}
          > 2: value "paid" live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn fail_is_raised_in_the_agent() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).restart().once("pay", json!(1)).decide(Ruling::Fail);
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
          + step.in_doubt {"n":1,"attempt":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay","args":1}
          > 2: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":1,"decision":"fail"}
          + step.resolved {"n":1,"attempt":1,"how":{"failed":{"error":{"name":"RuledFailed","message":"ann ruled that `pay` fails (in_doubt)","retryable":false}}},"by":"person"}
          > 2: error RuledFailed: ann ruled that `pay` fails (in_doubt)
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_probe_settles_a_doubt() {
    let mut bench = Bench::new();
    bench.start().step("pay", once_with_probe()).restart().step("pay", once_with_probe());
    let call = bench.call();
    bench.act("probed", Command::Probed { call, found: Found::NotDone });
    bench.restart().step("pay", once_with_probe());
    let call = bench.call();
    bench.act("probed", Command::Probed { call, found: Found::Done(json!("paid")) });
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1},"probe":true}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
          + step.in_doubt {"n":1,"attempt":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          > 2: probe 1.1 1
        probed
          + step.resolved {"n":1,"attempt":1,"how":"not_done","by":"probe"}
          + step.started {"n":1,"attempt":2,"probe":true}
          > 2: execute 1.2 key
        lost
          + run.interrupted {"inc":2,"reason":"gone"}
          + step.in_doubt {"n":1,"attempt":2,"reason":"gone"}
        start
          + run.started {"inc":3,"worker":"w1"}
          > start inc 3 recorded 1 live false
        3 pay
          > 3: probe 1.2 1
        probed
          + step.resolved {"n":1,"attempt":2,"how":{"completed":{"value":"paid"}},"by":"probe"}
          > 3: value "paid" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_probe_that_cannot_tell_leads_to_a_person() {
    let mut bench = Bench::new();
    bench.start().step("pay", once_with_probe()).restart().step("pay", once_with_probe());
    let call = bench.call();
    bench.act("probed", Command::Probed { call, found: Found::Unknown });
    bench.decide(Ruling::Complete { value: value(json!("paid")) });
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1},"probe":true}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
          + step.in_doubt {"n":1,"attempt":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          > 2: probe 1.1 1
        probed
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay","args":1}
          > 2: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":1,"decision":{"complete":{"value":"paid"}}}
          + step.resolved {"n":1,"attempt":1,"how":{"completed":{"value":"paid"}},"by":"person"}
          > 2: value "paid" live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_tools_probe_is_dispatched() {
    let probed = ToolSpec { probe: Some("pay/status".to_owned()), ..tool(Effect::Once).unwrap() };
    let body = || Body::Tool { args: json!({"cents": 5}) };
    let mut bench = Bench::new();
    bench.start().step_with("pay/refund", body(), Some(probed.clone()), |_| {});
    bench.ready(Slot::Call(1), Some(probed));
    let grant = Grant { step: 1, attempt: 1 };
    bench.act("grants lost", Command::GrantsLost { grants: vec![grant], reason: "gone".to_owned() });
    bench.ready(Slot::Call(1), None);
    let outcome = Outcome::Ok(json!({"done": "paid"}));
    bench.act("probe done", Command::ToolDone { grant, purpose: Purpose::Probe, outcome });
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay/refund
          > want Call(1) Tool("pay/refund")
        ready
          + step.started {"n":1,"step":{"name":"pay/refund","kind":"tool","effect":"once","args":{"cents":5}},"probe":true}
          > dispatch Call(1) 1.1 Execute Tool { name: "pay/refund", args: Object {"cents": Number(5)} } key true
        grants lost
          + step.in_doubt {"n":1,"attempt":1,"reason":"gone"}
          > want Call(1) Tool("pay/status")
        ready
          > dispatch Call(1) 1.1 Probe Tool { name: "pay/status", args: Object {"args": Object {"cents": Number(5)}, "idempotency_key": String("ylB8ptRUOltuRpUDPecDRjzHcIt0JOozNl7_XxTG_gY")} } key true
        probe done
          + step.resolved {"n":1,"attempt":1,"how":{"completed":{"value":"paid"}},"by":"probe"}
          > 1: value "paid" live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_late_outcome_beats_the_question() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).restart().once("pay", json!(1));
    let grant = Grant { step: 1, attempt: 1 };
    bench.act("late", Command::Late { grant, outcome: Outcome::Ok(json!("paid")) });
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
          + step.in_doubt {"n":1,"attempt":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay","args":1}
          > 2: wait Ask approval
        late
          + approval.withdrawn {"reason":"the doubt is settled"}
          + step.resolved {"n":1,"attempt":1,"how":{"completed":{"value":"paid"}},"by":"late"}
          > late taken 1.1
          > 2: value "paid" live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_timeout_of_a_once_step_is_a_doubt() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).raised(error("Timeout"));
    bench.step_with("pay2", code(Effect::Once, json!(1)), None, |step: &mut Step| step.timeout_ms = Some(1000));
    bench.pass(5000).pass(6000);
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        done
          + step.in_doubt {"n":1,"attempt":1,"reason":"it took longer than its timeout"}
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay","args":1}
          > 1: wait Ask approval
        2 pay2
          + step.started {"n":2,"step":{"name":"pay2","effect":"once","args":1}}
          > 2: execute 2.1 key
        5000 ms pass
        6000 ms pass
          + step.in_doubt {"n":2,"attempt":1,"reason":"it took longer than its timeout"}
          + approval.requested {"ask":{"who":"operator","message":"did `pay2` (step 2) take place?"},"n":2,"why":"in_doubt","step":"pay2","args":1}
          > 2: wait Ask approval
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_idempotent_step_is_in_doubt_after_its_key_window() {
    let body = || Body::Code { effect: Effect::Idempotent, args: json!(1), probe: false, key_window_ms: Some(60_000) };
    let mut bench = Bench::new();
    bench.start().step("pay", body()).pass(59_000).restart().step("pay", body()).pass(2_000).restart();
    bench.step("pay", body());
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"idempotent","args":1},"key_until":"1970-01-01T00:17:40.000000Z"}
          > 1: execute 1.1 key
        59000 ms pass
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          + step.started {"n":1,"attempt":2}
          > 2: execute 1.2 key
        2000 ms pass
        lost
          + run.interrupted {"inc":2,"reason":"gone"}
        start
          + run.started {"inc":3,"worker":"w1"}
          > start inc 3 recorded 1 live false
        3 pay
          + step.in_doubt {"n":1,"attempt":2,"reason":"the idempotency key may have been forgotten"}
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay","args":1}
          > 3: wait Ask approval
    "#]].assert_eq(&bench.trace());
}

#[test]
fn changed_arguments_wait_for_the_doubt_about_the_old_ones() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).restart().once("pay", json!(2));
    bench.decide(Ruling::Complete { value: value(json!("paid")) }).decide(Ruling::Reuse { step: None });
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
          + step.in_doubt {"n":1,"attempt":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay"}
          > 2: wait Ask
        decide
          + approval.decided {"by":"ann","n":1,"decision":{"complete":{"value":"paid"}}}
          + step.resolved {"n":1,"attempt":1,"how":{"completed":{"value":"paid"}},"by":"person"}
          + step.waiting {"n":2,"step":{"name":"pay","occ":1,"effect":"once","note":"arguments changed: 6b86b273 before, d4735e3a now","args":2,"rev":1,"over":1},"wait":{"ask":{"why":"changed"}}}
          + approval.requested {"ask":{"who":"operator","message":"the arguments of `pay` (step 1) have changed: which counts?"},"n":2,"why":"changed","step":"pay","args":2,"candidates":[1]}
          > 2: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":2,"decision":{"reuse":{}}}
          + step.completed {"n":2,"from":1}
          > 2: recorded "paid" live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_step_that_kills_its_worker_ends() {
    let mut bench = Bench::new();
    bench.limits.lost_attempts = 3;
    bench.start();
    for _ in 0..4 {
        bench.idempotent("poison", json!(1)).restart();
    }
    bench.trace();
    bench.idempotent("poison", json!(1));
    expect![[r"
        5 poison
          > 5: recorded error WorkerLost
    "]]
    .assert_eq(&bench.trace());
}
