//! What holds of all policies, or of those that ship.

use std::{collections::BTreeSet, fmt::Write as _, sync::LazyLock};

use nx_guard::{
    call::{Call, Facts, Scores},
    decision::{Ask, Evidence, Need, Origin, Outcome, Standing},
    origin::{Leak, Traced},
    policy::{Policy, PolicySet, with_default},
    tool::{Effect, Tool, Tools},
};
use proptest::prelude::*;
use serde_json::json;

use super::{REFUNDS, decided, facts, policy, said, spec, tools};

/// The rule that the shipped policy says in Cedar.
fn plain_rule(tool: &Tool, traced: &Traced) -> Outcome {
    let acts = tool.effect != Effect::Read;
    let chosen = traced.origins.iter().any(|origin| origin.sink && !origin.standing.is_trusted());
    let unasked = !traced.named && !traced.asked;
    if chosen || (acts && unasked) || !traced.leaks.is_empty() { Outcome::Ask } else { Outcome::Allow }
}

const STANDINGS: [Standing; 7] = [
    Standing::Reference,
    Standing::Request,
    Standing::Trusted,
    Standing::Own,
    Standing::Ambiguous,
    Standing::Context,
    Standing::Untrusted,
];
const SOURCES: [&str; 5] = ["request", "shop/find_order", "extract/order", "mail/m_1", "untrusted/mail/m_1"];
const NAMES: [&str; 4] = ["iban", "cents", "note", "cc"];

type Leaf = (usize, Vec<usize>);

fn traced(leaves: &[Leaf], (asked, leaks): (bool, bool), tool: &Tool) -> Traced {
    let origins: Vec<Origin> = leaves
        .iter()
        .zip(NAMES)
        .map(|((standing, sources), name)| Origin {
            pointer: format!("/{name}"),
            standing: STANDINGS[*standing],
            sources: sources.iter().map(|source| SOURCES[*source].to_owned()).collect(),
            sink: tool.is_sink(&[name.to_owned()]),
            readers: None,
            evidence: Vec::new(),
        })
        .collect();
    let evidence = Evidence { source: "x".to_owned(), event: None, pointer: String::new(), how: "value".to_owned() };
    let leak = Leak { pointer: "/note".to_owned(), evidence, readers: BTreeSet::new() };
    let named = origins.iter().any(|origin| origin.sink && origin.standing == Standing::Request);
    let args = json!({"iban": "X", "cents": 6000, "note": "n", "cc": ["a"]});
    Traced { args, origins, asked, named, leaks: if leaks { vec![leak] } else { Vec::new() } }
}

/// A label that is as trusted or less: sources join, a source loses its trust, the standing falls.
fn degraded(leaf: &Leaf, (fall, joined, lost): &(usize, Vec<usize>, bool)) -> Leaf {
    let mut sources: Vec<usize> = leaf.1.iter().chain(joined).copied().collect();
    if *lost {
        sources.fill(4);
    }
    ((leaf.0 + fall).min(STANDINGS.len() - 1), sources)
}

fn leaf() -> impl Strategy<Value = Leaf> {
    (0..STANDINGS.len(), prop::collection::vec(0..SOURCES.len(), 0..3))
}

fn acting() -> Vec<Tool> {
    let sinks = json!({"name": "pay/refund", "effect": "once", "sinks": ["iban", "cc"], "inputSchema": tools().get("pay/refund").unwrap().input_schema});
    [
        json!({"name": "send_email"}),
        json!({"name": "mail/read", "effect": "read"}),
        json!({"name": "web/get", "effect": "read", "sinks": ["iban"]}),
        sinks,
    ]
    .iter()
    .map(|tool| Tool::parse(tool).unwrap())
    .collect()
}

static SHIPPED: LazyLock<PolicySet> =
    LazyLock::new(|| PolicySet::compile(&with_default(Vec::new()), &Tools::default()).unwrap().set);
static SHIPPED_AND_REFUNDS: LazyLock<PolicySet> =
    LazyLock::new(|| PolicySet::compile(&with_default(vec![policy(REFUNDS)]), &tools()).unwrap().set);

