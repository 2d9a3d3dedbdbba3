//! The pages that people see at Entra: plain HTML that works without scripts, and can be driven by one.
//!
//! Must not decide anything.

use actix_web::{HttpResponse, http::StatusCode};

use super::{problem::EntraProblem, token::Form};
use crate::config::{Tenant, User};

/// The question that a page puts.
pub(crate) struct Question<'a> {
    pub(crate) title: &'a str,
    /// What the person would allow.
    pub(crate) text: &'a str,
    /// Who may answer.
    pub(crate) people: &'a [User],
    pub(crate) tenants: &'a [Tenant],
    /// The name of who is offered first.
    pub(crate) hint: Option<&'a str>,
    /// What came with the request and goes back with the answer.
    pub(crate) carried: &'a Form,
}

/// The names of the answer's own fields.
pub(crate) const DECISION: &str = "decision";
pub(crate) const PERSON: &str = "person";

pub(crate) fn ask(question: &Question<'_>) -> HttpResponse {
    let hidden: Vec<String> = question
        .carried
        .iter()
        .filter(|(name, _)| ![DECISION, PERSON].contains(name))
        .map(|(name, value)| {
            format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escaped(name), escaped(value))
        })
        .collect();
    let hidden = hidden.concat();
    let groups: String = question.tenants.iter().map(|tenant| group(question, tenant)).collect();
    let body = format!(
        "<h1>{title}</h1>\n<p id=\"text\">{text}</p>\n<form method=\"post\">\n{hidden}\
         <label>Sign in as <select id=\"{PERSON}\" name=\"{PERSON}\">\n{groups}</select></label>\n\
         <button id=\"accept\" name=\"{DECISION}\" value=\"accept\">Accept</button>\n\
         <button id=\"deny\" name=\"{DECISION}\" value=\"deny\">Cancel</button>\n</form>",
        title = escaped(question.title),
        text = escaped(question.text),
    );
    page(StatusCode::OK, question.title, &body)
}

fn group(question: &Question<'_>, tenant: &Tenant) -> String {
    let people = question.people.iter().filter(|person| person.tenant == tenant.id);
    let options: Vec<String> = people
        .map(|person| {
            let chosen = if question.hint == Some(person.user_name.as_str()) { " selected" } else { "" };
            format!(
                "<option value=\"{}\"{chosen}>{} ({})</option>\n",
                person.id,
                escaped(&person.display_name),
                escaped(&person.user_name)
            )
        })
        .collect();
    if options.is_empty() {
        return String::new();
    }
    let options = options.concat();
    format!("<optgroup label=\"{}\">\n{options}</optgroup>\n", escaped(&tenant.domain))
}

/// A refusal that cannot be sent back to the application.
pub(crate) fn refuse(problem: &EntraProblem) -> HttpResponse {
    let body = format!("<h1>Sign in</h1>\n<p id=\"error\">{}</p>", escaped(&problem.text()));
    page(problem.status(), "Sign in", &body)
}

fn page(status: StatusCode, title: &str, body: &str) -> HttpResponse {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title} - simulator</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{{font:16px/1.5 sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem}}\
         button,select{{font:inherit;margin:.75rem .5rem 0 0;padding:.25rem .75rem}}</style>\n\
         </head>\n<body>\n{body}\n</body>\n</html>\n",
        title = escaped(title),
    );
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-frame-options", "DENY"))
        .insert_header(("referrer-policy", "no-referrer"))
        .body(page)
}

/// A text that is safe inside an element and inside a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_came_with_a_request_can_leave_its_place_in_the_page() {
        assert_eq!(escaped("\"><script>'&"), "&quot;&gt;&lt;script&gt;&#39;&amp;");
    }
}
