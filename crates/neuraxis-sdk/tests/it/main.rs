//! The SDK against a scripted server over a real WebSocket.

mod blobs;
mod end;
mod frames;
mod reconnect;
mod server;
mod steps;
