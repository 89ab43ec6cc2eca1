//! References in a tool's arguments: what they stand for when the call is decided on is what is asked about, executed and
//! undone, also after a restart, when the code gives the references again.

use std::sync::atomic::{AtomicI64, Ordering};

use neuraxis_sdk::frames::{Body, Effect, Grant, Outcome, StepError};
use nx_guard::{
    call::{Facts, Scores},
    decision::{self, Ask, Decision, Need},
};
use nx_runs::{
    Error,
    machine::{Action, Asked, Command, Dispatch, Gate, Ruling, RunEvent, Slot, Verdict, Work, digest},
};
use nx_types::Timestamp;
use serde_json::{Value, json};

use super::{Bench, tool, value};

/// Puts a number in the place of a reference, and asks about numbers over ten.
struct Referring(AtomicI64);

static FIVE: Referring = Referring(AtomicI64::new(5));
static FIFTY: Referring = Referring(AtomicI64::new(50));

impl Gate for Referring {
    fn check(&self, asked: &Asked<'_>) -> Result<Option<Verdict>, Error> {
        let cents = asked.args["cents"].as_i64().unwrap_or_else(|| self.0.load(Ordering::SeqCst));
        let need = Need { who: ["lead".to_owned()].into(), quorum: 1 };
        let asks = cents > 10;
        Ok(Some(Verdict {
            call: asked.name.to_owned(),
            decision: Decision {
                outcome: if asks { decision::Outcome::Ask } else { decision::Outcome::Allow },
                reasons: Vec::new(),
                ask: asks.then(|| Ask { needs: [need].into(), within_ms: None }),
                origins: Vec::new(),
                shadow: Vec::new(),
                flip: None,
                policies: "p1".to_owned(),
            },
            args: value(json!({"cents": cents})),
            facts: Facts {
                now: Timestamp::from_millis(0),
                scores: Scores::default(),
                approvals: asked.approvals,
                principal: "ann".to_owned(),
                roles: [].into(),
                agent: "refund".to_owned(),
            },
            asked: true,
            named: false,
            leaks: Vec::new(),
        }))
    }

    fn policies(&self) -> String {
        "p1".to_owned()
    }
}

fn refund(bench: &mut Bench) {
    let args = json!({"cents": {"$ref": "shop/find_order/cents"}});
    bench.step_with("pay/refund", Body::Tool { args }, tool(Effect::Idempotent), |_| {});
}

/// The arguments that a worker is given.
fn dispatched(bench: &mut Bench) -> Value {
    let slot = Slot::Call(bench.call());
    bench.ready(slot, None);
    let args = bench.last.actions.iter().find_map(|action| match action {
        Action::Dispatch(dispatch) => match &**dispatch {
            Dispatch { work: Work::Tool { args, .. }, .. } => Some((**args).clone()),
            _ => None,
        },
        _ => None,
    });
    args.unwrap_or_default()
}

#[test]
fn what_was_started_is_executed_again_with_the_same_arguments() {
    let mut bench = Bench::new();
    bench.gate = &FIVE;
    bench.start();
    refund(&mut bench);
    assert_eq!(dispatched(&mut bench), json!({"cents": 5}));
    FIVE.0.store(7, Ordering::SeqCst);
    bench.crash().restart();
    refund(&mut bench);
    let grants = vec![Grant { step: 1, attempt: 1 }];
    bench.act("grants lost", Command::GrantsLost { grants, reason: "gone".to_owned() });
    assert_eq!(dispatched(&mut bench), json!({"cents": 5}));
}

#[test]
fn what_a_person_agreed_to_is_executed() {
    let mut bench = Bench::new();
    bench.gate = &FIFTY;
    bench.start();
    refund(&mut bench);
    let asked = bench.log.iter().find_map(|event| match event {
        RunEvent::ApprovalRequested(asked) => Some(asked.clone()),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!((&*asked.args, asked.hash), (&json!({"cents": 50}), digest::of(&json!({"cents": 50})).unwrap()));
    FIFTY.0.store(60, Ordering::SeqCst);
    bench.crash().restart();
    bench.decide(Ruling::Approve);
    refund(&mut bench);
    assert_eq!(dispatched(&mut bench), json!({"cents": 50}));
    // Failed for good, and retried by a person: it is decided on again, for what stands in the record.
    let broken = StepError { retryable: Some(false), ..super::error("Broken") };
    bench.tool_done(1, 1, Outcome::Error(broken));
    bench.fail("Broken");
    bench.act("retry", Command::Retry { by: "ann".to_owned() }).start();
    refund(&mut bench);
    bench.decide(Ruling::Approve);
    assert_eq!(dispatched(&mut bench), json!({"cents": 50}), "{}", bench.trace());
}
