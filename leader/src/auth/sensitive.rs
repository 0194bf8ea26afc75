//! Texts that are never shown.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// A text of a request or an answer that no log line may hold: a token, a nonce, a signature, a
/// password. It prints as `***` and is wiped when it is dropped.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[schema(value_type = String)]
#[serde(from = "String")]
pub(crate) struct Sensitive(Zeroizing<String>);

impl Sensitive {
    /// The text itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Sensitive {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Serialize for Sensitive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_is_printed() {
        let token = Sensitive::from("opens everything".to_owned());

        assert_eq!(format!("{:?}", Some(&token)), "Some(***)");
        assert_eq!(serde_json::to_string(&token).unwrap(), r#""opens everything""#);
    }
}
