//! A browser without a window: cookies, redirects, forms, and pages that lead on. Runs no scripts, since there are none.

use std::collections::BTreeMap;

use reqwest::Method;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use url::Url;
use waypost_harness::Client;

/// A page that was opened.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// A browser with its cookies.
#[derive(Debug)]
pub(crate) struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

impl Page {
    /// Where it leads by itself: a redirect, or a page that is left at once.
    pub(crate) fn next(&self) -> Option<Url> {
        if let Some(location) = self.headers.get(LOCATION) {
            return self.url.join(location.to_str().unwrap()).ok();
        }
        let (_, rest) = self.text.split_once("http-equiv=\"refresh\" content=\"0;url=")?;
        self.url.join(&unescaped(rest.split('"').next().unwrap())).ok()
    }

    /// The target of the link with this id.
    pub(crate) fn link(&self, id: &str) -> Option<Url> {
        let tag = self.tags("a").into_iter().find(|tag| attribute(tag, "id").as_deref() == Some(id))?;
        self.url.join(&attribute(&tag, "href")?).ok()
    }

    fn tags(&self, name: &str) -> Vec<String> {
        let open = format!("<{name} ");
        let parts = self.text.split(open.as_str()).skip(1);
        parts.map(|rest| rest.split('>').next().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn shows(&self, status: u16, text: &str) -> &Self {
        assert_eq!(self.status, status, "{}: {}", self.url, self.text);
        assert!(self.text.contains(text), "{} does not show {text:?}: {}", self.url, self.text);
        self
    }
}

impl Browser {
    pub(crate) fn new() -> Self {
        Self { http: Client::new(String::new()), cookies: BTreeMap::new() }
    }

    /// Opens a page and follows it wherever it leads.
    pub(crate) async fn open(&mut self, url: &Url) -> Page {
        let page = self.step(Method::GET, url, None).await;
        self.follow(page).await
    }

    /// Opens a page and stays there.
    pub(crate) async fn look(&mut self, url: &Url) -> Page {
        self.step(Method::GET, url, None).await
    }

    /// Follows a page wherever it leads.
    pub(crate) async fn follow(&mut self, page: Page) -> Page {
        let mut page = page;
        for _ in 0..10 {
            let Some(next) = page.next() else { return page };
            page = self.step(Method::GET, &next, None).await;
        }
        panic!("{} leads in a circle", page.url);
    }

    /// Sends the form whose text holds `holding`, with these fields set, and stays at the answer.
    pub(crate) async fn submit(&mut self, page: &Page, holding: &str, set: &[(&str, &str)]) -> Page {
        let forms = page.text.split("<form").skip(1).map(|rest| rest.split("</form>").next().unwrap());
        let form = forms
            .into_iter()
            .find(|form| form.contains(holding))
            .unwrap_or_else(|| panic!("no form with {holding:?}: {}", page.text));
        let action = attribute(form.split('>').next().unwrap(), "action");
        let url = action.map_or_else(|| page.url.clone(), |action| page.url.join(&action).unwrap());
        let mut fields: Vec<(String, String)> = form
            .split("<input ")
            .skip(1)
            .map(|rest| rest.split('>').next().unwrap())
            .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)))
            .collect();
        for (name, value) in set {
            fields.retain(|(known, _)| known != name);
            fields.push(((*name).to_owned(), (*value).to_owned()));
        }
        self.step(Method::POST, &url, Some(fields)).await
    }

    /// One request, with the cookies that were set before.
    async fn step(&mut self, method: Method, url: &Url, form: Option<Vec<(String, String)>>) -> Page {
        let mut request = self.http.request(method, url.as_str());
        if !self.cookies.is_empty() {
            let pairs: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        if let Some(form) = &form {
            request = request.form(form);
        }
        let answer = self.http.send(request).await;
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), rest.split(';').next().unwrap().to_owned());
        }
        Page { url: url.clone(), status: answer.status, text: answer.text(), headers: answer.headers }
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    rest.split('"').next().map(unescaped)
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}
