//! What a reader of JSON or of a query says of a mistake, in words of JSON.
//!
//! Serde tells what kind of mistake it was only in its text, in words of Rust, and repeats the value, which may be a
//! secret. Here, and nowhere else, that becomes what to write instead. Must not know any resource.

use crate::error::Issue;

/// How a time is written.
pub(crate) const TIME: &str = "a time is wanted, as 2026-11-22T06:00:00Z";
const GUID: &str = "a GUID is wanted, as 84bd8158-6d4d-4958-8b9f-9d6445542f95";

/// The issue that a message of serde stands for.
pub(super) fn issue(message: &str, mut path: Vec<String>) -> Issue {
    if let Some(field) = between(message, "missing field `", "`") {
        path.push(field.to_owned());
        return Issue { code: "invalid_type", message: "Required".to_owned(), path };
    }
    if let Some(field) = between(message, "duplicate field `", "`") {
        path.push(field.to_owned());
        return Issue { code: "invalid_value", message: "it may be given once".to_owned(), path };
    }
    let code = if message.starts_with("unknown field") {
        "unrecognized_keys"
    } else if message.starts_with("invalid type") {
        "invalid_type"
    } else {
        "invalid_value"
    };
    Issue { code, message: in_our_words(message), path }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.strip_suffix(end)
}

fn in_our_words(message: &str) -> String {
    if let Some(message) = of_a_word(message) {
        return message.to_owned();
    }
    for start in ["invalid type: ", "invalid value: ", "invalid length "] {
        let told = message.strip_prefix(start).and_then(|rest| rest.rsplit_once(", expected "));
        if let Some((found, expected)) = told {
            return wanted(expected, kind(found));
        }
    }
    if let Some(rest) = message.strip_prefix("unknown variant `")
        && let Some((_, known)) = rest.split_once("`, expected ")
    {
        let known = known.strip_prefix("one of ").unwrap_or(known).replace('`', "\"");
        return if known.contains(',') || known.contains(" or ") {
            format!("must be one of {}", known.replace(" or ", ", "))
        } else {
            format!("must be {known}")
        };
    }
    message.strip_suffix(", there are no fields").unwrap_or(message).to_owned()
}

/// What libraries say of a text that they can't read tells how they read it, not what to write.
fn of_a_word(message: &str) -> Option<&'static str> {
    const OF_TIMES: [&str; 6] = [
        "input contains invalid characters",
        "input is not enough for unique date and time",
        "input is out of range",
        "no possible date and time matching input",
        "premature end of input",
        "trailing input",
    ];
    const OF_NUMBERS: [&str; 4] = [
        "invalid digit found in string",
        "cannot parse integer from empty string",
        "number too large to fit in target type",
        "number too small to fit in target type",
    ];
    if OF_TIMES.contains(&message) {
        Some(TIME)
    } else if OF_NUMBERS.contains(&message) {
        Some("must be a whole number within its bounds")
    } else if message.starts_with("UUID parsing failed") {
        Some(GUID)
    } else if message == "provided string was not `true` or `false`" {
        Some("must be true or false")
    } else {
        None
    }
}

/// What is wanted, and what is there instead, where that is of another kind.
fn wanted(expected: &str, found: Option<&'static str>) -> String {
    let what = match expected {
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "a character" | "string or map" | "variant identifier" => "a text",
        "an object" | "a map" => "an object",
        "a sequence" => "a list",
        "f32" | "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => {
            "an object"
        }
        _ if expected.starts_with("a sequence ") || expected.starts_with("a tuple ") => "a list",
        _ if expected.starts_with("enum ") => "a text",
        _ if expected.contains("date and time") => return TIME.to_owned(),
        _ if expected.contains("UUID") => return GUID.to_owned(),
        other => other,
    };
    match found {
        Some(found) if !what.contains(found.trim_start_matches("a ")) => {
            format!("must be {what}, not {found}")
        }
        _ => format!("must be {what}"),
    }
}

/// The kind of a value, without the value.
fn kind(found: &str) -> Option<&'static str> {
    let known = [
        ("null", "null"),
        ("unit value", "null"),
        ("boolean", "true or false"),
        ("integer", "a number"),
        ("floating point", "a number"),
        ("number", "a number"),
        ("string", "a text"),
        ("character", "a text"),
        ("sequence", "a list"),
        ("map", "an object"),
    ];
    known.into_iter().find(|(start, _)| found.starts_with(start)).map(|(_, kind)| kind)
}
