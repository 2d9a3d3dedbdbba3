//! The OpenAPI document: it is `openapi.yaml`, it is what is served, and nothing in it answers strangers by accident.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use waypost_harness::{Answer, Client, Tenant, TestApp};

/// What answers without credentials. May only shrink.
const OPEN: [(&str, &str); 11] = [
    // For people with a customer's link.
    ("GET", "/connect/assets/connect.css"),
    ("GET", "/connect/progress"),
    ("GET", "/connect/{link}"),
    ("POST", "/connect/{link}/start"),
    ("GET", "/oauth/callback"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("POST", "/webhook/{environment}/{unique_key}"),
    ("POST", "/webhook/{environment}/{unique_key}/lifecycle"),
];

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// An operation of the document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) open: bool,
}

pub(crate) async fn document(app: &TestApp) -> Value {
    app.instance().admin().get("/openapi.json").await.expect(200)
}

pub(crate) fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let Some(operation) = item.get(method.to_lowercase()) else { continue };
            let security = operation.get("security").and_then(Value::as_array);
            let open = security.is_none_or(|kinds| kinds.is_empty() || kinds.contains(&json!({})));
            found.push(Operation { method: method.to_owned(), path: path.clone(), open });
        }
    }
    found
}

impl Operation {
    pub(crate) fn is_admin(&self) -> bool {
        self.path.starts_with("/admin") || ["/metrics", "/openapi.json"].contains(&self.path.as_str())
    }

    fn is_of_environment(&self) -> bool {
        !self.is_admin() && !self.open && !self.is_of_session()
    }

    /// Whether its credential is a connect session's own token, which is known to the public listener alone.
    fn is_of_session(&self) -> bool {
        self.path == "/connect/session"
    }

    /// Whether it is the proxy's, which only the public listener has.
    fn is_proxy(&self) -> bool {
        self.path.starts_with("/proxy")
    }

    /// Whether a path is one of its.
    fn fits(&self, path: &str) -> bool {
        let (wanted, given): (Vec<&str>, Vec<&str>) =
            (self.path.split('/').collect(), path.split('/').collect());
        wanted.len() == given.len()
            && wanted.iter().zip(given).all(|(wanted, given)| wanted.starts_with('{') || *wanted == given)
    }

    /// The path, with names that lead nowhere in particular.
    fn filled(&self, tenant: &Tenant) -> String {
        let mut filled = String::new();
        let mut rest = self.path.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap();
            filled.push_str(before);
            filled.push_str(if name == "environment" { &tenant.environment } else { "nothing" });
            rest = after;
        }
        filled + rest
    }
}

async fn call(client: &Client, method: &str, path: &str) -> Answer {
    let method: Method = method.parse().unwrap();
    let request = client.request(method.clone(), path);
    let request = if method == Method::GET { request } else { request.json(&json!({})) };
    client.send(request).await
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_document_is_the_file_at_the_root() {
    let file = std::fs::read_to_string(root().join("openapi.yaml")).unwrap_or_default();

    let document = waypost::application::openapi().unwrap();

    assert!(
        document == file,
        "openapi.yaml is not what the code says: run `make openapi` and read the difference"
    );
}

#[tokio::test]
async fn every_documented_operation_is_served_and_no_other_method_of_its_path() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let operations = operations(&document(&app).await);
    let paths: BTreeSet<&str> = operations.iter().map(|operation| operation.path.as_str()).collect();
    assert!(paths.len() > 20, "{paths:?}");

    for path in paths {
        let one = operations.iter().find(|operation| operation.path == path).unwrap();
        let client = if one.is_admin() { app.admin() } else { tenant.api.clone() };
        let filled = one.filled(&tenant);
        for method in METHODS {
            // Deleting the environment would end the walk.
            if method == "DELETE" && path == "/admin/environments/{environment}" {
                continue;
            }
            let answer = call(&client, method, &filled).await;
            let served =
                operations.iter().any(|operation| operation.method == method && operation.fits(&filled));

            assert_eq!(answer.status != 405, served, "{method} {path}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("There is nothing at this path"), "{method} {path}");
            assert!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.text());
        }
    }
}

