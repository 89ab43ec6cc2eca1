//! Keeps pages of other sites out: a browser on this machine reaches loopback, whoever wrote the page (cross-site
//! requests, DNS rebinding). The `Host` must be an address or name of this server, the `Origin` its own.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{Error, Shared};

/// Middleware: refuses what a page of another site, or a stranger behind a proxy, makes of this server's trust.
pub(crate) async fn check(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = match refusal(shared.require_token, request.method(), request.headers()) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    };
    secure(response.headers_mut());
    response
}

/// Headers by which a proxy says that it asks for somebody else.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

fn refusal(require_token: bool, method: &Method, headers: &HeaderMap) -> Option<Error> {
    // What is no text is no address of this server.
    let texts = |name: &'static str| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
    let site = |text: &str| Some(Error::Site(text.chars().take(64).collect()));
    let mut hosts = texts("host");
    let (host, more) = (hosts.next().unwrap_or_default(), hosts.next());
    if let Some(another) = more {
        return site(another);
    }
    if !require_token {
        if !is_local(host) {
            return site(host);
        }
        if let Some(name) = FORWARDED.into_iter().find(|name| headers.contains_key(*name)) {
            return Some(Error::Forwarded(name));
        }
    }
    for origin in texts("origin") {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if authority != Some(host) {
            return site(origin);
        }
    }
    // A link from elsewhere may open a page, and nothing else: images and scripts say no origin.
    let foreign = texts("sec-fetch-site").any(|from| !matches!(from, "same-origin" | "none"));
    let opens = *method == Method::GET && texts("sec-fetch-dest").eq(["document"]);
    if foreign && !opens { site("another site") } else { None }
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
    let fixed: [(HeaderName, &'static str); 6] = [
        // The console's files say otherwise.
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
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
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn requests_that_a_foreign_page_makes() {
        let refused = |require_token: bool, method: Method, headers: &[(&'static str, &'static [u8])]| {
            let headers = headers.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a header's value"))
            });
            let headers = headers.fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            });
            refusal(require_token, &method, &headers).is_some()
        };
        let here: (&str, &[u8]) = ("host", b"127.0.0.1:7700");
        let public: (&str, &[u8]) = ("host", b"neuraxis.example");
        for (method, headers) in [
            (Method::GET, &[here][..]),
            (Method::POST, &[here, ("origin", b"http://127.0.0.1:7700")]),
            (Method::POST, &[here, ("origin", b"https://127.0.0.1:7700"), ("sec-fetch-site", b"same-origin")]),
            (Method::GET, &[here, ("sec-fetch-site", b"none"), ("sec-fetch-dest", b"document")]),
            (Method::GET, &[here, ("sec-fetch-site", b"cross-site"), ("sec-fetch-dest", b"document")]),
        ] {
            assert!(!refused(false, method.clone(), headers), "{method} {headers:?}");
        }
        for (method, headers) in [
            (Method::GET, &[][..]),
            (Method::GET, &[public]),
            (Method::GET, &[here, public]),
            (Method::POST, &[here, ("origin", b"http://evil.example")]),
            (Method::POST, &[here, ("origin", b"http://127.0.0.1:3000")]),
            (Method::POST, &[here, ("origin", b"http://localhost:7700")]),
            (Method::POST, &[here, ("origin", b"null")]),
            (Method::POST, &[here, ("origin", b"127.0.0.1:7700")]),
            (Method::POST, &[here, ("origin", b"\xff")]),
            (Method::POST, &[here, ("origin", b"http://127.0.0.1:7700"), ("origin", b"http://evil.example")]),
            (Method::POST, &[here, ("sec-fetch-site", b"cross-site"), ("sec-fetch-dest", b"document")]),
            (Method::GET, &[here, ("sec-fetch-site", b"cross-site"), ("sec-fetch-dest", b"image")]),
            (Method::GET, &[here, ("sec-fetch-site", b"same-site"), ("sec-fetch-dest", b"iframe")]),
            (Method::GET, &[here, ("x-forwarded-for", b"203.0.113.9")]),
            (Method::GET, &[here, ("forwarded", b"for=203.0.113.9")]),
        ] {
            assert!(refused(false, method.clone(), headers), "{method} {headers:?}");
        }
        // Where a token is needed, names and proxies are welcome, other sites are not.
        assert!(!refused(true, Method::GET, &[public, ("x-forwarded-for", b"203.0.113.9")]));
        assert!(!refused(true, Method::POST, &[public, ("origin", b"https://neuraxis.example")]));
        assert!(refused(true, Method::POST, &[public, ("origin", b"https://evil.example")]));
    }

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
