//! One run as a state machine: commands in, events and actions out. Pure: no I/O, no clock, no randomness but those
//! handed in; replay performs no effect.
//!
//! [`Run::apply`] takes in recorded events: it alone changes what is durable. [`Run::decide`] turns a [`Command`] into
//! a [`Decision`]: events, which the run has taken in already, and [`Action`]s for the time when they are durable.
//! What belongs to the present incarnation alone (its calls, what it has used of the record) is not recorded; a run
//! rebuilt from its events equals the live one in everything else.

pub mod approval;
mod command;
mod decide;
pub mod digest;
mod durable;
mod event;
mod fork;
pub mod gate;
mod json;
mod key;
mod live;
mod record;
mod run;

pub use approval::{Approval, Vote, Why};
pub use command::{
    Action, Answer, Command, Context, Datum, Decision, Dispatch, Guarded, Limits, Obligation, Purpose, Reported, Slot,
    Start, Target, ToolSpec, Work,
};
pub use durable::Durable;
pub use event::*;
pub use fork::{ForkSpec, fork};
pub use gate::{Asked, Gate, Verdict};
pub use key::KeyMaker;
pub use run::{Run, Status};
