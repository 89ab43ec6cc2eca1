//! The example, part by part, over real sockets and files.

mod mail;
mod payment;
mod shop;
mod support;
mod world;
