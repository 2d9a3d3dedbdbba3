//! What is served where, as the document has it: methods and queries by path, and the old names of some paths.
//!
//! Everything here is read from the document, so that nothing can be said twice. Must not know any resource.

use std::collections::BTreeSet;

use actix_web::dev::{Handler, Path, ResourceDef, Url};
use actix_web::http::Method;
use actix_web::{FromRequest, HttpRequest, Responder, web};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{Deprecated, OpenApi, PathItem, RefOr};

use crate::error::ApiError;
use crate::extract::parse_query;
use crate::page::NoFilters;

/// Which methods which paths take, on one listener.
#[derive(Debug)]
pub(crate) struct Table(Vec<Entry>);

/// What one path takes.
#[derive(Debug)]
struct Entry {
    pattern: ResourceDef,
    /// How many parts of the path are given by the caller.
    parameters: usize,
    methods: BTreeSet<&'static str>,
    /// Those of the methods that read a query.
    queried: BTreeSet<&'static str>,
    /// Whether HEAD has no handler of its own and is answered as GET is: see `crate::head`.
    head_is_get: bool,
}

impl Entry {
    fn of(path: &str, item: &PathItem) -> Self {
        // A path that ends with the parameter `path` stands for everything below, whatever its query.
        let everything_below = path.ends_with("/{path}");
        let tail = if everything_below { "*" } else { "" };
        let mut entry = Self {
            pattern: ResourceDef::new(format!("{path}{tail}")),
            parameters: path.matches('{').count(),
            methods: BTreeSet::new(),
            queried: BTreeSet::new(),
            head_is_get: item.get.is_some() && item.head.is_none(),
        };
        for (method, operation) in operations(item) {
            entry.methods.insert(method);
            if everything_below || reads_query(operation) {
                entry.queried.insert(method);
            }
        }
        if entry.head_is_get {
            entry.methods.insert("HEAD");
        }
        entry
    }
}

impl Table {
    /// The operations of `documents`, each path below `prefix`.
    pub(crate) fn of(documents: impl IntoIterator<Item = OpenApi>, prefix: &str) -> Self {
        let mut table = Self(Vec::new());
        table.add(documents, prefix);
        table
    }

    /// Adds the operations of `documents`, each path below `prefix`.
    pub(crate) fn add(&mut self, documents: impl IntoIterator<Item = OpenApi>, prefix: &str) {
        for document in documents {
            let paths = document.paths.paths.iter();
            self.0.extend(paths.map(|(path, item)| Entry::of(&format!("{prefix}{path}"), item)));
        }
    }

    /// Whether `path` takes `method`.
    pub(crate) fn serves(&self, method: &Method, path: &str) -> bool {
        self.methods_of(path).contains(method.as_str())
    }

    /// Whether HEAD at `path` is answered as GET is.
    pub(crate) fn head_is_get(&self, path: &str) -> bool {
        self.fitting(path).any(|entry| entry.head_is_get)
    }

    /// The methods that `path` takes.
    pub(crate) fn methods_of(&self, path: &str) -> BTreeSet<&'static str> {
        self.fitting(path).flat_map(|entry| entry.methods.iter().copied()).collect()
    }

    fn fitting(&self, path: &str) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.pattern.is_match(path))
    }

    /// Whether `method` at `path` reads a query. Of several patterns the one that says most of the path counts.
    fn reads_query(&self, method: &Method, path: &str) -> bool {
        let serving = self.fitting(path).filter(|entry| entry.methods.contains(method.as_str()));
        serving
            .min_by_key(|entry| entry.parameters)
            .is_some_and(|entry| entry.queried.contains(method.as_str()))
    }
}

/// The path by which requests are routed: escaped letters count as the letters. What decides by the path of a request has
/// to take this one, or it would decide about another path than the one that is served.
pub(crate) fn routed(path: &Path<Url>) -> &str {
    path.as_str()
}

/// Refuses a query that nobody would read. One that is read is refused by its reader where it makes no sense.
pub(crate) fn refuse_unread_query(request: &HttpRequest) -> Result<(), ApiError> {
    let table = request.app_data::<std::rc::Rc<Table>>();
    if table.is_none_or(|table| table.reads_query(request.method(), routed(request.match_info()))) {
        return Ok(());
    }
    parse_query::<NoFilters>(request.query_string()).map(|_| ())
}

/// The operations that a path item documents.
fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    [
        ("GET", &item.get),
        ("PUT", &item.put),
        ("POST", &item.post),
        ("DELETE", &item.delete),
        ("PATCH", &item.patch),
        ("HEAD", &item.head),
        ("OPTIONS", &item.options),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn reads_query(operation: &Operation) -> bool {
    operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
        RefOr::Ref(_) => false,
    })
}

/// Old names of paths: what begins with `path` is served below `old` too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renamed {
    /// The beginning of the paths, as they are documented.
    pub(crate) path: &'static str,
    /// What stood in its place.
    pub(crate) old: &'static str,
}

impl Renamed {
    /// Serves `handler` where the operation `name` of `document` stands, by both names of the path.
    pub(crate) fn serve<H, A>(
        self,
        config: &mut web::ServiceConfig,
        document: &OpenApi,
        name: &str,
        handler: &H,
    ) where
        H: Handler<A, Output: Responder + 'static>,
        A: FromRequest + 'static,
    {
        for (path, item) in &document.paths.paths {
            for (method, _) in operations(item).filter(|(_, operation)| is_named(operation, &[name])) {
                let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
                config.route(path, web::method(method.clone()).to(handler.clone()));
                if let Some(old) = self.old_name(path) {
                    config.route(&old, web::method(method).to(handler.clone()));
                }
            }
        }
    }

    /// Documents the operations `names` at their old paths: deprecated, and by reference to the new ones.
    pub(crate) fn document(self, document: &mut OpenApi, names: &[&str]) {
        let paths = document.paths.paths.iter();
        let old: Vec<_> = paths
            .filter_map(|(path, item)| Some((self.old_name(path)?, old_item(path, item, names))))
            .filter(|(_, item)| operations(item).next().is_some())
            .collect();
        document.paths.paths.extend(old);
    }

    fn old_name(self, path: &str) -> Option<String> {
        path.strip_prefix(self.path).map(|rest| format!("{}{rest}", self.old))
    }
}

fn is_named(operation: &Operation, names: &[&str]) -> bool {
    operation.operation_id.as_deref().is_some_and(|id| names.contains(&id))
}

fn old_item(path: &str, item: &PathItem, names: &[&str]) -> PathItem {
    let old = |method: &str, operation: &Option<Operation>| {
        let mut operation = operation.clone().filter(|operation| is_named(operation, names))?;
        operation.operation_id = operation.operation_id.map(|id| format!("{id}_alias"));
        operation.summary = operation.summary.map(|summary| format!("{summary} (old path)"));
        operation.description = Some(format!("As `{method} {path}`."));
        operation.deprecated = Some(Deprecated::True);
        Some(operation)
    };
    let mut renamed = PathItem::default();
    renamed.get = old("GET", &item.get);
    renamed.put = old("PUT", &item.put);
    renamed.post = old("POST", &item.post);
    renamed.delete = old("DELETE", &item.delete);
    renamed.patch = old("PATCH", &item.patch);
    renamed
}
