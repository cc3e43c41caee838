//! A screen and a session bus that nobody else uses.

use std::{
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Xvfb, dbus-daemon and a home folder; all gone when it is dropped.
pub struct Screen {
    display: String,
    bus: String,
    home: TempDir,
    _children: [Ended; 2],
}

/// A process that ends with the test.
pub(super) struct Ended(pub(super) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Failing means that it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Screen {
    /// Starts them.
    ///
    /// # Errors
    /// Says what is missing on this machine.
    pub fn start() -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|why| format!("no temporary folder: {why}"))?;
        let size = ["-screen", "0", "1280x800x24", "-nolisten", "tcp"];
        let (screen, display) = announced("Xvfb", &[&["-displayfd", "1"], &size[..]].concat())?;
        let (daemon, bus) = announced("dbus-daemon", &["--session", "--nofork", "--print-address=1"])?;
        Ok(Self { display: format!(":{display}"), bus, home, _children: [screen, daemon] })
    }

    /// The X11 display, for example `:99`.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// The address of the session bus.
    #[must_use]
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// An empty folder to live in.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Gives a program this screen, this bus, and folders below the home folder.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn furnish(&self, command: &mut Command) -> io::Result<()> {
        for (name, folder) in [
            ("HOME", ""),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            let path = self.home().join(folder);
            std::fs::create_dir_all(&path)?;
            command.env(name, path);
        }
        command.env("DISPLAY", &self.display).env("DBUS_SESSION_BUS_ADDRESS", &self.bus);
        command.env("GDK_BACKEND", "x11").env("NO_AT_BRIDGE", "1").env_remove("WAYLAND_DISPLAY");
        // No looking around on the machine that runs the tests.
        command.env("LAMPLIGHTER_LOOK", "");
        Ok(())
    }

    /// A file in the home folder with this text.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("the test's own folder can be written");
        path
    }

    /// What is on the clipboard.
    ///
    /// # Errors
    /// When `xclip` is missing or finds nothing.
    pub fn clipboard(&self) -> Result<String, String> {
        let mut paste = Command::new("xclip");
        let output = paste.args(["-o", "-selection", "clipboard"]).env("DISPLAY", &self.display).output();
        let output = output.map_err(|why| format!("xclip: {why}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Starts a program that says where it can be reached in the first line of its output.
fn announced(program: &str, args: &[&str]) -> Result<(Ended, String), String> {
    let mut command = Command::new(program);
    let child = command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = Ended(child.map_err(|why| format!("{program}: {why}"))?);
    let output = child.0.stdout.take().ok_or_else(|| format!("{program} has no output"))?;
    let mut line = String::new();
    match BufReader::new(output).read_line(&mut line) {
        Ok(1..) => Ok((child, line.trim().to_owned())),
        Ok(0) | Err(_) => Err(format!("{program} did not start")),
    }
}
