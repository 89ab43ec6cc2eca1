//! Toolset `shop`: orders, late parcels, goods back on the shelf, orders that are closed.

use neuraxis_sdk::{Call, Failure, Tool, UndoArgs, Worker};
use serde::{Deserialize, Serialize};

use super::Tools;
use crate::services::shop::{Closed, Closing, LateParcel, Order, Restocked};

/// Arguments of `find_order`: one of the two.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FindOrder {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parcel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<String>,
}

/// Arguments of `late_parcels`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Late {
    pub(crate) belt: String,
    pub(crate) outage_min: i64,
}

/// Arguments of `restock`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restock {
    pub(crate) order: String,
}

/// Arguments of `open_orders`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenOrders {}

/// Arguments of `close_order`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseOrder {
    pub(crate) order: String,
}

pub(super) fn serve(tools: &Tools, worker: Worker) -> Worker {
    let [open, close, reopen, find, late, stock, back] = std::array::from_fn(|_| tools.clone());
    worker
        .tool("shop", Tool::read("open_orders"), move |_call, _none: OpenOrders| open_orders(open.clone()))
        .tool("shop", Tool::idempotent("close_order").undo("reopen_order"), move |call, args| {
            close_order(close.clone(), call, args)
        })
        .tool("shop", Tool::idempotent("reopen_order"), move |_call, undo| reopen_order(reopen.clone(), undo))
        .tool("shop", Tool::read("find_order"), move |_call, args| find_order(find.clone(), args))
        .tool("shop", Tool::read("late_parcels"), move |_call, args| late_parcels(late.clone(), args))
        .tool("shop", Tool::idempotent("restock").undo("unstock"), move |call, args| restock(stock.clone(), call, args))
        .tool("shop", Tool::idempotent("unstock"), move |_call, args| unstock(back.clone(), args))
}

async fn find_order(tools: Tools, args: FindOrder) -> Result<Order, Failure> {
    let (found, what) = match (args.parcel, args.order) {
        (Some(parcel), None) => (tools.shop.order_of(&parcel).await?, parcel),
        (None, Some(order)) => (tools.shop.order(&order).await?, order),
        _ => return Err(Failure::new("BadArguments", "give `parcel` or `order`").retryable(false)),
    };
    found.ok_or_else(|| unknown(&what))
}

async fn late_parcels(tools: Tools, args: Late) -> Result<Vec<LateParcel>, Failure> {
    Ok(tools.shop.late_parcels(&args.belt, args.outage_min).await?)
}

async fn restock(tools: Tools, call: Call, args: Restock) -> Result<Restocked, Failure> {
    tools.shop.restock(&args.order, call.idempotency_key()).await?.ok_or_else(|| unknown(&args.order))
}

async fn unstock(tools: Tools, undo: UndoArgs<Restock, Restocked>) -> Result<bool, Failure> {
    Ok(tools.shop.unstock(&undo.result.key).await?)
}

async fn open_orders(tools: Tools) -> Result<Vec<String>, Failure> {
    Ok(tools.shop.open_orders().await?)
}

async fn close_order(tools: Tools, call: Call, args: CloseOrder) -> Result<Closed, Failure> {
    match tools.shop.close(&args.order, call.idempotency_key()).await? {
        Closing::Done(closed) => Ok(closed),
        Closing::Taken => {
            let message = format!("order {} is refunded already, or about to be", args.order);
            Err(Failure::new("AlreadyClosed", message).retryable(false))
        }
        Closing::Unknown => Err(unknown(&args.order)),
    }
}

async fn reopen_order(tools: Tools, undo: UndoArgs<CloseOrder, Closed>) -> Result<bool, Failure> {
    Ok(tools.shop.reopen(&undo.result.key).await?)
}

fn unknown(what: &str) -> Failure {
    Failure::new("NotFound", format!("the shop knows no `{what}`")).retryable(false)
}
