//! Delta queries: everything first, then what changed since, each round in pages that a token leads through.
//!
//! Must not keep anything per caller: all that a round needs is in its token.

use actix_web::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    address::{Flavour, View},
    query::{self, Query},
    store::{Items, Step},
};
use crate::graph::call::{Caller, Problem};

/// Where a caller stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    /// The view it belongs to.
    view: String,
    generation: u32,
    /// The round tells what happened after this change, none for the first, …
    since: u64,
    /// … and up to this one; nothing in a token for a round that is to begin.
    up_to: Option<u64>,
    /// Steps up to this one were told.
    told: u64,
    select: Option<Vec<String>>,
}

impl Token {
    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!(self).to_string())
    }

    fn read(text: &str, view: &View) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let token: Self = serde_json::from_slice(&bytes).ok()?;
        (token.view == name(view)).then_some(token)
    }
}

/// A page of a round.
pub(crate) struct Page {
    pub(crate) items: Vec<Value>,
    /// The name of the link and the query behind it.
    pub(crate) link: (&'static str, String),
}

/// What a caller asks with.
pub(crate) struct Ask<'a> {
    pub(crate) view: &'a View,
    pub(crate) query: &'a Query,
    pub(crate) size: usize,
    pub(crate) immutable: bool,
}

pub(crate) fn page(items: &Items, caller: Caller, ask: &Ask<'_>) -> Result<Page, Problem> {
    let (last, generation) = items.position(caller.tenant);
    let fresh = Token {
        view: name(ask.view),
        generation,
        since: 0,
        up_to: None,
        told: 0,
        select: ask.query.select.clone(),
    };
    let token = match (&ask.query.skip_token, &ask.query.delta_token) {
        (Some(_), Some(_)) => return Err(malformed()),
        (None, None) => fresh,
        (None, Some(latest)) if latest == "latest" => Token { since: last, told: last, ..fresh },
        (Some(text), None) | (None, Some(text)) => Token::read(text, ask.view).ok_or_else(malformed)?,
    };
    if token.generation != generation {
        return Err(forgotten(ask.view));
    }
    let up_to = token.up_to.unwrap_or(last);
    let mut steps = items.steps(caller.tenant, ask.view, (token.told, up_to), ask.size + 1);
    let more = steps.len() > ask.size;
    steps.truncate(ask.size);
    let told = steps.last().map_or(up_to, |step| step.number);
    // In the first round nobody knows yet what went before it began.
    let first = token.since == 0;
    let told_items =
        steps.iter().filter(|step| !(first && step.gone)).map(|step| tell(step, &token, ask)).collect();
    let link = if more {
        let next = Token { up_to: Some(up_to), told, ..token };
        ("@odata.nextLink", ask.query.following("$skiptoken", &next.write()))
    } else {
        let next = Token { since: up_to.max(1), up_to: None, told: up_to, ..token };
        let name = if ask.view.flavour == Flavour::Drive { "token" } else { "$deltatoken" };
        ("@odata.deltaLink", ask.query.following(name, &next.write()))
    };
    Ok(Page { items: told_items, link })
}

fn tell(step: &Step, token: &Token, ask: &Ask<'_>) -> Value {
    let id = step.entry.id(ask.immutable);
    match (step.gone, ask.view.flavour) {
        (true, Flavour::Drive) => json!({"id": id, "deleted": {"state": "deleted"}}),
        (true, Flavour::Directory) => json!({"id": id, "@removed": {"reason": "changed"}}),
        (true, _) => json!({"id": id, "@removed": {"reason": "deleted"}}),
        (false, _) => query::select(&step.entry.told(ask.immutable), token.select.as_deref()),
    }
}

fn name(view: &View) -> String {
    let within = view.within.as_ref().map_or("", |(_, value)| value);
    format!("{}|{within}", view.kept_in)
}

fn malformed() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "BadRequest", "Badly formed token.")
}

/// The state behind a token is not held any more: the caller must begin anew.
fn forgotten(view: &View) -> Problem {
    let (code, message) = match view.flavour {
        Flavour::Outlook => {
            ("SyncStateNotFound", "The sync state generation is not found; continuation=false.")
        }
        _ => ("resyncRequired", "Resync required. Replace any local items with the server's version."),
    };
    Problem::new(StatusCode::GONE, code, message)
}
