//! The console: files built from `console/` and embedded.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use include_dir::{Dir, include_dir};

static DIST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../console/dist");

/// A file of the console; paths without an extension are its pages.
pub(crate) fn serve(path: &str) -> Response {
    let name = path.trim_start_matches('/');
    let page = name.is_empty() || !name.rsplit('/').next().is_some_and(|last| last.contains('.'));
    let name = if page { "index.html" } else { name };
    let Some(file) = DIST.get_file(name) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    };
    // Built files carry their hash in the name; the page that names them must not be kept.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], file.contents()).into_response()
}
