//! The page and the files that it loads. They contain no secrets: whoever opens the page needs the
//! token.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// A file of the page.
pub(crate) struct PageFile {
    pub path: &'static str,
    kind: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! files {
    ($($path:literal, $kind:expr, $file:literal;)*) => {
        &[$(PageFile {
            path: $path,
            kind: $kind,
            content: include_str!(concat!("../page/", $file)),
        }),*]
    };
}

pub(crate) const FILES: &[PageFile] = files! {
    "/", HTML, "index.html";
    "/style.css", STYLE, "style.css";
    "/app.js", SCRIPT, "app.js";
    "/api.js", SCRIPT, "api.js";
    "/plan.js", SCRIPT, "plan.js";
    "/strip.js", SCRIPT, "strip.js";
    "/icon.svg", "image/svg+xml", "icon.svg";
    "/docs", HTML, "docs.html";
    "/docs.js", SCRIPT, "docs.js";
};

/// Only our own scripts and styles; pictures are made from data of the API.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

impl PageFile {
    pub(crate) fn answer(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
        ];
        (headers, self.content).into_response()
    }
}
