//! Calls as policies see them.

use nx_guard::{
    call::{Call, Facts, Scores},
    tool::{Output, Tool},
};
use nx_types::Timestamp;
use serde_json::json;

use crate::support::{add, context};

#[test]
fn arguments_by_name() {
    let tool = Tool::parse(&json!({"name": "pay/refund", "effect": "once", "sinks": ["iban", "cents", "to"],
        "inputSchema": {"type": "object", "properties": {"iban": {}, "cents": {}, "note": {}}}}))
    .unwrap();
    let mut context = context("refund 50");
    add(&mut context, "shop/find_order", &json!({"to": "Ann Bell"}), &Output::trusted()).unwrap();
    let mail = json!({"body": "use XX99 of Ann Bell"});
    add(&mut context, "mail/m_88", &mail, &Output::default()).unwrap();
    let args = json!({"iban": "XX99", "cents": 51, "to": ["Ann Bell"], "memo": "refund"});
    let traced = context.trace(&tool, &args).unwrap();
    let facts = Facts {
        now: Timestamp::default(),
        scores: Scores::default(),
        approvals: 0,
        principal: "ann".to_owned(),
        roles: ["lead".to_owned()].into(),
        agent: "triage".to_owned(),
    };
    let call = Call { tool: &tool, traced: &traced, facts: &facts };
    let sinks = call.sinks();
    assert_eq!(sinks.untrusted, ["iban".to_owned()].into());
    assert_eq!(sinks.ambiguous, ["to".to_owned()].into());
    assert_eq!(sinks.unclear, ["cents".to_owned()].into());
    let from = call.sources();
    assert_eq!(from["iban"], ["untrusted/mail/m_88".to_owned()].into());
    assert_eq!(from["memo"], ["request".to_owned()].into());
    assert!(from["note"].is_empty() && from["cents"].len() == 3);
    assert!(call.acts() && !call.leaks() && traced.asked);
}
