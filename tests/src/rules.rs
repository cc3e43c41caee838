//! The rules of the house: what the source must never do, looked up in the text of every file.
//!
//! The checker works on any folder, so that its own test can plant a breach of each rule in a copy.

mod files;
mod gateway;
mod manifests;
mod modules;
mod names;
mod pages;
mod plain;
mod purity;
mod tokens;

pub use modules::{MODULES, Row};

use files::Tree;
use std::{fmt, path::Path};

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// The file, from the root of the project.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule, in a word or two.
    pub rule: &'static str,
    /// What stands there, and what should.
    pub what: String,
}

impl Breach {
    fn new(file: &str, line: usize, rule: &'static str, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, rule, what: what.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// Looks at every file under `root`, and returns what breaks a rule, by file and line.
///
/// # Panics
/// When a file cannot be read.
#[must_use]
pub fn check(root: &Path) -> Vec<Breach> {
    let tree = Tree::read(root);
    let mut found = Vec::new();
    plain::check(&tree, &mut found);
    purity::check(&tree, &mut found);
    modules::check(&tree, &mut found);
    gateway::check(&tree, &mut found);
    manifests::check(&tree, &mut found);
    pages::check(&tree, &mut found);
    found.sort();
    found
}
