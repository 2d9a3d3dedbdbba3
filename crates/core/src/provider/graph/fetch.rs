//! What a basic notification tells of and doesn't bring: which resources to read, and the body that goes out with them.
//!
//! The changed resource of an item is read anew at each attempt and goes along as `fetchedContent`; `fetchError` takes
//! its place where there is nothing to read (any more). Which items ask for it, what their `resource` may name
//! ([`target`]), and where the answers stand is decided here; nothing is read here.
//!
//! Content may be secret: it passes through buffers that are wiped when they are dropped. Must not put it into an error.

mod select;
mod target;

use std::collections::HashMap;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::notification::{Item, ItemKind};
use super::rich::{BodyError, DECRYPTED, DEPTH_OF_CONTENT};
use super::stored::{Member, StoredBody, has_member};
use crate::canonical;
use crate::id::ConnectionKey;
use crate::provider::Provider;

pub use select::{Select, SelectError};
pub use target::{Target, TargetError, Version};

/// What an item gains when its resource was read.
pub const FETCHED: &str = "fetchedContent";
/// What it gains when that was not possible.
pub const FETCH_ERROR: &str = "fetchError";
/// The most resources that are read for one event.
pub const MOST_TARGETS: usize = 200;
/// The longest text of an error that goes out, in characters.
const LONGEST_MESSAGE: usize = 500;

/// That the changed resources of an event are to be read before it goes out, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The connection whose event it is.
    pub connection: ConnectionKey,
    /// The properties to ask for; all when `None`.
    pub select: Option<Select>,
}

/// What came of reading a resource.
pub enum Found {
    /// Its content, in canonical form.
    Content(Zeroizing<Vec<u8>>),
    /// There is none, for this reason.
    Failed(FetchError),
}

/// Why there is no content, for the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    code: String,
    message: String,
    status: Option<u16>,
}

/// What is to be read for an event.
#[derive(Debug)]
pub struct Plan<'a> {
    stored: StoredBody<'a>,
    /// What each item asks for; `None` for items that ask for nothing.
    asks: Vec<Option<Ask>>,
    targets: Vec<Target>,
}

#[derive(Debug)]
enum Ask {
    /// The target at this place.
    Read(usize),
    /// Nothing that could be read.
    Fail(FetchError),
}

impl Wish {
    /// The wish of an event of `connection`, where the integration asks for it and the provider has resources to read.
    #[must_use]
    pub fn of(
        provider: Provider,
        fetch_resource: bool,
        select: Option<&Select>,
        connection: ConnectionKey,
    ) -> Option<Self> {
        let wanted = fetch_resource && provider.dialect().has_resources();
        wanted.then(|| Self { connection, select: select.cloned() })
    }
}

impl FetchError {
    /// An error of Waypost's own.
    #[must_use]
    pub fn own(code: &'static str, message: &'static str) -> Self {
        Self { code: code.to_owned(), message: message.to_owned(), status: None }
    }

    /// What the provider answered: its code and words where it gave any.
    #[must_use]
    pub fn answered(status: u16, code: &str, message: &str) -> Self {
        let (usual_code, usual_message) = match status {
            404 | 410 => ("gone", "the resource doesn't exist any more, or was moved"),
            401 => ("unauthorized", "the access token is refused"),
            403 => ("forbidden", "the connection may not read the resource"),
            429 => ("throttled", "too many requests"),
            _ => ("failed", "the provider answered with an error"),
        };
        let or =
            |given: &str, usual: &str| if given.is_empty() { usual.to_owned() } else { given.to_owned() };
        Self {
            code: or(code, usual_code),
            message: or(message, usual_message).chars().take(LONGEST_MESSAGE).collect(),
            status: Some(status),
        }
    }

    /// What kind of error it is: the provider's word or one of ours.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The provider's status, where it answered.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        self.status
    }

    /// As it goes out: canonical JSON.
    fn written(&self) -> Zeroizing<Vec<u8>> {
        let mut out = b"{\"code\":".to_vec();
        canonical::write_string(&self.code, &mut out);
        out.extend_from_slice(b",\"message\":");
        canonical::write_string(&self.message, &mut out);
        if let Some(status) = self.status {
            out.extend_from_slice(format!(",\"status\":{status}").as_bytes());
        }
        out.push(b'}');
        Zeroizing::new(out)
    }
}

