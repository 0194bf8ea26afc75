//! Reading JSON as something: which member does not fit, and why. Pure.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Why an object is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Misfit {
    member: Option<String>,
    text: String,
    is_unknown: bool,
}

impl Misfit {
    /// Whether the object has a member that nothing has use for.
    pub const fn is_unknown_member(&self) -> bool {
        self.is_unknown
    }

    /// The pointer of the member, of an object that stands at `base`.
    pub fn pointer(&self, base: &str) -> String {
        match &self.member {
            Some(member) => format!("{base}/{}", member.replace('~', "~0").replace('/', "~1")),
            None => base.to_owned(),
        }
    }
}

/// Takes an object for a `T`.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Misfit> {
    // Or else a list of the members' values in their order would do as well.
    let Value::Object(object) = value else {
        let text = "a JSON object is needed here".to_owned();
        return Err(Misfit { member: None, text, is_unknown: false });
    };
    T::deserialize(value).map_err(|error| misfit::<T>(object, error.to_string()))
}

fn misfit<T: DeserializeOwned>(object: &Map<String, Value>, text: String) -> Misfit {
    let is_unknown = text.starts_with("unknown field `");
    let named = (is_unknown || text.starts_with("missing field `"))
        .then(|| text.split('`').nth(1).map(str::to_owned))
        .flatten();
    // What a member's own object lacks is no member of this one.
    let is_within = |name: &String| {
        let alone = Map::from_iter([(name.clone(), Value::Null)]);
        let unknown = format!("unknown field `{name}`");
        T::deserialize(Value::Object(alone))
            .is_err_and(|error| error.to_string().starts_with(&unknown))
    };
    let is_own = |name: &String| {
        if is_unknown { object.contains_key(name) } else { !is_within(name) }
    };
    if let Some(name) = named.filter(is_own) {
        return Misfit { member: Some(name), text, is_unknown };
    }
    // Of a wrong value serde says what is wrong, not where: the member that by itself has this
    // fault is the one.
    let is_faulty = |(name, value): &(&String, &Value)| {
        let alone = Map::from_iter([((*name).clone(), (*value).clone())]);
        T::deserialize(Value::Object(alone)).is_err_and(|error| error.to_string() == text)
    };
    match object.iter().find(is_faulty) {
        Some((name, _)) => {
            Misfit { member: Some(name.clone()), text: format!("`{name}`: {text}"), is_unknown }
        }
        None => Misfit { member: None, text, is_unknown },
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is not looked at")]
    struct Letter {
        from: String,
        to: String,
        #[serde(default)]
        stamp: Option<Stamp>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is not looked at")]
    struct Stamp {
        cents: u64,
    }

    fn fault(value: &Value) -> (String, bool) {
        let misfit = read::<Letter>(value).unwrap_err();
        (misfit.pointer("#/letter"), misfit.is_unknown_member())
    }

    #[test]
    fn the_member_that_does_not_fit_is_named_wherever_it_stands() {
        let at = |pointer: &str, is_unknown| (pointer.to_owned(), is_unknown);

        assert_eq!(fault(&json!({ "to": "b" })), at("#/letter/from", false));
        assert_eq!(fault(&json!({ "from": "a", "to": 7 })), at("#/letter/to", false));
        assert_eq!(fault(&json!({ "from": null, "to": null })), at("#/letter/from", false));
        assert_eq!(fault(&json!({ "from": "a", "to": "b", "a/b": 1 })), at("#/letter/a~1b", true));
        let stamped = |stamp| json!({ "from": "a", "to": "b", "stamp": stamp });
        assert_eq!(fault(&stamped(json!({ "cents": -1 }))), at("#/letter/stamp", false));
        assert_eq!(fault(&stamped(json!({ "x": 1 }))), at("#/letter/stamp", true));
        assert_eq!(fault(&json!(["a", "b"])), at("#/letter", false));
        let misfit = read::<Letter>(&json!({ "from": "a", "to": 7 })).unwrap_err();
        assert_eq!(misfit.to_string(), "`to`: invalid type: integer `7`, expected a string");
    }
}
