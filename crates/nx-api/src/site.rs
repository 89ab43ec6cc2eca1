//! Keeps pages of other sites out: a browser on this machine reaches loopback, whoever wrote the page (cross-site
//! requests, DNS rebinding). The `Host` must be an address or name of this server, the `Origin` its own.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{Error, Shared};

/// Middleware: refuses foreign hosts and origins.
pub(crate) async fn check(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match foreign(&shared, request.headers()) {
        Some(site) => Error::Site(site).into_response(),
        None => {
            let mut response = next.run(request).await;
            secure(response.headers_mut());
            response
        }
    }
}

fn foreign(shared: &Shared, headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if !shared.require_token && !is_local(host) {
        return Some(host.chars().take(64).collect());
    }
    let origin = text(header::ORIGIN)?;
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).unwrap_or(origin);
    (authority != host).then(|| origin.chars().take(64).collect())
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn secure(headers: &mut HeaderMap) {
    use axum::http::{HeaderName, HeaderValue};
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn hosts_of_this_machine() {
        for host in ["localhost", "localhost:7700", "127.0.0.1:7700", "[::1]:7700", "127.0.0.9"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:7700", "127.0.0.1.evil.example", "10.0.0.1"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