impl<'a> Plan<'a> {
    /// What a body asks for, whose encrypted items are opened or taken out already. Items that name the same resource
    /// share one target.
    ///
    /// # Errors
    /// [`BodyError`] when it is no body of ours.
    pub fn read(body: &'a [u8]) -> Result<Self, BodyError> {
        let stored = StoredBody::read(body)?;
        let mut targets: Vec<Target> = Vec::new();
        let mut places: HashMap<Target, usize> = HashMap::new();
        let mut asks = Vec::with_capacity(stored.items.len());
        for raw in &stored.items {
            asks.push(wanted_of(raw).map(|wanted| match wanted {
                Ok(target) => match places.get(&target) {
                    Some(place) => Ask::Read(*place),
                    None if targets.len() == MOST_TARGETS => Ask::Fail(too_many()),
                    None => {
                        places.insert(target.clone(), targets.len());
                        targets.push(target);
                        Ask::Read(targets.len() - 1)
                    }
                },
                Err(error) => Ask::Fail(error),
            }));
        }
        Ok(Self { stored, asks, targets })
    }

    /// Whether no item asks for anything: the body goes out as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asks.iter().all(Option::is_none)
    }

    /// What is to be read, each once.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The body that goes out: `found` is what came of the targets, in their order.
    #[must_use]
    pub fn outgoing(&self, found: &[Found]) -> Zeroizing<Vec<u8>> {
        let errors: Vec<Option<Zeroizing<Vec<u8>>>> =
            self.asks.iter().map(|ask| ask.as_ref().and_then(|ask| ask.error(found))).collect();
        let gained: Vec<Option<Member<'_>>> = self
            .asks
            .iter()
            .zip(&errors)
            .map(|(ask, error)| match (ask, error) {
                (_, Some(error)) => Some(Member { name: FETCH_ERROR, value: error }),
                (Some(Ask::Read(place)), None) => match found.get(*place) {
                    Some(Found::Content(content)) => Some(Member { name: FETCHED, value: content }),
                    Some(Found::Failed(_)) | None => None,
                },
                (Some(Ask::Fail(_)) | None, None) => None,
            })
            .collect();
        self.stored.with_members(&gained)
    }
}

impl Ask {
    fn error(&self, found: &[Found]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Fail(error) => Some(error.written()),
            Self::Read(place) => match found.get(*place) {
                Some(Found::Content(_)) => None,
                Some(Found::Failed(error)) => Some(error.written()),
                None => Some(FetchError::own("notRead", "the resource was not read").written()),
            },
        }
    }
}

impl Found {
    /// An answer's body as content.
    #[must_use]
    pub fn content(body: &[u8]) -> Self {
        let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        match canonical::canonical_secret(body, DEPTH_OF_CONTENT) {
            Ok(content) if is_object => Self::Content(content),
            _ => Self::Failed(FetchError::own(
                "notJson",
                "the provider answered with something else than a JSON object",
            )),
        }
    }
}

/// What an item asks for; `None` when it brings its data, or tells of the subscription itself.
fn wanted_of(raw: &str) -> Option<Result<Target, FetchError>> {
    #[derive(Deserialize)]
    struct Data {
        #[serde(rename = "@odata.id")]
        id: Option<String>,
    }
    let item = Item::read(raw).ok().filter(|item| !item.rich)?;
    let ItemKind::Change(change) = &item.kind else { return None };
    if has_member(raw, DECRYPTED) {
        return None;
    }
    if change.as_deref().is_some_and(|change| change.eq_ignore_ascii_case("deleted")) {
        let words = "the notification tells of a deletion: there is nothing left to read";
        return Some(Err(FetchError::own("deleted", words)));
    }
    let Some(resource) = item.resource.as_deref().filter(|resource| !resource.is_empty()) else {
        return Some(Err(FetchError::own("noResource", "the notification names no resource")));
    };
    let id =
        item.resource_data.and_then(|data| serde_json::from_str::<Data>(data).ok()).and_then(|data| data.id);
    let target = Target::parse(resource, id.as_deref());
    Some(target.map_err(|TargetError| {
        FetchError::own(
            "resourceRefused",
            "what the notification names is no path of a resource that Waypost reads",
        )
    }))
}

fn too_many() -> FetchError {
    FetchError::own("tooMany", "the notification names more resources than are read for one event")
}

#[cfg(test)]
mod tests;
