//! What an ingress request says in its URL: whom it is for, and whether it is a provider's handshake.
//!
//! Works on the URL as it was sent, so that each part is decoded exactly once. Pure; must not look anything up.

use uuid::Uuid;
use waypost_core::id::EnvironmentId;
use waypost_core::integration::UniqueKey;

/// The longest handshake token, decoded.
pub(super) const LONGEST_TOKEN: usize = 2048;
const TOKEN_NAME: &[u8] = b"validationToken";
/// How an environment is written; other spellings of UUIDs are not ours.
const HYPHENATED_LENGTH: usize = 36;

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) environment: EnvironmentId,
    pub(super) unique_key: UniqueKey,
}

/// A part of the path that can't be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathFault {
    Environment,
    UniqueKey,
}

/// Why a handshake can't be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenFault {
    Empty,
    TooLong,
    NotText,
    Repeated,
}

impl Address {
    /// Reads `/webhook/{environment}/{key}`, whatever follows; a key that is missing is no key.
    pub(super) fn of_path(path: &str) -> Result<Self, Vec<PathFault>> {
        let mut parts = path.split('/').skip(2);
        let environment = parts.next().and_then(environment);
        let unique_key = parts.next().and_then(unique_key);
        match (environment, unique_key) {
            (Some(environment), Some(unique_key)) => Ok(Self { environment, unique_key }),
            (environment, unique_key) => {
                let faults = [
                    environment.is_none().then_some(PathFault::Environment),
                    unique_key.is_none().then_some(PathFault::UniqueKey),
                ];
                Err(faults.into_iter().flatten().collect())
            }
        }
    }
}

/// The handshake token in a query, if there is one; its presence makes the request a handshake.
pub(super) fn handshake_token(query: &str) -> Option<Result<String, TokenFault>> {
    let mut found = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, Spaces::Plus) == TOKEN_NAME).then_some(value)
    });
    let value = found.next()?;
    Some(if found.next().is_some() { Err(TokenFault::Repeated) } else { token(value) })
}

fn token(value: &str) -> Result<String, TokenFault> {
    let bytes = decode(value, Spaces::Plus);
    match bytes.len() {
        0 => Err(TokenFault::Empty),
        1..=LONGEST_TOKEN => String::from_utf8(bytes).map_err(|_| TokenFault::NotText),
        _ => Err(TokenFault::TooLong),
    }
}

fn environment(part: &str) -> Option<EnvironmentId> {
    let text = decode_text(part)?;
    let id = (text.len() == HYPHENATED_LENGTH).then(|| Uuid::try_parse(&text).ok())?;
    id.map(EnvironmentId::from_uuid)
}

fn unique_key(part: &str) -> Option<UniqueKey> {
    UniqueKey::parse(decode_text(part)?).ok()
}

fn decode_text(part: &str) -> Option<String> {
    String::from_utf8(decode(part, Spaces::Encoded)).ok()
}

/// How a space is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spaces {
    /// As `%20` only: paths.
    Encoded,
    /// As `+` too: forms, and queries in their manner.
    Plus,
}

/// Undoes percent-encoding. A percent sign that starts no escape stands for itself.
fn decode(text: &str, spaces: Spaces) -> Vec<u8> {
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'+' if spaces == Spaces::Plus => b' ',
            b'%' => match escaped(bytes.as_slice()) {
                Some(escaped) => {
                    bytes.nth(1);
                    escaped
                }
                None => b'%',
            },
            other => other,
        });
    }
    decoded
}

