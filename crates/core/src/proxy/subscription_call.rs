//! Which calls make, change or end a subscription: those that tracking has to know of.
//!
//! Parts of a JSON `$batch` are not looked into: a subscription that is made there is not tracked.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;
use url::Url;

/// A call about subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionCall {
    /// One is made.
    Create,
    /// The one of this id is changed.
    Change(String),
    /// The one of this id is deleted.
    Delete(String),
}

impl SubscriptionCall {
    /// What a call of `method` at `target` does to subscriptions of the Graph at `graph`, if anything.
    #[must_use]
    pub fn of(method: &Method, target: &Url, graph: &Url) -> Option<Self> {
        if target.origin() != graph.origin() {
            return None;
        }
        let below = target.path().strip_prefix(graph.path().trim_end_matches('/'))?;
        // Graph reads escaped letters as the letters, so they are read here too.
        let mut segments = below.split('/').filter(|segment| !segment.is_empty()).map(decoded);
        let version = segments.next()?;
        if !["v1.0", "beta"].iter().any(|known| version.eq_ignore_ascii_case(known)) {
            return None;
        }
        let collection = segments.next()?;
        let id = segments.next();
        if segments.next().is_some() {
            return None;
        }
        let id = match id {
            Some(id) if collection.eq_ignore_ascii_case("subscriptions") => Some(id),
            Some(_) => return None,
            None if collection.eq_ignore_ascii_case("subscriptions") => None,
            None => Some(Cow::Borrowed(key(&collection)?)),
        };
        match (id, method) {
            (None, &Method::POST) => Some(Self::Create),
            (Some(id), &Method::PATCH) => Some(Self::Change(id.into_owned())),
            (Some(id), &Method::DELETE) => Some(Self::Delete(id.into_owned())),
            _ => None,
        }
    }
}

fn decoded(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

/// The id in `subscriptions('id')`, the other way to name one.
fn key(segment: &str) -> Option<&str> {
    let (name, rest) = segment.split_once('(')?;
    let id = rest.strip_suffix(')')?.trim_matches('\'');
    (name.eq_ignore_ascii_case("subscriptions") && !id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, target: &str) -> Option<SubscriptionCall> {
        let graph = Url::parse("https://graph.microsoft.com/").unwrap();
        SubscriptionCall::of(method, &Url::parse(target).unwrap(), &graph)
    }

    #[test]
    fn calls_that_make_change_or_end_a_subscription_are_recognised() {
        let id = || "7f105c7d".to_owned();
        for (method, path, wanted) in [
            (Method::POST, "v1.0/subscriptions", Some(SubscriptionCall::Create)),
            (Method::POST, "beta/Subscriptions/", Some(SubscriptionCall::Create)),
            (Method::POST, "x/../v1.0//subscriptions?a=b", Some(SubscriptionCall::Create)),
            (Method::PATCH, "v1.0/subscriptions/7f105c7d", Some(SubscriptionCall::Change(id()))),
            (Method::DELETE, "v1.0/subscriptions/7f105c7d", Some(SubscriptionCall::Delete(id()))),
            (Method::DELETE, "v1.0/subscriptions('7f105c7d')", Some(SubscriptionCall::Delete(id()))),
            (Method::DELETE, "v1.0/subscriptions(%277f105c7d%27)", Some(SubscriptionCall::Delete(id()))),
            (Method::POST, "v1.0/%73ubscriptions", Some(SubscriptionCall::Create)),
            (Method::POST, "%76%31.0/subscription%53/", Some(SubscriptionCall::Create)),
            (Method::PATCH, "v1.0/subscriptions/%37f105c7d", Some(SubscriptionCall::Change(id()))),
            (Method::DELETE, "v1.0/subscriptions%28'7f105c7d'%29", Some(SubscriptionCall::Delete(id()))),
            (Method::POST, "v1.0%2Fsubscriptions", None),
            (Method::GET, "v1.0/subscriptions", None),
            (Method::POST, "v1.0/subscriptions/7f105c7d", None),
            (Method::POST, "v1.0/subscriptions/7f105c7d/reauthorize", None),
            (Method::POST, "v2.0/subscriptions", None),
            (Method::POST, "subscriptions", None),
            (Method::POST, "v1.0/users/subscriptions", None),
            (Method::POST, "v1.0/$batch", None),
            (Method::DELETE, "v1.0/users('7f105c7d')", None),
        ] {
            let target = format!("https://graph.microsoft.com/{path}");
            assert_eq!(of(&method, &target), wanted, "{method} {path}");
        }
        assert_eq!(of(&Method::POST, "https://elsewhere.example/v1.0/subscriptions"), None);
    }

    #[test]
    fn a_graph_below_a_path_of_its_own_is_recognised_too() {
        let graph = Url::parse("http://127.0.0.1:9/graph").unwrap();
        let target = Url::parse("http://127.0.0.1:9/graph/v1.0/subscriptions").unwrap();
        assert_eq!(SubscriptionCall::of(&Method::POST, &target, &graph), Some(SubscriptionCall::Create));
    }
}
