//! The one door for people and CI: `cargo xtask run`, `test`, `bench` and `tools`.

mod again;
mod bench;
mod cache;
mod child;
mod launch;
mod node;
mod packages;
mod pages;
mod steps;
mod suite;
mod system;
mod tally;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask run [--yes] [--demo] [-- ARGS]
    builds the app and starts it with ARGS; without a display, the gateway alone
    --demo     with a fleet of pretend machines
cargo xtask test [--yes] [--quick]
    everything CI runs: packages, format, pages, lints, builds, tools, tests
    --quick    only what needs no desktop and no Node, with the tools that are there already
cargo xtask bench [--quick]
    speed and memory beside nginx, on release code: the table of docs/performance.md
cargo xtask tools
    what the tests need besides: a real llama-server, tiny models, official clients

--yes: install missing system packages without asking";

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
    let Some((command, rest)) = args.split_first() else {
        return Err(format!("no command\n\n{USAGE}"));
    };
    let (own, passed_on) = match rest.iter().position(|a| a == "--") {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let known: &[&str] = match command.as_str() {
        "run" => &["--yes", "--demo"],
        "test" => &["--yes", "--quick"],
        "bench" => &["--quick"],
        _ => &[],
    };
    if let Some(unknown) = own.iter().find(|a| !known.contains(&a.as_str())) {
        return Err(format!("unknown argument `{unknown}`\n\n{USAGE}"));
    }
    let has = |flag: &str| own.iter().any(|a| a == flag);
    match command.as_str() {
        "run" => {
            let demo = has("--demo").then(|| "--demo".to_owned());
            let app: Vec<String> = demo.into_iter().chain(passed_on.iter().cloned()).collect();
            launch::run(&root(), has("--yes"), &app)
        }
        "test" => suite::test(&root(), has("--yes"), has("--quick")),
        "bench" => bench::bench(&root(), has("--quick")),
        "tools" => {
            let tools = tools::prepare(&root())?;
            for (name, place) in tools.environment() {
                println!("{name}={}", place.display());
            }
            Ok(())
        }
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("unknown command `{other}`\n\n{USAGE}")),
    }
}

/// True in CI: no questions there, and nothing may be skipped.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0")
}

/// The workspace folder: the parent of this crate's own folder, as cargo names it when it runs this. Where it was compiled
/// counts only without cargo: a checkout that was moved, or another with the same target folder, is not compiled anew.
fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR");
    let own = own.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().map_or_else(|| own.clone(), Path::to_path_buf)
}