/// The byte that the two hexadecimal digits at the start of `rest` stand for.
fn escaped(rest: &[u8]) -> Option<u8> {
    let digit = |place: usize| char::from(*rest.get(place)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENVIRONMENT: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

    fn address(path: &str) -> Result<(String, String), Vec<PathFault>> {
        Address::of_path(path)
            .map(|found| (found.environment.to_string(), found.unique_key.as_str().to_owned()))
    }

    #[test]
    fn a_path_names_an_environment_in_any_letter_case_and_a_key_decoded_once() {
        for (path, key) in [
            (format!("/webhook/{ENVIRONMENT}/graph-cc"), "graph-cc"),
            (format!("/webhook/{}/graph-cc/", ENVIRONMENT.to_uppercase()), "graph-cc"),
            (format!("/webhook/{ENVIRONMENT}/graph%20cc%3A1/lifecycle"), "graph cc:1"),
            (format!("/webhook/{ENVIRONMENT}/lifecycle"), "lifecycle"),
        ] {
            assert_eq!(address(&path), Ok((ENVIRONMENT.to_owned(), key.to_owned())), "{path}");
        }
    }

    #[test]
    fn each_wrong_part_of_a_path_is_told() {
        let long = "k".repeat(256);
        for (path, faults) in [
            (format!("/webhook/{ENVIRONMENT}"), vec![PathFault::UniqueKey]),
            (format!("/webhook/{ENVIRONMENT}/"), vec![PathFault::UniqueKey]),
            (format!("/webhook/{ENVIRONMENT}/a%2Fb"), vec![PathFault::UniqueKey]),
            (format!("/webhook/{ENVIRONMENT}/a%2525"), vec![PathFault::UniqueKey]),
            (format!("/webhook/{ENVIRONMENT}/a+b"), vec![PathFault::UniqueKey]),
            (format!("/webhook/{ENVIRONMENT}/%ff"), vec![PathFault::UniqueKey]),
            (format!("/webhook/{ENVIRONMENT}/{long}"), vec![PathFault::UniqueKey]),
            (format!("/webhook/{}/graph", ENVIRONMENT.replace('-', "")), vec![PathFault::Environment]),
            ("/webhook/nonsense/graph".to_owned(), vec![PathFault::Environment]),
            ("/webhook/nonsense/%00".to_owned(), vec![PathFault::Environment, PathFault::UniqueKey]),
        ] {
            assert_eq!(address(&path), Err(faults), "{path}");
        }
    }

    #[test]
    fn a_token_is_decoded_as_a_form_field() {
        let seen = "validationToken=Validation%3a+Testing+client+application+reachability+for+subscription+\
                    Request-Id%3a+0c1f6a9b-0000-4000-8000-000000000001";
        let answered = "Validation: Testing client application reachability for subscription \
                        Request-Id: 0c1f6a9b-0000-4000-8000-000000000001";
        for (query, wanted) in [
            (seen, answered),
            ("validationToken=abc", "abc"),
            ("a=1&validationToken=a%2Bb%20c&b=2", "a+b c"),
            ("validationToken=a=b", "a=b"),
            ("validationToken=%E2%82%AC", "€"),
            ("validationToken=100%", "100%"),
            ("validationToken=%zz%4", "%zz%4"),
            ("validation%54oken=x", "x"),
            ("validationToken=%3Cscript%3E", "<script>"),
        ] {
            assert_eq!(handshake_token(query), Some(Ok(wanted.to_owned())), "{query}");
        }
    }

    #[test]
    fn a_token_that_is_empty_too_long_repeated_or_no_text_is_refused() {
        let longest = format!("validationToken={}", "%41".repeat(LONGEST_TOKEN));
        assert_eq!(handshake_token(&longest), Some(Ok("A".repeat(LONGEST_TOKEN))));
        let longer = format!("validationToken={}", "a".repeat(LONGEST_TOKEN + 1));
        for (query, fault) in [
            ("validationToken", TokenFault::Empty),
            ("validationToken=", TokenFault::Empty),
            (longer.as_str(), TokenFault::TooLong),
            ("validationToken=%ff%fe", TokenFault::NotText),
            ("validationToken=a&validationToken=a", TokenFault::Repeated),
        ] {
            assert_eq!(handshake_token(query), Some(Err(fault)), "{query}");
        }
    }

    #[test]
    fn other_parameters_are_no_handshake() {
        for query in ["", "validationTokens=a", "validationtoken=a", "x=validationToken", "&&"] {
            assert_eq!(handshake_token(query), None, "{query}");
        }
    }

    proptest! {
        #[test]
        fn every_token_survives_its_encoding(token in "\\PC{1,200}") {
            let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("validationToken", &token).finish();
            prop_assert_eq!(handshake_token(&query), Some(Ok(token)));
        }

        #[test]
        fn no_url_makes_reading_panic(path in ".{0,80}", query in ".{0,80}") {
            let _address = Address::of_path(&path);
            let _token = handshake_token(&query);
        }
    }
}
