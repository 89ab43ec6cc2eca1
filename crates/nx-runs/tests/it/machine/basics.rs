//! Steps of a run whose record is used up, retries, replay after a crash.

use expect_test::expect;
use neuraxis_sdk::frames::{Body, Effect, Outcome, Retry, Step};
use nx_runs::machine::{Command, Slot};
use serde_json::json;

use super::{Bench, code, error, tool};

fn outcome(value: serde_json::Value) -> impl FnOnce(&mut Step) {
    move |step| step.outcome = Some(Outcome::Ok(value))
}

#[test]
fn a_live_code_step_is_one_event() {
    let mut bench = Bench::new();
    bench.start().step_with("add", code(Effect::Code, json!([1, 2])), None, outcome(json!(3)));
    bench.code("sub", json!([3, 1])).done(json!(2)).complete(json!("done"));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 add
          + step.completed {"n":1,"step":{"name":"add","args":[1,2]},"value":3}
          > 1: value 3 live
        2 sub
          > 2: execute -.1
        done
          + step.completed {"n":2,"step":{"name":"sub","args":[3,1]},"value":2}
          > 2: value 2 live
        complete
          + run.completed {"result":"done"}
          > close 1 completed
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn replay_answers_from_the_record() {
    let mut bench = Bench::new();
    bench.start().code("a", json!(1)).done(json!("A")).idempotent("b", json!(2)).done(json!("B"));
    bench.once("c", json!(3)).done(json!("C"));
    bench.restart().trace();
    bench.code("a", json!(1)).idempotent("b", json!(2)).once("c", json!(3)).code("d", json!(4));
    expect![[r#"
        4 a
          > 4: recorded "A"
        5 b
          > 5: recorded "B"
        6 c
          > 6: recorded "C" live
        7 d
          > 7: execute -.1
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn failed_attempts_are_retried_with_backoff() {
    let mut bench = Bench::new();
    let retry = Retry { attempts: 3, initial_ms: 100, factor: 2.0, jitter: 0.0, ..Retry::default() };
    bench.start().step_with("flaky", code(Effect::Read, json!(null)), None, |step| step.retry = Some(retry.clone()));
    bench.raised(error("IOError")).pass(50).pass(50).raised(error("IOError")).pass(200).raised(error("IOError"));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 flaky
          > 1: execute -.1
        done
          + step.attempt_failed {"n":1,"step":{"name":"flaky","effect":"read"},"attempt":1,"error":{"name":"IOError","message":"it broke"}}
          > 1: wait Retry 100ms
        50 ms pass
        50 ms pass
          > 1: execute 1.2
        done
          + step.attempt_failed {"n":1,"attempt":2,"error":{"name":"IOError","message":"it broke"}}
          > 1: wait Retry 200ms
        200 ms pass
          > 1: execute 1.3
        done
          + step.failed {"n":1,"error":{"name":"IOError","message":"it broke"},"attempt":3}
          > 1: error IOError: it broke
    "#]].assert_eq(&bench.trace());
}

#[test]
fn retry_after_wins_and_named_errors_end_the_step() {
    let mut bench = Bench::new();
    let retry = Retry { non_retryable: vec!["ValueError".to_owned()], jitter: 0.0, ..Retry::default() };
    bench.start().step_with("call", code(Effect::Idempotent, json!(1)), None, |step| step.retry = Some(retry.clone()));
    let mut slow = error("HTTPStatusError");
    slow.retry_after_ms = Some(5000);
    bench.raised(slow).pass(5000).raised(error("ValueError"));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 call
          + step.started {"n":1,"step":{"name":"call","effect":"idempotent","args":1}}
          > 1: execute 1.1 key
        done
          + step.attempt_failed {"n":1,"attempt":1,"error":{"name":"HTTPStatusError","message":"it broke","retry_after_ms":5000}}
          > 1: wait Retry 5000ms
        5000 ms pass
          + step.started {"n":1,"attempt":2}
          > 1: execute 1.2 key
        done
          + step.failed {"n":1,"error":{"name":"ValueError","message":"it broke"},"attempt":2}
          > 1: error ValueError: it broke
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_error_of_a_once_step_is_final_unless_nothing_happened() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1));
    let mut refused = error("ConnectError");
    refused.retryable = Some(true);
    bench.raised(refused).pass(1000).raised(error("HTTPStatusError"));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        done
          + step.attempt_failed {"n":1,"attempt":1,"error":{"name":"ConnectError","message":"it broke","retryable":true}}
          > 1: wait Retry 143ms
        1000 ms pass
          + step.started {"n":1,"attempt":2}
          > 1: execute 1.2 key
        done
          + step.failed {"n":1,"error":{"name":"HTTPStatusError","message":"it broke"},"attempt":2}
          > 1: error HTTPStatusError: it broke
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_idempotent_step_lost_with_its_worker_is_executed_again_with_the_same_key() {
    let mut bench = Bench::new();
    bench.start().idempotent("charge", json!(1));
    let first = key_of(&bench);
    bench.restart().idempotent("charge", json!(1));
    assert_eq!(key_of(&bench), first);
    bench.done(json!("ok"));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 charge
          + step.started {"n":1,"step":{"name":"charge","effect":"idempotent","args":1}}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 charge
          + step.started {"n":1,"attempt":2}
          > 2: execute 1.2 key
        done
          + step.completed {"n":1,"value":"ok","attempt":2}
          > 2: value "ok" live
    "#]]
    .assert_eq(&bench.trace());
}

fn key_of(bench: &Bench) -> Option<String> {
    bench.last.actions.iter().find_map(|action| match action {
        nx_runs::machine::Action::Reply {
            answer: nx_runs::machine::Answer::Execute { idempotency_key, .. }, ..
        } => idempotency_key.clone(),
        _ => None,
    })
}

#[test]
fn keys_memoise_and_join_what_is_in_flight() {
    let mut bench = Bench::new();
    let keyed = |step: &mut Step| step.key = Some("k".to_owned());
    bench.start();
    bench.step_with("f", code(Effect::Idempotent, json!(1)), None, keyed);
    bench.step_with("f", code(Effect::Idempotent, json!(1)), None, keyed);
    bench.done_call(1, Outcome::Ok(json!("v")));
    bench.step_with("f", code(Effect::Idempotent, json!(1)), None, keyed);
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 f
          + step.started {"n":1,"step":{"name":"f","key":"k","effect":"idempotent","args":1}}
          > 1: execute 1.1 key
        2 f
          > 2: wait Elsewhere
        done
          + step.completed {"n":1,"value":"v"}
          > 1: value "v" live
          > 2: value "v" live
        3 f
          > 3: recorded "v" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn tools_are_dispatched_when_a_worker_is_there() {
    let mut bench = Bench::new();
    let body = || Body::Tool { args: json!({"order": 1}) };
    bench.start().step("shop/find", body());
    bench.step_with("shop/find", body(), tool(Effect::Read), |_| {});
    bench.ready(Slot::Call(2), tool(Effect::Read)).tool_done(1, 1, Outcome::Ok(json!("found")));
    bench.restart().trace();
    bench.step("shop/find", body());
    expect![[r#"
        3 shop/find
          > 3: recorded "found" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_lost_tool_worker_leads_to_another_attempt() {
    let mut bench = Bench::new();
    let body = || Body::Tool { args: json!(1) };
    bench.start().step_with("shop/stock", body(), tool(Effect::Idempotent), |_| {});
    bench.ready(Slot::Call(1), None);
    let grants = vec![neuraxis_sdk::frames::Grant { step: 1, attempt: 1 }];
    bench.act("grants lost", Command::GrantsLost { grants, reason: "gone".to_owned() });
    bench.ready(Slot::Call(1), None).tool_done(1, 2, Outcome::Ok(json!("ok")));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 shop/stock
          > want Call(1) Tool("shop/stock")
        ready
          + step.started {"n":1,"step":{"name":"shop/stock","kind":"tool","effect":"idempotent","args":1}}
          > dispatch Call(1) 1.1 Execute Tool { name: "shop/stock", args: Number(1) } key true
        grants lost
          > want Call(1) Tool("shop/stock")
        ready
          + step.started {"n":1,"attempt":2}
          > dispatch Call(1) 1.2 Execute Tool { name: "shop/stock", args: Number(1) } key true
        tool done
          + step.completed {"n":1,"value":"ok","attempt":2}
          > 1: value "ok" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_tool_goes_on_while_the_agent_is_lost() {
    let mut bench = Bench::new();
    let body = || Body::Tool { args: json!(1) };
    bench.start().step_with("shop/stock", body(), tool(Effect::Once), |_| {});
    bench.ready(Slot::Call(1), None).restart();
    bench.step_with("shop/stock", body(), tool(Effect::Once), |_| {});
    bench.tool_done(1, 1, Outcome::Ok(json!("ok")));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 shop/stock
          > want Call(1) Tool("shop/stock")
        ready
          + step.started {"n":1,"step":{"name":"shop/stock","kind":"tool","effect":"once","args":1}}
          > dispatch Call(1) 1.1 Execute Tool { name: "shop/stock", args: Number(1) } key true
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 shop/stock
          > 2: wait Tool
        tool done
          + step.completed {"n":1,"value":"ok"}
          > 2: value "ok" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn frames_of_an_older_incarnation_are_fenced() {
    let mut bench = Bench::new();
    bench.start().restart();
    bench.step_with("a", code(Effect::Code, json!(1)), None, |step| step.inc = 1);
    bench.act("complete 1", Command::Complete { inc: 1, result: super::value(json!(1)) });
    bench.act("done", Command::Done { call: 9, outcome: Outcome::Ok(json!(1)) });
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 0 live true
        1 a
          ! incarnation 1 of run `r_` is over: incarnation 2 has it
        complete 1
          ! incarnation 1 of run `r_` is over: incarnation 2 has it
        done
          ! malformed frame: no call 9 is being executed
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn values_that_are_not_i_json_are_refused() {
    let mut bench = Bench::new();
    bench.start().code("a", json!(9_007_199_254_740_993_u64)).code("b", json!(1)).done(json!(u64::MAX));
    bench.once("c", json!(1)).done(json!(u64::MAX));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 a
          ! value refused: integer `9007199254740993` at `` is beyond 2^53 and would lose digits; send it as a string
        2 b
          > 2: execute -.1
        done
          + step.failed {"n":1,"step":{"name":"b","args":1},"error":{"name":"ValueRefused","message":"value refused: integer `18446744073709551615` at `` is beyond 2^53 and would lose digits; send it as a string","retryable":false}}
          > 2: error ValueRefused: value refused: integer `18446744073709551615` at `` is beyond 2^53 and would lose digits; send it as a string
        3 c
          + step.started {"n":2,"step":{"name":"c","effect":"once","args":1}}
          > 3: execute 2.1 key
        done
          + step.in_doubt {"n":2,"attempt":1,"reason":"it took place, but its value cannot be recorded"}
          + approval.requested {"ask":{"who":"operator","message":"did `c` (step 2) take place?"},"n":2,"why":"in_doubt","step":"c","args":1}
          > 3: wait Ask approval
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_late_outcome_is_taken_and_a_stale_one_ignored() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).lost(&[(1, 1)]).start().once("pay", json!(1));
    let late = |step, value: i32| Command::Late {
        grant: neuraxis_sdk::frames::Grant { step, attempt: 1 },
        outcome: Outcome::Ok(json!(value)),
    };
    bench.act("late", late(1, 7)).act("late again", late(1, 8)).act("late unknown", late(9, 8));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 pay
          > 2: wait Elsewhere
        late
          + step.completed {"n":1,"value":7}
          > late taken 1.1
          > 2: value 7 live
        late again
          > late taken 1.1
        late unknown
          > late taken 9.1
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_failure_reported_before_the_code_asks_is_judged_by_the_codes_policy() {
    let attempts = |attempts| move |step: &mut Step| step.retry = Some(Retry { attempts, ..Retry::default() });
    let late = Command::Late {
        grant: neuraxis_sdk::frames::Grant { step: 1, attempt: 1 },
        outcome: Outcome::Error(error("IOError")),
    };
    for allowed in [1, 2] {
        let mut bench = Bench::new();
        bench.start().step_with("pay", code(Effect::Idempotent, json!(1)), None, attempts(allowed));
        bench.lost(&[(1, 1)]).start().act("late", late.clone()).trace();
        bench.step_with("pay", code(Effect::Idempotent, json!(1)), None, attempts(allowed));
        let expected = if allowed == 1 { "error IOError" } else { "execute 1.2 key" };
        assert!(bench.trace().contains(expected));
    }
}

#[test]
fn calls_of_one_key_share_an_execution_that_has_no_record_yet() {
    let mut bench = Bench::new();
    let keyed = |step: &mut Step| step.key = Some("k".to_owned());
    bench.start();
    bench.step_with("f", code(Effect::Code, json!(1)), None, keyed);
    bench.step_with("f", code(Effect::Code, json!(1)), None, keyed);
    bench.done_call(1, Outcome::Ok(json!("v")));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 f
          > 1: execute -.1
        2 f
          > 2: wait Elsewhere
        done
          + step.completed {"n":1,"step":{"name":"f","key":"k","args":1},"value":"v"}
          > 1: value "v" live
          > 2: recorded "v" live
    "#]]
    .assert_eq(&bench.trace());
}
