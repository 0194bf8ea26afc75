//! Reading submitted events: one object, an array, or NDJSON. Pure.

use diogenes_common::canonical::{self, JsonError};
use diogenes_common::event::{
    CompositeDocument, EncryptedClaim, EndorsementAcceptance, EndorsementAcceptanceRevocation,
    EndorsementOffer, EndorsementRevocationAlert, EndorsementWithdrawal, KeyRevocation,
    KeySuccession, Payload as _, TrustConfig, TrustConfigRevocation,
};
use diogenes_common::leaf::EventType;
use serde_json::Value;

/// The most events that one request may submit.
pub(super) const MAX_EVENTS: usize = 1_000;
/// How deep a payload may nest, the payload itself being 1.
const PAYLOAD_DEPTH: usize = 32;

/// An event as it was submitted, its payload canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub(crate) event_type: EventType,
    pub(crate) payload: Vec<u8>,
    /// The `auth` object of an event that takes one.
    pub(crate) auth: Option<Value>,
}

/// The event types that take an `auth` object.
const WITH_AUTH: [&str; 11] = [
    KeySuccession::EVENT_TYPE,
    KeyRevocation::EVENT_TYPE,
    EndorsementOffer::EVENT_TYPE,
    EndorsementAcceptance::EVENT_TYPE,
    EndorsementWithdrawal::EVENT_TYPE,
    EndorsementAcceptanceRevocation::EVENT_TYPE,
    EndorsementRevocationAlert::EVENT_TYPE,
    TrustConfig::EVENT_TYPE,
    TrustConfigRevocation::EVENT_TYPE,
    EncryptedClaim::EVENT_TYPE,
    CompositeDocument::EVENT_TYPE,
];

/// One event or many: they are answered differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Submission {
    One(Submitted),
    Many(Vec<Submitted>),
}

impl Submission {
    /// How many of the events are of one of these types.
    pub(super) fn count(&self, types: &[&str]) -> u32 {
        let events = match self {
            Self::One(event) => std::slice::from_ref(event),
            Self::Many(events) => events,
        };
        let counts = |event: &&Submitted| types.contains(&event.event_type.as_str());
        u32::try_from(events.iter().filter(counts).count()).unwrap_or(u32::MAX)
    }
}

/// Why a body holds no events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    /// Not JSON, or not the JSON that the log takes.
    #[error("{place}{error}")]
    Json { place: Place, error: JsonError },
    /// Not an event's shape.
    #[error("{place}{shape}")]
    Shape { place: Place, shape: Shape },
    /// No event at all.
    #[error("send at least one event")]
    Empty,
    /// Too many at once.
    #[error("send at most {MAX_EVENTS} events in one request")]
    TooMany,
}

/// What is wrong with one event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Shape {
    #[error("an event is an object with `event_type` and `payload`")]
    NotAnObject,
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`event_type` is a text")]
    TypeIsNoText,
    #[error("`event_type` is neither a known type nor of the form x-<namespace>:<name>")]
    UnknownType,
    #[error("`payload` is a JSON object")]
    PayloadIsNoObject,
    #[error("`{0}` is not a member of an event; send `event_type` and `payload`")]
    UnknownMember(String),
}

impl Shape {
    /// Where in the event it is wrong, to be put after the event's own pointer.
    pub(super) fn pointer(&self) -> String {
        match self {
            Self::NotAnObject => String::new(),
            Self::Missing(member) => format!("/{member}"),
            Self::TypeIsNoText | Self::UnknownType => "/event_type".to_owned(),
            Self::PayloadIsNoObject => "/payload".to_owned(),
            Self::UnknownMember(member) => {
                format!("/{}", member.replace('~', "~0").replace('/', "~1"))
            }
        }
    }
}

/// Which of many events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Body,
    Item(usize),
    Line(usize),
}