proptest! {
    #[test]
    fn less_trust_never_makes_it_laxer(
        leaves in prop::collection::vec(leaf(), NAMES.len()),
        falls in prop::collection::vec((0..7_usize, prop::collection::vec(0..SOURCES.len(), 0..2), any::<bool>()), NAMES.len()),
        (tool, asked, leaks, more_leaks) in (0..4_usize, any::<bool>(), any::<bool>(), any::<bool>()),
        (scores, risen) in (0..=100_u8, 0..=100_u8),
    ) {
        let tool = &acting()[tool];
        let less: Vec<Leaf> = leaves.iter().zip(&falls).map(|(leaf, fall)| degraded(leaf, fall)).collect();
        let score = |secrets| Facts { scores: Scores { secrets, ..Scores::default() }, ..facts() };
        let (before, after) = (traced(&leaves, (asked, leaks), tool), traced(&less, (asked, leaks || more_leaks), tool));
        let outcome = |traced: &Traced, facts: &Facts| SHIPPED_AND_REFUNDS.decide(&Call { tool, traced, facts }).unwrap().outcome;
        let (was, is) = (outcome(&before, &score(scores)), outcome(&after, &score(scores.max(risen))));
        prop_assert!(is >= was, "{was:?} became {is:?}");
    }

    #[test]
    fn the_shipped_policy_is_the_plain_rule(
        leaves in prop::collection::vec(leaf(), NAMES.len()), tool in 0..4_usize, asked in any::<bool>(), leaks in any::<bool>(),
    ) {
        let tool = &acting()[tool];
        let traced = traced(&leaves, (asked, leaks), tool);
        let decision = SHIPPED.decide(&Call { tool, traced: &traced, facts: &facts() }).unwrap();
        prop_assert_eq!(decision.outcome, plain_rule(tool, &traced));
    }

    /// Merged terms are met exactly when both are, in whatever order they were merged.
    #[test]
    fn merged_terms_want_what_each_wants(
        terms in prop::collection::vec((prop::collection::vec((prop::collection::btree_set(0..4_usize, 0..3), 1..4_u32), 1..3), 0..4_u64), 3),
        people in prop::collection::btree_map(0..6_usize, prop::collection::btree_set(0..4_usize, 0..3), 0..6),
    ) {
        let name = |n: &usize| ["lead", "ops", "p0", "p1"][*n].to_owned();
        let asks: Vec<Ask> = terms
            .iter()
            .map(|(needs, within)| Ask {
                needs: needs.iter().map(|(who, quorum)| Need { who: who.iter().map(name).collect(), quorum: *quorum }).collect(),
                within_ms: (*within > 0).then_some(*within),
            })
            .collect();
        let people = people.iter().map(|(person, roles)| (format!("p{person}"), roles.iter().map(name).collect())).collect();
        let [a, b, c] = [&asks[0], &asks[1], &asks[2]];
        prop_assert_eq!(a.merge(b).merge(c), c.merge(&b.merge(a)));
        prop_assert_eq!(a.merge(b).met_by(&people), a.met_by(&people) && b.met_by(&people));
        prop_assert_eq!(a.merge(b).within_ms, a.within_ms.into_iter().chain(b.within_ms).min());
    }

    /// Scopes are what clauses are laid out by; as conditions they are not, and mean the same.
    #[test]
    fn slices_say_what_all_clauses_say(
        picks in prop::collection::vec((0..SCOPES.len(), 0..SCOPES.len(), 0..3_usize), 1..12),
        (user, role, tool) in (0..3_usize, 0..3_usize, 0..4_usize),
    ) {
        let (mut sliced, mut whole) = (String::new(), String::new());
        for (n, (principal, action, kind)) in picks.iter().enumerate() {
            let ((whom, whom_if), (what, what_if)) = (SCOPES[*principal].0, SCOPES[*action].1);
            let head = match kind {
                0 => format!("@id(\"c{n}\") forbid"),
                1 => format!("@id(\"c{n}\") @ask(\"r{n}\") forbid"),
                _ if n > 0 && picks[n - 1].2 == 1 => format!("@id(\"c{n}\") @releases(\"refunds/c{}\") permit", n - 1),
                _ => continue,
            };
            writeln!(sliced, "{head}({whom}, {what}, resource);").unwrap();
            writeln!(whole, "{head}(principal, action, resource) when {{ {whom_if} && {what_if} }};").unwrap();
        }
        let tool = &acting()[tool];
        let traced = traced(&[(0, vec![])], (true, false), tool);
        let facts = Facts { principal: ["ann", "bob", "eve"][user].to_owned(), roles: [["clerk", "lead", "none"][role].to_owned()].into(), ..facts() };
        let call = Call { tool, traced: &traced, facts: &facts };
        let said = |text: &str| said(&PolicySet::compile(&[policy(text)], &Tools::default()).unwrap().set.decide(&call).unwrap());
        prop_assert_eq!(said(&sliced), said(&whole));
    }

    /// Cedar text of any kind is taken or refused, and nothing breaks.
    #[test]
    fn any_text_is_taken_or_refused(parts in prop::collection::vec(0..WORDS.len(), 0..60)) {
        let text: Vec<&str> = parts.iter().map(|part| WORDS[*part]).collect();
        let spec = spec(&text.join(" "));
        let traced = traced(&[(0, vec![])], (true, false), &acting()[3]);
        let call = Call { tool: &acting()[3], traced: &traced, facts: &facts() };
        if let Ok(compiled) = PolicySet::compile(&[Policy { name: "any".to_owned(), revision: 0, spec }], &tools()) {
            prop_assert!(compiled.set.decide(&call).is_ok());
        }
    }
}

