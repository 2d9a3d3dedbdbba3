//! Tags: the labels of a connection, as Nango has them.
//!
//! At most ten; keys are lower case, begin with a letter and have up to 64 characters; values have 1 to 255.

use serde_json::{Map, Value};

/// The most tags of a connection.
pub const MOST_TAGS: usize = 10;
const LONGEST_KEY: usize = 64;
const LONGEST_VALUE: usize = 255;
/// The one key whose value has a form of its own.
const EMAIL: &str = "end_user_email";

/// Why tags are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// More than [`MOST_TAGS`].
    #[error("a connection has at most {MOST_TAGS} tags")]
    TooMany,
    /// A key is malformed.
    #[error(
        "Tag key \"{0}\" must begin with a letter and have at most {LONGEST_KEY} letters, digits, _ - . /"
    )]
    Key(String),
    /// Two keys differ in letter case only.
    #[error("Tag key \"{0}\" is there twice: letter case doesn't tell keys apart")]
    Twice(String),
    /// A value isn't a text of the right length.
    #[error("Tag \"{0}\" must be a text of 1 to {LONGEST_VALUE} characters")]
    Value(String),
    /// The value of `end_user_email` isn't an address.
    #[error("Tag \"{0}\" must be a valid email")]
    Email(String),
}

/// Checked tags, their keys in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Map<String, Value>);

impl Tags {
    /// Checks tags and puts their keys into lower case.
    ///
    /// # Errors
    /// [`TagError`] for the first rule that is broken.
    pub fn parse(given: Map<String, Value>) -> Result<Self, TagError> {
        if given.len() > MOST_TAGS {
            return Err(TagError::TooMany);
        }
        let mut tags = Map::new();
        for (key, value) in given {
            let key = checked_key(&key)?;
            check_value(&key, &value)?;
            if tags.insert(key.clone(), value).is_some() {
                return Err(TagError::Twice(key));
            }
        }
        Ok(Self(tags))
    }

    /// The tags as an object of texts.
    #[must_use]
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

fn checked_key(key: &str) -> Result<String, TagError> {
    let fits =
        key.len() <= LONGEST_KEY && key.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    if fits && key.bytes().all(allowed) {
        Ok(key.to_ascii_lowercase())
    } else {
        Err(TagError::Key(key.to_owned()))
    }
}

fn check_value(key: &str, value: &Value) -> Result<(), TagError> {
    let text = value.as_str().filter(|text| (1..=LONGEST_VALUE).contains(&text.chars().count()));
    match text {
        None => Err(TagError::Value(key.to_owned())),
        Some(text) if key == EMAIL && !is_email(text) => Err(TagError::Email(key.to_owned())),
        Some(_) => Ok(()),
    }
}

/// Whether `text` looks like an address: one `@` between a name and a domain with a dot, and no space.
#[must_use]
pub fn is_email(text: &str) -> bool {
    let Some((name, domain)) = text.split_once('@') else { return false };
    let parts = domain.split('.').collect::<Vec<_>>();
    let clean = !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    clean
        && !name.is_empty()
        && !domain.contains('@')
        && parts.len() > 1
        && parts.iter().all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(value: Value) -> Result<Value, TagError> {
        let Value::Object(map) = value else { panic!("tags are an object") };
        Tags::parse(map).map(|tags| Value::Object(tags.into_map()))
    }

    #[test]
    fn keys_become_lower_case_and_values_stay() {
        assert_eq!(
            parsed(json!({"Org": "A:b", "a/b.c-d_1": "x"})),
            Ok(json!({"org": "A:b", "a/b.c-d_1": "x"}))
        );
        assert_eq!(parsed(json!({})), Ok(json!({})));
    }

    #[test]
    fn each_rule_is_told_apart() {
        let many: Map<String, Value> = (0..11).map(|n| (format!("k{n}"), json!("v"))).collect();
        for (given, wanted) in [
            (Value::Object(many), TagError::TooMany),
            (json!({"1a": "x"}), TagError::Key("1a".into())),
            (json!({"": "x"}), TagError::Key(String::new())),
            (json!({"a b": "x"}), TagError::Key("a b".into())),
            (json!({"a": ""}), TagError::Value("a".into())),
            (json!({"a": 1}), TagError::Value("a".into())),
            (json!({"a": "x".repeat(256)}), TagError::Value("a".into())),
            (json!({"a": "x", "A": "y"}), TagError::Twice("a".into())),
            (json!({"end_user_email": "e@x"}), TagError::Email("end_user_email".into())),
        ] {
            assert_eq!(parsed(given.clone()), Err(wanted), "{given}");
        }
    }

    #[test]
    fn an_address_has_a_name_and_a_domain_with_a_dot() {
        for (text, wanted) in [
            ("a@b.c", true),
            ("a.b+c@d.example", true),
            ("a@b", false),
            ("@b.c", false),
            ("a@.c", false),
            ("a b@c.d", false),
            ("a@b@c.d", false),
        ] {
            assert_eq!(is_email(text), wanted, "{text}");
        }
    }
}
