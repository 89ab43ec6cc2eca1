//! The surface as outsiders meet it: bytes on a socket, of a whole server on a log in a folder of its own.

#![expect(clippy::expect_used, clippy::panic, reason = "what a test relies on fails the test")]

mod limits;
mod openapi;
mod roles;
mod sites;
mod support;
mod tls;
