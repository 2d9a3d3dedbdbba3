//! The cookie that tells browsers apart: what began in one must end in it.
//!
//! It holds nothing but a random text. Behind https it has the prefix `__Host-`, so that no other host and no plain
//! connection can set it; over plain http, as in a demo on one machine, browsers would not keep such a cookie.

use actix_web::HttpResponse;
use actix_web::http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use secrecy::{ExposeSecret as _, SecretString};
use waypost_crypto::token::random_secret;

const SECURE_NAME: &str = "__Host-waypost-connect";
const PLAIN_NAME: &str = "waypost-connect";
/// As long as [`random_secret`].
const LENGTH: usize = 43;
/// How long browsers keep it, in seconds: longer than a session.
const MAX_AGE: u32 = 3600;

/// A browser.
#[derive(Debug)]
pub(super) struct Browser {
    secret: Option<SecretString>,
    secure: bool,
}

impl Browser {
    /// The browser that sent these headers; `secure` behind https.
    pub(super) fn of(headers: &HeaderMap, secure: bool) -> Self {
        let name = if secure { SECURE_NAME } else { PLAIN_NAME };
        let cookies = headers.get_all(COOKIE).filter_map(|value| value.to_str().ok());
        let mut values = cookies
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        let first = values.next().filter(|value| is_ours(value));
        // Two of them are none: somebody put one there.
        let secret = first.filter(|_| values.next().is_none()).map(SecretString::from);
        Self { secret, secure }
    }

    /// What it is known by, if it was here before.
    pub(super) const fn known(&self) -> Option<&SecretString> {
        self.secret.as_ref()
    }

    /// What it is known by from now on; [`Self::keep`] tells it.
    pub(super) fn settle(&mut self) -> &SecretString {
        self.secret.get_or_insert_with(random_secret)
    }

    /// The answer, with the cookie.
    pub(super) fn keep(&self, mut answer: HttpResponse) -> HttpResponse {
        let Some(secret) = &self.secret else { return answer };
        let (name, flag) = if self.secure { (SECURE_NAME, "; Secure") } else { (PLAIN_NAME, "") };
        let secret = secret.expose_secret();
        let cookie = format!("{name}={secret}; Path=/; Max-Age={MAX_AGE}; HttpOnly; SameSite=Lax{flag}");
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().append(SET_COOKIE, value);
        }
        answer
    }
}

fn is_ours(value: &str) -> bool {
    value.len() == LENGTH
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookie: &str, secure: bool) -> Browser {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
        Browser::of(&headers, secure)
    }

    #[test]
    fn a_cookie_comes_back_as_it_was_set_and_only_under_its_own_name() {
        for secure in [true, false] {
            let mut first = Browser::of(&HeaderMap::new(), secure);
            assert!(first.known().is_none());
            let secret = first.settle().expose_secret().to_owned();
            let answer = first.keep(HttpResponse::Ok().finish());
            let cookie = answer.headers().get(SET_COOKIE).unwrap().to_str().unwrap().to_owned();
            assert_eq!(cookie.contains("; Secure"), secure);
            assert_eq!(cookie.starts_with("__Host-"), secure);
            assert!(cookie.contains("; HttpOnly; SameSite=Lax") && cookie.contains("; Path=/;"), "{cookie}");

            let pair = cookie.split(';').next().unwrap();
            let again = sent(&format!("theme=dark; {pair}"), secure);
            assert_eq!(again.known().unwrap().expose_secret(), secret);
            assert!(sent(pair, !secure).known().is_none(), "the other name counts for nothing");
        }
    }

    #[test]
    fn a_cookie_of_another_shape_and_a_second_one_count_for_nothing() {
        let good = "a".repeat(LENGTH);
        assert!(sent(&format!("waypost-connect={good}"), false).known().is_some());
        for wrong in [
            "waypost-connect=".to_owned(),
            format!("waypost-connect={good}a"),
            format!("waypost-connect={}!", &good[1..]),
            format!("waypost-connect={good}; waypost-connect={}", "b".repeat(LENGTH)),
        ] {
            assert!(sent(&wrong, false).known().is_none(), "{wrong}");
        }
    }
}
