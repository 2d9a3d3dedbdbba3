//! The query options of reads: what of an item, which items, in which order, from where.
//!
//! Must not answer an option by silence: one that is not supported is refused.

use std::cmp::Ordering;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::DateTime;
use serde_json::{Map, Value, json};

use crate::graph::call::Problem;

/// The most items that a caller may ask for on one page.
const MAX_TOP: usize = 999;

#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(crate) select: Option<Vec<String>>,
    top: Option<usize>,
    filter: Vec<Comparison>,
    order: Option<(String, bool)>,
    pub(crate) count: bool,
    skip: usize,
    /// The tokens of delta queries, each only under its own name.
    pub(crate) skip_token: Option<String>,
    pub(crate) delta_token: Option<String>,
    /// Whether both ends of a calendar's view are named.
    pub(crate) has_span: bool,
    /// Everything but the tokens, for next links.
    rest: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let mut query = Self::default();
        let (mut start, mut end) = (false, false);
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let (name, value) = (name.into_owned(), value.into_owned());
            match name.to_ascii_lowercase().as_str() {
                "$select" => query.select = Some(list(&value)),
                "$top" => query.top = Some(top(&value)?),
                "$filter" => query.filter = comparisons(&value)?,
                "$orderby" => query.order = Some(order(&value)),
                "$count" => query.count = value.eq_ignore_ascii_case("true"),
                "$skiptoken" => query.skip_token = Some(value.clone()),
                "$deltatoken" | "token" => query.delta_token = Some(value.clone()),
                "startdatetime" => start = moment(&value)?,
                "enddatetime" => end = moment(&value)?,
                unknown if unknown.starts_with('$') => {
                    return Err(refused(&format!("The query option '{name}' is not supported.")));
                }
                _ => {}
            }
            if !["$skiptoken", "$deltatoken", "token"].contains(&name.to_ascii_lowercase().as_str()) {
                query.rest.push((name, value));
            }
        }
        query.has_span = start && end;
        Ok(query)
    }

    /// Reads the skip token of a list.
    pub(crate) fn with_offset(mut self) -> Result<Self, Problem> {
        if let Some(token) = &self.skip_token {
            let number = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            self.skip = number
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| refused("The skip token is not valid."))?;
        }
        Ok(self)
    }

    /// How many items a page holds: what the caller says, by option or preference, or what is usual.
    pub(crate) fn page_size(&self, prefer: Option<&str>, usual: usize) -> usize {
        let preferred = prefer.and_then(|prefer| {
            let (_, number) = prefer.split_once("odata.maxpagesize=")?;
            number.split([',', ';', ' ']).next()?.parse().ok()
        });
        self.top.or(preferred).unwrap_or(usual).clamp(1, MAX_TOP)
    }

    /// The items that pass, in order; which of them stand on this page; and the token of the next.
    pub(crate) fn page<'a>(
        &self,
        items: &'a [Value],
        size: usize,
    ) -> (usize, Vec<&'a Value>, Option<String>) {
        let passing = items.iter().filter(|item| self.filter.iter().all(|one| one.holds(item)));
        let mut passing: Vec<_> = passing.collect();
        if let Some((member, descending)) = &self.order {
            passing.sort_by(|left, right| {
                let order = compare(&left[member], &right[member]).unwrap_or(Ordering::Equal);
                if *descending { order.reverse() } else { order }
            });
        }
        let (all, end) = (passing.len(), self.skip.saturating_add(size));
        let next = (all > end).then(|| URL_SAFE_NO_PAD.encode(end.to_string()));
        (all, passing.into_iter().skip(self.skip).take(size).collect(), next)
    }

    /// The item with what was selected.
    pub(crate) fn selected(&self, item: &Value) -> Value {
        select(item, self.select.as_deref())
    }

    /// The query of a following page: the same, with this token.
    pub(crate) fn following(&self, name: &str, token: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.rest);
        let rest = query.finish();
        let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
        if rest.is_empty() { format!("{name}={token}") } else { format!("{rest}&{name}={token}") }
    }
}

