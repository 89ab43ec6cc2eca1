//! The services of the dock, each on its own port of 127.0.0.1 and with its own files, as other companies' systems
//! would be. None of them knows Neuraxis.

pub mod belt;
pub mod faults;
pub mod iban;
pub mod logistics;
pub mod payment;
pub mod shop;
pub mod smtp;

pub(crate) mod http;
pub(crate) mod listener;

/// Where a service's tasks are joined, and what tells them to stop.
pub(crate) type Life<'a> = (&'a tokio_util::task::TaskTracker, &'a tokio_util::sync::CancellationToken);
