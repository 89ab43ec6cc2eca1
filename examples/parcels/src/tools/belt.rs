//! Toolset `belt`: the conveyor's controller. Stopping is a command that counts each time it is given; the probe
//! `find_stop` asks the controller whether a given one was carried out.

use neuraxis_sdk::{Call, Failure, Found, Tool, Worker};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Tools,
    pay::{read, unreachable},
};
use crate::services::belt::Belt;

/// Arguments of `stop`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stop {
    pub(crate) belt: String,
    pub(crate) reason: String,
}

pub(super) fn serve(tools: &Tools, worker: Worker) -> Worker {
    let (a, b, c) = (tools.clone(), tools.clone(), tools.clone());
    worker
        .tool("belt", Tool::once("stop").probe("find_stop"), move |call, args| stop(a.clone(), call, args))
        .tool("belt", Tool::read("find_stop"), move |call, _args: Value| find_stop(b.clone(), call))
        .tool("belt", Tool::read("state"), move |_call, _args: Value| state(c.clone()))
}

async fn stop(tools: Tools, call: Call, _args: Stop) -> Result<Belt, Failure> {
    let request = tools.http.post(format!("{}/belt/stop", tools.belt)).header("Command-Id", call.idempotency_key());
    match request.send().await {
        Ok(answer) => read(answer).await,
        // No connection came about: nothing happened, and it may be tried again.
        Err(error) if error.is_connect() => Err(unreachable(&error)),
        Err(error) => match find_stop(tools, call).await? {
            Found::Done(belt) => Ok(serde_json::from_value(belt)?),
            // It may still be on its way.
            Found::NotDone | Found::Unknown => Err(unreachable(&error).retryable(false)),
        },
    }
}

/// The probe of `stop`: asked with the key of the call in doubt.
async fn find_stop(tools: Tools, call: Call) -> Result<Found, Failure> {
    // The key is of the alphabet of base64url: it needs no escaping.
    let request = tools.http.get(format!("{}/belt?command={}", tools.belt, call.idempotency_key()));
    let mut belt: Belt = read(request.send().await.map_err(|error| unreachable(&error))?).await?;
    if belt.carried_out.take().unwrap_or(0) == 0 {
        return Ok(Found::NotDone);
    }
    Ok(Found::Done(serde_json::to_value(belt)?))
}

async fn state(tools: Tools) -> Result<Belt, Failure> {
    read(tools.http.get(format!("{}/belt", tools.belt)).send().await.map_err(|error| unreachable(&error))?).await
}