/// A scope and the condition that says the same.
type Scope = (&'static str, &'static str);

/// Scopes, each with the condition that says the same: for principals, and for tools.
const SCOPES: [(Scope, Scope); 6] = [
    (("principal", "true"), ("action", "true")),
    (
        ("principal == User::\"ann\"", "principal == User::\"ann\""),
        ("action == Tool::\"pay/refund\"", "action == Tool::\"pay/refund\""),
    ),
    (
        ("principal in Role::\"clerk\"", "principal in Role::\"clerk\""),
        ("action in Toolset::\"pay\"", "action in Toolset::\"pay\""),
    ),
    (
        ("principal is User in Role::\"lead\"", "principal in Role::\"lead\""),
        (
            "action in [Tool::\"send_email\", Tool::\"mail/read\"]",
            "[Tool::\"send_email\", Tool::\"mail/read\"].contains(action)",
        ),
    ),
    (
        ("principal in User::\"bob\"", "principal in User::\"bob\""),
        ("action in [Toolset::\"mail\", Tool::\"mail/read\"]", "action in [Toolset::\"mail\", Tool::\"mail/read\"]"),
    ),
    (("principal is User", "principal is User"), ("action in Tool::\"web/get\"", "action in Tool::\"web/get\"")),
];

const WORDS: [&str; 32] = [
    "@id(\"a\")",
    "@ask(\"lead\")",
    "@releases(\"any/a\")",
    "forbid",
    "permit",
    "(principal, action, resource)",
    "when {",
    "unless {",
    "}",
    ";",
    "context.args.cents",
    "context.from.iban",
    "context",
    "== 3",
    "&&",
    "||",
    "!",
    "(",
    ")",
    "[",
    "]",
    "Source::\"x\"",
    "Tool::\"pay/refund\"",
    "if",
    "then",
    "else",
    ".contains(",
    "has cents",
    "\"",
    "//",
    "-9223372036854775808",
    "principal in Role::\"lead\"",
];

#[test]
fn what_nests_too_deep_is_refused() {
    let wrap = |text: &str| format!("@id(\"a\") forbid(principal, action, resource) when {{ {text} }};");
    let deep = [
        format!("{}true{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("true{}", " && true".repeat(7000)),
        format!("context{}", ".a".repeat(30_000)),
        format!("{}true", "!".repeat(10_000)),
        format!("{}1{} == 1", "[".repeat(10_000), "]".repeat(10_000)),
        format!("{}true{}", "if true then ".repeat(2000), " else true".repeat(2000)),
        format!("{}1 == 1", "-".repeat(30_000)),
    ];
    for text in &deep {
        let error = PolicySet::compile(&[policy(&wrap(text))], &tools()).unwrap_err().to_string();
        assert!(error.contains("nests deeper"), "{error}");
    }
    // What is just allowed fits the stack of a test's thread, and is evaluated.
    let chain = format!("true{}", " && true".repeat(120));
    let nested = format!("{}true{}", "(".repeat(60), ")".repeat(60));
    for text in [chain, nested] {
        let set = PolicySet::compile(&[policy(&wrap(&text))], &tools()).unwrap().set;
        assert_eq!(decided(&set, &json!({"iban": "X", "cents": 1}), &facts()).outcome, Outcome::Deny);
    }
}
