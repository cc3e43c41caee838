//! What stands in `Cargo.toml`, in the lock files and in `.gitignore`.

use super::{Breach, Tree};

/// Where all packages come from.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// What only the desktop shell may depend on.
const DESKTOP: [&str; 5] = ["tauri", "wry", "tao", "gtk", "ksni"];

pub(super) fn check(tree: &Tree, found: &mut Vec<Breach>) {
    for manifest in tree.all().filter(|file| file.path.ends_with("Cargo.toml")) {
        for (line, name) in dependencies(&manifest.text) {
            let is_desktop = DESKTOP.contains(&name) || name.starts_with("tauri-");
            if is_desktop && manifest.path != "src-tauri/Cargo.toml" {
                let what = format!("only src-tauri may depend on `{name}`");
                found.push(Breach::new(&manifest.path, line, "desktop", what));
            }
        }
        if manifest.text.contains("[package]") && !manifest.text.contains("[lints]\nworkspace = true") {
            found.push(Breach::new(&manifest.path, 1, "lints", "it must have the workspace's lints"));
        }
    }
    match tree.get("Cargo.lock") {
        None => found.push(Breach::new("Cargo.lock", 1, "locks", "it must be committed")),
        Some(lock) => {
            for (line, text) in numbered(&lock.text) {
                if text.starts_with("source = ") && text != format!("source = \"{SOURCE}\"") {
                    found.push(Breach::new(&lock.path, line, "locks", format!("another source: {text}")));
                }
            }
        }
    }
    for ignored in tree.all().filter(|file| file.path.ends_with(".gitignore")) {
        for (line, text) in numbered(&ignored.text) {
            if text.contains("Cargo.lock") || text.contains("package-lock.json") {
                found.push(Breach::new(&ignored.path, line, "locks", format!("{text} must be committed")));
            }
        }
    }
    for lock in tree.all().filter(|file| file.path.ends_with("package-lock.json")) {
        for (line, text) in numbered(&lock.text) {
            if text.trim_start().starts_with("\"resolved\"") {
                let what = "it names a registry: write it with `omit-lockfile-registry-resolved`";
                found.push(Breach::new(&lock.path, line, "locks", what));
            }
        }
    }
}

/// The names of all dependencies of a manifest, of whatever kind, each with its line.
pub(super) fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let (mut found, mut inside) = (Vec::new(), false);
    for (line, text) in numbered(manifest) {
        if let Some(section) = text.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let (table, last) = section.rsplit_once('.').unwrap_or(("", section));
            inside = last.ends_with("dependencies");
            // `[dependencies.name]`
            if table.ends_with("dependencies") {
                found.push((line, last.trim_matches('"')));
            }
        } else if inside && text.starts_with(|c: char| c.is_alphanumeric() || c == '"') {
            let name = text.split(['=', '.', ' ']).next().unwrap_or("").trim_matches('"');
            found.push((line, name));
        }
        // A renamed one.
        if inside && let Some((_, real)) = text.split_once("package = \"") {
            found.push((line, real.split('"').next().unwrap_or("")));
        }
    }
    found
}

pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}
