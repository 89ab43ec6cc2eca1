//! The dock's agents in Rust. `python/parcels_agents.py` holds the same agents: same names, same steps, same arguments,
//! so that either worker can go on with a run that the other began.

use std::time::Duration;

use neuraxis_sdk::{Approve, Ctx, Failure, Retry, Worker};
use serde::{Deserialize, Serialize};

use crate::{
    services::{
        belt::Belt,
        payment::{Refund, RefundRequest},
        shop::{LateParcel, Order, Restocked},
    },
    tools::{
        Tools,
        belt::Stop,
        pay,
        post::{Notify, SendMail, Sent},
        shop::{FindOrder, Late, Restock},
    },
};

/// The version of these agents' code; `python-1` is that of the others.
pub const VERSION: &str = "rust-1";
/// Refunds over this many cents wait for a person.
pub const UNATTENDED_CENTS: i64 = 5000;
/// How long the dock takes to set a stopped belt going again, in minutes.
pub const OUTAGE_MIN: i64 = 45;

/// What `stop-belt` is started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overheated {
    /// The belt whose motor is too hot.
    pub belt: String,
    /// The mean temperature that was too high.
    pub temperature: f64,
}

/// What the event `belt.stopped` says, and what `late-parcels` is started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// The belt that stands.
    pub belt: String,
}

/// What the event `parcel.late` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParcelLate {
    /// The parcel.
    pub parcel: String,
    /// Its order.
    pub order: String,
    /// The belt on which it stands.
    pub belt: String,
    /// Minutes by which it could have waited.
    pub slack_min: i64,
}

/// What `redirect-and-refund` is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The parcel.
    pub parcel: String,
}

/// What `late-parcels` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateCount {
    /// How many parcels are late.
    pub late: usize,
}

/// What `redirect-and-refund` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refunded {
    /// The order.
    pub order: String,
    /// The payment service's name for the refund.
    pub refund: String,
    /// The amount.
    pub cents: i64,
}

/// Offers every agent on a worker.
pub fn offer(tools: &Tools, worker: Worker) -> Worker {
    let (paying, undoing) = (tools.clone(), tools.clone());
    worker
        .agent_version("stop-belt", Some(VERSION), stop_belt)
        .agent_version("late-parcels", Some(VERSION), late_parcels)
        .agent_version("redirect-and-refund", Some(VERSION), move |ctx, incident| {
            redirect_and_refund(paying.clone(), ctx, incident)
        })
        .function("cancel_refund", move |_call, undo| pay::cancel_refund(undoing.clone(), undo))
}

/// Stops a belt whose motor is too hot, and says so.
async fn stop_belt(ctx: Ctx, overheated: Overheated) -> Result<Belt, Failure> {
    let Overheated { belt, temperature } = overheated;
    let reason = format!("motor at {temperature:.1}");
    let stopped: Belt = ctx.tool("belt/stop").args(Stop { belt: belt.clone(), reason }).call().await?;
    ctx.emit("belt.stopped", &Stopped { belt }).await?;
    Ok(stopped)
}

/// Finds the parcels that miss their departure because the belt stands; each is an incident.
async fn late_parcels(ctx: Ctx, stopped: Stopped) -> Result<LateCount, Failure> {
    let belt = stopped.belt;
    let args = Late { belt: belt.clone(), outage_min: OUTAGE_MIN };
    let late: Vec<LateParcel> = ctx.tool("shop/late_parcels").args(args).call().await?;
    let count = LateCount { late: late.len() };
    for LateParcel { parcel, order, slack_min } in late {
        ctx.emit("parcel.late", &ParcelLate { parcel, order, belt: belt.clone(), slack_min }).await?;
    }
    Ok(count)
}

/// Refunds a late parcel's order to the account on file, puts the goods back, redirects the parcel, tells the customer.
async fn redirect_and_refund(tools: Tools, ctx: Ctx, incident: Incident) -> Result<Refunded, Failure> {
    let parcel = incident.parcel;
    let find = FindOrder { parcel: Some(parcel.clone()), order: None };
    let order: Order = ctx.tool("shop/find_order").args(find).call().await?;
    let paid: Refund = ctx
        .step("refund")
        .args(RefundRequest { order: order.id.clone(), cents: order.cents, iban: order.iban.clone() })
        .key(&order.id)
        .idempotent()
        .retry(Retry::attempts(6).backoff(Duration::from_millis(200), 2.0, Duration::from_secs(5)))
        .undo("cancel_refund")
        .approve(lead())
        .run(move |call, args| pay::refund(tools.clone(), call, args))
        .await?;
    let _goods: Restocked = ctx.tool("shop/restock").args(Restock { order: order.id.clone() }).call().await?;
    let notice = Notify { parcel, order: order.id.clone(), action: "return to stock".to_owned() };
    let _taken: serde_json::Value = ctx.tool("post/notify").args(notice).call().await?;
    let _sent: Sent = ctx.tool("post/send_mail").args(mail(&order)).call().await?;
    Ok(Refunded { order: order.id, refund: paid.id, cents: paid.cents })
}

/// A lead decides on refunds over the limit, within four hours.
fn lead() -> Approve {
    Approve::by("lead").within(Duration::from_hours(4)).over("cents", UNATTENDED_CENTS as f64)
}

fn mail(order: &Order) -> SendMail {
    let euros = format!("{}.{:02} EUR", order.cents / 100, order.cents % 100);
    SendMail {
        to: format!("{} <{}>", order.customer, order.email),
        subject: format!("Your order {} is refunded", order.id),
        text: format!(
            "Dear {},\r\n\r\nyour parcel {} missed its departure. We refund {euros} to the account that you paid from.\
             \r\n\r\nThe parcel dock\r\n",
            order.customer, order.parcel
        ),
    }
}
