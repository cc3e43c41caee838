//! The window's pages in `ui/`: installed from the lock file, checked, tested, built.

use crate::child;
use crate::node::{node, npm};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

const MINUTE: Duration = Duration::from_secs(60);

/// True when there are pages to build.
pub fn exist(root: &Path) -> bool {
    root.join("ui/package.json").is_file()
}

/// Brings `ui/dist` up to date; about a millisecond when it is. `yes` as in `packages::ensure`.
pub fn build(root: &Path, yes: bool) -> Result<(), String> {
    let ui = root.join("ui");
    if newest(&ui.join("node_modules/.package-lock.json")) < newest(&ui.join("package-lock.json")) {
        // The packages' own install scripts are not needed, so they are not run.
        let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        child::run(&mut npm(&ui, yes, &quiet)?, 10 * MINUTE)?;
    }
    let made_from = fs::read_dir(&ui).into_iter().flatten().flatten();
    let made_from = made_from.filter(|e| e.file_name() != "dist" && e.file_name() != "node_modules");
    let changed = made_from.filter_map(|e| newest(&e.path())).max();
    if newest(&ui.join("dist/index.html")) < changed {
        child::run(&mut npm(&ui, yes, &["run", "--silent", "build"])?, 5 * MINUTE)?;
    }
    Ok(())
}

/// Type check and unit tests; returns what the test runner printed.
pub fn test(root: &Path, yes: bool) -> (Vec<String>, Result<(), String>) {
    let ui = root.join("ui");
    let checked = npm(&ui, yes, &["run", "--silent", "check"])
        .and_then(|mut check| child::run(&mut check, 5 * MINUTE))
        .and_then(|()| npm(&ui, yes, &["run", "--silent", "test"]));
    match checked {
        Ok(mut tests) => child::tee(tests.env("NO_COLOR", "1"), 10 * MINUTE),
        Err(why) => (Vec::new(), Err(why)),
    }
}

/// The tests in a browser; returns what the test runner printed. The gateway must be built.
pub fn browse(root: &Path, yes: bool) -> (Vec<String>, Result<(), String>) {
    in_front_of_ours(root, npm(&root.join("ui"), yes, &["run", "--silent", "e2e"]))
}

/// Those of the tests in a browser that are called so, against the pages that `browse` has built.
pub fn browse_again(root: &Path, yes: bool, names: &[String]) -> (Vec<String>, Result<(), String>) {
    let ui = root.join("ui");
    let tests = node(&ui, yes).map(|mut node| {
        node.args(["--test", "--test-reporter=spec", "--test-concurrency=1"]);
        node.args(names.iter().map(|name| format!("--test-name-pattern=/^{}$/", pattern(name))));
        let files = fs::read_dir(ui.join("e2e")).into_iter().flatten().flatten().map(|e| e.path());
        node.args(files.filter(|file| file.to_string_lossy().ends_with(".test.mjs")));
        node
    });
    in_front_of_ours(root, tests)
}

fn in_front_of_ours(root: &Path, tests: Result<Command, String>) -> (Vec<String>, Result<(), String>) {
    match tests {
        Ok(mut tests) => {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
            let binary = target.join("debug/lamplighter");
            child::tee(tests.env("NO_COLOR", "1").env("LAMPLIGHTER_BIN", binary), 10 * MINUTE)
        }
        Err(why) => (Vec::new(), Err(why)),
    }
}

/// The name as a regular expression that means just it.
fn pattern(name: &str) -> String {
    let escaped = |c: char| if "\\/^$.*+?()[]{}|".contains(c) { format!("\\{c}") } else { c.to_string() };
    name.chars().map(escaped).collect()
}

/// When the newest file in `path` was changed; `None`, the oldest of all, where there is none.
fn newest(path: &Path) -> Option<SystemTime> {
    let about = fs::metadata(path).ok()?;
    if about.is_file() {
        return about.modified().ok();
    }
    fs::read_dir(path).ok()?.flatten().filter_map(|e| newest(&e.path())).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_just_itself() {
        assert_eq!(pattern("waits (5 s) / ends?"), r"waits \(5 s\) \/ ends\?");
    }

    #[test]
    fn a_folder_is_as_new_as_its_newest_file_and_nothing_is_older_than_all() {
        let folder = std::env::temp_dir().join(format!("xtask-newest-{}", std::process::id()));
        fs::create_dir_all(folder.join("inner")).unwrap();
        assert_eq!(newest(&folder), None);
        let file = fs::File::create(folder.join("inner/file")).unwrap();
        let when = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        file.set_modified(when).unwrap();
        let found = newest(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, Some(when));
        assert!(newest(&folder) < found);
    }
}
