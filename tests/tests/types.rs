//! The window's TypeScript types are generated from the Rust ones; this fails when they have drifted apart.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::{node::State, snapshot::Snapshot};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use ts_rs::{Config, TS};

/// Set it to write the types instead of comparing them.
const WRITE: &str = "LAMPLIGHTER_WRITE_TYPES";

#[test]
fn the_windows_types_are_those_of_the_gateway() {
    let wanted = tempfile::tempdir().unwrap();
    let config = Config::new().with_out_dir(wanted.path()).with_large_int("number");
    Snapshot::export_all(&config).unwrap();
    // It stands flattened in `Node`, and the pages want its name.
    State::export_all(&config).unwrap();
    let wanted = files(wanted.path());
    let folder = lamplighter_tests::project().join("ui/src/lib/types");
    if std::env::var_os(WRITE).is_some() {
        write(&folder, &wanted);
    }
    let there = files(&folder);
    let command = format!("{WRITE}=1 cargo test -p lamplighter-tests --test types");
    for (name, text) in &wanted {
        assert_eq!(there.get(name), Some(text), "{} is not what Rust says: `{command}`", name.display());
    }
    for name in there.keys() {
        assert!(wanted.contains_key(name), "{} belongs to no Rust type: `{command}`", name.display());
    }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (
                PathBuf::from(entry.file_name()),
                fs::read_to_string(entry.path()).unwrap().trim_end().to_owned(),
            )
        })
        .collect()
}

fn write(folder: &Path, wanted: &BTreeMap<PathBuf, String>) {
    for name in files(folder).keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, text) in wanted {
        fs::write(folder.join(name), format!("{text}\n")).unwrap();
    }
}
