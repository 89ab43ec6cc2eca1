//! The code changed while the run was in flight.

use expect_test::expect;
use neuraxis_sdk::frames::{Body, Effect, OnChange, Step};
use nx_runs::machine::Ruling;
use serde_json::json;

use super::{Bench, code, value};

/// A run with `a(1)`, `pay(2)` (once) and `b(3)` done, its worker lost, and a new incarnation begun.
fn recorded() -> Bench {
    let mut bench = Bench::new();
    bench.start().code("a", json!(1)).done(json!("A")).once("pay", json!(2)).done(json!("P"));
    bench.code("b", json!(3)).done(json!("B")).restart().trace();
    bench
}

#[test]
fn changed_arguments_of_code_run_again() {
    let mut bench = recorded();
    bench.code("a", json!(10)).done(json!("A2")).once("pay", json!(2)).code("b", json!(3));
    expect![[r#"
        4 a
          > 4: execute -.1
        done
          + step.completed {"n":4,"step":{"name":"a","occ":1,"note":"arguments changed: 6b86b273 before, 4a44dc15 now; revision 1","args":10,"rev":1,"over":1},"value":"A2"}
          > 4: value "A2"
        5 pay
          > 5: recorded "P"
        6 b
          > 6: recorded "B" live
    "#]].assert_eq(&bench.trace());
    bench.restart().trace();
    bench.code("a", json!(10)).once("pay", json!(2)).code("b", json!(3));
    expect![[r#"
        7 a
          > 7: recorded "A2"
        8 pay
          > 8: recorded "P"
        9 b
          > 9: recorded "B" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn changed_arguments_of_a_once_step_ask() {
    let mut bench = recorded();
    bench.code("a", json!(1)).once("pay", json!(20));
    bench.decide(Ruling::Reuse { step: None }).code("b", json!(3));
    expect![[r#"
        4 a
          > 4: recorded "A"
        5 pay
          + step.waiting {"n":4,"step":{"name":"pay","occ":1,"effect":"once","note":"arguments changed: d4735e3a before, f5ca38f7 now","args":20,"rev":1,"over":2},"wait":{"ask":{"why":"changed"}}}
          + approval.requested {"ask":{"who":"operator","message":"the arguments of `pay` (step 2) have changed: which counts?"},"n":4,"why":"changed","step":"pay","args":20,"candidates":[2]}
          > 5: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":4,"decision":{"reuse":{}}}
          + step.completed {"n":4,"from":2}
          > 5: recorded "P"
        6 b
          > 6: recorded "B" live
    "#]].assert_eq(&bench.trace());
    bench.restart().trace();
    bench.code("a", json!(1)).once("pay", json!(20)).code("b", json!(3));
    expect![[r#"
        7 a
          > 7: recorded "A"
        8 pay
          > 8: recorded "P"
        9 b
          > 9: recorded "B" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_ruling_to_run_executes_under_the_next_revision() {
    let mut bench = recorded();
    bench.code("a", json!(1)).once("pay", json!(20)).decide(Ruling::Run).done(json!("P2"));
    expect![[r#"
        4 a
          > 4: recorded "A"
        5 pay
          + step.waiting {"n":4,"step":{"name":"pay","occ":1,"effect":"once","note":"arguments changed: d4735e3a before, f5ca38f7 now","args":20,"rev":1,"over":2},"wait":{"ask":{"why":"changed"}}}
          + approval.requested {"ask":{"who":"operator","message":"the arguments of `pay` (step 2) have changed: which counts?"},"n":4,"why":"changed","step":"pay","args":20,"candidates":[2]}
          > 5: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":4,"decision":"run"}
          + step.started {"n":4}
          > 5: execute 4.1 key
        done
          + step.completed {"n":4,"value":"P2"}
          > 5: value "P2"
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_question_survives_crashes_and_is_answered_without_a_worker() {
    let mut bench = recorded();
    bench.code("a", json!(1)).once("pay", json!(20)).crash().lost(&[]).trace();
    bench.decide(Ruling::Complete { value: value(json!("by hand")) });
    bench.start().code("a", json!(1)).once("pay", json!(20)).code("b", json!(3));
    expect![[r#"
        decide
          + approval.decided {"by":"ann","n":4,"decision":{"complete":{"value":"by hand"}}}
          + step.completed {"n":4,"value":"by hand"}
        start
          + run.started {"inc":3,"worker":"w1"}
          > start inc 3 recorded 3 live false
        6 a
          > 6: recorded "A"
        7 pay
          > 7: recorded "by hand"
        8 b
          > 8: recorded "B" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn the_old_code_takes_the_question_back() {
    let mut bench = recorded();
    bench.code("a", json!(1)).once("pay", json!(20)).restart().trace();
    bench.code("a", json!(1)).once("pay", json!(2)).code("b", json!(3)).complete(json!(1));
    expect![[r#"
        6 a
          > 6: recorded "A"
        7 pay
          + approval.withdrawn {"reason":"the code asks for the recorded arguments again"}
          > 7: recorded "P"
        8 b
          > 8: recorded "B" live
        complete
          + run.completed {"result":1}
          > close 3 completed
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn policies_can_be_chosen() {
    let mut bench = recorded();
    bench.step_with("a", code(Effect::Code, json!(10)), None, |step| step.on_change = Some(OnChange::Ask));
    bench.decide(Ruling::Fail);
    bench.step_with("pay", code(Effect::Once, json!(20)), None, |step| step.on_change = Some(OnChange::Fail));
    expect![[r#"
        4 a
          + step.waiting {"n":4,"step":{"name":"a","occ":1,"note":"arguments changed: 6b86b273 before, 4a44dc15 now","args":10,"rev":1,"over":1},"wait":{"ask":{"why":"changed"}}}
          + approval.requested {"ask":{"who":"operator","message":"the arguments of `a` (step 1) have changed: which counts?"},"n":4,"why":"changed","step":"a","args":10,"candidates":[1]}
          > 4: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":4,"decision":"fail"}
          + step.failed {"n":4,"error":{"name":"RuledFailed","message":"ann ruled that `a` fails (changed)","retryable":false},"attempt":0}
          > 4: error RuledFailed: ann ruled that `a` fails (changed)
        5 pay
          + step.failed {"n":5,"step":{"name":"pay","occ":1,"effect":"once","note":"arguments changed: d4735e3a before, f5ca38f7 now","args":20,"rev":1},"error":{"name":"ArgumentsChanged","message":"`pay` (step 2) is asked for with other arguments, and its policy is to fail","retryable":false},"attempt":0}
          + run.failed {"error":{"name":"ArgumentsChanged","message":"`pay` (step 2) is asked for with other arguments, and its policy is to fail","retryable":false},"orphans":[{"n":3,"name":"b","state":"completed"}]}
          > 5: error ArgumentsChanged: `pay` (step 2) is asked for with other arguments, and its policy is to fail
          > close 2 failed
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_recorded_once_effect_counts_although_the_code_says_less() {
    let mut bench = recorded();
    bench.code("a", json!(1)).idempotent("pay", json!(20));
    expect![[r#"
        4 a
          > 4: recorded "A"
        5 pay
          + step.waiting {"n":4,"step":{"name":"pay","occ":1,"effect":"once","note":"arguments changed: d4735e3a before, f5ca38f7 now; effect changed: once before, idempotent now","args":20,"rev":1,"over":2},"wait":{"ask":{"why":"changed"}}}
          + approval.requested {"ask":{"who":"operator","message":"the arguments of `pay` (step 2) have changed: which counts?"},"n":4,"why":"changed","step":"pay","args":20,"candidates":[2]}
          > 5: wait Ask approval
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_inserted_once_step_waits_and_then_asks() {
    let mut bench = recorded();
    bench.once("notify", json!(9)).pass(1000).decide(Ruling::Run).done(json!("sent"));
    bench.code("a", json!(1)).once("pay", json!(2)).code("b", json!(3)).complete(json!(1));
    expect![[r#"
        4 notify
          > 4: wait Ask
        1000 ms pass
          + step.waiting {"n":4,"step":{"name":"notify","effect":"once","note":"new","args":9},"wait":{"ask":{"why":"new_once"}}}
          + approval.requested {"ask":{"who":"operator","message":"`notify` is new, while the code has not asked for `pay` (step 2)"},"n":4,"why":"new_once","step":"notify","args":9,"candidates":[2]}
          > 4: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":4,"decision":"run"}
          + step.started {"n":4}
          > 4: execute 4.1 key
        done
          + step.completed {"n":4,"value":"sent"}
          > 4: value "sent"
        5 a
          > 5: recorded "A"
        6 pay
          > 6: recorded "P"
        7 b
          > 7: recorded "B" live
        complete
          + run.completed {"result":1}
          > close 2 completed
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_renamed_once_step_can_be_ruled_to_be_the_old_one() {
    let mut bench = recorded();
    bench.code("a", json!(1)).once("charge", json!(2)).pass(1000).decide(Ruling::Reuse { step: None });
    bench.code("b", json!(3));
    expect![[r#"
        4 a
          > 4: recorded "A"
        5 charge
          > 5: wait Ask
        1000 ms pass
          + step.waiting {"n":4,"step":{"name":"charge","effect":"once","note":"new","args":2},"wait":{"ask":{"why":"new_once"}}}
          + approval.requested {"ask":{"who":"operator","message":"`charge` is new, while the code has not asked for `pay` (step 2)"},"n":4,"why":"new_once","step":"charge","args":2,"candidates":[2]}
          > 5: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":4,"decision":{"reuse":{}}}
          + step.completed {"n":4,"from":2}
          > 5: recorded "P"
        6 b
          > 6: recorded "B" live
    "#]].assert_eq(&bench.trace());
    bench.restart().trace();
    bench.code("a", json!(1)).once("charge", json!(2)).code("b", json!(3)).complete(json!(1));
    expect![[r#"
        7 a
          > 7: recorded "A"
        8 charge
          > 8: recorded "P"
        9 b
          > 9: recorded "B" live
        complete
          + run.completed {"result":1}
          > close 3 completed
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn was_declares_a_rename() {
    let mut bench = recorded();
    let was = |step: &mut Step| step.was = Some("pay".to_owned());
    bench.code("a", json!(1)).step_with("charge", code(Effect::Once, json!(2)), None, was).code("b", json!(3));
    expect![[r#"
        4 a
          > 4: recorded "A"
        5 charge
          + incarnation.diverged {"inc":2,"notes":[{"n":2,"what":"renamed from `pay` to `charge`"}]}
          > 5: recorded "P"
        6 b
          > 6: recorded "B" live
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn reordered_steps_are_found() {
    let mut bench = recorded();
    bench.code("b", json!(3)).once("pay", json!(2)).code("a", json!(1)).code("c", json!(4));
    expect![[r#"
        4 b
          > 4: recorded "B"
        5 pay
          + incarnation.diverged {"inc":2,"notes":[{"n":2,"what":"reordered"}]}
          > 5: recorded "P"
        6 a
          + incarnation.diverged {"inc":2,"notes":[{"n":1,"what":"reordered"}]}
          > 6: recorded "A" live
        7 c
          > 7: execute -.1
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn deleted_steps_are_orphans() {
    let mut bench = recorded();
    bench.code("a", json!(1)).complete(json!(1));
    expect![[r#"
        4 a
          > 4: recorded "A"
        complete
          + run.completed {"result":1,"orphans":[{"n":2,"name":"pay","effect":"once","state":"completed"},{"n":3,"name":"b","state":"completed"}]}
          > close 2 completed
    "#]].assert_eq(&bench.trace());
}

#[test]
fn parallel_once_steps_wait_for_each_other() {
    let mut bench = recorded();
    bench.code("a", json!(1));
    let branch = |scope: &'static str| move |step: &mut Step| step.scope = scope.to_owned();
    bench.step_with("log", code(Effect::Once, json!(5)), None, branch("g.0"));
    bench.step_with("pay", code(Effect::Once, json!(2)), None, |_| {});
    expect![[r#"
        4 a
          > 4: recorded "A"
        5 log
          > 5: wait Ask
        6 pay
          + step.started {"n":4,"step":{"scope":"g.0","name":"log","effect":"once","note":"new","args":5}}
          > 6: recorded "P"
          > 5: execute 4.1 key
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn a_step_moved_into_a_branch_asks() {
    let mut bench = recorded();
    bench.code("a", json!(1));
    bench.step_with("pay", code(Effect::Once, json!(2)), None, |step| step.scope = "g.0".to_owned());
    bench.pass(1000).decide(Ruling::Reuse { step: Some(2) });
    expect![[r#"
        4 a
          > 4: recorded "A"
        5 pay
          > 5: wait Ask
        1000 ms pass
          + step.waiting {"n":4,"step":{"scope":"g.0","name":"pay","effect":"once","note":"new","args":2},"wait":{"ask":{"why":"new_once"}}}
          + approval.requested {"ask":{"who":"operator","message":"`pay` is new, while the code has not asked for `pay` (step 2)"},"n":4,"why":"new_once","step":"g.0/pay","args":2,"candidates":[2]}
          > 5: wait Ask approval
        decide
          + approval.decided {"by":"ann","n":4,"decision":{"reuse":{"step":2}}}
          + step.completed {"n":4,"from":2}
          > 5: recorded "P"
    "#]].assert_eq(&bench.trace());
}

#[test]
fn another_kind_at_the_same_place_is_a_change() {
    let mut bench = recorded();
    bench.step("a", Body::Now);
    bench.step("pay", Body::Sleep { ms: 5 });
    expect![[r#"
        4 a
          + step.completed {"n":4,"step":{"name":"a","occ":1,"kind":"now","note":"kind changed: code before, now now; revision 1","rev":1,"over":1},"value":1000000}
          > 4: value 1000000
        5 pay
          + step.waiting {"n":5,"step":{"name":"pay","occ":1,"kind":"sleep","note":"kind changed: code before, sleep now","rev":1,"over":2},"wait":{"ask":{"why":"changed"}}}
          + approval.requested {"ask":{"who":"operator","message":"the arguments of `pay` (step 2) have changed: which counts?"},"n":5,"why":"changed","step":"pay","candidates":[2]}
          > 5: wait Ask approval
    "#]].assert_eq(&bench.trace());
}

#[test]
fn an_inserted_call_of_the_same_name_leaves_the_others_their_values() {
    let mut bench = Bench::new();
    bench.start();
    for n in 0..3 {
        bench.code("s", json!(n)).done(json!(n));
    }
    bench.restart().trace();
    bench.code("s", json!("new")).done(json!("new"));
    for n in 0..3 {
        bench.code("s", json!(n));
    }
    expect![[r#"
        4 s
          > 4: execute -.1
        done
          + step.completed {"n":4,"step":{"name":"s","occ":1,"note":"arguments changed: 5feceb66 before, 80270e39 now; revision 1","args":"new","rev":1,"over":1},"value":"new"}
          > 4: value "new"
        5 s
          + incarnation.diverged {"inc":2,"notes":[{"n":1,"what":"its value is kept, although another call took its place"}]}
          > 5: recorded 0
        6 s
          > 6: recorded 1
        7 s
          > 7: recorded 2 live
    "#]].assert_eq(&bench.trace());
}

#[test]
fn a_new_step_at_a_place_that_was_reordered_away_has_its_own_key() {
    let mut bench = Bench::new();
    bench.start().idempotent("s", json!("a")).done(json!(1)).idempotent("s", json!("b")).done(json!(2)).restart();
    bench.trace();
    bench.idempotent("s", json!("b")).idempotent("s", json!("c"));
    expect![[r#"
        3 s
          > 3: recorded 2
        4 s
          + step.started {"n":3,"step":{"name":"s","occ":2,"effect":"idempotent","note":"new","args":"c","rev":1}}
          > 4: execute 3.1 key
    "#]]
    .assert_eq(&bench.trace());
}

#[test]
fn long_searches_use_an_index() {
    let mut bench = Bench::new();
    bench.start();
    for n in 0..300 {
        bench.code("s", json!(n)).done(json!(n));
    }
    bench.restart();
    for n in (0..300).rev() {
        bench.code("s", json!(n));
        assert_eq!(bench.last.events.iter().filter(|event| event.kind().starts_with("step.")).count(), 0);
    }
}

#[test]
fn a_value_that_was_ruled_to_be_anothers_stands_for_its_own_step_too() {
    let mut bench = recorded();
    bench.code("a", json!(1)).once("extra", json!(9)).pass(1000).decide(Ruling::Reuse { step: None }).trace();
    bench.once("pay", json!(2)).code("b", json!(3));
    expect![[r#"
        6 pay
          + incarnation.diverged {"inc":2,"notes":[{"n":2,"what":"its value is kept, although another call took its place"}]}
          > 6: recorded "P"
        7 b
          > 7: recorded "B" live
    "#]].assert_eq(&bench.trace());
}
