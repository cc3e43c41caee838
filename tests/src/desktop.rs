//! A desktop of a test's own: a screen, a session bus, a tray host that writes down what it sees, and the app on it.

pub mod app;
pub mod host;
pub mod menu;
pub mod screen;

use std::{
    io::Write,
    time::{Duration, Instant},
};

/// Longest that anything in a desktop test may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Writes down that `test` cannot run here, and why; the suite counts such lines, and CI accepts none.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    let Some(path) = std::env::var_os("LAMPLIGHTER_SKIPS") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    assert!(written.is_ok(), "the skip could not be written down: {written:?}");
}

/// Asks `question` again and again until it has an answer.
///
/// # Panics
/// When there is none after [`PATIENCE`].
pub async fn wait_for<T>(what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
