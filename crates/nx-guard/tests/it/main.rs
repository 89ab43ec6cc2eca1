//! Tests of the guard.

mod label;
mod origin;
mod tool;
