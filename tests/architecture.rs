//! The direction of the crates, and which of them may know the heavy libraries, checked on what Cargo says.
//!
//! `crypto ← core ← {postgres | egress} ← upstream ← {worker | api} ← waypost`; crates inside one brace never know each
//! other. Must not look at source text: what a crate doesn't depend on, it can't name.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{Metadata, MetadataCommand, Package};

/// Of our own crates, which each may depend on. The binary and the tests may name all.
const MAY_KNOW: [(&str, &[&str]); 9] = [
    ("waypost-cluster", &[]),
    ("waypost-crypto", &[]),
    ("waypost-core", &["waypost-crypto"]),
    ("waypost-postgres", &["waypost-core", "waypost-crypto"]),
    ("waypost-egress", &["waypost-core", "waypost-crypto"]),
    ("waypost-upstream", &["waypost-core", "waypost-crypto", "waypost-egress", "waypost-postgres"]),
    (
        "waypost-worker",
        &["waypost-core", "waypost-crypto", "waypost-egress", "waypost-postgres", "waypost-upstream"],
    ),
    (
        "waypost-api",
        &["waypost-core", "waypost-crypto", "waypost-egress", "waypost-postgres", "waypost-upstream"],
    ),
    ("waypost-simulator", &["waypost-core", "waypost-crypto"]),
];

/// Crates that may name everything.
const TOP: [&str; 2] = ["waypost", "waypost-tests"];

/// Libraries that only some crates may depend on, the top ones excepted.
const KEPT_BY: [(&str, &[&str]); 3] = [
    ("sqlx", &["waypost-postgres"]),
    ("reqwest", &["waypost-egress", "waypost-simulator"]),
    ("actix-web", &["waypost-api", "waypost-simulator"]),
];

/// What the pure crates must do without.
const IMPURE: [&str; 6] = ["tokio", "tokio-util", "sqlx", "reqwest", "actix-web", "hyper"];

fn workspace() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
}

fn names_of(package: &Package) -> BTreeSet<String> {
    package.dependencies.iter().map(|dependency| dependency.name.clone()).collect()
}

/// Everything that a package depends on, for running, building or testing.
fn dependencies(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    metadata.packages.iter().map(|package| (package.name.to_string(), names_of(package))).collect()
}

#[test]
fn every_crate_has_its_place_in_the_direction() {
    let found: BTreeSet<String> = dependencies(&workspace()).into_keys().collect();
    let known = MAY_KNOW.iter().map(|(name, _)| *name).chain(TOP).map(str::to_owned).collect();

    assert_eq!(found, known);
}

#[test]
fn no_crate_knows_one_that_is_not_below_it() {
    for (name, mut known) in dependencies(&workspace()) {
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(of, _)| *of == name) else { continue };
        known.retain(|dependency| dependency.starts_with("waypost"));

        let forbidden: Vec<&String> =
            known.iter().filter(|dependency| !allowed.contains(&dependency.as_str())).collect();

        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
}

#[test]
fn heavy_libraries_stay_where_they_are_wrapped() {
    for (name, known) in dependencies(&workspace()) {
        for (library, keepers) in KEPT_BY {
            let allowed = keepers.contains(&name.as_str()) || TOP.contains(&name.as_str());

            assert!(allowed || !known.contains(library), "{name} must not depend on {library}");
        }
    }
}

#[test]
fn the_pure_crates_do_no_input_or_output() {
    let dependencies = dependencies(&workspace());
    for name in ["waypost-crypto", "waypost-core"] {
        let impure: Vec<&str> =
            IMPURE.into_iter().filter(|library| dependencies[name].contains(*library)).collect();

        assert!(impure.is_empty(), "{name} must not depend on {impure:?}");
    }
}
