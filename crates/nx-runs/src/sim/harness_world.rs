//! What runs act upon: a shop, a payment service that honours idempotency keys and fails as real ones do, an outbox.
//! It survives every crash, and it counts.

use std::collections::BTreeMap;

use neuraxis_sdk::frames::{Found, Outcome, StepError};
use nx_types::{Rng as _, env::SeededRng};
use serde_json::{Value, json};

/// The outside.
#[derive(Debug)]
pub struct World {
    rng: SeededRng,
    /// Of 100 calls of the payment service, how many fail before and how many after they took effect.
    pub faults: (u64, u64),
    /// Refunds by idempotency key.
    pub refunds: BTreeMap<String, Value>,
    /// Refunds that were taken back, by idempotency key of the undo.
    pub cancelled: BTreeMap<String, Value>,
    /// Requests to the payment service.
    pub requests: u64,
    /// Messages sent: to whom, about what.
    pub mail: Vec<String>,
    /// Calls by function, for statistics.
    pub calls: BTreeMap<String, u64>,
    /// Whether the outbox can be searched; else probes find nothing out.
    pub searchable: bool,
    /// Whether the carrier takes parcels.
    pub carrier: bool,
}

impl World {
    /// A world whose faults `seed` decides.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: SeededRng::new(seed ^ 0x5eed_fa11),
            faults: (0, 0),
            refunds: BTreeMap::new(),
            cancelled: BTreeMap::new(),
            requests: 0,
            mail: Vec::new(),
            calls: BTreeMap::new(),
            searchable: true,
            carrier: true,
        }
    }

    /// Executes a function or a tool.
    pub fn execute(&mut self, name: &str, args: &Value, key: Option<&str>) -> Outcome {
        *self.calls.entry(name.to_owned()).or_default() += 1;
        match name {
            "shop/find_order" => {
                let order = args.get("order").cloned().unwrap_or_default();
                Outcome::Ok(json!({ "id": order, "cents": 8400, "customer": "c_1" }))
            }
            "refund" => self.refund(args, key.unwrap_or_default()),
            "cancel_refund" => {
                let refund = args.get("result").cloned().unwrap_or_default();
                self.requests += 1;
                self.cancelled.insert(key.unwrap_or_default().to_owned(), refund);
                Outcome::Ok(Value::Null)
            }
            "notify" => {
                let message = format!("{} refunded", args.get("order").and_then(Value::as_str).unwrap_or("?"));
                self.mail.push(message);
                Outcome::Ok(json!("sent"))
            }
            "ship" if !self.carrier => Outcome::Error(error("CarrierError", "no parcels today", Some(false))),
            _ => Outcome::Ok(json!({ "did": name })),
        }
    }

    fn refund(&mut self, args: &Value, key: &str) -> Outcome {
        self.requests += 1;
        let chance = self.rng.next_u64() % 100;
        if chance < self.faults.0 {
            return Outcome::Error(error("HTTPStatusError", "503 Service Unavailable", None));
        }
        let number = self.refunds.len() + 1;
        let refund = self.refunds.entry(key.to_owned()).or_insert_with(
            || json!({ "refund": format!("re_{number}"), "order": args.get("order"), "cents": args.get("cents") }),
        );
        let refund = refund.clone();
        if chance < self.faults.0 + self.faults.1 {
            return Outcome::Error(error("TimeoutError", "no answer within 5 s", None));
        }
        Outcome::Ok(refund)
    }

    /// Whether a call took place.
    pub fn probe(&self, name: &str, args: &Value) -> Found {
        if !self.searchable {
            return Found::Unknown;
        }
        self.look(name, args)
    }

    /// What a person finds when they look.
    pub fn look(&self, name: &str, args: &Value) -> Found {
        match name {
            "notify" => {
                let message = format!("{} refunded", args.get("order").and_then(Value::as_str).unwrap_or("?"));
                if self.mail.contains(&message) { Found::Done(json!("sent")) } else { Found::NotDone }
            }
            _ => Found::NotDone,
        }
    }
}

/// An error as a worker reports it.
pub fn error(name: &str, message: &str, retryable: Option<bool>) -> StepError {
    StepError { name: name.to_owned(), message: message.to_owned(), retryable, retry_after_ms: None, details: None }
}
