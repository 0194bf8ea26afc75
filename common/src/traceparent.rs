//! The header that names a trace (W3C Trace Context, level 1): parse and print.
//!
//! ```text
//! traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//!              |  |                                |                |
//!              |  trace-id                         parent-id        flags; bit 0: sampled
//!              version, never ff; a later one may go on behind a dash
//! ```
//! All digits are lower case hex, and neither id is zero.

use std::fmt;
use std::str::FromStr;

/// What a request says about the trace that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: TraceId,
    parent: ParentId,
    flags: u8,
}

/// Names everything that one cause led to, on every node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Names one step of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParentId([u8; 8]);

/// Why a header names no trace; a new one is begun then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// It does not have four fields of the right lengths.
    #[error("it is not version-traceid-parentid-flags")]
    Shape,
    /// A field has something else than lower case hex digits.
    #[error("it has other characters than lower case hex digits")]
    NotHex,
    /// The version is ff, which is none.
    #[error("its version is ff")]
    Version,
    /// Version 00 ends with its flags.
    #[error("version 00 goes on behind its flags")]
    Longer,
    /// The trace-id is zero.
    #[error("its trace-id is zero")]
    ZeroTrace,
    /// The parent-id is zero.
    #[error("its parent-id is zero")]
    ZeroParent,
}

/// The bytes of the part that every version has.
const LENGTH: usize = 55;

/// Bit 0 of the flags: who called may have recorded the trace.
const SAMPLED: u8 = 1;

impl TraceParent {
    /// A trace that begins here.
    pub fn new(trace: TraceId, parent: ParentId) -> Self {
        Self { trace, parent, flags: SAMPLED }
    }

    /// The trace.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// The same trace, one step on: of the flags only what is known is handed on.
    #[must_use]
    pub fn step(self, parent: ParentId) -> Self {
        Self { parent, flags: self.flags & SAMPLED, ..self }
    }
}

impl TraceId {
    /// An id, unless it is zero.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }
}

impl ParentId {
    /// An id, unless it is zero.
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let (head, rest) =
            text.as_bytes().split_at_checked(LENGTH).ok_or(TraceParentError::Shape)?;
        if [2, 35, 52].iter().any(|dash| head[*dash] != b'-') {
            return Err(TraceParentError::Shape);
        }
        let [version] = hex(&head[..2])?;
        let (trace, parent) = (hex(&head[3..35])?, hex(&head[36..52])?);
        let [flags] = hex(&head[53..])?;
        match (version, rest.first()) {
            (0xff, _) => Err(TraceParentError::Version),
            (0, Some(_)) => Err(TraceParentError::Longer),
            (_, None | Some(b'-')) => Ok(()),
            (_, Some(_)) => Err(TraceParentError::Shape),
        }?;
        let trace = TraceId::new(trace).ok_or(TraceParentError::ZeroTrace)?;
        let parent = ParentId::new(parent).ok_or(TraceParentError::ZeroParent)?;
        Ok(Self { trace, parent, flags })
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Result<[u8; N], TraceParentError> {
    if digits.iter().any(u8::is_ascii_uppercase) {
        return Err(TraceParentError::NotHex);
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| TraceParentError::NotHex)?;
    Ok(bytes)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.parent, self.flags)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for ParentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ParentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::TraceParentError as Error;
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn parse(text: &str) -> Result<TraceParent, Error> {
        text.parse()
    }

    #[test]
    fn what_is_parsed_is_printed_again() {
        for flags in ["00", "01"] {
            let text = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");

            assert_eq!(parse(&text).map(|parsed| parsed.to_string()), Ok(text));
        }
    }

    #[test]
    fn a_step_keeps_the_trace_and_names_itself() {
        let caller = parse(&format!("00-{TRACE}-00f067aa0ba902b7-ff")).unwrap();

        let step = caller.step(ParentId::new([7; 8]).unwrap());

        assert_eq!(step.to_string(), format!("00-{TRACE}-0707070707070707-01"));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for rest in ["", "-what-comes"] {
            let parsed = parse(&format!("42-{TRACE}-00f067aa0ba902b7-01{rest}")).unwrap();

            assert_eq!(parsed.trace().to_string(), TRACE);
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused_for_that_rule() {
        let zero = "0".repeat(32);
        for (text, error) in [
            (String::new(), Error::Shape),
            (TRACE.to_owned(), Error::Shape),
            (format!("00-{TRACE}-00f067aa0ba902b7-0"), Error::Shape),
            (format!("00_{TRACE}-00f067aa0ba902b7-01"), Error::Shape),
            (format!("01-{TRACE}-00f067aa0ba902b7-01x"), Error::Shape),
            (format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()), Error::NotHex),
            (format!("00-{TRACE}-00f067aa0ba902b7-0g"), Error::NotHex),
            (format!("ff-{TRACE}-00f067aa0ba902b7-01"), Error::Version),
            (format!("00-{TRACE}-00f067aa0ba902b7-01-x"), Error::Longer),
            (format!("00-{zero}-00f067aa0ba902b7-01"), Error::ZeroTrace),
            (format!("00-{TRACE}-0000000000000000-01"), Error::ZeroParent),
        ] {
            assert_eq!(parse(&text), Err(error), "{text}");
        }
        assert_eq!(parse(&"é".repeat(40)), Err(Error::Shape));
    }
}
