//! Tests of runs from outside: the state machine, the engine under simulated crashes, the service over a real log.

mod crash;
mod machine;
mod service;
