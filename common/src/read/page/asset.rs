//! Files that pages are made of: everything comes from this node.

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Path, media type and text of each.
static FILES: [(&str, &str, &str); 7] = [
    ("/assets/style.css", CSS, include_str!("../../../templates/style.css")),
    ("/assets/live.js", SCRIPT, include_str!("../../../templates/live.js")),
    ("/assets/check.js", SCRIPT, include_str!("../../../templates/check.js")),
    ("/assets/verify.js", SCRIPT, include_str!("../../../templates/verify.js")),
    ("/assets/green.svg", IMAGE, include_str!("../../../templates/green.svg")),
    ("/assets/amber.svg", IMAGE, include_str!("../../../templates/amber.svg")),
    ("/assets/red.svg", IMAGE, include_str!("../../../templates/red.svg")),
];

/// The routes of all files.
pub(super) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, get(move || async move { file(media_type, text) }))
    })
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "public, max-age=300"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}
