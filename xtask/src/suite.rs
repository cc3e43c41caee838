//! `cargo xtask test`: the steps of the whole suite, in order.

use crate::steps::{Outcome, Steps};
use crate::tally::Tally;
use crate::tools::{self, Tools};
use crate::{child, packages, pages};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Runs every step, then prints the table and, alone on a line, the sum of all tests.
pub fn test(root: &Path, yes: bool, quick: bool) -> Result<(), String> {
    let mut suite = Suite { root, yes, quick, steps: Steps::default(), tally: Tally::default() };
    let result = suite.all();
    println!("\n{}", suite.steps.table());
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
            let mut own = Tally::default();
            own.read(lines.iter().map(String::as_str));
            sum.add(own);
            verdict.map(|()| Outcome::Done(own.to_string()))
        })
    }

    /// The pages in a real browser: in front of a gateway that is made up, and of the real one that was just built.
    fn browser(&mut self) -> Result<(), String> {
        let (root, yes, quick, sum) = (self.root, self.yes, self.quick, &mut self.tally);
        self.steps.step("browser", "cd ui && npm run e2e", || {
            if quick || !pages::exist(root) {
                let why = if quick { "--quick" } else { "ui/ has no package.json yet" };
                return Ok(Outcome::Skipped(why.to_owned()));
            }
            let (lines, verdict) = pages::browse(root, yes);
            let mut own = Tally::default();
            own.read(lines.iter().map(String::as_str));
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
        let sum = &mut self.tally;
        self.steps.step("tests", &repeat, || {
            let (lines, verdict) = child::tee(&mut tests, 40 * MINUTE);
            let mut own = Tally::default();
            own.read(lines.iter().map(String::as_str));
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