#[tokio::test]
async fn nothing_answers_without_credentials_but_what_is_meant_to() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let operations = operations(&document(&app).await);
    let open: BTreeSet<(&str, &str)> = operations
        .iter()
        .filter(|operation| operation.open)
        .map(|operation| (operation.method.as_str(), operation.path.as_str()))
        .collect();
    assert_eq!(open, BTreeSet::from(OPEN));

    for operation in operations.iter().filter(|operation| !operation.open) {
        let client = if operation.is_admin() { app.instance().admin() } else { app.public() };
        let path = operation.filled(&tenant);

        let anonymous = call(&client, &operation.method, &path).await;
        let stranger = call(&client.with_token(Uuid::new_v4().to_string()), &operation.method, &path).await;

        assert_eq!(anonymous.status, 401, "{operation:?}: {}", anonymous.text());
        assert_eq!(stranger.status, 401, "{operation:?}: {}", stranger.text());
    }
}

#[tokio::test]
async fn the_mirror_for_operators_wants_an_admin_token_too_and_viewers_change_nothing() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let below = format!("/admin/environments/{}", tenant.environment);
    let operations = operations(&document(&app).await);

    for operation in operations.iter().filter(|operation| operation.is_of_environment()) {
        let path = format!("{below}{}", operation.filled(&tenant));
        if operation.is_proxy() {
            assert_eq!(call(&app.admin(), &operation.method, &path).await.status, 404, "{operation:?}");
            continue;
        }

        let anonymous = call(&app.instance().admin(), &operation.method, &path).await;
        let by_key = call(&app.instance().admin().with_token(&tenant.key), &operation.method, &path).await;
        let operator = call(&app.admin(), &operation.method, &path).await;
        let viewer = call(&app.viewer(), &operation.method, &path).await;

        assert_eq!(anonymous.status, 401, "{operation:?}: {}", anonymous.text());
        assert_eq!(by_key.status, 401, "{operation:?}: {}", by_key.text());
        assert!(![401, 403, 405].contains(&operator.status), "{operation:?}: {}", operator.text());
        if operation.method != "GET" || operation.path.ends_with("/secret") {
            assert_eq!(viewer.status, 403, "{operation:?}: {}", viewer.text());
        }
    }
}

#[tokio::test]
async fn a_key_without_any_fitting_scope_may_do_nothing() {
    let app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    let keys = format!("/admin/environments/{}/api-keys", tenant.environment);
    let wanted = json!({"display_name": "proxy only", "scopes": ["environment:proxy"]});
    let made = app.admin().post(&keys, &wanted).await.expect(201);
    let weak = app.public().with_token(made["secret"].as_str().unwrap());

    for operation in
        operations(&document(&app).await).iter().filter(|operation| operation.is_of_environment())
    {
        let answer = call(&weak, &operation.method, &operation.filled(&tenant)).await;

        // The catalogue of providers is the same for everybody, and the proxy is what this key is for.
        if !operation.path.starts_with("/providers") && !operation.is_proxy() {
            assert_eq!(answer.status, 403, "{operation:?}: {}", answer.text());
        }
    }
}

#[test]
fn every_handler_stands_in_the_document() {
    let document: Vec<String> = waypost::application::openapi().unwrap().lines().map(str::to_owned).collect();
    let documented: BTreeSet<&str> = document
        .iter()
        .filter(|line| line.starts_with("  /"))
        .map(|line| line.trim().trim_end_matches(':'))
        .collect();

    let mut handlers = 0;
    for file in sources(&root().join("crates/api/src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().map(str::trim) {
            let Some(path) = handler_path(line) else { continue };
            handlers += 1;
            let stands = documented.iter().any(|known| {
                let known = known.trim_matches(|quote| quote == '\'' || quote == '"');
                known == path || known.strip_prefix("/admin") == Some(path)
            });
            assert!(stands, "{} serves {path}, which openapi.yaml doesn't have", file.display());
        }
    }
    assert!(handlers > 20, "only {handlers} handlers were found");
}

/// The path in an attribute such as `#[get("/events")]`.
fn handler_path(line: &str) -> Option<&str> {
    let rest = ["#[get(\"", "#[post(\"", "#[put(\"", "#[patch(\"", "#[delete(\""]
        .iter()
        .find_map(|start| line.strip_prefix(start))?;
    rest.split('"').next()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
