//! How answers are written: JSON with the right caching headers.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
    LINK,
};
use serde::Serialize;

/// How long an answer may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// For ever: it never changes. Carries its tag.
    Immutable(String),
    /// For a second: a newer one may be there. Carries its tag.
    Newest(String),
    /// For a day: only another version of the software answers otherwise. Carries its tag.
    Daily(String),
    /// To be asked for again each time. Carries its tag.
    Revalidated(String),
    /// For a second.
    Brief,
    /// Not at all.
    Never,
}

/// Answers with a value as JSON.
pub(super) fn json(value: &impl Serialize, freshness: Freshness, request: &HeaderMap) -> Response {
    let text = serde_json::to_vec(value).expect("answers are texts, numbers and lists of them");
    text_json(text, freshness, request)
}

/// Answers with JSON that is written already.
pub(super) fn text_json(
    text: impl Into<Body>,
    freshness: Freshness,
    request: &HeaderMap,
) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    cached(response, freshness, request)
}

/// Adds the caching headers, and answers 304 without a body to whoever has this very answer.
pub(super) fn cached(
    mut response: Response,
    freshness: Freshness,
    request: &HeaderMap,
) -> Response {
    let headers = response.headers_mut();
    let (control, tag) = match freshness {
        Freshness::Immutable(tag) => ("public, max-age=31536000, immutable", Some(tag)),
        Freshness::Newest(tag) => ("public, max-age=1", Some(tag)),
        Freshness::Daily(tag) => ("public, max-age=86400", Some(tag)),
        Freshness::Revalidated(tag) => ("no-cache", Some(tag)),
        Freshness::Brief => ("public, max-age=1", None),
        Freshness::Never => ("no-store", None),
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(control));
    let Some(tag) = tag else { return response };
    let tag = format!("\"{tag}\"");
    let known = names(request, &IF_NONE_MATCH, &tag);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    if known {
        headers.remove(CONTENT_TYPE);
        *response.body_mut() = Body::empty();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

/// Adds a link to the next page.
pub(super) fn linked(mut response: Response, next: Option<String>) -> Response {
    let value = next.map(|url| format!("<{url}>; rel=\"next\"")).map(HeaderValue::try_from);
    if let Some(Ok(value)) = value {
        response.headers_mut().insert(LINK, value);
    }
    response
}

/// Whether a list of entity tags names this one, or all.
fn names(request: &HeaderMap, header: &HeaderName, tag: &str) -> bool {
    let lists = request.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

/// Whether the client accepts this media type by name.
pub(super) fn accepts(request: &HeaderMap, media_type: &str) -> bool {
    weighed(request, &ACCEPT).any(|(name, taken)| taken && name.eq_ignore_ascii_case(media_type))
}

/// The names in a list that the client weighs, each with whether its weight is above zero.
pub(super) fn weighed<'a>(
    request: &'a HeaderMap,
    header: &HeaderName,
) -> impl Iterator<Item = (&'a str, bool)> + use<'a> {
    let lists = request.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        (name, !refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn who_has_the_answer_gets_none() {
        let tag = || Freshness::Immutable("abc".to_owned());
        let fresh = json(&1, tag(), &HeaderMap::new());
        assert_eq!(fresh.status(), StatusCode::OK);
        assert_eq!(fresh.headers()[ETAG], "\"abc\"");
        for known in ["\"abc\"", "\"x\", \"abc\"", "W/\"abc\"", "*"] {
            let answer = json(&1, tag(), &with(IF_NONE_MATCH, known));
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
        }
        let other = json(&1, tag(), &with(IF_NONE_MATCH, "abc"));
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[test]
    fn a_media_type_is_accepted_by_name_alone() {
        let accept = |value| accepts(&with(ACCEPT, value), "application/x-ndjson");
        assert!(accept("application/json, Application/X-NDJSON;q=0.5"));
        for not in ["*/*", "application/json", "application/x-ndjson;q=0", ""] {
            assert!(!accept(not), "{not}");
        }
    }
}
