//! The `scope` of delegated requests: what form it must have and what it comes to.
//!
//! Pure. Must not know who may have what: the person decides on the page.

use std::collections::BTreeSet;

/// Scopes that Entra itself serves.
const OPENID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// What was asked for, without doubles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scopes {
    /// Without the host of Graph.
    permissions: BTreeSet<String>,
    openid: BTreeSet<String>,
}

impl Scopes {
    /// Reads the parameter; nothing if a part of it is none, or if `.default` stands beside a permission.
    pub(crate) fn parse(text: &str, is_graph: impl Fn(&str) -> bool) -> Option<Self> {
        let mut scopes = Self { permissions: BTreeSet::new(), openid: BTreeSet::new() };
        for part in text.split_whitespace() {
            if OPENID.contains(&part) {
                scopes.openid.insert(part.to_owned());
                continue;
            }
            let permission = match part.rsplit_once('/') {
                Some((resource, permission)) => is_graph(resource).then_some(permission)?,
                None => part,
            };
            if permission != ".default" && !is_permission(permission) {
                return None;
            }
            scopes.permissions.insert(permission.to_owned());
        }
        let mixed = scopes.permissions.contains(".default") && scopes.permissions.len() > 1;
        let empty = scopes.permissions.is_empty() && scopes.openid.is_empty();
        (!empty && !mixed).then_some(scopes)
    }

    /// Whether nothing is asked for that these do not hold.
    pub(crate) fn are_within(&self, granted: &Self) -> bool {
        self.permissions.iter().all(|one| one == ".default" || granted.permissions.contains(one))
            && self.openid.is_subset(&granted.openid)
    }

    pub(crate) fn has(&self, scope: &str) -> bool {
        self.openid.contains(scope)
    }

    /// As `scp` and the answer tell it: `.default` comes to reading one's own person.
    pub(crate) fn told(&self) -> String {
        let permissions =
            self.permissions.iter().map(|one| if one == ".default" { "User.Read" } else { one.as_str() });
        let openid = self.openid.iter().map(String::as_str).filter(|one| *one != "offline_access");
        permissions.chain(openid).collect::<Vec<_>>().join(" ")
    }
}

/// `Mail.Read`, `Files.ReadWrite.All`: words with dots between them.
fn is_permission(text: &str) -> bool {
    let mut words = text.split('.');
    let word = |word: &str| word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    text.contains('.') && words.all(|part| !part.is_empty() && word(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_have_the_form_of_permissions_and_default_stands_alone() {
        let parse = |text: &str| Scopes::parse(text, |resource| resource == "https://graph.microsoft.com");
        for (text, told) in [
            ("offline_access Mail.Read", Some("Mail.Read")),
            ("https://graph.microsoft.com/Mail.Read openid", Some("Mail.Read openid")),
            ("https://graph.microsoft.com/.default offline_access", Some("User.Read")),
            ("https://graph.microsoft.com/.default Mail.Read", None),
            ("https://graph.example/Mail.Read", None),
            ("mail", None),
            ("Mail..Read", None),
            ("", None),
        ] {
            assert_eq!(parse(text).map(|scopes| scopes.told()).as_deref(), told, "{text}");
        }
    }
}
