//! Policies: Cedar text of any kind, against a tool; what compiles is asked about a call, explained and tested.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use nx_guard::{
    call::{Call, Facts, Scores},
    origin::{Context, Limits},
    policy::{Policy, PolicySet, PolicySpec, explain, run_tests, with_default},
    tool::{Output, Tool, Tools},
};
use nx_types::Timestamp;
use serde_json::json;

fuzz_target!(|text: &str| {
    // A spec as JSON, or the Cedar text alone.
    let spec = serde_json::from_str::<PolicySpec>(text)
        .unwrap_or_else(|_| PolicySpec { cedar: text.to_owned(), ..PolicySpec::default() });
    let declared = json!({"name": "pay/refund", "sinks": ["iban"], "inputSchema": {"properties": {
        "iban": {"type": "string"}, "cents": {"type": "integer"}, "rate": {"type": "number"}, "to": {"type": "array", "items": {"type": "string"}}}}});
    let tool = Tool::parse(&declared).expect("a tool");
    let tools = Tools::new([tool.clone()]).expect("tools");
    let policy = Policy { name: "any".to_owned(), revision: 1, spec };
    drop(run_tests(&policy, &tools));
    let Ok(compiled) = PolicySet::compile(&with_default(vec![policy]), &tools) else { return };
    let mut context = Context::new(&json!("refund 5"), Limits::default()).expect("a context");
    let mail = Arc::new(json!("to X1"));
    let labels = Output::default().labels("mail/m_1", &mail, false);
    context.add("mail/m_1", None, &mail, labels).expect("a value");
    let traced = context.trace(&tool, &json!({"iban": "X1", "cents": 5, "rate": 0.5, "to": ["a"]})).expect("a trace");
    let facts = Facts {
        now: Timestamp::from_millis(0),
        scores: Scores::default(),
        approvals: 0,
        principal: "ann".to_owned(),
        roles: ["clerk".to_owned()].into(),
        agent: "triage".to_owned(),
    };
    let call = Call { tool: &tool, traced: &traced, facts: &facts };
    let mut decision = compiled.set.decide(&call).expect("an answer");
    decision.flip = compiled.set.flip(&call, &decision).expect("a search");
    drop(explain("pay/refund", &decision).to_string());
    if let Ok(proposal) = compiled.set.propose(&call, &decision, "why") {
        assert!(proposal.lets_through(&compiled.set, []).is_ok(), "{}", proposal.cedar);
    }
});
