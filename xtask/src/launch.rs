//! `cargo xtask run`: builds the app and starts it; without a display, the gateway alone.

use crate::{child, packages, pages};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Replaces this process by the app, so that signals and the exit code are the app's own.
pub fn run(root: &Path, yes: bool, args: &[String]) -> Result<(), String> {
    let (package, mode): (_, &[&str]) = if no_display() {
        println!("no display (neither DISPLAY nor WAYLAND_DISPLAY): starting `lamplighter serve`");
        packages::ensure(&[packages::GATEWAY], yes)?;
        ("lamplighter", &["serve"])
    } else {
        packages::ensure(&[packages::GATEWAY, packages::DESKTOP], yes)?;
        if pages::exist(root) {
            pages::build(root, yes)?;
        }
        ("lamplighter-desktop", &[])
    };
    let built = ["build", "--package", package, "--bin", package];
    child::run(child::cargo(root).args(built), BUILD_LIMIT)?;
    let mut start = child::cargo(root);
    // Paths among the arguments are meant from where the command was typed.
    if let Ok(here) = std::env::current_dir() {
        start.current_dir(here);
    }
    start.args(["run", "--quiet", "--manifest-path"]).arg(root.join("Cargo.toml"));
    start.args(["--package", package, "--bin", package, "--"]).args(mode).args(args);
    become_it(start)
}

#[cfg(unix)]
fn become_it(mut start: Command) -> Result<(), String> {
    let why = std::os::unix::process::CommandExt::exec(&mut start);
    Err(format!("`{}` could not start: {why}", child::describe(&start)))
}

#[cfg(not(unix))]
fn become_it(mut start: Command) -> Result<(), String> {
    let status = start.status().map_err(|e| format!("{}: {e}", child::describe(&start)))?;
    std::process::exit(status.code().unwrap_or(1))
}

/// True where neither X nor Wayland can be reached; only Linux can be without a desktop.
fn no_display() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    cfg!(target_os = "linux") && !set("DISPLAY") && !set("WAYLAND_DISPLAY")
}
