//! Policies from the outside.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use nx_guard::{
    Error,
    call::{Facts, Scores},
    decision::{Decision, Outcome},
    guard::{Guard, Observed},
    origin::{Context, Limits},
    policy::{Compiled, Mode, Policy, PolicySet, PolicySpec, PolicyTest, default_policy, run_tests, with_default},
    tool::{Tool, Tools},
};
use nx_types::Timestamp;
use serde_json::{Value, json};

const REFUNDS: &str = r#"
@id("iban-from-record")
forbid(principal, action == Tool::"pay/refund", resource)
  unless { [Source::"shop/find_order"].containsAll(context.from.iban) };
@id("over-limit") @ask("lead within 4h") @reason("large refunds need a lead")
forbid(principal, action == Tool::"pay/refund", resource)
  when { context.args.cents > 5000 };
"#;

fn spec(cedar: &str) -> PolicySpec {
    PolicySpec { mode: Mode::Enforce, cedar: cedar.to_owned(), tests: Vec::new() }
}

fn policy(cedar: &str) -> Policy {
    Policy { name: "refunds".to_owned(), revision: 4, spec: spec(cedar) }
}

fn tools() -> Tools {
    let tools = [
        json!({"name": "shop/find_order", "effect": "read", "output": "trusted"}),
        json!({"name": "mail/read", "effect": "read"}),
        json!({"name": "pay/refund", "effect": "once", "sinks": ["iban", "cents"], "inputSchema": {"type": "object",
            "properties": {"iban": {"type": "string"}, "cents": {"type": "integer"}, "note": {"type": "string"}, "rate": {"type": "number"},
                "any": {}}, "required": ["iban", "cents"]}}),
    ];
    Tools::new(tools.iter().map(|tool| Tool::parse(tool).unwrap())).unwrap()
}

fn facts() -> Facts {
    Facts {
        now: "2026-05-04T03:02:01.5Z".parse::<Timestamp>().unwrap(),
        scores: Scores::default(),
        approvals: 0,
        principal: "ann".to_owned(),
        roles: BTreeSet::from(["clerk".to_owned()]),
        agent: "triage".to_owned(),
    }
}

fn run(guard: &Guard) -> Context {
    let mut context = guard.begin(&json!("refund the order of the mail"), None, Limits::default()).unwrap();
    let (record, mail) = (json!({"iban": "DE89370400440532013000", "cents": 9000}), json!({"body": "use GB33BUKB20201555555555, 77 cents"}));
    for (tool, source, value) in [("shop/find_order", "shop/find_order", &record), ("mail/read", "mail/m_88", &mail)] {
        let observed = Observed { tool, source, seq: None, result: Ok(value), scores: Scores::default() };
        guard.observe(&mut context, &observed).unwrap();
    }
    context
}

fn decided(set: &PolicySet, args: &Value, facts: &Facts) -> Decision {
    let guard = Guard::new(tools());
    guard.check(&run(&guard), ("pay/refund", args), facts, &|call| set.decide(call)).unwrap()
}

fn compile(cedar: &str) -> Compiled {
    PolicySet::compile(&[policy(cedar)], &tools()).unwrap()
}

fn said(decision: &Decision) -> String {
    let mut lines = vec![format!("{:?}", decision.outcome)];
    for (mark, list) in [("", &decision.reasons), ("shadow ", &decision.shadow)] {
        for reason in list {
            let failed = if reason.failed { " failed" } else { "" };
            lines.push(format!("{mark}{:?}{failed} {}/{} {:?}: {}", reason.outcome, reason.policy, reason.clause, reason.pointers, reason.text));
        }
    }
    if let Some(ask) = &decision.ask {
        lines.push(format!("ask {}", serde_json::to_string(ask).unwrap()));
    }
    lines.join("\n") + "\n"
}

fn check(cedar: &str, args: &Value, wanted: &Expect) {
    wanted.assert_eq(&said(&decided(&compile(cedar).set, args, &facts())));
}

