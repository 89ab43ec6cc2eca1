//! Approvals of calls.

use std::collections::BTreeMap;

use expect_test::expect;
use neuraxis_sdk::frames::{Approve, Body, Effect, Escalate, Step};
use nx_runs::machine::{Ruling, digest};
use serde_json::json;

use super::{Bench, code, value};

fn lead() -> Approve {
    Approve {
        who: "lead".to_owned(),
        within_ms: None,
        escalate: Vec::new(),
        quorum: None,
        edit: false,
        over: BTreeMap::new(),
        message: None,
    }
}

fn guarded(approve: Approve) -> impl FnOnce(&mut Step) {
    move |step| step.approve = Some(approve)
}

fn refund(cents: i64) -> Body {
    code(Effect::Once, json!({"cents": cents}))
}

#[test]
fn a_call_waits_for_its_approval() {
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(8400), None, guarded(lead()));
    bench.decide(Ruling::Approve).done(json!("ok")).restart();
    bench.step_with("refund", refund(8400), None, guarded(lead()));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 refund
          + step.waiting {"n":1,"step":{"name":"refund","effect":"once","args":{"cents":8400}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead"},"n":1,"why":"call","step":"refund","args":{"cents":8400}}
          > 1: wait Approval approval
        decide
          + approval.decided {"by":"ann","n":1,"decision":"approve"}
          + step.started {"n":1}
          > 1: execute 1.1 key
        done
          + step.completed {"n":1,"value":"ok"}
          > 1: value "ok" live
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 refund
          > 2: recorded "ok" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn denial_is_raised_in_the_agent() {
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(8400), None, guarded(lead()));
    bench.decide_with(Ruling::Deny, |vote| vote.reason = Some("too much".to_owned()));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 refund
          + step.waiting {"n":1,"step":{"name":"refund","effect":"once","args":{"cents":8400}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead"},"n":1,"why":"call","step":"refund","args":{"cents":8400}}
          > 1: wait Approval approval
        decide
          + approval.decided {"reason":"too much","n":1,"decision":"deny","by":"ann"}
          + step.failed {"n":1,"error":{"name":"ApprovalDenied","message":"ann denied `refund`: too much","retryable":false},"attempt":0}
          > 1: error ApprovalDenied: ann denied `refund`: too much
    "#]].assert_eq(&bench.trace());
}

#[test]
fn only_amounts_over_the_bound_ask() {
    let over = || Approve { over: BTreeMap::from([("cents".to_owned(), 5000.0)]), ..lead() };
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(5000), None, guarded(over())).done(json!(1));
    bench.step_with("refund", refund(5001), None, guarded(over()));
    bench.step_with("refund", code(Effect::Once, json!({"cents": "many"})), None, guarded(over()));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 refund
          + step.started {"n":1,"step":{"name":"refund","effect":"once","args":{"cents":5000}}}
          > 1: execute 1.1 key
        done
          + step.completed {"n":1,"value":1}
          > 1: value 1 live
        2 refund
          + step.waiting {"n":2,"step":{"name":"refund","effect":"once","args":{"cents":5001}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead","over":{"cents":5000.0}},"n":2,"why":"call","step":"refund","args":{"cents":5001}}
          > 2: wait Approval approval
        3 refund
          + step.waiting {"n":3,"step":{"name":"refund","effect":"once","args":{"cents":"many"}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead","over":{"cents":5000.0}},"n":3,"why":"call","step":"refund","args":{"cents":"many"}}
          > 3: wait Approval approval
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_approval_is_kept_over_crashes_and_serves_once() {
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(8400), None, guarded(lead())).crash().lost(&[]);
    bench.decide(Ruling::Approve).start().step_with("refund", refund(8400), None, guarded(lead())).done(json!(1));
    bench.step_with("refund", refund(8400), None, guarded(lead()));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 refund
          + step.waiting {"n":1,"step":{"name":"refund","effect":"once","args":{"cents":8400}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead"},"n":1,"why":"call","step":"refund","args":{"cents":8400}}
          > 1: wait Approval approval
        crash
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        decide
          + approval.decided {"by":"ann","n":1,"decision":"approve"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 refund
          + step.started {"n":1}
          > 2: execute 1.1 key
        done
          + step.completed {"n":1,"value":1}
          > 2: value 1 live
        3 refund
          + step.waiting {"n":2,"step":{"name":"refund","effect":"once","args":{"cents":8400}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead"},"n":2,"why":"call","step":"refund","args":{"cents":8400}}
          > 3: wait Approval approval
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_decision_on_other_arguments_is_refused() {
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(8400), None, guarded(lead())).trace();
    bench.decide_with(Ruling::Approve, |vote| vote.hash = Some(digest::of(&json!({"cents": 1})).unwrap()));
    bench.decide_with(Ruling::Approve, |vote| vote.roles.clear());
    bench.decide_with(Ruling::Approve, |vote| vote.args = Some(value(json!({"cents": 1}))));
    bench.decide(Ruling::NotDone);
    expect![[r"
        decide
          ! the decision on `a_` is bound to arguments #, but they are # now; look again and decide anew
        decide
          ! `ann` may not decide on `a_`: it waits for `lead`
        decide
          ! invalid decision: the arguments may not be edited here; approve or deny them as they are
        decide
          ! invalid decision: `not_done` does not answer this question; choose one of approve, deny
    "]]
    .assert_eq(&bench.trace());
}

#[test]
fn changed_arguments_ask_anew() {
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(8400), None, guarded(lead())).restart().trace();
    bench.step_with("refund", refund(9900), None, guarded(lead()));
    expect![[r#"
        2 refund
          + approval.withdrawn {"reason":"another revision takes its place"}
          + step.waiting {"n":2,"step":{"name":"refund","occ":1,"effect":"once","note":"arguments changed: 497694ba before, 92c50efb now; revision 1","args":{"cents":9900},"rev":1,"over":1},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead"},"n":2,"why":"call","step":"refund","args":{"cents":9900}}
          > 2: wait Approval approval
    "#]].assert_eq(&bench.trace());
}

#[test]
fn edited_arguments_are_executed_and_the_call_still_matches() {
    let editable = || Approve { edit: true, ..lead() };
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(8400), None, guarded(editable()));
    bench.decide_with(Ruling::Approve, |vote| vote.args = Some(value(json!({"cents": 100}))));
    bench.done(json!("ok")).restart().step_with("refund", refund(8400), None, guarded(editable()));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 refund
          + step.waiting {"n":1,"step":{"name":"refund","effect":"once","args":{"cents":8400}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead","edit":true},"n":1,"why":"call","step":"refund","args":{"cents":8400}}
          > 1: wait Approval approval
        decide
          + approval.decided {"args":{"cents":100},"n":1,"decision":"approve","by":"ann"}
          + step.started {"n":1}
          > 1: execute 1.1 key args {"cents":100}
        done
          + step.completed {"n":1,"value":"ok"}
          > 1: value "ok" live
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 refund
          > 2: recorded "ok" live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_quorum_needs_different_people() {
    let two = || Approve { quorum: Some(2), ..lead() };
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(8400), None, guarded(two())).trace();
    bench.decide(Ruling::Approve).decide(Ruling::Approve);
    bench.decide_with(Ruling::Approve, |vote| vote.by = "bob".to_owned());
    expect![[r#"
        decide
          + approval.voted {"roles":["lead","operator"],"by":"ann"}
        decide
        decide
          + approval.decided {"by":"ann, bob","n":1,"decision":"approve"}
          + step.started {"n":1}
          > 1: execute 1.1 key
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn nobody_in_time_escalates_and_in_the_end_fails() {
    let chain = || Approve {
        within_ms: Some(1000),
        escalate: vec![Escalate { who: "head".to_owned(), within_ms: Some(500) }],
        ..lead()
    };
    let mut bench = Bench::new();
    bench.start().step_with("refund", refund(8400), None, guarded(chain())).pass(1000).crash().lost(&[]).pass(500);
    bench.start().step_with("refund", refund(8400), None, guarded(chain()));
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 refund
          + step.waiting {"n":1,"step":{"name":"refund","effect":"once","args":{"cents":8400}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead","within_ms":1000,"escalate":[{"who":"head","within_ms":500}]},"n":1,"why":"call","step":"refund","args":{"cents":8400}}
          > 1: wait Approval 1000ms approval
        1000 ms pass
          + approval.escalated {"rung":1,"who":"head"}
        crash
        lost
          + run.interrupted {"inc":1,"reason":"gone"}
        500 ms pass
          + approval.expired {"reason":"nobody decided in time"}
          + step.failed {"n":1,"error":{"name":"ApprovalExpired","message":"nobody decided on `refund` in time","retryable":false},"attempt":0}
        start
          + run.started {"inc":2,"worker":"w1"}
          > start inc 2 recorded 1 live false
        2 refund
          > 2: recorded error ApprovalExpired
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_question_that_guards_nothing_answers_with_the_decision() {
    let ask = || Body::Approval { args: json!({"plan": "b"}) };
    let mut bench = Bench::new();
    bench.start().step_with("ok?", ask(), None, guarded(lead())).decide(Ruling::Deny);
    bench.step("ok?", ask());
    expect![[r#"
        start
          + run.started {"inc":1,"worker":"w1"}
          > start inc 1 recorded 0 live true
        1 ok?
          + step.waiting {"n":1,"step":{"name":"ok?","kind":"approval","args":{"plan":"b"}},"wait":{"approval":{}}}
          + approval.requested {"ask":{"who":"lead"},"n":1,"why":"standalone","step":"ok?","args":{"plan":"b"}}
          > 1: wait Approval approval
        decide
          + approval.decided {"by":"ann","n":1,"decision":"deny"}
          + step.completed {"n":1,"value":{"approved":false,"by":"ann","reason":null,"args":{"plan":"b"}}}
          > 1: value {"approved":false,"by":"ann","reason":null,"args":{"plan":"b"}} live
        2 ok?
          ! invalid request: an approval step says whom to ask: give `approve`
    "#]]
    .assert_eq(&bench.trace());
}
