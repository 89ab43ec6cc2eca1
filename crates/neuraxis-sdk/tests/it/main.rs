//! The SDK against a scripted server over a real WebSocket.

#[cfg(test)]
mod blobs;
#[cfg(test)]
mod end;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod reconnect;
#[cfg(test)]
mod server;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod vectors;
