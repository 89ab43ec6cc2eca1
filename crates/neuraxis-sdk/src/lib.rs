//! The Rust worker SDK of Neuraxis, and the frames that cross between a worker and a server.
//!
//! ```no_run
//! use neuraxis_sdk::{Call, Ctx, Failure, Options, Worker};
//!
//! # async fn go(shutdown: neuraxis_sdk::CancellationToken) -> Result<(), neuraxis_sdk::Error> {
//! Worker::new(Options::new("http://127.0.0.1:7700"))
//!     .agent("greet", |ctx: Ctx, name: String| async move {
//!         let text = ctx
//!             .step("write")
//!             .args(name)
//!             .run(|_call: Call, name: String| async move { Ok(format!("Hello, {name}")) })
//!             .await?;
//!         Ok(text)
//!     })
//!     .run(shutdown)
//!     .await
//! # }
//! ```
//!
//! What is *not* here: any decision. Matching steps against the record, retries, approvals and timers are the server's.

mod blob;
mod call;
mod ctx;
mod error;
pub mod frames;
mod http;
mod json;
mod link;
mod models;
mod net;
mod options;
mod session;
mod worker;

pub use call::Call;
pub use ctx::{
    ApprovalStep, Branches, ChildStep, Ctx, Decision, InferStep, Level, SignalStep, SignalWithin, Step, ToolStep,
};
pub use error::{Error, Failure, ValueError};
pub use frames::{Approve, Effect, Found, OnChange, Retry, StepError, Undo};
pub use models::{Client, Inference, Inputs, Sample};
pub use nx_types::{ErrorCode, RunId, Timestamp};
pub use options::{Options, Tool};
pub use tokio_util::sync::CancellationToken;
pub use worker::{UndoArgs, Worker};

/// What agents, steps, tools and undo functions return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

pub(crate) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Compiles the manual's examples.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
struct Manual;
