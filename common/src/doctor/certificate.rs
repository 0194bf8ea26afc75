//! When a certificate is valid (RFC 5280), and nothing else of it.
//!
//! ```text
//! Certificate     SEQUENCE { tbs, algorithm, signature }
//! tbs             SEQUENCE { [0] version OPTIONAL, serial INTEGER, algorithm SEQUENCE,
//!                            issuer SEQUENCE, validity, ... }
//! validity        SEQUENCE { not before, not after }, each
//!                 UTCTime YYMMDDhhmmssZ (years 1950 to 2049) or GeneralizedTime YYYYMMDDhhmmssZ
//! ```

use crate::clock::Timestamp;

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// From here on.
    pub(super) not_before: Timestamp,
    /// Up to here.
    pub(super) not_after: Timestamp,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads the validity of a certificate in DER.
pub(super) fn validity(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = value_of(SEQUENCE, der)?;
    let (mut tbs, _) = value_of(SEQUENCE, certificate)?;
    if tbs.first() == Some(&VERSION) {
        tbs = element(tbs)?.2;
    }
    for _serial_algorithm_issuer in 0..3 {
        tbs = element(tbs)?.2;
    }
    let (times, _) = value_of(SEQUENCE, tbs)?;
    let (not_before, times) = time(times)?;
    let (not_after, _) = time(times)?;
    Some(Validity { not_before, not_after })
}

fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, value, rest) = element(der)?;
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii())?;
    let full = match tag {
        UTC_TIME if text.len() == 13 => {
            format!("{}{text}", if text < "50" { "20" } else { "19" })
        }
        GENERALIZED_TIME if text.len() == 15 => text.to_owned(),
        _ => return None,
    };
    let shown = format!(
        "{}-{}-{}T{}:{}:{}.000{}",
        &full[..4],
        &full[4..6],
        &full[6..8],
        &full[8..10],
        &full[10..12],
        &full[12..14],
        &full[14..]
    );
    Some((shown.parse().ok()?, rest))
}

fn value_of(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = element(der)?;
    (found == tag).then_some((value, rest))
}

/// The tag and the value of the first element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ ..=0x7f => (usize::from(*short), rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let length = u8::try_from(value.len()).unwrap();
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, value].concat()
    }

    fn certificate(version: &[u8], not_before: &[u8], not_after: &[u8]) -> Vec<u8> {
        let serial = wrap(0x02, &[&[1]]);
        let name = wrap(SEQUENCE, &[&[0; 100]]);
        let validity = wrap(SEQUENCE, &[not_before, not_after]);
        let tbs = wrap(SEQUENCE, &[version, &serial, &wrap(SEQUENCE, &[]), &name, &validity]);
        wrap(SEQUENCE, &[&tbs])
    }

    #[test]
    fn both_forms_of_times_are_read() {
        let from = wrap(UTC_TIME, &[b"260115103000Z"]);
        let upto = wrap(GENERALIZED_TIME, &[b"20510115103000Z"]);
        let expected = Some(Validity {
            not_before: "2026-01-15T10:30:00.000Z".parse().unwrap(),
            not_after: "2051-01-15T10:30:00.000Z".parse().unwrap(),
        });

        for version in [wrap(VERSION, &[&[2, 1, 2]]), Vec::new()] {
            assert_eq!(validity(&certificate(&version, &from, &upto)), expected);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_validity_and_does_no_harm() {
        let from = wrap(UTC_TIME, &[b"260115103000Z"]);
        let whole = certificate(&[], &from, &from);
        for cut in 0..whole.len() {
            let torn = validity(&whole[..cut]);
            assert_eq!(torn, None, "{cut}");
        }
        let wrong = wrap(UTC_TIME, &[b"26011510300\xc3\xa9"]);
        assert_eq!(validity(&certificate(&[], &wrong, &from)), None);
        assert_eq!(validity(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
