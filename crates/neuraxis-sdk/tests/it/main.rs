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
#[cfg(feature = "tls")]
#[cfg(test)]
mod tls;
#[cfg(test)]
mod vectors;
