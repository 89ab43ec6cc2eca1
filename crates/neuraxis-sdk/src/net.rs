//! Bytes to and from the server: TCP, and TLS by rustls where the address asks for it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{error::Error, options::Options};

/// Where the server is.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsConnector>,
    secure: bool,
}

impl Address {
    pub(crate) fn parse(options: &Options) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::usage(format!(
                "`{}` is not a server's address: {why}; for example http://127.0.0.1:7700",
                options.url
            ))
        };
        let (scheme, rest) = options.url.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        let secure = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(wrong("the scheme must be http, https, ws or wss")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(wrong("a user name has no place here; hand over the token by its own option"));
        }
        let (host, port) = match authority.rsplit_once(':').filter(|(host, _)| !host.ends_with(':') && balanced(host)) {
            Some((host, port)) => (host, port.parse().map_err(|_err| wrong("the port is not a number"))?),
            None => (authority, if secure { 443 } else { 80 }),
        };
        if host.is_empty() {
            return Err(wrong("no host"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            #[cfg(feature = "tls")]
            tls: if secure { Some(connector(options)?) } else { None },
            secure,
        })
    }

    /// `host:port`, for headers.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.secure { "wss" } else { "ws" }
    }

    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((bare, self.port)).await?;
        tcp.set_nodelay(true)?;
        if !self.secure {
            return Ok(Stream::Plain(tcp));
        }
        self.secure(tcp, bare).await
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, tcp: TcpStream, host: &str) -> io::Result<Stream> {
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        match &self.tls {
            Some(connector) => Ok(Stream::Tls(Box::new(connector.connect(name, tcp).await?))),
            None => Err(io::Error::other("no TLS is set up")),
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "stands in for a handshake")]
    async fn secure(&self, _tcp: TcpStream, _host: &str) -> io::Result<Stream> {
        Err(io::Error::other("this worker was built without the feature `tls`"))
    }
}

/// An IPv6 host keeps its brackets: the colon after the last one starts the port.
fn balanced(host: &str) -> bool {
    host.starts_with('[') == host.ends_with(']')
}

#[cfg(feature = "tls")]
fn connector(options: &Options) -> Result<tokio_rustls::TlsConnector, Error> {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    let mut roots = rustls::RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    tracing::debug!(added, "trusts the system's certificate authorities");
    if let Some(pem) = &options.ca_pem {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| Error::usage(format!("`ca_pem` is not PEM: {error}")))?;
            roots
                .add(certificate)
                .map_err(|error| Error::usage(format!("`ca_pem` holds a bad certificate: {error}")))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::usage(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

/// A connection, with or without TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain($stream) => $call,
            #[cfg(feature = "tls")]
            Self::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
