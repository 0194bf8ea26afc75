//! The types that settings have, and how each is written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::files::Role;

/// What a setting can hold.
pub trait Value: Sized {
    /// Says that the text is a path, in which a leading `~/` is the home directory.
    const IS_PATH: bool = false;

    /// Reads the text, or says what it should be (as the end of "NAME ...").
    fn parse(text: &str) -> Result<Self, String>;
}

/// A setting that may be absent; absent is the empty text.
impl<T: Value> Value for Option<T> {
    const IS_PATH: bool = T::IS_PATH;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(wrong(text, "true or false")),
        }
    }
}

impl Value for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| wrong(text, "a whole number"))
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err(wrong(text, "text in one line"));
        }
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    const IS_PATH: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("must be a path".to_owned());
        }
        Ok(Self::from(text))
    }
}

impl Value for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.replace("localhost", "127.0.0.1");
        text.parse().map_err(|_| wrong(&text, "an IP address with a port, like 127.0.0.1:8000"))
    }
}

/// A number with a unit: `500ms`, `60s`, `1 s`, `5m`, `2h`, `7d`.
impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = "a time with its unit, like 500ms, 60s, 5m, 2h or 7d";
        let (number, unit) = split_unit(text).ok_or_else(|| wrong(text, expected))?;
        let millis = match unit {
            "ms" => 1,
            "s" | "sec" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong(text, expected)),
        };
        number.checked_mul(millis).map(Self::from_millis).ok_or_else(|| wrong(text, expected))
    }
}

/// A number of bytes: `1 GiB`, `512MiB`, `10 MB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// That many bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Value for Size {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = "a size, like 4096, 512 MiB or 1 GiB";
        let (number, unit) = split_unit(text).ok_or_else(|| wrong(text, expected))?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(wrong(text, expected)),
        };
        number.checked_mul(factor).map(Self).ok_or_else(|| wrong(text, expected))
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Value for Secret {
    fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("must be one line of text".to_owned());
        }
        Ok(Self::new(text.to_owned()))
    }
}

/// Networks, separated by commas: `10.0.0.0/8, ::1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Says whether the address lies in one of them; an IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Value for Networks {
    fn parse(text: &str) -> Result<Self, String> {
        items(text)
            .map(|item| {
                item.parse::<IpNet>()
                    .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| wrong(item, "a list of networks, like 10.0.0.0/8,::1"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// URLs, separated by commas. Which of them may be dialled is the client's rule.
impl Value for Vec<Url> {
    fn parse(text: &str) -> Result<Self, String> {
        items(text)
            .map(|item| item.parse().map_err(|_| wrong(item, "a list of https URLs")))
            .collect()
    }
}

/// Texts, separated by commas.
impl Value for Vec<String> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(items(text).map(str::to_owned).collect())
    }
}

/// One source of the log that a follower mirrors.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationOperator {
    /// Where it answers.
    #[serde(deserialize_with = "url")]
    pub url: Url,
    /// The operator key of the log, `sha256:<64 hex>`.
    pub fingerprint: String,
}

/// `[{"url":"https://leader.example","fingerprint":"sha256:..."}]`, for one log.
impl Value for Vec<FederationOperator> {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::new());
        }
        let expected = r#"must read [{"url":"https://...","fingerprint":"sha256:<64 hex>"}]"#;
        let operators: Self =
            serde_json::from_str(text).map_err(|error| format!("{expected}: {error}"))?;
        if operators.iter().any(|operator| !is_fingerprint(&operator.fingerprint)) {
            return Err(format!("{expected}: a fingerprint is not complete"));
        }
        if operators.windows(2).any(|pair| pair[0].fingerprint != pair[1].fingerprint) {
            return Err("names two logs: one process mirrors one log".to_owned());
        }
        Ok(operators)
    }
}

/// A cron expression with seconds, like `0 17 3 * * *`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(String);

impl Schedule {
    /// The expression.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Schedule {
    fn parse(text: &str) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"*,/?- #".contains(&byte);
        let fields = text.split_ascii_whitespace().count();
        if !(6..=7).contains(&fields) || !text.bytes().all(fits) {
            return Err(wrong(text, "a cron expression with seconds, like 0 17 3 * * *"));
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// How it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl Value for $name {
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(wrong(text, &["one of", $($text),*].join(" "))),
                }
            }
        }
    };
}

choice! {
    /// How much is logged.
    LogLevel {
        /// What needs a person.
        Error = "error",
        /// What may need one.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// How it happens.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// How log lines look.
    LogFormat {
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Text = "text",
    }
}

choice! {
    /// Who may append events of their own types.
    AppendPolicy {
        /// Whoever holds an active key, and the operator.
        Authenticated = "authenticated",
        /// The operator alone.
        Operator = "operator",
        /// Anyone.
        Open = "open",
    }
}

choice! {
    /// The form in which a follower asks for batches.
    ReplicateFormat {
        /// The binary one, with JSON from sources that offer nothing else.
        Binary = "binary",
        /// JSON alone.
        Json = "json",
    }
}

choice! {
    /// What is served when the witnesses' quorum is late.
    WitnessMode {
        /// The newest checkpoint.
        FailOpen = "fail_open",
        /// The newest one that has the quorum.
        FailClosed = "fail_closed",
    }
}

impl Value for Role {
    fn parse(text: &str) -> Result<Self, String> {
        Self::from_name(text).ok_or_else(|| wrong(text, "one of leader follower witness"))
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// The number and the unit behind it.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = u64::from_str(&text[..end]).ok()?;
    Some((number, text[end..].trim_start()))
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn is_fingerprint(text: &str) -> bool {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(lower_hex))
}

fn wrong(text: &str, expected: &str) -> String {
    let text: String = text.chars().take(80).collect();
    format!("must be {expected}, not {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, millis) in
            [("500ms", 500), ("60s", 60_000), ("1 s", 1000), ("5m", 300_000), ("2h", 7_200_000)]
        {
            assert_eq!(Duration::parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["60", "", "s", "-1s", "1.5s", "1 week", "99999999999999999999s"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary_or_decimal_as_written() {
        for (text, bytes) in [("1 GiB", 1 << 30), ("10MB", 10_000_000), ("7", 7), ("0", 0)] {
            assert_eq!(Size::parse(text).map(Size::bytes), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "1 parsec", "99999999999 TiB"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_hold_addresses_in_either_form() {
        let networks = Networks::parse("10.0.0.0/8, 192.168.1.7").unwrap();

        for (address, inside) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("::1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Networks::parse("10.0.0.0/99").is_err());
        assert!(Networks::parse("").is_ok_and(|none| none.is_empty()));
    }

    #[test]
    fn a_follower_mirrors_one_log() {
        let entry = |c: &str| {
            format!(r#"{{"url":"https://l.example","fingerprint":"sha256:{}"}}"#, c.repeat(64))
        };
        let parse = |text: String| Vec::<FederationOperator>::parse(&text);

        assert_eq!(parse(format!("[{},{}]", entry("a"), entry("a"))).map(|list| list.len()), Ok(2));
        assert!(parse(format!("[{},{}]", entry("a"), entry("b"))).is_err());
        assert!(parse(format!("[{}]", entry("A"))).is_err());
        assert!(parse("https://l.example".to_owned()).is_err());
    }

    #[test]
    fn schedules_have_seconds() {
        assert!(Schedule::parse("0 17 3 * * *").is_ok());
        for text in ["17 3 * * *", "", "every day at three o'clock, please do"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
