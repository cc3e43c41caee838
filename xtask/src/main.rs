//! The one door for people and CI: `cargo xtask run`, `test` and `tools`.

#![allow(dead_code)]
mod child;
mod steps;
mod suite;
mod tally;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--yes] [--quick]    everything CI runs: packages, format, lints, builds, tests
    --yes      install missing system packages without asking
    --quick    only what needs neither a desktop, Node nor real engines";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nxtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<(), String> {
    let flags = |known: &[&str]| match args[1..].iter().find(|a| !known.contains(&a.as_str())) {
        Some(unknown) => Err(format!("unknown argument `{unknown}`\n\n{USAGE}")),
        None => Ok(()),
    };
    let has = |flag: &str| args.iter().any(|a| a == flag);
    match args.first().map(String::as_str) {
        Some("test") => {
            flags(&["--yes", "--quick"])?;
            suite::test(&root(), has("--yes"), has("--quick"))
        }
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        Some(other) => Err(format!("unknown command `{other}`\n\n{USAGE}")),
        None => Err(format!("no command\n\n{USAGE}")),
    }
}

/// The workspace folder: the parent of this crate's own folder.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
