//! Ends: failure, cancel, deadline, undoing, retry, carry, fork.

use expect_test::expect;
use neuraxis_sdk::frames::{Body, Effect, Grant, Outcome, Step, StepError, Undo};
use nx_runs::machine::{Command, ForkSpec, Ruling, RunEvent, Slot, fork};
use nx_types::Timestamp;
use serde_json::json;

use super::{Bench, code, error, tool, value};

fn undo(function: &str) -> impl FnOnce(&mut Step) {
    let function = function.to_owned();
    move |step| step.undo = Some(Undo::Function(function))
}

/// A run whose steps `book` and `pay` can be undone.
fn booked() -> Bench {
    let mut bench = Bench::new();
    bench.start().step_with("book", code(Effect::Code, json!(1)), None, undo("unbook")).done(json!("B"));
    bench.step_with("pay", code(Effect::Idempotent, json!(2)), None, undo("refund")).done(json!("P"));
    bench.trace();
    bench
}

#[test]
fn failure_undoes_in_reverse() {
    let mut bench = booked();
    bench.fail("ValueError").ready(Slot::Undo(2), None).tool_done(3, 1, Outcome::Ok(json!(null)));
    bench.ready(Slot::Undo(1), None).tool_done(4, 1, Outcome::Ok(json!(null)));
    expect![[r#"
        fail
          + run.compensating {"cause":{"failed":{"name":"ValueError","message":"it broke"}}}
          > close 1 failed
          > want Undo(2) Agent("refund")
        ready
          + step.started {"n":3,"step":{"scope":"undo","name":"pay","key":"2","kind":"undo","effect":"idempotent","note":"undoes step 2 by `refund`","args":{"undoes":2}}}
          > dispatch Undo(2) 3.1 Execute UndoFunction { agent: "refund", function: "refund", args: ArgsAt(4), result: ValueAt(5) } key true
        tool done
          + step.completed {"n":3}
          > want Undo(1) Agent("refund")
        ready
          + step.started {"n":4,"step":{"scope":"undo","name":"book","key":"1","kind":"undo","effect":"idempotent","note":"undoes step 1 by `unbook`","args":{"undoes":1}}}
          > dispatch Undo(1) 4.1 Execute UndoFunction { agent: "refund", function: "unbook", args: ArgsAt(3), result: ValueAt(3) } key true
        tool done
          + step.completed {"n":4}
          + run.failed {"error":{"name":"ValueError","message":"it broke"}}
    "#]].assert_eq(&bench.trace());
}

#[test]
fn undoing_goes_on_after_a_crash() {
    let mut bench = booked();
    bench.fail("ValueError").ready(Slot::Undo(2), None).crash();
    assert!(bench.run.due().is_some_and(|due| due < bench.now));
    bench.pass(0);
    bench.act(
        "grants lost",
        Command::GrantsLost { grants: vec![Grant { step: 3, attempt: 1 }], reason: "x".to_owned() },
    );
    bench.ready(Slot::Undo(2), None).tool_done(3, 2, Outcome::Ok(json!(null)));
    bench.ready(Slot::Undo(1), None).tool_done(4, 1, Outcome::Ok(json!(null)));
    expect![[r#"
        fail
          + run.compensating {"cause":{"failed":{"name":"ValueError","message":"it broke"}}}
          > close 1 failed
          > want Undo(2) Agent("refund")
        ready
          + step.started {"n":3,"step":{"scope":"undo","name":"pay","key":"2","kind":"undo","effect":"idempotent","note":"undoes step 2 by `refund`","args":{"undoes":2}}}
          > dispatch Undo(2) 3.1 Execute UndoFunction { agent: "refund", function: "refund", args: ArgsAt(4), result: ValueAt(5) } key true
        crash
        0 ms pass
        grants lost
          > want Undo(2) Agent("refund")
        ready
          + step.started {"n":3,"attempt":2}
          > dispatch Undo(2) 3.2 Execute UndoFunction { agent: "refund", function: "refund", args: ArgsAt(4), result: ValueAt(5) } key true
        tool done
          + step.completed {"n":3,"attempt":2}
          > want Undo(1) Agent("refund")
        ready
          + step.started {"n":4,"step":{"scope":"undo","name":"book","key":"1","kind":"undo","effect":"idempotent","note":"undoes step 1 by `unbook`","args":{"undoes":1}}}
          > dispatch Undo(1) 4.1 Execute UndoFunction { agent: "refund", function: "unbook", args: ArgsAt(3), result: ValueAt(3) } key true
        tool done
          + step.completed {"n":4}
          + run.failed {"error":{"name":"ValueError","message":"it broke"}}
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_undo_is_retried_and_in_the_end_named() {
    let mut bench = booked();
    bench.limits.undo_attempts = 2;
    bench.fail("ValueError").ready(Slot::Undo(2), None).tool_done(3, 1, Outcome::Error(error("IOError"))).pass(1000);
    bench.ready(Slot::Undo(2), None).tool_done(3, 2, Outcome::Error(error("IOError")));
    bench.ready(Slot::Undo(1), None).tool_done(4, 1, Outcome::Ok(json!(null)));
    expect![[r#"
        fail
          + run.compensating {"cause":{"failed":{"name":"ValueError","message":"it broke"}}}
          > close 1 failed
          > want Undo(2) Agent("refund")
        ready
          + step.started {"n":3,"step":{"scope":"undo","name":"pay","key":"2","kind":"undo","effect":"idempotent","note":"undoes step 2 by `refund`","args":{"undoes":2}}}
          > dispatch Undo(2) 3.1 Execute UndoFunction { agent: "refund", function: "refund", args: ArgsAt(4), result: ValueAt(5) } key true
        tool done
          + step.attempt_failed {"n":3,"attempt":1,"error":{"name":"IOError","message":"it broke"}}
        1000 ms pass
          > want Undo(2) Agent("refund")
        ready
          + step.started {"n":3,"attempt":2}
          > dispatch Undo(2) 3.2 Execute UndoFunction { agent: "refund", function: "refund", args: ArgsAt(4), result: ValueAt(5) } key true
        tool done
          + step.failed {"n":3,"error":{"name":"IOError","message":"it broke"},"attempt":2}
          > want Undo(1) Agent("refund")
        ready
          + step.started {"n":4,"step":{"scope":"undo","name":"book","key":"1","kind":"undo","effect":"idempotent","note":"undoes step 1 by `unbook`","args":{"undoes":1}}}
          > dispatch Undo(1) 4.1 Execute UndoFunction { agent: "refund", function: "unbook", args: ArgsAt(3), result: ValueAt(3) } key true
        tool done
          + step.completed {"n":4}
          + run.failed {"error":{"name":"ValueError","message":"it broke"},"not_undone":[2]}
    "#]].assert_eq(&bench.trace());
}

#[test]
fn cancel_stops_the_agent_and_undoes() {
    let mut bench = booked();
    bench.act("cancel", Command::Cancel { by: "ann".to_owned(), reason: "enough".to_owned() });
    bench.code("late", json!(1)).act("stopped", Command::Stopped { inc: 1 });
    bench.ready(Slot::Undo(2), None).tool_done(3, 1, Outcome::Ok(json!(null)));
    bench.ready(Slot::Undo(1), None).tool_done(4, 1, Outcome::Ok(json!(null)));
    expect![[r#"
        cancel
          + run.cancel_requested {"by":"ann","reason":"enough"}
          > cancel 1 enough
        3 late
          > 3: error Cancelled: the run is being cancelled
        stopped
          + run.compensating {"cause":{"cancelled":"enough"}}
          > close 1 cancelled
          > want Undo(2) Agent("refund")
        ready
          + step.started {"n":3,"step":{"scope":"undo","name":"pay","key":"2","kind":"undo","effect":"idempotent","note":"undoes step 2 by `refund`","args":{"undoes":2}}}
          > dispatch Undo(2) 3.1 Execute UndoFunction { agent: "refund", function: "refund", args: ArgsAt(4), result: ValueAt(5) } key true
        tool done
          + step.completed {"n":3}
          > want Undo(1) Agent("refund")
        ready
          + step.started {"n":4,"step":{"scope":"undo","name":"book","key":"1","kind":"undo","effect":"idempotent","note":"undoes step 1 by `unbook`","args":{"undoes":1}}}
          > dispatch Undo(1) 4.1 Execute UndoFunction { agent: "refund", function: "unbook", args: ArgsAt(3), result: ValueAt(3) } key true
        tool done
          + step.completed {"n":4}
          + run.cancelled {"reason":"enough"}
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_agent_that_does_not_stop_is_fenced() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1));
    bench.act("cancel", Command::Cancel { by: "ann".to_owned(), reason: "enough".to_owned() });
    bench.pass(30_000).pass(30_000).decide(Ruling::NotDone);
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        cancel
          + run.cancel_requested {"by":"ann","reason":"enough"}
          > cancel 1 enough
        30000 ms pass
          + run.compensating {"cause":{"cancelled":"enough"}}
          > close 1 cancelled
        30000 ms pass
          + step.in_doubt {"n":1,"attempt":1,"reason":"its agent ended before it reported"}
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay"}
        decide
          + approval.decided {"by":"ann","n":1,"decision":"not_done"}
          + step.resolved {"n":1,"attempt":1,"how":"not_done","by":"person"}
          + run.cancelled {"reason":"enough"}
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_execution_left_behind_may_still_report() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).fail("ValueError");
    bench.done_call(1, Outcome::Ok(json!("paid")));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"once","args":1}}
          > 1: execute 1.1 key
        fail
          + run.compensating {"cause":{"failed":{"name":"ValueError","message":"it broke"}}}
          > close 1 failed
        done
          + step.completed {"n":1,"value":"paid"}
          + run.failed {"error":{"name":"ValueError","message":"it broke"}}
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn the_deadline_fails_the_run() {
    let mut bench = Bench::created(|created| created.deadline = Some(Timestamp::from_millis(1_060_000)));
    bench.start().step("nap", Body::Sleep { ms: 3_600_000 }).act("park", Command::Park).pass(60_000);
    assert_eq!(bench.run.due(), None);
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 nap
          + step.waiting {"n":1,"step":{"name":"nap","kind":"sleep"},"wait":{"sleep":{}}}
          > 1: wait Sleep 3600000ms
        park
          + run.interrupted {"inc":1,"reason":"parked: it only waits","parked":true}
          > close 1 parked
        60000 ms pass
          + run.cancel_requested {"by":"deadline","reason":"the run's deadline has passed"}
          + run.failed {"error":{"name":"DeadlineExceeded","message":"the run's deadline has passed","retryable":false},"orphans":[{"n":1,"name":"nap","state":"waiting"}]}
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_retry_executes_the_failed_step_again() {
    let mut bench = Bench::new();
    bench.start().code("a", json!(1)).done(json!("A"));
    let gone = StepError { retryable: Some(false), ..error("IOError") };
    bench.idempotent("b", json!(2)).raised(gone).fail("IOError").trace();
    bench.act("retry", Command::Retry { by: "ann".to_owned() }).start().code("a", json!(1)).idempotent("b", json!(2));
    bench.done(json!("B")).complete(json!(1));
    expect![[r#"
        retry
          + run.retried {"by":"ann"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 2 live false
        3 a
          > 3: recorded "A"
        4 b
          + step.started {"n":2,"attempt":2}
          > 4: execute 2.2 key
        done
          + step.completed {"n":2,"value":"B","attempt":2}
          > 4: value "B" live
        complete
          + run.completed {"result":1}
          > close 2 completed
    "#]]
    .assert_eq(&bench.trace());
}

fn scoped(scope: &str) -> impl FnOnce(&mut Step) {
    let scope = scope.to_owned();
    move |step| step.scope = scope
}

fn idempotent(args: i64) -> Body {
    code(Effect::Idempotent, json!(args))
}

fn gone(name: &str) -> Outcome {
    Outcome::Error(StepError { retryable: Some(false), ..error(name) })
}

#[test]
fn one_retry_opens_all_branches_that_failed() {
    let mut bench = Bench::new();
    bench.start();
    bench.step_with("left", idempotent(1), None, scoped("g0.0"));
    let left = bench.call();
    bench.step_with("right", idempotent(2), None, scoped("g0.1"));
    let right = bench.call();
    bench.done_call(left, gone("IOError")).done_call(right, gone("CardDeclined"));
    // The gather raises the first error; the other one is known to the record alone.
    bench.fail("IOError").trace();
    bench.act("retry", Command::Retry { by: "ann".to_owned() }).start();
    bench.step_with("left", idempotent(1), None, scoped("g0.0")).done(json!("L"));
    bench.step_with("right", idempotent(2), None, scoped("g0.1")).done(json!("R")).complete(json!(1));
    expect![[r#"
        retry
          + run.retried {"by":"ann"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 2 live false
        3 left
          + step.started {"n":1,"attempt":2}
          > 3: execute 1.2 key
        done
          + step.completed {"n":1,"value":"L","attempt":2}
          > 3: value "L"
        4 right
          + step.started {"n":2,"attempt":2}
          > 4: execute 2.2 key
        done
          + step.completed {"n":2,"value":"R","attempt":2}
          > 4: value "R" live
        complete
          + run.completed {"result":1}
          > close 2 completed
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn one_retry_opens_a_branch_that_failed_after_the_run() {
    let mut bench = Bench::new();
    bench.start();
    bench.step_with("left", idempotent(1), None, scoped("g0.0"));
    let left = bench.call();
    bench.step_with("right", code(Effect::Idempotent, json!(2)), None, |step| {
        step.scope = "g0.1".to_owned();
        step.undo = Some(Undo::Function("unright".to_owned()));
    });
    bench.done_call(left, gone("IOError")).fail("IOError");
    let late = Command::Late { grant: Grant { step: 2, attempt: 1 }, outcome: gone("CardDeclined") };
    bench.act("late", late).trace();
    bench.act("retry", Command::Retry { by: "ann".to_owned() }).start();
    bench.step_with("left", idempotent(1), None, scoped("g0.0")).done(json!("L"));
    bench.step_with("right", idempotent(2), None, scoped("g0.1")).done(json!("R")).complete(json!(1));
    expect![[r#"
        retry
          + run.retried {"by":"ann"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 2 live false
        3 left
          + step.started {"n":1,"attempt":2}
          > 3: execute 1.2 key
        done
          + step.completed {"n":1,"value":"L","attempt":2}
          > 3: value "L"
        4 right
          + step.started {"n":2,"attempt":2}
          > 4: execute 2.2 key
        done
          + step.completed {"n":2,"value":"R","attempt":2}
          > 4: value "R" live
        complete
          + run.completed {"result":1}
          > close 2 completed
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_retry_leaves_alone_what_the_code_had_handled() {
    let mut bench = Bench::new();
    bench.start().idempotent("ship", json!(1));
    bench.done_call(1, gone("CarrierError")).code("fallback", json!(2)).done(json!("F"));
    bench.idempotent("close", json!(3));
    bench.done_call(3, gone("IOError"));
    // The agent raises an error of its own.
    bench.fail("CannotClose").trace();
    bench.act("retry", Command::Retry { by: "ann".to_owned() }).start();
    bench.idempotent("ship", json!(1)).code("fallback", json!(2)).idempotent("close", json!(3));
    bench.done(json!("C")).complete(json!(1));
    expect![[r#"
        retry
          + run.retried {"by":"ann"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 3 live false
        4 ship
          > 4: recorded error CarrierError
        5 fallback
          > 5: recorded "F"
        6 close
          + step.started {"n":3,"attempt":2}
          > 6: execute 3.2 key
        done
          + step.completed {"n":3,"value":"C","attempt":2}
          > 6: value "C" live
        complete
          + run.completed {"result":1}
          > close 2 completed
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_retry_asks_about_a_failed_once_step() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).raised(error("IOError")).fail("IOError").trace();
    bench.act("retry", Command::Retry { by: "ann".to_owned() }).start().once("pay", json!(1)).decide(Ruling::NotDone);
    expect![[r#"
        retry
          + run.retried {"by":"ann"}
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
    "#]].assert_eq(&bench.trace());
}

#[test]
fn what_was_undone_is_executed_under_another_key_after_a_retry() {
    let mut bench = booked();
    bench.fail("ValueError").ready(Slot::Undo(2), None).tool_done(3, 1, Outcome::Ok(json!(null)));
    bench.ready(Slot::Undo(1), None).tool_done(4, 1, Outcome::Ok(json!(null))).trace();
    bench.act("retry", Command::Retry { by: "ann".to_owned() }).start();
    bench.step_with("book", code(Effect::Code, json!(1)), None, undo("unbook")).done(json!("B2"));
    bench.step_with("pay", code(Effect::Idempotent, json!(2)), None, undo("refund")).done(json!("P2"));
    bench.fail("Again");
    expect![[r#"
        retry
          + run.retried {"by":"ann"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 2 live false
        3 book
          > 3: execute -.1
        done
          + step.completed {"n":5,"step":{"name":"book","occ":1,"note":"was undone: executed again","args":1,"rev":1,"over":1,"undo":{"function":"unbook"}},"value":"B2"}
          > 3: value "B2"
        4 pay
          + step.started {"n":6,"step":{"name":"pay","occ":1,"effect":"idempotent","note":"was undone: executed again","args":2,"rev":1,"over":2,"undo":{"function":"refund"}}}
          > 4: execute 6.1 key
        done
          + step.completed {"n":6,"value":"P2"}
          > 4: value "P2" live
        fail
          + run.compensating {"cause":{"failed":{"name":"Again","message":"it broke"}}}
          > close 2 failed
          > want Undo(6) Agent("refund")
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_carry_begins_anew_within_the_run() {
    let carry = |call| Command::Carry { call, inc: 1, state: value(json!({"done": 10})) };
    let mut bench = Bench::new();
    bench.start().idempotent("pay", json!(1));
    let first = key(&bench);
    bench.act("carry too early", carry(90)).done_call(1, Outcome::Ok(json!("P"))).act("carry", carry(91));
    bench.idempotent("pay", json!(1));
    assert_ne!(key(&bench), first, "occurrences count anew, keys do not repeat");
    bench.done(json!("P2")).crash().restart().idempotent("pay", json!(1));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay
          + step.started {"n":1,"step":{"name":"pay","effect":"idempotent","args":1}}
          > 1: execute 1.1 key
        carry too early
          ! invalid request: `carry` replaces the history: await every step first
        done
          + step.completed {"n":1,"value":"P"}
          > 1: value "P" live
        carry
          + run.carried {"state":{"done":10}}
          > 91: value null live
        2 pay
          + step.started {"n":2,"step":{"name":"pay","effect":"idempotent","args":1}}
          > 2: execute 2.1 key
        done
          + step.completed {"n":2,"value":"P2"}
          > 2: value "P2" live
        crash
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        3 pay
          > 3: recorded "P2" live
    "#]]
    .assert_eq(&bench.trace());
}

fn key(bench: &Bench) -> Option<String> {
    bench.last.actions.iter().find_map(|action| match action {
        nx_runs::machine::Action::Reply {
            answer: nx_runs::machine::Answer::Execute { idempotency_key, .. }, ..
        } => idempotency_key.clone(),
        _ => None,
    })
}

#[test]
fn a_carry_waits_until_doubts_are_settled() {
    let mut bench = Bench::new();
    bench.start().once("pay", json!(1)).restart();
    bench.act("carry", Command::Carry { call: 50, inc: 2, state: value(json!(1)) });
    bench.decide(Ruling::Complete { value: value(json!("paid")) });
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
        carry
          + approval.requested {"ask":{"who":"operator","message":"did `pay` (step 1) take place?"},"n":1,"why":"in_doubt","step":"pay"}
          > 50: wait Ask
        decide
          + approval.decided {"by":"ann","n":1,"decision":{"complete":{"value":"paid"}}}
          + step.resolved {"n":1,"attempt":1,"how":{"completed":{"value":"paid"}},"by":"person"}
          + run.carried {"state":1,"orphans":[{"n":1,"name":"pay","effect":"once","state":"completed"}]}
          > 50: value null live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn what_can_be_undone_survives_a_carry() {
    let mut bench = booked();
    bench.act("carry", Command::Carry { call: 50, inc: 1, state: value(json!(1)) }).crash().lost(&[]);
    bench.act("cancel", Command::Cancel { by: "ann".to_owned(), reason: "enough".to_owned() });
    bench.ready(Slot::Undo(2), None);
    expect![[r#"
        carry
          + run.carried {"state":1}
          > 50: value null live
        crash
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        cancel
          + run.cancel_requested {"by":"ann","reason":"enough"}
          + run.compensating {"cause":{"cancelled":"enough"}}
          > want Undo(2) Agent("refund")
        ready
          + step.started {"n":3,"step":{"scope":"undo","name":"pay","key":"2","kind":"undo","effect":"idempotent","note":"undoes step 2 by `refund`","args":{"undoes":2}}}
          > dispatch Undo(2) 3.1 Execute UndoFunction { agent: "refund", function: "refund", args: ArgsAt(4), result: ValueAt(5) } key true
    "#]].assert_eq(&bench.trace());
}

#[test]
fn undo_of_a_once_tool_that_is_lost_is_a_doubt() {
    let mut bench = Bench::new();
    let body = || Body::Tool { args: json!(1) };
    let mut spec = tool(Effect::Idempotent);
    if let Some(spec) = &mut spec {
        spec.undo = Some("pay/cancel".to_owned());
    }
    bench.start().step_with("pay/refund", body(), spec.clone(), |_| {}).ready(Slot::Call(1), spec);
    bench.tool_done(1, 1, Outcome::Ok(json!("R"))).fail("ValueError").ready(Slot::Undo(1), tool(Effect::Once));
    bench.act(
        "grants lost",
        Command::GrantsLost { grants: vec![Grant { step: 2, attempt: 1 }], reason: "x".to_owned() },
    );
    bench.decide(Ruling::Complete { value: value(json!(null)) });
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 pay/refund
          > want Call(1) Tool("pay/refund")
        ready
          + step.started {"n":1,"step":{"name":"pay/refund","kind":"tool","effect":"idempotent","undo":{"tool":"pay/cancel"},"args":1}}
          > dispatch Call(1) 1.1 Execute Tool { name: "pay/refund", args: Number(1) } key true
        tool done
          + step.completed {"n":1,"value":"R"}
          > 1: value "R" live
        fail
          + run.compensating {"cause":{"failed":{"name":"ValueError","message":"it broke"}}}
          > close 1 failed
          > want Undo(1) Tool("pay/cancel")
        ready
          + step.started {"n":2,"step":{"scope":"undo","name":"pay/refund","key":"1","kind":"undo","effect":"once","note":"undoes step 1 by `pay/cancel`","args":{"undoes":1}}}
          > dispatch Undo(1) 2.1 Execute UndoTool { name: "pay/cancel", args: ArgsAt(3), result: ValueAt(4) } key true
        grants lost
          + step.in_doubt {"n":2,"attempt":1,"reason":"x"}
          + approval.requested {"ask":{"who":"operator","message":"did `undo/pay/refund` (step 2) take place?"},"n":2,"why":"in_doubt","step":"undo/pay/refund"}
        decide
          + approval.decided {"by":"ann","n":2,"decision":{"complete":{"value":null}}}
          + step.resolved {"n":2,"attempt":1,"how":{"completed":{"value":null}},"by":"person"}
          + run.failed {"error":{"name":"ValueError","message":"it broke"}}
    "#]].assert_eq(&bench.trace());
}

/// The parent of the forks: a code, an idempotent and a once step, then a read.
fn parent() -> Bench {
    let mut bench = Bench::new();
    bench.start().code("find", json!("A17")).done(json!({"cents": 84}));
    bench.step_with("refund", code(Effect::Idempotent, json!(84)), None, undo("cancel")).done(json!("R"));
    bench.once("mail", json!("A17")).done(json!("M")).complete(json!("ok"));
    bench
}

fn forked(parent: &Bench, change: impl FnOnce(&mut ForkSpec)) -> Bench {
    let mut spec = ForkSpec {
        parent: parent.run.id(),
        at: Some(2),
        input: None,
        result: None,
        live: false,
        by: "ann".to_owned(),
        key: None,
    };
    change(&mut spec);
    let mut events = fork(parent.log.clone(), &spec).unwrap().into_iter();
    let mut bench = Bench::created(|created| {
        if let Some(RunEvent::Created(first)) = events.next() {
            *created = *first;
        }
    });
    events.for_each(|event| bench.load(event));
    bench.check_rebuilt();
    bench
}

#[test]
fn a_fork_reuses_earlier_steps_and_simulates_later_effects() {
    let mut bench = forked(&parent(), |_| {});
    bench
        .start()
        .code("find", json!("A17"))
        .idempotent("refund", json!(84))
        .once("mail", json!("B"))
        .complete(json!(1));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 1 live false
        1 find
          > 1: recorded {"cents":84} live
        2 refund
          + step.completed {"n":4,"step":{"name":"refund","effect":"idempotent","note":"simulated: the value is that of the run it was forked from","args":84},"from":2}
          > 2: recorded "R" live
        3 mail
          + step.failed {"n":5,"step":{"name":"mail","effect":"once","args":"B"},"error":{"name":"SimulatedEffect","message":"simulated effect has no recorded value; fork with --live to let it take place","retryable":false},"attempt":0}
          > 3: error SimulatedEffect: simulated effect has no recorded value; fork with --live to let it take place
        complete
          + run.completed {"result":1}
          > close 1 completed
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_live_fork_lets_later_effects_take_place() {
    let mut bench = forked(&parent(), |spec| spec.live = true);
    bench.start().code("find", json!("A17")).idempotent("refund", json!(84));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 1 live false
        1 find
          > 1: recorded {"cents":84} live
        2 refund
          + step.started {"n":4,"step":{"name":"refund","effect":"idempotent","args":84}}
          > 2: execute 4.1 key
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_fork_can_edit_a_result() {
    let mut bench = forked(&parent(), |spec| {
        spec.at = Some(1);
        spec.result = Some(value(json!({"cents": 1})));
    });
    bench.start().code("find", json!("A17")).idempotent("refund", json!(1));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 1 live false
        1 find
          > 1: recorded {"cents":1} live
        2 refund
          + step.failed {"n":4,"step":{"name":"refund","effect":"idempotent","args":1},"error":{"name":"SimulatedEffect","message":"simulated effect has no recorded value; fork with --live to let it take place","retryable":false},"attempt":0}
          > 2: error SimulatedEffect: simulated effect has no recorded value; fork with --live to let it take place
    "#]].assert_eq(&bench.trace());
}
