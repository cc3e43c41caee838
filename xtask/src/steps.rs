//! Named steps with their wall times, and the table that closes a run.

use std::time::{Duration, Instant};

/// What a step came to, in the words of the table.
pub enum Outcome {
    /// It ran and passed; the text says what it found.
    Done(String),
    /// It did not run, and why.
    Skipped(String),
}

/// The steps of one run, in order.
#[derive(Default)]
pub struct Steps {
    rows: Vec<(&'static str, Duration, String)>,
}

impl Steps {
    /// Runs one step. A failure is told with `repeat`, the command that repeats it.
    pub fn step(
        &mut self,
        name: &'static str,
        repeat: &str,
        work: impl FnOnce() -> Result<Outcome, String>,
    ) -> Result<(), String> {
        println!("\n== {name}");
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        let (word, ended) = match result {
            Ok(Outcome::Done(what)) => (what, Ok(())),
            Ok(Outcome::Skipped(why)) => (format!("skipped: {why}"), Ok(())),
            Err(why) => {
                ("FAILED".to_owned(), Err(format!("step `{name}` failed: {why}\nto repeat it: {repeat}")))
            }
        };
        println!("== {name}: {word} ({})", seconds(took));
        self.rows.push((name, took, word));
        ended
    }

    /// The table of all steps so far, with the sum of their times.
    pub fn table(&self) -> String {
        let width = self.rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max(5);
        let mut text = String::new();
        let mut total = Duration::ZERO;
        for (name, took, word) in &self.rows {
            total += *took;
            text += &format!("  {name:<width$}  {:>9}  {word}\n", seconds(*took));
        }
        text + &format!("  {:<width$}  {:>9}\n", "total", seconds(total))
    }
}

fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..=119 => format!("{:.1} s", took.as_secs_f64()),
        long => format!("{} m {:02} s", long / 60, long % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_step_and_a_failure_says_how_to_repeat_it() {
        let mut steps = Steps::default();
        steps.step("format", "cargo fmt", || Ok(Outcome::Done("ok".into()))).unwrap();
        steps.step("ui", "npm test", || Ok(Outcome::Skipped("no ui".into()))).unwrap();
        let why = steps.step("lint", "cargo clippy", || Err("exit 1".into())).unwrap_err();
        assert!(why.contains("step `lint` failed: exit 1"), "{why}");
        assert!(why.contains("to repeat it: cargo clippy"), "{why}");
        let table = steps.table();
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(table.contains("skipped: no ui") && table.contains("FAILED"), "{table}");
    }

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 m 05 s");
    }
}
