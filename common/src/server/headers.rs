//! Headers that several routes share: caching, paging, pages for people.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_NONE_MATCH, LINK, REFERRER_POLICY,
};

/// How long an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// It can never change.
    Immutable,
    /// It is right for a second.
    Second,
    /// It is right for five seconds.
    FiveSeconds,
    /// It must be asked for again each time, but may be confirmed by its tag.
    Revalidate,
    /// It is nobody else's.
    Private,
}

impl Caching {
    /// The value of `Cache-Control`.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::Second => "public, max-age=1",
            Self::FiveSeconds => "public, max-age=5",
            Self::Revalidate => "no-cache",
            Self::Private => "no-store",
        })
    }
}

/// The strong tag of an answer's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag(HeaderValue);

impl EntityTag {
    /// A tag of printable characters without quotes, such as a hash; others become `-`.
    pub fn new(text: &str) -> Self {
        let fits = |c: char| c.is_ascii_graphic() && c != '"';
        let text: String = text.chars().map(|c| if fits(c) { c } else { '-' }).collect();
        Self(
            HeaderValue::try_from(format!("\"{text}\"")).expect("every character is graphic ASCII"),
        )
    }

    /// Says whether the client holds these bytes already (`If-None-Match`).
    pub fn matches(&self, request: &HeaderMap) -> bool {
        request.get_all(IF_NONE_MATCH).iter().any(|value| {
            value.to_str().unwrap_or_default().split(',').map(str::trim).any(|tag| {
                tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.0.as_bytes()
            })
        })
    }
}

/// Adds tag and lifetime to an answer, or empties it (304) if the client holds it already.
///
/// Where making the body is dear, ask [`EntityTag::matches`] first and use [`not_modified`].
pub fn cached(
    mut response: Response,
    request: &HeaderMap,
    tag: &EntityTag,
    caching: Caching,
) -> Response {
    if response.status() == StatusCode::OK && tag.matches(request) {
        return not_modified(tag, caching);
    }
    response.headers_mut().insert(ETAG, tag.0.clone());
    response.headers_mut().insert(CACHE_CONTROL, caching.value());
    response
}

/// 304: what the client holds is still right.
pub fn not_modified(tag: &EntityTag, caching: Caching) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(ETAG, tag.0.clone());
    response.headers_mut().insert(CACHE_CONTROL, caching.value());
    response
}

/// A JSON answer from bytes that are rendered already.
pub fn json_bytes(body: impl Into<bytes::Bytes>) -> Response {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// `Link: <target>; rel="next"` for a path and query that this program made.
///
/// None if the target holds what cannot stand in a header.
pub fn link_next(target: &str) -> Option<(HeaderName, HeaderValue)> {
    if target.contains(['<', '>']) {
        return None;
    }
    HeaderValue::try_from(format!("<{target}>; rel=\"next\"")).ok().map(|value| (LINK, value))
}

/// What keeps a page for people from being framed, extended or spied on.
pub const PAGE_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'",
        ),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(tags: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(tags))])
    }

    #[test]
    fn a_client_that_holds_the_answer_gets_none() {
        let tag = EntityTag::new("sha256:ab");
        for (tags, held) in [
            ("\"sha256:ab\"", true),
            ("\"x\", W/\"sha256:ab\"", true),
            ("*", true),
            ("\"sha256:a\"", false),
            ("sha256:ab", false),
            ("", false),
        ] {
            let answer = cached(json_bytes("{}"), &holding(tags), &tag, Caching::Immutable);
            let expected = if held { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
            assert_eq!(answer.status(), expected, "{tags}");
            assert_eq!(answer.headers()[ETAG], "\"sha256:ab\"");
            assert_eq!(answer.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
        }
    }

    #[test]
    fn a_tag_cannot_leave_its_quotes() {
        assert_eq!(EntityTag::new("a\"\r\nb ü").0, "\"a---b--\"");
    }

    #[test]
    fn a_link_cannot_leave_its_brackets() {
        assert_eq!(link_next("/a?page=2").unwrap().1, "</a?page=2>; rel=\"next\"");
        assert_eq!(link_next("/a>; rel=\"x\""), None);
        assert_eq!(link_next("/a\r\nb"), None);
    }
}