/// The members that are asked for, and those that always come.
pub(crate) fn select(item: &Value, wanted: Option<&[String]>) -> Value {
    let (Some(wanted), Some(members)) = (wanted, item.as_object()) else { return item.clone() };
    let kept = members.iter().filter(|(name, _)| {
        *name == "id" || name.starts_with('@') || wanted.iter().any(|want| want.eq_ignore_ascii_case(name))
    });
    json!(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

/// `$select=a,b` as its names.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

#[derive(Debug)]
struct Comparison {
    member: String,
    operator: Operator,
    literal: Value,
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Is(Ordering),
    IsNot(Ordering),
}

impl Comparison {
    fn holds(&self, item: &Value) -> bool {
        let order = compare(&item[&self.member], &self.literal);
        match self.operator {
            Operator::Is(want) => order == Some(want),
            // A member that is not there is unequal, and neither more nor less.
            Operator::IsNot(want) => order.map_or(want == Ordering::Equal, |order| order != want),
        }
    }
}

/// Moments as such, all else as text or number.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            let at = |text: &str| DateTime::parse_from_rfc3339(text).ok();
            Some(match (at(left), at(right)) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => left.cmp(right),
            })
        }
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (left, right) => (left == right).then_some(Ordering::Equal),
    }
}

/// Comparisons joined by `and`; nothing else of the language is read.
fn comparisons(text: &str) -> Result<Vec<Comparison>, Problem> {
    text.split(" and ")
        .map(comparison)
        .collect::<Option<_>>()
        .ok_or_else(|| refused("Invalid filter clause."))
}

fn comparison(text: &str) -> Option<Comparison> {
    let mut words = text.trim().splitn(3, ' ');
    let (member, operator, literal) = (words.next()?, words.next()?, words.next()?.trim());
    let operator = match operator {
        "eq" => Operator::Is(Ordering::Equal),
        "ne" => Operator::IsNot(Ordering::Equal),
        "gt" => Operator::Is(Ordering::Greater),
        "le" => Operator::IsNot(Ordering::Greater),
        "lt" => Operator::Is(Ordering::Less),
        "ge" => Operator::IsNot(Ordering::Less),
        _ => return None,
    };
    let literal = match literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(quoted) => json!(quoted.replace("''", "'")),
        None if DateTime::parse_from_rfc3339(literal).is_ok() => json!(literal),
        None => serde_json::from_str(literal).ok()?,
    };
    Some(Comparison { member: member.to_owned(), operator, literal })
}

fn order(text: &str) -> (String, bool) {
    let mut words = text.split_whitespace();
    let member = words.next().unwrap_or_default().to_owned();
    (member, words.next().is_some_and(|word| word.eq_ignore_ascii_case("desc")))
}

fn top(text: &str) -> Result<usize, Problem> {
    let number = text.parse().ok().filter(|number| (1..=MAX_TOP).contains(number));
    number.ok_or_else(|| refused(&format!("$top must be a number from 1 to {MAX_TOP}.")))
}

fn moment(text: &str) -> Result<bool, Problem> {
    let plain = format!("{text}Z");
    let readable = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc3339(&plain));
    readable.map(|_| true).map_err(|_| refused("The start or end of the span is no moment."))
}

fn refused(message: &str) -> Problem {
    Problem::new(actix_web::http::StatusCode::BAD_REQUEST, "BadRequest", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compare_moments_texts_and_absent_members() {
        let items = [
            json!({"n": "a", "at": "2026-03-01T12:00:00Z"}),
            json!({"n": "b", "at": "2026-03-01T14:00:00+01:00"}),
            json!({"n": "c"}),
        ];
        for (filter, expected) in [
            ("at gt 2026-03-01T12:00:00Z", vec!["b"]),
            ("at ge 2026-03-01T12:00:00Z and n ne 'a'", vec!["b"]),
            ("at le 2026-03-01T13:00:00Z", vec!["a", "b"]),
            ("n eq 'c'", vec!["c"]),
        ] {
            let query = Query { filter: comparisons(filter).unwrap(), ..Query::default() };
            let (_, page, _) = query.page(&items, 10);
            assert_eq!(
                page.iter().map(|item| item["n"].as_str().unwrap()).collect::<Vec<_>>(),
                expected,
                "{filter}"
            );
        }
        assert!(comparisons("startswith(n,'a')").is_err());
    }

    #[test]
    fn an_option_that_is_not_supported_is_refused() {
        for text in ["$expand=x", "$top=0", "$top=many", "$filter=n", "startDateTime=yesterday"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
        let query = Query::parse("$select=a,b&$top=2&$skiptoken=x&other=1").unwrap();
        assert_eq!(query.following("$skiptoken", "y="), "%24select=a%2Cb&%24top=2&other=1&$skiptoken=y%3D");
    }
}
