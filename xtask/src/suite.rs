//! `cargo xtask test`: the steps of the whole suite, in order.

use crate::steps::{Outcome, Steps};
use crate::tally::Tally;
use crate::tools::{self, Tools};
use crate::{again, child, packages, pages};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// What property tests begin their dice with in CI: a red run there speaks of the change, not of a throw that nobody had made
/// before. Everywhere else each run throws anew.
const DICE_IN_CI: (&str, &str) = ("PROPTEST_RNG_SEED", "20260412");

/// Runs every step, then prints the table and, alone on a line, the sum of all tests.
pub fn test(root: &Path, yes: bool, quick: bool) -> Result<(), String> {
    let mut suite =
        Suite { root, yes, quick, steps: Steps::default(), tally: Tally::default(), unsteady: Vec::new() };
    let result = suite.all();
    println!("\n{}", suite.steps.table());
    for name in &suite.unsteady {
        println!("UNSTEADY: {name} failed in the whole run and passed alone");
    }
    if suite.tally.any() {
        println!("{}", suite.tally);
    }
    result
}

struct Suite<'a> {
    root: &'a Path,
    yes: bool,
    quick: bool,
    steps: Steps,
    tally: Tally,
    /// Tests that passed only when they were run again.
    unsteady: Vec<String>,
}

impl Suite<'_> {
    fn all(&mut self) -> Result<(), String> {
        self.packages()?;
        self.plain("format", &["fmt", "--all", "--check"], 2 * MINUTE)?;
        // Before the desktop shell, which embeds the built pages.
        self.pages()?;
        // The default members are those that need no desktop.
        let members: &[&str] = if self.quick { &[] } else { &["--workspace"] };
        let lints = [&["clippy"], members, &["--all-targets", "--", "-D", "warnings"]].concat();
        self.plain("lints", &lints, 40 * MINUTE)?;
        let build = [&["build"], members, &["--bins", "--tests"]].concat();
        self.plain("build", &build, 40 * MINUTE)?;
        let tools = self.tools()?;
        self.tests(members, tools.as_ref())?;
        self.browser()
    }

    fn packages(&mut self) -> Result<(), String> {
        let (root, yes) = (self.root, self.yes);
        let repeat = "cargo xtask test --yes";
        if self.quick {
            let why = || Ok(Outcome::Skipped("--quick".to_owned()));
            return self.steps.step("packages", repeat, why);
        }
        let mut wanted = vec![packages::GATEWAY, packages::DESKTOP, packages::PYTHON, packages::TESTS];
        if pages::exist(root) {
            wanted.push(packages::BROWSER);
        }
        self.steps.step("packages", repeat, || packages::ensure(&wanted, yes).map(Outcome::Done))
    }

    fn pages(&mut self) -> Result<(), String> {
        let (root, yes, quick, sum) = (self.root, self.yes, self.quick, &mut self.tally);
        self.steps.step("pages", "cd ui && npm ci && npm run check && npm test", || {
            if quick || !pages::exist(root) {
                let why = if quick { "--quick" } else { "ui/ has no package.json yet" };
                return Ok(Outcome::Skipped(why.to_owned()));
            }
            pages::build(root, yes)?;
            let (lines, verdict) = pages::test(root, yes);
            let own = Tally::of(&lines);
            sum.add(own);
            verdict.map(|()| Outcome::Done(own.to_string()))
        })
    }

    /// The pages in a real browser: in front of a gateway that is made up, and of the real one that was just built.
    fn browser(&mut self) -> Result<(), String> {
        let (root, yes, quick) = (self.root, self.yes, self.quick);
        let (sum, unsteady) = (&mut self.tally, &mut self.unsteady);
        self.steps.step("browser", "cd ui && npm run e2e", || {
            if quick || !pages::exist(root) {
                let why = if quick { "--quick" } else { "ui/ has no package.json yet" };
                return Ok(Outcome::Skipped(why.to_owned()));
            }
            let (lines, mut verdict) = pages::browse(root, yes);
            let mut own = Tally::of(&lines);
            if let Some(names) = verdict.as_ref().err().and_then(|_| again::of_node(&lines, own)) {
                let (lines, second) = once_more(&names, || pages::browse_again(root, yes, &names));
                verdict = own.second_try(&names, Tally::of(&lines), second);
                unsteady.extend(names.into_iter().filter(|_| verdict.is_ok()));
            }
            sum.add(own);
            verdict.map(|()| Outcome::Done(own.to_string()))
        })
    }

    fn tools(&mut self) -> Result<Option<Tools>, String> {
        let (root, quick, mut found) = (self.root, self.quick, None);
        self.steps.step("tools", "cargo xtask tools", || {
            if quick {
                found = tools::cached(root);
            } else {
                found = Some(tools::prepare(root)?);
            }
            Ok(match &found {
                Some(_) => Outcome::Done("ok".to_owned()),
                None => Outcome::Skipped("not built yet, and --quick builds none".to_owned()),
            })
        })?;
        Ok(found)
    }

    fn tests(&mut self, members: &[&str], tools: Option<&Tools>) -> Result<(), String> {
        let mut tests = self.cargo(&[&["test"], members, &["--no-fail-fast"]].concat());
        let repeat = format!("env $(cargo xtask tools) {}", child::describe(&tests));
        let skips = Skips::new()?;
        tests.env("LAMPLIGHTER_SKIPS", &skips.file);
        if let Some(tools) = tools {
            tests.envs(tools.environment());
        }
        if crate::in_ci() {
            tests.env(DICE_IN_CI.0, DICE_IN_CI.1);
        }
        let (sum, unsteady) = (&mut self.tally, &mut self.unsteady);
        self.steps.step("tests", &repeat, || {
            let (lines, mut verdict) = child::tee(&mut tests, 40 * MINUTE);
            let mut own = Tally::of(&lines);
            if let Some(names) = verdict.as_ref().err().and_then(|_| again::of_cargo(&lines, own)) {
                tests.args(["--", "--exact"]).args(&names);
                let (lines, second) = once_more(&names, || child::tee(&mut tests, 10 * MINUTE));
                verdict = own.second_try(&names, Tally::of(&lines), second);
                unsteady.extend(names.into_iter().filter(|_| verdict.is_ok()));
            }
            let reasons = skips.reasons();
            own.skipped_inside(reasons.len() as u64);
            sum.add(own);
            for reason in &reasons {
                println!("SKIPPED: {reason}");
            }
            verdict?;
            if crate::in_ci() && !reasons.is_empty() {
                return Err(format!("{} skipped in CI, where all must run", reasons.len()));
            }
            Ok(Outcome::Done(own.to_string()))
        })
    }

    fn plain(&mut self, name: &'static str, args: &[&str], limit: Duration) -> Result<(), String> {
        let mut command = self.cargo(args);
        let repeat = child::describe(&command);
        self.steps
            .step(name, &repeat, || child::run(&mut command, limit).map(|()| Outcome::Done("ok".to_owned())))
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = child::cargo(self.root);
        command.args(args);
        command
    }
}

fn once_more<T>(names: &[String], run: impl FnOnce() -> T) -> T {
    println!("\n== run again, alone: {}", names.join(", "));
    run()
}

/// The file to which a test that cannot run here appends one line: its name and the reason.
struct Skips {
    file: PathBuf,
}

impl Skips {
    fn new() -> Result<Self, String> {
        let name = format!("lamplighter-skips-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, "").map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(Self { file })
    }

    fn reasons(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned).collect()
    }
}

impl Drop for Skips {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}
