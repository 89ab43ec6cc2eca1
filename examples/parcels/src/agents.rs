//! The dock's agents in Rust. `python/parcels_agents.py` holds the same agents: same names, same steps, same arguments,
//! so that either worker can go on with a run that the other began.

use std::time::Duration;

use neuraxis_sdk::{Approve, Ctx, Failure, Retry, Worker};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    gateway::Mail,
    reader::{self, Complaint, Drafting, Reading, Reason},
    services::{
        belt::Belt,
        payment::{Refund, RefundRequest},
        shop::{Closed, LateParcel, Order, Restocked},
    },
    tools::{
        Tools,
        belt::Stop,
        pay,
        post::{Notify, SendMail, Sent},
        shop::{FindOrder, Late, OpenOrders, Restock},
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

/// What `answer-mail` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The mail.
    pub mail: String,
    /// What is wrong, as far as it was understood.
    pub reason: Reason,
    /// What was refunded; nothing if the mail asks for none or names no open order: then a person reads it.
    #[serde(flatten)]
    pub refunded: Option<Refunded>,
}

/// Arguments of `letter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Writing {
    order: Order,
}

/// The words of a letter to a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Letter {
    subject: String,
    text: String,
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
        .agent_version("answer-mail", Some(VERSION), answer_mail)
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
        .retry(patient())
        .trusted()
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

/// Answers a customer's mail. What it says is read in quarantine; what is refunded is drafted by code that believes all
/// that it reads, and the guard decides about the draft. A refund that policies deny is made to the account on file.
async fn answer_mail(ctx: Ctx, mail: Mail) -> Result<Answered, Failure> {
    let open: Vec<String> = ctx.tool("shop/open_orders").args(OpenOrders {}).call().await?;
    let complaint: Complaint = ctx
        .step("understand")
        .args(Reading { mail: mail.clone(), open })
        .read()
        .extract(reader::shape())
        .run(|_call, reading| async move { Ok(reader::understand(&reading)) })
        .await?;
    let Complaint { order, reason, wants_refund } = complaint;
    let Some(order) = order.filter(|_| wants_refund) else {
        return Ok(Answered { mail: mail.id, reason, refunded: None });
    };
    let find = FindOrder { parcel: None, order: Some(order) };
    let order: Order = ctx.tool("shop/find_order").args(find).call().await?;
    let draft: RefundRequest = ctx
        .step("draft")
        .args(Drafting { mail: mail.clone(), order: order.clone() })
        .run(|_call, drafting| async move { Ok(reader::draft(&drafting)) })
        .await?;
    let close = json!({ "order": on_file("id") });
    let _closed: Closed = ctx.tool("shop/close_order").args(close).call().await?;
    let paid = match book(&ctx, &order.id, &draft).await {
        Err(error) if error.is("PolicyDenied") => {
            let safe = json!({ "order": on_file("id"), "cents": on_file("cents"), "iban": on_file("iban") });
            book(&ctx, &format!("{}/on-file", order.id), &safe).await?
        }
        paid => paid?,
    };
    let letter: Letter = ctx
        .step("letter")
        .args(Writing { order })
        .trusted()
        .run(|_call, writing| async move { Ok(letter(&writing.order)) })
        .await?;
    let send = json!({ "to": on_file("email"), "subject": letter.subject, "text": { "$ref": "step/letter/text" } });
    let _sent: Sent = ctx.tool("post/send_mail").args(send).call().await?;
    let refunded = Refunded { order: paid.order, refund: paid.id, cents: paid.cents };
    Ok(Answered { mail: mail.id, reason, refunded: Some(refunded) })
}

/// Books a refund by the tool, where policies are asked.
async fn book(ctx: &Ctx, key: &str, args: impl Serialize) -> Result<Refund, neuraxis_sdk::Error> {
    ctx.tool("pay/refund").args(args).key(key).retry(patient()).call().await
}

/// A reference to the order as the shop has it: the server puts in what stands there, with the label that it has there.
/// The mail may name the same value; who names it no longer matters.
fn on_file(field: &str) -> serde_json::Value {
    json!({ "$ref": format!("shop/find_order/{field}") })
}

/// The dock's own words about a refund; nothing of the mail is in them, so the code vouches for them.
fn letter(order: &Order) -> Letter {
    Letter {
        subject: format!("Your order {} is refunded", order.id),
        text: format!(
            "Dear {},\r\n\r\nwe are sorry about your order {}. We refund {} to the account that you paid from.\r\n\r\n\
             The parcel dock\r\n",
            order.customer,
            order.id,
            euros(order.cents)
        ),
    }
}

/// How the payment service is tried: it fails as real ones do.
fn patient() -> Retry {
    Retry::attempts(6).backoff(Duration::from_millis(200), 2.0, Duration::from_secs(5))
}

fn euros(cents: i64) -> String {
    format!("{}.{:02} EUR", cents / 100, cents % 100)
}

/// A lead decides on refunds over the limit, within four hours.
fn lead() -> Approve {
    Approve::by("lead").within(Duration::from_hours(4)).over("cents", UNATTENDED_CENTS as f64)
}

fn mail(order: &Order) -> SendMail {
    SendMail {
        to: format!("{} <{}>", order.customer, order.email),
        subject: format!("Your order {} is refunded", order.id),
        text: format!(
            "Dear {},\r\n\r\nyour parcel {} missed its departure. We refund {} to the account that you paid from.\
             \r\n\r\nThe parcel dock\r\n",
            order.customer,
            order.parcel,
            euros(order.cents)
        ),
    }
}
