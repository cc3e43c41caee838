//! A few tests that failed in the whole run are run once more, by themselves. What fails beside all others on a busy machine and
//! passes alone is told as unsteady, and is to be mended too; what fails twice has failed.

use crate::tally::Tally;

/// More failures than this are no chance: nothing is run again then.
const MOST: usize = 3;
/// What a property test says that has found a counterexample. Another throw of the dice would not make it less true.
const COUNTEREXAMPLE: &str = "minimal failing input";

/// The tests that may be run again, from what `cargo test --no-fail-fast` printed and what was counted in that. `None` when
/// something failed that is not among them (a build, a program that crashed), when they are too many, or when one of them found
/// a counterexample.
pub fn of_cargo(lines: &[String], counted: Tally) -> Option<Vec<String>> {
    let begun = lines.iter().filter(|line| is_beginning(line)).count();
    let ended = lines.iter().filter(|line| line.starts_with("test result: ")).count();
    if begun != ended || lines.iter().any(|line| line.contains(COUNTEREXAMPLE)) {
        return None;
    }
    // Each program lists twice: first what its failed tests printed, then their names, four spaces in.
    let lists = lines.split(|line| line == "failures:").skip(1);
    let names = lists.flat_map(|list| list.iter().map_while(|line| line.strip_prefix("    ")));
    few(names.map(str::to_owned).collect(), counted)
}

/// The same of what Node's own runner printed.
pub fn of_node(lines: &[String], counted: Tally) -> Option<Vec<String>> {
    let at = lines.iter().position(|line| line.ends_with("failing tests:"))?;
    let names = lines[at..].iter().filter_map(|line| line.strip_prefix("✖ ")?.rsplit_once(" ("));
    let names = names.filter(|(_, took)| took.ends_with("ms)")).map(|(name, _)| name.to_owned());
    few(names.collect(), counted)
}

/// Only if the list is whole: as many names as failures, each of one test.
fn few(names: Vec<String>, counted: Tally) -> Option<Vec<String>> {
    ((1..=MOST).contains(&names.len()) && names.len() as u64 == counted.failed).then_some(names)
}

/// `running 12 tests`
fn is_beginning(line: &str) -> bool {
    let count = line.strip_prefix("running ").and_then(|rest| rest.split_once(' '));
    count.is_some_and(|(number, what)| number.parse::<u64>().is_ok() && what.starts_with("test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(of: fn(&[String], Tally) -> Option<Vec<String>>, text: &str) -> Option<Vec<String>> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut counted = Tally::default();
        counted.read(text.lines());
        of(&lines, counted)
    }

    const TWO: &str = "\
running 3 tests
test a::one ... ok
test a::two ... FAILED

failures:

---- a::two stdout ----
    a line of its own, four spaces in

failures:
    a::two
    a::three

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test lone ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_few_failures_are_named() {
        assert_eq!(named(of_cargo, TWO), Some(vec!["a::two".to_owned(), "a::three".to_owned()]));
    }

    #[test]
    fn what_is_no_matter_of_chance_is_not_run_again() {
        let crashed = format!("{TWO}\nrunning 9 tests\ntest x ... ok\n");
        assert_eq!(named(of_cargo, &crashed), None, "a program without a result");
        let found = TWO.replace("a line", "minimal failing input: x = 3");
        assert_eq!(named(of_cargo, &found), None, "a counterexample");
        let many = TWO.replace("2 failed", "4 failed").replace("    a::two\n", "    a\n    b\n    c\n");
        assert_eq!(named(of_cargo, &many), None, "too many");
        let hidden = TWO.replace("    a::three\n", "");
        assert_eq!(named(of_cargo, &hidden), None, "a failure without a name");
        assert_eq!(named(of_cargo, ""), None, "nothing failed, so something else did");
    }

    #[test]
    fn a_browsers_failures_are_named() {
        let text = "✖ in a suite (3.1ms)\nℹ pass 8\nℹ fail 2\n\n✖ failing tests:\n\ntest at e2e/live.test.mjs:3:25\n\
            ✖ waits (5 s) (1.55ms)\n  Error: ✖ no\n\ntest at e2e/looks.test.mjs:4:1\n✖ top (0.16ms)\n";
        assert_eq!(named(of_node, text), Some(vec!["waits (5 s)".to_owned(), "top".to_owned()]));
        assert_eq!(named(of_node, "ℹ pass 8\nℹ fail 1\n"), None);
    }
}
