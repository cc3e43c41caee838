//! The windows on a screen, as a window manager and a person at the keyboard see them.

use super::{
    screen::{Ended, Screen},
    wait_for,
};
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// A window manager. It ends when it is dropped.
pub struct WindowManager(#[expect(dead_code, reason = "kept until the end")] Ended);

impl WindowManager {
    /// Starts openbox on the screen.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn start(screen: &Screen) -> Result<Self, String> {
        let mut command = Command::new("openbox");
        screen.furnish(&mut command).map_err(|why| why.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(|child| Self(Ended(child))).map_err(|why| format!("openbox: {why}"))
    }
}

impl Screen {
    /// The visible windows whose title matches this regular expression.
    #[must_use]
    pub fn windows(&self, title: &str) -> Vec<String> {
        let found = self.xdotool(&["search", "--onlyvisible", "--name", title]);
        found.lines().map(Into::into).collect()
    }

    /// Waits until such a window is there.
    ///
    /// # Panics
    /// When none comes.
    pub async fn window(&self, title: &str) -> String {
        wait_for(&format!("a window called {title}"), async || self.windows(title).pop()).await
    }

    /// Waits until no such window is there.
    ///
    /// # Panics
    /// When one stays.
    pub async fn no_window(&self, title: &str) {
        wait_for(&format!("no window called {title}"), async || self.windows(title).is_empty().then_some(()))
            .await;
    }

    /// Presses keys in a window, in `xdotool`'s words: `alt+n`.
    pub fn press(&self, window: &str, keys: &str) {
        self.xdotool(&["windowactivate", "--sync", window, "key", "--clearmodifiers", keys]);
    }

    /// Closes a window as its title bar does; needs the window manager.
    pub fn close(&self, window: &str) {
        self.press(window, "alt+F4");
    }

    /// Moves a window and gives it a size.
    pub fn place(&self, window: &str, (x, y): (i32, i32), (width, height): (u32, u32)) {
        let (width, height) = (width.to_string(), height.to_string());
        self.xdotool(&["windowsize", "--sync", window, &width, &height]);
        self.xdotool(&["windowmove", "--sync", window, &x.to_string(), &y.to_string()]);
    }

    /// Width and height of a window, and its title's position, in pixels.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn geometry(&self, window: &str) -> [i32; 4] {
        let said = self.xdotool(&["getwindowgeometry", "--shell", window]);
        ["WIDTH=", "HEIGHT=", "X=", "Y="].map(|name| {
            let value = said.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
            value.parse().expect("a number")
        })
    }

    fn xdotool(&self, words: &[&str]) -> String {
        let output = Command::new("xdotool").args(words).env("DISPLAY", self.display()).output();
        let output = output.expect("xdotool is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A picture of the whole screen, to look at when a test has failed.
    pub fn picture(&self, file: &Path) {
        let taken = Command::new("import")
            .args(["-window", "root"])
            .arg(file)
            .env("DISPLAY", self.display())
            .status();
        if !taken.is_ok_and(|status| status.success()) {
            eprintln!("no picture could be taken");
        }
    }
}
