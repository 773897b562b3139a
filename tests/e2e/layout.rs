//! The rules of the house that a machine can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use rig::server::repository;
use serde_json::Value;

/// Which of our crates each of our crates may build on. Ingest, processor and query never meet.
const EDGES: [(&str, &[&str]); 7] = [
    ("schemas", &[]),
    ("event-log", &["schemas"]),
    ("warehouse", &["schemas"]),
    ("ingest", &["event-log", "schemas"]),
    ("processor", &["event-log", "schemas", "warehouse"]),
    ("query", &["schemas", "warehouse"]),
    ("streamgauge", &["event-log", "ingest", "processor", "query", "schemas", "warehouse"]),
];

/// Which of our crates may use a library directly; a boundary is one only while nobody reaches around it.
const USERS: [(&str, &[&str]); 7] = [
    ("fjall", &["event-log"]),
    ("rdkafka", &["event-log"]),
    ("sqlx", &["warehouse"]),
    ("datafusion", &["query"]),
    ("object_store", &["query", "warehouse"]),
    ("parquet", &["processor", "query", "warehouse"]),
    ("axum", &["ingest", "query", "streamgauge"]),
];

/// What `schemas` must do without: it is pure.
const NOT_IN_SCHEMAS: [&str; 9] =
    ["tokio", "sqlx", "datafusion", "rdkafka", "fjall", "axum", "reqwest", "arrow", "parquet"];

/// Direct dependencies of our crates, without those of tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(repository()).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        let names = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    });
    packages.collect()
}

#[test]
fn dependencies_point_one_way() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in EDGES {
        let used: Vec<&str> =
            dependencies[name].iter().map(String::as_str).filter(|used| ours.contains(used)).collect();
        assert!(used.iter().all(|used| allowed.contains(used)), "{name} uses {used:?}, and may use {allowed:?}");
    }
    for (library, allowed) in USERS {
        let users = dependencies.iter().filter(|(name, used)| *name != "rig" && used.contains(library));
        let users: Vec<&str> = users.map(|(name, _)| name.as_str()).collect();
        assert!(
            users.iter().all(|user| allowed.contains(user)),
            "{library} is used by {users:?}, and may be by {allowed:?}"
        );
    }
    for library in NOT_IN_SCHEMAS {
        assert!(!dependencies["schemas"].contains(library), "schemas uses {library}");
    }
    // The program ships without what tests need.
    assert!(!dependencies["streamgauge"].contains("rig"));
}

#[test]
fn the_tree_has_one_version_of_what_must_fit_together() {
    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let versions = |wanted: &str| -> Vec<String> {
        let packages =
            lock.split("[[package]]").filter(|package| package.contains(&format!("\nname = \"{wanted}\"\n")));
        let version = |package: &str| {
            package.lines().find_map(|line| Some(line.strip_prefix("version = \"")?.trim_end_matches('"').to_owned()))
        };
        packages.filter_map(version).collect()
    };
    for name in
        ["arrow", "parquet", "datafusion", "sqlx", "object_store", "libsqlite3-sys", "rustls", "fjall", "axum", "tokio"]
    {
        assert_eq!(versions(name).len(), 1, "{name} {:?}", versions(name));
    }
    // SQLite 3.51.3 comes with 0.37; before it a checkpoint that races with a write can lose committed pages.
    assert!(versions("libsqlite3-sys")[0].as_str() >= "0.37", "{:?}", versions("libsqlite3-sys"));
    // OpenSSL is librdkafka's, and nobody else's: deny.toml.
    assert!(versions("aws-lc-rs").is_empty() && versions("openssl-sys").len() == 1);
}

/// All Rust files of a folder.
fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn modules_have_names_and_fit_on_some_pages() {
    let mut files = Vec::new();
    for folder in ["schemas", "ingest", "processor", "query", "src", "tests"] {
        sources(&repository().join(folder), &mut files);
    }
    assert!(files.len() > 80);
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["util", "utils", "common", "helper", "helpers", "manager", "misc"].contains(&name),
            "{}",
            file.display()
        );
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() <= 600, "{} has {} lines", file.display(), text.lines().count());
        assert!(!text.contains(concat!("to", "do!(")) && !text.contains(concat!("#[ig", "nore")), "{}", file.display());
        let is_test = file.strip_prefix(repository()).unwrap().iter().any(|part| part == "tests" || part == "tests.rs");
        assert!(is_test || text.starts_with("//!"), "{} does not say what it is about", file.display());
    }
}
