//! Counts tests from what their runners print.

/// Sums over all runners of one suite.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Tally {
    /// Reads a runner's output, line by line; lines that count nothing are passed over.
    pub fn read<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            let plain = without_colour(line);
            let Some(one) = cargo_line(plain.trim())
                .or_else(|| vitest_line(plain.trim()))
                .or_else(|| node_line(plain.trim()))
            else {
                continue;
            };
            self.add(one);
        }
    }

    /// What was counted in a runner's output.
    pub fn of(lines: &[String]) -> Self {
        let mut counted = Self::default();
        counted.read(lines.iter().map(String::as_str));
        counted
    }

    /// Failures that were run again by themselves: passed if that run went well and each of `names` passed in it.
    pub fn second_try(
        &mut self,
        names: &[String],
        again: Self,
        verdict: Result<(), String>,
    ) -> Result<(), String> {
        verdict?;
        let count = names.len() as u64;
        if again.passed < count {
            return Err(format!(
                "{} were to run again, and {} passed: {}",
                count,
                again.passed,
                names.join(", ")
            ));
        }
        self.failed -= count.min(self.failed);
        self.passed += count;
        Ok(())
    }

    /// Adds another runner's counts.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Tests that returned early for a reason: their runner counted them as passed.
    pub fn skipped_inside(&mut self, count: u64) {
        let moved = count.min(self.passed);
        self.passed -= moved;
        self.skipped += moved;
    }

    /// True once any test was counted.
    pub fn any(&self) -> bool {
        self.passed + self.failed + self.skipped > 0
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn cargo_line(line: &str) -> Option<Tally> {
    let rest = line.strip_prefix("test result: ")?;
    let counts = rest.strip_prefix("ok. ").or_else(|| rest.strip_prefix("FAILED. "))?;
    let count = |word: &str| counts.split(';').find_map(|part| number_before(part, word));
    Some(Tally { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

/// `Tests  1 failed | 12 passed | 2 skipped | 1 todo (16)`
fn vitest_line(line: &str) -> Option<Tally> {
    let rest = line.strip_prefix("Tests ")?;
    let counts = rest.split('(').next()?;
    let count = |word: &str| counts.split('|').find_map(|part| number_before(part, word));
    let (passed, failed) = (count("passed"), count("failed"));
    let skipped = count("skipped").unwrap_or(0) + count("todo").unwrap_or(0);
    (passed.is_some() || failed.is_some() || skipped > 0).then(|| Tally {
        passed: passed.unwrap_or(0),
        failed: failed.unwrap_or(0),
        skipped,
    })
}

/// `ℹ pass 51`, `ℹ fail 0`, `ℹ skipped 0`: Node's own runner, a line for each.
fn node_line(line: &str) -> Option<Tally> {
    let (word, number) = line.strip_prefix('ℹ').or_else(|| line.strip_prefix('#'))?.trim().split_once(' ')?;
    let (count, none) = (number.trim().parse().ok()?, Tally::default());
    match word {
        "pass" => Some(Tally { passed: count, ..none }),
        "fail" | "cancelled" => Some(Tally { failed: count, ..none }),
        "skipped" | "todo" => Some(Tally { skipped: count, ..none }),
        _ => None,
    }
}

fn number_before(part: &str, word: &str) -> Option<u64> {
    part.trim().strip_suffix(word)?.trim().parse().ok()
}

/// Removes terminal colours (`ESC [ … m`).
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        rest = rest[at + 2..].split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut sum = Tally::default();
        sum.read(lines.iter().copied());
        sum
    }

    #[test]
    fn cargo_results_of_several_binaries_are_summed() {
        let sum = tally(&[
            "running 4 tests",
            "test tally::tests::x ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.20s",
        ]);
        assert_eq!(sum, Tally { passed: 13, failed: 2, skipped: 1 });
        assert_eq!(sum.to_string(), "13 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn vitest_counts_tests_but_not_files() {
        let sum = tally(&[
            " Test Files  3 passed (3)",
            "\u{1b}[2m      Tests \u{1b}[22m \u{1b}[31m1 failed\u{1b}[39m | \u{1b}[32m12 passed\u{1b}[39m | 2 skipped (15)",
        ]);
        assert_eq!(sum, Tally { passed: 12, failed: 1, skipped: 2 });
    }

    #[test]
    fn nodes_runner_counts_a_line_each() {
        let lines =
            ["ℹ tests 54", "ℹ suites 7", "ℹ pass 51", "ℹ fail 1", "ℹ cancelled 0", "ℹ skipped 2", "ℹ todo 0"];
        assert_eq!(tally(&lines), Tally { passed: 51, failed: 1, skipped: 2 });
    }

    #[test]
    fn other_lines_count_nothing() {
        let sum = tally(&["test result: wonderful", "Tests are fun", "5 passed", "", "\u{1b}[0"]);
        assert!(!sum.any(), "{sum}");
    }

    #[test]
    fn a_second_try_counts_only_when_all_of_it_passed() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let first = Tally { passed: 7, failed: 2, skipped: 0 };
        let both = Tally { passed: 2, ..Tally::default() };
        let mut sum = first;
        assert_eq!(sum.second_try(&names, both, Ok(())), Ok(()));
        assert_eq!(sum, Tally { passed: 9, failed: 0, skipped: 0 });
        let (mut failed, mut unfound) = (first, first);
        assert!(failed.second_try(&names, both, Err("exit 101".to_owned())).is_err());
        assert!(unfound.second_try(&names, Tally { passed: 1, ..both }, Ok(())).is_err());
        assert_eq!((failed, unfound), (first, first));
    }

    #[test]
    fn a_test_that_skips_itself_is_not_a_pass() {
        let mut sum = Tally { passed: 5, failed: 0, skipped: 1 };
        sum.skipped_inside(2);
        assert_eq!(sum, Tally { passed: 3, failed: 0, skipped: 3 });
        sum.skipped_inside(9);
        assert_eq!(sum, Tally { passed: 0, failed: 0, skipped: 6 });
    }
}
