//! A desktop of a test's own: a screen, a session bus, a tray host that writes down what it sees, and the app on it.

pub mod app;
pub mod host;
pub mod menu;
pub mod notifications;
pub mod screen;
pub mod webdriver;
pub mod windows;

use lamplighter_simnode::SimNode;
use screen::Screen;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Longest that anything in a desktop test may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub use crate::house::skip;

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

/// A screen with the app built for it; else the test is skipped.
#[must_use]
pub fn screen(test: &str) -> Option<Screen> {
    match app::built().and_then(|_| Screen::start()) {
        Ok(screen) => Some(screen),
        Err(why) => {
            skip(test, &why);
            None
        }
    }
}

/// A configuration with these nodes, each with lines of its own, on a free port; and `host:port`.
#[must_use]
pub fn config(screen: &Screen, nodes: &[(&SimNode, &str)]) -> (PathBuf, String) {
    let place = format!("127.0.0.1:{}", app::free_port());
    let node = |(node, more): &(&SimNode, &str)| {
        let (name, url) = (node.name(), node.url());
        format!("[[node]]\nname = \"{name}\"\nurl = \"{url}\"\npresence = \"always-on\"\n{more}\n")
    };
    let nodes: String = nodes.iter().map(node).collect();
    (screen.file("config.toml", &format!("[server]\nlisten = [\"{place}\"]\n{nodes}")), place)
}
