//! A browser without a window, for the connect link: cookies, redirects, pages that lead on, forms.
//!
//! Must not know anything of the pages but their buttons: what it does, a person can do.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Method};
use url::Url;

use super::api::client;

/// More pages than any way has that leads somewhere.
const LONGEST_WAY: usize = 10;

/// A page that was opened.
#[derive(Debug)]
pub(super) struct Page {
    url: Url,
    text: String,
    /// Where it leads by itself.
    next: Option<Url>,
}

/// A browser with its cookies.
#[derive(Debug)]
pub(super) struct Browser {
    client: Client,
    /// By host, since ports share them.
    cookies: BTreeMap<(String, String), String>,
}

impl Page {
    /// What stands above it.
    pub(super) fn title(&self) -> String {
        let title = between(&self.text, "<title>", "</title>").map(unescaped);
        title.unwrap_or_else(|| "a page without a title".to_owned())
    }

    /// Its host and path: what follows is for machines.
    pub(super) fn place(&self) -> String {
        format!("{}{}", self.url.authority(), self.url.path())
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}

impl Browser {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { client: client()?, cookies: BTreeMap::new() })
    }

    /// Opens a link and follows it wherever it leads.
    pub(super) async fn open(&mut self, link: &str) -> anyhow::Result<Page> {
        let url = Url::parse(link)?;
        self.follow(Method::GET, url, &[]).await
    }

    /// Presses a button of the form that holds it, with these fields set, and follows wherever that leads.
    pub(super) async fn press(
        &mut self,
        page: &Page,
        button: &str,
        set: &[(&str, &str)],
    ) -> anyhow::Result<Page> {
        let mut forms =
            page.text.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap_or(form));
        let form = forms.find(|form| form.contains(button));
        let form = form.with_context(|| format!("{} has no button {button:?}", page.title()))?;
        let action = form.split('>').next().and_then(|tag| attribute(tag, "action"));
        let url = match action {
            Some(action) => page.url.join(&action)?,
            None => page.url.clone(),
        };
        let tags = form.split("<input ").skip(1).filter_map(|rest| rest.split('>').next());
        let mut fields: Vec<(String, String)> =
            tags.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?))).collect();
        fields.extend(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.follow(Method::POST, url, &fields).await
    }

    async fn follow(
        &mut self,
        method: Method,
        url: Url,
        fields: &[(String, String)],
    ) -> anyhow::Result<Page> {
        let mut page = self.step(method, url, fields).await?;
        for _ in 0..LONGEST_WAY {
            let Some(next) = page.next.take() else { return Ok(page) };
            page = self.step(Method::GET, next, &[]).await?;
        }
        bail!("{} leads in a circle", page.place())
    }

    async fn step(&mut self, method: Method, url: Url, fields: &[(String, String)]) -> anyhow::Result<Page> {
        let host = url.authority().to_owned();
        let own = self.cookies.iter().filter(|((of, _), _)| *of == host);
        let pairs: Vec<String> = own.map(|((_, name), value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method.clone(), url.clone());
        if !pairs.is_empty() {
            request = request.header(COOKIE, pairs.join("; "));
        }
        if method == Method::POST {
            request = request.form(fields);
        }
        let answer = request.send().await?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let whole = cookie.to_str().context("a cookie is no text")?;
            let (name, rest) = whole.split_once('=').context("a cookie has no value")?;
            let value = rest.split(';').next().unwrap_or_default().to_owned();
            self.cookies.insert((host.clone(), name.to_owned()), value);
        }
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.map(str::to_owned);
        let status = answer.status();
        let text = answer.text().await?;
        if status.is_client_error() || status.is_server_error() {
            bail!("{}{} was answered with {status}: {text}", url.authority(), url.path());
        }
        let left_at_once = between(&text, "http-equiv=\"refresh\" content=\"0;url=", "\"").map(unescaped);
        let next = location.or(left_at_once).map(|target| url.join(&target)).transpose()?;
        Ok(Page { url, text, next })
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    between(tag, &format!("{name}=\""), "\"").map(unescaped)
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}
