//! One connection: TLS, HTTP, and the bounds of what a slow client may hold.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::Patience;

/// Longest head of a request in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What every connection is served by.
pub(crate) struct Host {
    pub(crate) router: Router,
    pub(crate) acceptor: Option<TlsAcceptor>,
    pub(crate) patience: Patience,
    pub(crate) stop: CancellationToken,
}

/// Serves a connection to its end. After a stop the request in flight is the last one.
pub(crate) async fn serve(host: Arc<Host>, tcp: TcpStream, slot: OwnedSemaphorePermit) {
    let Some(stream) = greeted(&host, tcp).await else { return };
    let stream = Bounded { stream, patience: host.patience.stall, stalled: None, _slot: slot };
    let router = host.router.clone().map_request(|request: Request<Incoming>| request.map(Body::new));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(host.patience.head).max_buf_size(MAX_HEAD_BYTES);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
    let mut served = std::pin::pin!(served);
    let done = tokio::select! {
        biased;
        () = host.stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        done = served.as_mut() => done,
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn greeted(host: &Host, tcp: TcpStream) -> Option<Stream> {
    let Some(acceptor) = &host.acceptor else { return Some(Stream::Plain(tcp)) };
    let greeting = timeout(host.patience.handshake, acceptor.accept(tcp));
    tokio::select! {
        biased;
        () = host.stop.cancelled() => None,
        greeted = greeting => greeted.ok()?.ok().map(|tls| Stream::Tls(Box::new(tls))),
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream whose reader may not stop reading for long; dropping it frees its slot.
struct Bounded {
    stream: Stream,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

impl Bounded {
    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Asks the stream, whichever it is.
macro_rules! ask {
    ($bounded:expr, $stream:ident => $ask:expr) => {
        match &mut $bounded.stream {
            Stream::Plain($stream) => $ask,
            Stream::Tls($stream) => $ask,
        }
    };
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ask!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ask!(self, stream => Pin::new(stream).poll_write(cx, buf));
        self.unless_stalled(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ask!(self, stream => Pin::new(stream).poll_flush(cx));
        self.unless_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ask!(self, stream => Pin::new(stream).poll_shutdown(cx));
        self.unless_stalled(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ask!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        self.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