impl Place {
    /// The event's JSON pointer; the lines of NDJSON count as the items of an array.
    pub(super) fn pointer(self) -> String {
        match self {
            Self::Body => "#".to_owned(),
            Self::Item(index) => format!("#/{index}"),
            Self::Line(number) => format!("#/{}", number - 1),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Body => Ok(()),
            Self::Item(index) => write!(f, "event {index} of the array: "),
            Self::Line(number) => write!(f, "line {number}: "),
        }
    }
}

/// Reads `application/json`: one event or an array of them.
pub(super) fn json(body: &[u8]) -> Result<Submission, ParseError> {
    if let Some(event) = canonical_event(body) {
        return Ok(Submission::One(event));
    }
    let at_body = |error| ParseError::Json { place: Place::Body, error };
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let around = if is_array { 2 } else { 1 };
    match canonical::parse(body, PAYLOAD_DEPTH + around).map_err(at_body)? {
        Value::Array(events) => {
            many(events.into_iter().enumerate().map(|(at, value)| event(Place::Item(at), value)))
        }
        value => event(Place::Body, value).map(Submission::One),
    }
}

/// Reads `application/x-ndjson`: one event a line; empty lines are skipped.
pub(super) fn ndjson(body: &[u8]) -> Result<Submission, ParseError> {
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    many(lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(at, line)| {
        if let Some(event) = canonical_event(line) {
            return Ok(event);
        }
        let place = Place::Line(at + 1);
        let value = canonical::parse(line, PAYLOAD_DEPTH + 1)
            .map_err(|error| ParseError::Json { place, error })?;
        event(place, value)
    }))
}

fn many(
    events: impl Iterator<Item = Result<Submitted, ParseError>>,
) -> Result<Submission, ParseError> {
    let mut all = Vec::new();
    for event in events {
        if all.len() == MAX_EVENTS {
            return Err(ParseError::TooMany);
        }
        all.push(event?);
    }
    if all.is_empty() { Err(ParseError::Empty) } else { Ok(Submission::Many(all)) }
}

/// The short way for what most clients send: bytes that are canonical as they came, so that the
/// payload is a slice of them. `None` sends the rest, errors included, the long way.
fn canonical_event(bytes: &[u8]) -> Option<Submitted> {
    const HEAD: &[u8] = b"{\"event_type\":\"";
    const BETWEEN: &[u8] = b"\",\"payload\":";
    let rest = bytes.strip_prefix(HEAD)?;
    let quote = rest.iter().take(128).position(|byte| *byte == b'"')?;
    let event_type = std::str::from_utf8(&rest[..quote]).ok()?.parse().ok()?;
    let payload = rest[quote..].strip_prefix(BETWEEN)?.strip_suffix(b"}")?;
    let is_object = payload.first() == Some(&b'{');
    (is_object && canonical::check(payload, PAYLOAD_DEPTH).is_ok()).then(|| Submitted {
        event_type,
        payload: payload.to_vec(),
        auth: None,
    })
}

