//! `cargo xtask test`: the steps of the whole suite, in order.

use crate::child;
use crate::steps::{Outcome, Steps};
use crate::tally::Tally;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Runs every step, then prints the table and, alone on a line, the sum of all tests.
pub fn test(root: &Path, _yes: bool, _quick: bool) -> Result<(), String> {
    let mut steps = Steps::default();
    let mut tally = Tally::default();
    let result = all(root, &mut steps, &mut tally);
    println!("\n{}", steps.table());
    if tally.any() {
        println!("{tally}");
    }
    result
}

fn all(root: &Path, steps: &mut Steps, tally: &mut Tally) -> Result<(), String> {
    let cargo = |args: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(args).current_dir(root);
        command
    };
    let plain = |steps: &mut Steps, name, args: &[&str], limit| {
        let mut command = cargo(args);
        let repeat = child::describe(&command);
        steps.step(name, &repeat, || {
            child::run(&mut command, limit).map(|()| done())
        })
    };
    plain(steps, "format", &["fmt", "--all", "--check"], 2 * MINUTE)?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    plain(steps, "lints", &clippy, 40 * MINUTE)?;
    plain(
        steps,
        "build",
        &["build", "--workspace", "--bins", "--tests"],
        40 * MINUTE,
    )?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    let repeat = child::describe(&tests);
    steps.step("tests", &repeat, || {
        let (lines, verdict) = child::tee(&mut tests, 40 * MINUTE);
        tally.read(lines.iter().map(String::as_str));
        verdict.map(|()| Outcome::Done(tally.to_string()))
    })
}

fn done() -> Outcome {
    Outcome::Done("ok".to_owned())
}
