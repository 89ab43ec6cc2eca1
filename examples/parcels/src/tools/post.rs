//! Toolset `post`: mail by SMTP, and notices to the carrier.
//!
//! Mail goes out once. Its `Message-ID` is the call's idempotency key, so that the probe `find_mail` can tell whether a
//! message whose sender was killed was delivered.

use lettre::{AsyncTransport as _, Message, message::Mailbox};
use neuraxis_sdk::{Call, Failure, Found, Tool, Worker};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Tools,
    pay::{read, unreachable},
};

/// Arguments of `send_mail`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendMail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}

/// What `send_mail` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) message_id: String,
}

/// Arguments of `notify`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notify {
    pub(crate) parcel: String,
    pub(crate) order: String,
    pub(crate) action: String,
}

pub(super) fn serve(tools: &Tools, worker: Worker) -> Worker {
    let (a, b, c) = (tools.clone(), tools.clone(), tools.clone());
    worker
        .tool("post", Tool::once("send_mail").probe("find_mail"), move |call, args| send_mail(a.clone(), call, args))
        .tool("post", Tool::read("find_mail"), move |call, _args: Value| find_mail(b.clone(), call))
        .tool("post", Tool::idempotent("notify"), move |call, args| notify(c.clone(), call, args))
}

fn message_id(call: &Call) -> String {
    format!("<{}@parcels.example>", call.idempotency_key())
}

async fn send_mail(tools: Tools, call: Call, args: SendMail) -> Result<Sent, Failure> {
    let bad = |what: &str| Failure::new("BadArguments", format!("`{what}` is no mail address")).retryable(false);
    let to: Mailbox = args.to.parse().map_err(|_err| bad(&args.to))?;
    let message_id = message_id(&call);
    let message = Message::builder()
        .from("Parcel dock <dock@parcels.example>".parse().map_err(|_err| bad("from"))?)
        .to(to)
        .subject(args.subject)
        .message_id(Some(message_id.clone()))
        .body(args.text)?;
    let Err(error) = tools.mail.send(message).await else { return Ok(Sent { message_id }) };
    if error.is_permanent() || error.is_client() {
        return Err(Failure::new("MailRefused", error.to_string()).retryable(false));
    }
    if error.is_transient() {
        // The server said that it did not take the message: nothing happened.
        return Err(Failure::new("MailDelayed", error.to_string()).retryable(true));
    }
    // The connection broke, perhaps after the message was taken. The mailbox knows.
    match tools.maildir.find(&message_id).await {
        Ok(found) if !found.is_empty() => Ok(Sent { message_id }),
        _ => Err(Failure::new("MailUnsure", error.to_string()).retryable(false)),
    }
}

/// The probe of `send_mail`: asked with the key of the call in doubt.
async fn find_mail(tools: Tools, call: Call) -> Result<Found, Failure> {
    let message_id = message_id(&call);
    let found = tools.maildir.find(&message_id).await?;
    if found.is_empty() {
        return Ok(Found::NotDone);
    }
    Ok(Found::Done(serde_json::to_value(Sent { message_id })?))
}

async fn notify(tools: Tools, call: Call, args: Notify) -> Result<Value, Failure> {
    let request = tools
        .http
        .post(format!("{}/webhooks/parcels", tools.logistics))
        .header("Idempotency-Key", call.idempotency_key())
        .json(&args);
    read(request.send().await.map_err(|error| unreachable(&error))?).await
}
