//! Tests of the log from the outside.

mod archive;
mod compliance;
mod erasure;
mod fixture;
mod faults;
mod journal;
mod model;
mod support;
mod tamper;
mod tlog;
