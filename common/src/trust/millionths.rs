//! Numbers from 0 to 1 in whole millionths, so that every machine computes the same score.
//!
//! In JSON a decimal number with at most six digits after the point: `0.25`. The ends are the
//! integers `0` and `1`, as the canonical form of `0.0` and `1.0` has it.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A weight or score: 0 to 1,000,000 millionths.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millionths(u32);

/// Why a number is not one of millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMillionths {
    /// Below 0 or above 1.
    #[error("a number from 0 to 1 is needed here")]
    OutOfRange,
    /// More than six digits after the point.
    #[error("a number with at most 6 digits after the point is needed here")]
    TooPrecise,
}

impl Millionths {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The whole.
    pub const ONE: Self = Self(Self::SCALE);

    const SCALE: u32 = 1_000_000;

    /// So many millionths, at most a million.
    pub const fn new(millionths: u32) -> Option<Self> {
        if millionths <= Self::SCALE { Some(Self(millionths)) } else { None }
    }

    /// How many millionths.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// `part` of `whole`, rounded down and at most 1; all of it where `whole` is nothing.
    pub fn ratio(part: u32, whole: u32) -> Self {
        let millionths = (u64::from(part) * u64::from(Self::SCALE)).checked_div(whole.into());
        millionths.map_or(Self::ONE, Self::capped)
    }

    /// The product, rounded down.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self::capped(u64::from(self.0) * u64::from(other.0) / u64::from(Self::SCALE))
    }

    /// The half, rounded down.
    #[must_use]
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }

    /// The least number whose product with `factor` is at least this one, if there is any.
    pub(super) fn least_with(self, factor: Self) -> Option<Self> {
        let scaled = u64::from(self.0) * u64::from(Self::SCALE);
        let least = match u64::from(factor.0) {
            0 => (scaled == 0).then_some(0),
            factor => Some(scaled.div_ceil(factor)),
        };
        least.and_then(|least| u32::try_from(least).ok()).and_then(Self::new)
    }

    fn capped(millionths: u64) -> Self {
        u32::try_from(millionths).ok().and_then(Self::new).unwrap_or(Self::ONE)
    }

    /// The double that canonical JSON holds the number as: the nearest one, since a quotient of
    /// two integers is rounded once.
    fn as_double(self) -> f64 {
        f64::from(self.0) / f64::from(Self::SCALE)
    }
}

impl TryFrom<f64> for Millionths {
    type Error = NotMillionths;

    /// Takes exactly the doubles that decimals of at most six digits are read as.
    fn try_from(double: f64) -> Result<Self, NotMillionths> {
        if !(0.0..=1.0).contains(&double) {
            return Err(NotMillionths::OutOfRange);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e6")]
        let nearest = Self((double * f64::from(Self::SCALE)).round() as u32);
        let is_exact = nearest.as_double().to_bits() == (double + 0.0).to_bits();
        if is_exact { Ok(nearest) } else { Err(NotMillionths::TooPrecise) }
    }
}

impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::SCALE, self.0 % Self::SCALE);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Debug for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Millionths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::ZERO => serializer.serialize_u64(0),
            Self::ONE => serializer.serialize_u64(1),
            between => serializer.serialize_f64(between.as_double()),
        }
    }
}

impl<'de> Deserialize<'de> for Millionths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Millionths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0 to 1 with at most 6 digits after the point")
            }

            fn visit_u64<E: de::Error>(self, integer: u64) -> Result<Millionths, E> {
                match integer {
                    0 => Ok(Millionths::ZERO),
                    1 => Ok(Millionths::ONE),
                    _ => Err(E::custom(NotMillionths::OutOfRange)),
                }
            }

            fn visit_i64<E: de::Error>(self, integer: i64) -> Result<Millionths, E> {
                let integer = u64::try_from(integer);
                self.visit_u64(integer.map_err(|_| E::custom(NotMillionths::OutOfRange))?)
            }

            fn visit_f64<E: de::Error>(self, double: f64) -> Result<Millionths, E> {
                Millionths::try_from(double).map_err(E::custom)
            }
        }

        deserializer.deserialize_f64(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical;

    fn read(text: &str) -> Result<Millionths, String> {
        let value = canonical::parse(text.as_bytes(), 1).expect("JSON");
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_number_of_millionths_is_the_same_after_canonical_json() {
        for number in (0..=1_000_000).step_by(5).chain(0..1_000).filter_map(Millionths::new) {
            let value = serde_json::to_value(number).expect("a number");
            let bytes = canonical::to_vec(&value);

            assert_eq!(String::from_utf8_lossy(&bytes), number.to_string());
            assert_eq!(canonical::parse(&bytes, 1), Ok(value.clone()));
            assert_eq!(serde_json::from_value(value).ok(), Some(number));
        }
    }

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        for (text, millionths) in [
            ("0", 0),
            ("0.0", 0),
            ("-0.0", 0),
            ("1", 1_000_000),
            ("1.0", 1_000_000),
            ("1e0", 1_000_000),
            ("0.25", 250_000),
            ("0.250000000", 250_000),
            ("25e-2", 250_000),
            ("0.000001", 1),
            ("1e-6", 1),
            ("0.999999", 999_999),
        ] {
            assert_eq!(read(text), Ok(Millionths(millionths)), "{text}");
        }
        for text in ["0.0000001", "0.2500001", "0.3333333333333333", "1e-300", "0.9999999"] {
            assert_eq!(read(text), Err(NotMillionths::TooPrecise.to_string()), "{text}");
        }
        for text in ["2", "-1", "1.000001", "-0.000001", "1e9"] {
            assert_eq!(read(text), Err(NotMillionths::OutOfRange.to_string()), "{text}");
        }
        for text in ["\"0.5\"", "null", "true", "[0.5]"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("expected a number from 0 to 1"), "{error}");
        }
    }

    #[test]
    fn products_and_ratios_are_rounded_down() {
        let third = Millionths::ratio(1, 3);

        assert_eq!(third, Millionths(333_333));
        assert_eq!(third.times(third), Millionths(111_110));
        assert_eq!(third.half(), Millionths(166_666));
        assert_eq!(Millionths::ONE.times(third), third);
        assert_eq!(Millionths::ratio(7, 5), Millionths::ONE);
        assert_eq!(Millionths::ratio(5, 0), Millionths::ONE);
        assert_eq!(Millionths::ratio(0, 5), Millionths::ZERO);
        assert_eq!(Millionths::ratio(u32::MAX, u32::MAX), Millionths::ONE);
    }

    #[test]
    fn the_least_factor_of_a_product_is_the_least() {
        for (product, factor) in [(250_000, 500_000), (1, 3), (333_333, 999_999), (5, 7)] {
            let (product, factor) = (Millionths(product), Millionths(factor));
            let least = product.least_with(factor).expect("there is one");

            assert!(least.times(factor) >= product);
            assert!(Millionths(least.0 - 1).times(factor) < product);
        }
        assert_eq!(Millionths(2).least_with(Millionths(1)), None);
        assert_eq!(Millionths(1).least_with(Millionths::ZERO), None);
    }
}
