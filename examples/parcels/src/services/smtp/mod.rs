//! The mail server: a small SMTP server (RFC 5321, with SIZE, PIPELINING and 8BITMIME) that accepts any recipient and
//! keeps each message in a maildir: what the dock writes, and what is written to the dock. It relays nothing, so no
//! invented customer ever gets mail.

mod line;
mod maildir;
mod session;

pub use maildir::{Mail, Maildir};

use std::net::SocketAddr;

use nx_types::Env;
use tokio::{
    io::{AsyncWriteExt as _, BufWriter},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    line::LineReader,
    session::{Action, Session},
};
use super::{Life, listener::Listener};
use crate::Error;

/// Connections served at once; further ones get 421.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may be silent: RFC 5321 section 4.5.3.2.7.
const IDLE: std::time::Duration = std::time::Duration::from_mins(5);

/// Starts the server.
pub(crate) async fn start(
    maildir: Maildir,
    env: Env,
    wanted: Option<u16>,
    life: Life<'_>,
) -> Result<SocketAddr, Error> {
    let (listener, address) = Listener::bind("mail", wanted).await?;
    let (tasks, stop) = life;
    tasks.spawn(accept(listener.into_inner(), maildir, env, tasks.clone(), stop.clone()));
    Ok(address)
}

async fn accept(listener: TcpListener, maildir: Maildir, env: Env, tasks: TaskTracker, stop: CancellationToken) {
    let room = std::sync::Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let mut stream = match accepted {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                // Out of file descriptors, or the peer went away: neither is a reason to stop listening.
                tracing::warn!(%error, "mail connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let (maildir, env, stop) = (maildir.clone(), env.clone(), stop.clone());
        match std::sync::Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => {
                tasks.spawn(async move {
                    if let Err(error) = converse(stream, &maildir, &env, &stop).await {
                        tracing::debug!(%error, "mail connection broke");
                    }
                    drop(permit);
                });
            }
            Err(_full) => {
                tasks.spawn(async move {
                    let refusal = stream.write_all(b"421 4.3.2 too many connections\r\n").await;
                    tracing::debug!(?refusal, "mail connection refused");
                });
            }
        }
    }
}

/// One connection, from greeting to QUIT.
async fn converse(stream: TcpStream, maildir: &Maildir, env: &Env, stop: &CancellationToken) -> std::io::Result<()> {
    let (read, write) = stream.into_split();
    let mut lines = LineReader::new(read);
    let mut write = BufWriter::new(write);
    let mut session = Session::default();
    write.write_all(b"220 parcels.example ESMTP mail sink\r\n").await?;
    loop {
        if !lines.has_more() {
            write.flush().await?;
        }
        let line = tokio::select! {
            biased;
            () = stop.cancelled() => {
                write.write_all(b"421 4.3.2 shutting down\r\n").await?;
                return write.flush().await;
            }
            line = timeout(IDLE, lines.next()) => line,
        };
        let Ok(line) = line else {
            write.write_all(b"421 4.4.2 idle for too long\r\n").await?;
            return write.flush().await;
        };
        let Some(line) = line? else { return Ok(()) };
        match session.feed(line) {
            Action::None => {}
            Action::Reply(reply) => write.write_all(reply.as_bytes()).await?,
            Action::Quit => {
                write.write_all(b"221 2.0.0 bye\r\n").await?;
                return write.flush().await;
            }
            Action::Deliver(message) => {
                let reply = match maildir.deliver(message, env).await {
                    Ok(name) => format!("250 2.0.0 kept as {name}\r\n"),
                    Err(error) => {
                        tracing::error!(%error, "mail was not kept");
                        "451 4.3.0 the message could not be kept\r\n".to_owned()
                    }
                };
                write.write_all(reply.as_bytes()).await?;
            }
        }
    }
}