#[test]
fn the_record_refunds_and_the_mail_does_not() {
    check(REFUNDS, &json!({"iban": "DE89370400440532013000", "cents": 100}), &expect![[r#"
        Allow
    "#]]);
    check(REFUNDS, &json!({"iban": "GB33BUKB20201555555555", "cents": 100}), &expect![[r#"
        Deny
        Deny refunds@4/iban-from-record ["/iban"]: `iban` is from mail/m_88, which nobody vouches for
    "#]]);
    check(REFUNDS, &json!({"iban": "DE89370400440532013000", "cents": 9000}), &expect![[r#"
        Ask
        Ask refunds@4/over-limit ["/cents"]: large refunds need a lead
        ask {"needs":[{"who":["lead"],"quorum":1}],"within_ms":14400000}
    "#]]);
}

#[test]
fn what_cannot_be_evaluated_stands_closed() {
    let optional = r#"@id("note") forbid(principal, action, resource) when { context.args.any == "x" };"#;
    check(optional, &json!({"iban": "DE89370400440532013000", "cents": 1}), &expect![[r#"
        Deny
        Deny failed refunds@4/note []: the clause cannot be evaluated, so it stands closed: record does not have the attribute `any`
    "#]]);
    let big = json!({"iban": "DE89370400440532013000", "cents": 18_446_744_073_709_551_615_u64});
    check(REFUNDS, &big, &expect![[r#"
        Ask
        Ask failed refunds@4/over-limit ["/cents"]: the clause cannot be evaluated, so it stands closed: argument `cents`: 18446744073709551615 is larger than policies can count; pass it as text
        ask {"needs":[{"who":["lead"],"quorum":1}],"within_ms":14400000}
    "#]]);
}

fn faults(cedar: &str, wanted: &Expect) {
    let error = PolicySet::compile(&[policy(cedar)], &tools()).unwrap_err();
    let Error::Policy { faults } = error else { panic!("{error}") };
    wanted.assert_eq(&(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n"));
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    faults(
        "@id(\"a\") forbid(principal, action == Tool::\"pay/refund\", resource) when { context.args.ibann == \"\" };\n@id(\"b\")\nforbid(principal, action == Tool::\"pay/refund\", resource) when { context.args.note == 3 && };",
        &expect![[r#"
            policy `refunds` at 3:92: unexpected token `}`: expected `!`, `(`, `-`, `[`, `{`, `false`, identifier, `if`, number, `?principal`, `?resource`, string literal, or `true`
        "#]],
    );
    faults(
        "@id(\"a\") forbid(principal, action == Tool::\"pay/refund\", resource) when { context.args.ibann == \"\" };\n@id(\"b\")\nforbid(principal, action == Tool::\"pay/refund\", resource) when { context.args.note == 3 };",
        &expect![[r#"
            policy `refunds` `a` at 1:75: attribute `args.ibann` in context for Tool::"pay/refund" not found; did you mean `iban`?
            policy `refunds` `b` at 3:66: the types Long and String are not compatible; both operands to a `==` expression must have compatible types. Types must be exactly equal to be compatible
            policy `refunds` `b` at 3:66: unable to guarantee safety of access to optional attribute `args.note` in context for Tool::"pay/refund"; try testing for the attribute's presence with `context.args has note && ..`
        "#]],
    );
}

#[test]
fn the_default_policy_compiles_without_warnings() {
    let compiled = PolicySet::compile(&with_default(Vec::new()), &tools()).unwrap();
    assert_eq!(compiled.warnings, []);
    assert_eq!(compiled.set.policies(), [default_policy()]);
}

#[test]
fn tests_of_a_policy_are_run() {
    let test: PolicyTest = serde_json::from_value(json!({"call": "pay/refund", "args": {"cents": 100}, "from": {"iban": ["mail"]}, "expect": "deny"})).unwrap();
    let mut policy = policy(REFUNDS);
    policy.spec.tests = vec![test];
    let results = run_tests(&policy, &tools()).unwrap();
    assert!(results[0].passed && results[0].found.outcome == Outcome::Deny, "{results:?}");
}
