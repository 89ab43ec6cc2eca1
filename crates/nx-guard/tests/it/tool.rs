//! Declarations of tools.

use nx_guard::tool::{Effect, Tool, Tools, Trust};
use serde_json::json;

fn path(text: &str) -> Vec<String> {
    text.split('/').skip(1).map(str::to_owned).collect()
}

#[test]
fn undeclared_is_the_worst() {
    let tool = Tool::parse(&json!({"name": "pay"})).unwrap();
    assert_eq!(tool.effect, Effect::Once);
    assert_eq!(tool.output.trust, Trust::Untrusted);
    assert!(tool.is_sink(&path("/anything/at/all")));
    let read = Tool::parse(&json!({"name": "find", "effect": "read"})).unwrap();
    assert!(!read.is_sink(&path("/query")));
}

#[test]
fn places_are_covered_with_what_is_under_them() {
    let tool =
        Tool::parse(&json!({"name": "send", "sinks": ["to", "/items/*/iban"], "inputSchema": {"type": "object"},
        "output": {"trusted": ["/*/id"], "untrusted": ["/9"], "readers": ["ann"]}}))
        .unwrap();
    assert!(tool.is_sink(&path("/to/0")) && tool.is_sink(&path("/items/3/iban")));
    assert!(!tool.is_sink(&path("/items/3/note")) && !tool.is_sink(&path("/together")));
    assert_eq!(tool.output.trust_at(&path("/0/id")), Trust::Trusted);
    assert_eq!(tool.output.trust_at(&path("/9/id")), Trust::Untrusted);
    assert_eq!(tool.output.trust_at(&path("/0/body")), Trust::Untrusted);
    let again = Tool::parse(&serde_json::to_value(&tool).unwrap()).unwrap();
    assert_eq!(again, tool);
}

#[test]
fn what_does_not_fit_is_refused() {
    for wrong in [
        json!({"name": ""}),
        json!({"name": "a", "efect": "read"}),
        json!({"name": "a", "effect": "write"}),
        json!({"name": "a", "output": {"trust": "trusted", "reader": []}}),
        json!({"name": "a", "inputSchema": []}),
        json!({"name": "a\u{0}b"}),
        json!([]),
    ] {
        assert!(Tool::parse(&wrong).is_err(), "{wrong}");
    }
    let tool = Tool::parse(&json!({"name": "pay/refund"})).unwrap();
    assert!(Tools::new([tool.clone(), tool.clone()]).is_err());
    let unknown = Tools::new([tool]).unwrap().get("refund").unwrap_err().to_string();
    assert!(unknown.contains("there is `pay/refund`"), "{unknown}");
}
