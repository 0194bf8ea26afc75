//! What developers read: the document of the API, Swagger UI and a page without a script.
//!
//! All of it is made once, at start, from the routes themselves; nothing comes from elsewhere.

use std::borrow::Cow;
use std::sync::Arc;

use askama::Template as _;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use super::answer::{Freshness, cached};
use crate::describe::{Reference, describe};
use crate::merkle::Hash;
use crate::server::headers::PAGE_HEADERS;

const HTML: &str = "text/html; charset=utf-8";

/// The files that Swagger UI needs, out of those that its package has.
const SWAGGER_UI: [(&str, &str); 3] = [
    ("swagger-ui.css", "text/css; charset=utf-8"),
    ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ("favicon-32x32.png", "image/png"),
];

/// `GET /openapi.json`, `/docs` and `/redoc`: the document of the assembled router, and two pages
/// that show it. No limit counts them.
pub fn openapi<S: Clone + Send + Sync + 'static>(api: &OpenApi) -> Router<S> {
    let document = describe(api);
    let page = Reference::of(&document).render().unwrap_or_else(|error| {
        tracing::error!(%error, "the reference page cannot be made");
        "The reference page cannot be shown; see /openapi.json.".to_owned()
    });
    let explorer = include_str!("../../templates/docs.html");
    let mut router = Router::new()
        .route("/openapi.json", file("application/json", document.to_string()))
        .route("/redoc", file(HTML, page))
        .route("/assets/reference.css", file("text/css; charset=utf-8", STYLE))
        .route("/docs", file(HTML, explorer))
        .route("/docs/", file(HTML, explorer))
        .route("/docs/start.js", file("text/javascript; charset=utf-8", START));
    for (name, media_type) in SWAGGER_UI {
        router = router.route(&format!("/docs/{name}"), file(media_type, vendored(name)));
    }
    router
}

const STYLE: &str = include_str!("../../templates/reference.css");
const START: &str = include_str!("../../templates/docs.js");

/// A file of the package, as it was published.
fn vendored(name: &str) -> Bytes {
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok().flatten();
    match file.map(|file| file.bytes) {
        Some(Cow::Borrowed(bytes)) => Bytes::from_static(bytes),
        Some(Cow::Owned(bytes)) => bytes.into(),
        None => {
            tracing::error!(name, "Swagger UI lacks a file");
            Bytes::new()
        }
    }
}

/// A route that answers the same bytes until the node is started anew.
fn file<S>(media_type: &'static str, body: impl Into<Bytes>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let body = body.into();
    let tag = Hash::of(&body).to_hex();
    get(move |request: HeaderMap| async move {
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if media_type == HTML {
            headers.extend(PAGE_HEADERS);
        }
        cached(response, Freshness::Revalidated(tag), &request)
    })
}