fn event(place: Place, value: Value) -> Result<Submitted, ParseError> {
    let wrong = |shape| ParseError::Shape { place, shape };
    let Value::Object(mut members) = value else { return Err(wrong(Shape::NotAnObject)) };
    let event_type: EventType = match members.remove("event_type") {
        None => return Err(wrong(Shape::Missing("event_type"))),
        Some(Value::String(text)) => text.parse().map_err(|_| wrong(Shape::UnknownType))?,
        Some(_) => return Err(wrong(Shape::TypeIsNoText)),
    };
    let takes_auth = WITH_AUTH.contains(&event_type.as_str());
    let auth =
        if takes_auth { members.remove("auth").filter(|auth| !auth.is_null()) } else { None };
    let payload = match members.remove("payload") {
        None => return Err(wrong(Shape::Missing("payload"))),
        Some(payload @ Value::Object(_)) => canonical::to_vec(&payload),
        Some(_) => return Err(wrong(Shape::PayloadIsNoObject)),
    };
    match members.into_iter().next() {
        Some((name, _)) => Err(wrong(Shape::UnknownMember(name.chars().take(64).collect()))),
        None => Ok(Submitted { event_type, payload, auth }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(event_type: &str, payload: &str) -> Submission {
        Submission::One(submitted(event_type, payload))
    }

    fn submitted(event_type: &str, payload: &str) -> Submitted {
        Submitted {
            event_type: event_type.parse().expect("a type"),
            payload: payload.as_bytes().to_vec(),
            auth: None,
        }
    }

    #[test]
    fn one_event_is_read_the_short_and_the_long_way_alike() {
        let canonical = br#"{"event_type":"x-a:b","payload":{"n":1}}"#;
        let spaced = br#" { "payload" : { "n" : 1.0 } , "event_type":"x-a:b" } "#;

        assert_eq!(json(canonical), Ok(one("x-a:b", r#"{"n":1}"#)));
        assert_eq!(json(spaced), Ok(one("x-a:b", r#"{"n":1}"#)));
    }

    #[test]
    fn an_array_and_ndjson_give_many() {
        let events = vec![submitted("x-a:b", "{}"), submitted("x-a:c", "{}")];
        let array = br#"[{"event_type":"x-a:b","payload":{}},{"event_type":"x-a:c","payload":{}}]"#;
        let lines = b"{\"event_type\":\"x-a:b\",\"payload\":{}}\n\n {\"payload\":{},\"event_type\":\"x-a:c\"}\r\n";

        assert_eq!(json(array), Ok(Submission::Many(events.clone())));
        assert_eq!(ndjson(lines), Ok(Submission::Many(events)));
    }

    #[test]
    fn each_fault_names_its_place() {
        let shape = |place, shape| Err(ParseError::Shape { place, shape });
        let cases: [(&[u8], Result<Submission, ParseError>); 7] = [
            (b"[]", Err(ParseError::Empty)),
            (b"7", shape(Place::Body, Shape::NotAnObject)),
            (br#"{"payload":{}}"#, shape(Place::Body, Shape::Missing("event_type"))),
            (br#"[{"event_type":"x-a:b"}]"#, shape(Place::Item(0), Shape::Missing("payload"))),
            (
                br#"{"event_type":"x-a:b","payload":[]}"#,
                shape(Place::Body, Shape::PayloadIsNoObject),
            ),
            (br#"{"event_type":"X b","payload":{}}"#, shape(Place::Body, Shape::UnknownType)),
            (
                br#"{"event_type":"x-a:b","payload":{},"id":1}"#,
                shape(Place::Body, Shape::UnknownMember("id".to_owned())),
            ),
        ];
        for (body, want) in cases {
            assert_eq!(json(body), want, "{}", String::from_utf8_lossy(body));
        }
        let two = b"{\"event_type\":\"x-a:b\",\"payload\":{}}\n{\"event_type\":3,\"payload\":{}}";
        assert_eq!(ndjson(two), shape(Place::Line(2), Shape::TypeIsNoText));
    }

    #[test]
    fn depth_is_counted_from_the_payload() {
        let nested = |depth: usize| {
            let (open, close) = (r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1));
            format!(r#"{{"event_type":"x-a:b","payload":{open}{{}}{close}}}"#)
        };

        assert!(json(nested(32).as_bytes()).is_ok());
        let too_deep = Err(ParseError::Json { place: Place::Body, error: JsonError::TooDeep });
        assert_eq!(json(nested(33).as_bytes()), too_deep);
        assert!(json(format!("[{}]", nested(32)).as_bytes()).is_ok());
    }

    #[test]
    fn no_more_than_a_thousand_events_are_taken() {
        let line = "{\"event_type\":\"x-a:b\",\"payload\":{}}\n";

        assert!(ndjson(line.repeat(1_000).as_bytes()).is_ok());
        assert_eq!(ndjson(line.repeat(1_001).as_bytes()), Err(ParseError::TooMany));
    }
}
