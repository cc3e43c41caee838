//! `core` knows no crate that could do I/O, reads no clock and no randomness, and waits for nothing.

use super::{Breach, Tree, manifests::dependencies, names, tokens::tokens};

const RULE: &str = "core is pure";

/// Crates that core must not have; whatever begins with `lamplighter` neither.
const CRATES: [&str; 16] = [
    "tokio",
    "tokio-util",
    "futures",
    "reqwest",
    "hyper",
    "hyper-util",
    "axum",
    "tower",
    "sqlx",
    "serde_json",
    "tauri",
    "rand",
    "getrandom",
    "fastrand",
    "socket2",
    "jiff",
];

/// Words of the standard library by which the world comes in.
const WORDS: [&str; 11] = [
    "Instant",
    "SystemTime",
    "RandomState",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "async",
    "await",
    "spawn",
    "println",
];
/// And its modules, after `std::`.
const MODULES: [&str; 5] = ["env", "fs", "io", "process", "thread"];

pub(super) fn check(tree: &Tree, found: &mut Vec<Breach>) {
    if let Some(manifest) = tree.get("crates/core/Cargo.toml") {
        for (line, name) in dependencies(&manifest.text) {
            if CRATES.contains(&name) || name.starts_with("lamplighter") {
                found.push(Breach::new(&manifest.path, line, RULE, format!("it depends on `{name}`")));
            }
        }
    }
    for file in tree.under("crates/core/src/", ".rs") {
        let words = tokens(&file.text);
        for (line, name) in names::heads(&words) {
            let as_crate = name.replace('_', "-");
            if CRATES.contains(&name)
                || CRATES.contains(&as_crate.as_str())
                || name.starts_with("lamplighter")
            {
                found.push(Breach::new(&file.path, line, RULE, format!("it names `{name}`")));
            }
        }
        for token in words.iter().filter(|token| WORDS.contains(&token.text)) {
            found.push(Breach::new(&file.path, token.line, RULE, format!("it names `{}`", token.text)));
        }
        for named in
            names::below(&words, "std").iter().filter(|named| MODULES.contains(&named.path[0].as_str()))
        {
            let what = format!("it names `std::{}`", named.path.join("::"));
            found.push(Breach::new(&file.path, named.line, RULE, what));
        }
    }
}
