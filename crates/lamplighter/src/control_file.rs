//! `control.json`: how the command line and a second app find the running gateway. Only its owner can read it.

use crate::config;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Where a running gateway is, and the token of its control API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ControlFile {
    /// For example `http://127.0.0.1:11400`.
    pub url: String,
    /// Bearer token of the control API.
    pub token: String,
    /// The gateway's process.
    pub pid: u32,
}

/// Whose gateway is meant: each has a control file of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Whose {
    /// The one with the platform's own configuration file.
    #[default]
    Default,
    /// The one with this configuration file.
    Config(PathBuf),
    /// The demo.
    Demo,
}

/// The file's place.
#[must_use]
pub fn place(whose: &Whose) -> PathBuf {
    config::runtime_dir().join(match whose {
        Whose::Default => "control.json".into(),
        Whose::Config(path) => format!("control-{}.json", config::fingerprint(path)),
        Whose::Demo => "control-demo.json".to_owned(),
    })
}

/// A file that is removed on drop.
#[derive(Debug)]
pub struct Written {
    place: PathBuf,
    pid: u32,
}

/// Writes the file, readable by its owner only.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write(place: &Path, file: &ControlFile) -> io::Result<Written> {
    if let Some(folder) = place.parent() {
        config::create_private_folder(folder)?;
    }
    rewrite(place, file)?;
    Ok(Written { place: place.to_owned(), pid: file.pid })
}

/// Writes it anew: the gateway has moved. Whoever holds [`Written`] still removes it.
///
/// # Errors
/// When the file cannot be written.
pub fn rewrite(place: &Path, file: &ControlFile) -> io::Result<()> {
    config::write_atomically(place, serde_json::to_string(file)?.as_bytes(), 0o600)
}

impl Drop for Written {
    fn drop(&mut self) {
        // Another gateway may have written its own meanwhile.
        if read_raw(&self.place).is_some_and(|file| file.pid == self.pid) {
            let _ = std::fs::remove_file(&self.place);
        }
    }
}

/// Finds the running gateway. `None` when there is none: no file, or its process is gone.
#[must_use]
pub fn find(whose: &Whose) -> Option<ControlFile> {
    read_raw(&place(whose)).filter(|file| is_running(file.pid))
}

fn read_raw(place: &Path) -> Option<ControlFile> {
    serde_json::from_slice(&std::fs::read(place).ok()?).ok()
}

#[cfg(target_os = "linux")]
fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Elsewhere the gateway's own answer decides.
#[cfg(not(target_os = "linux"))]
fn is_running(_pid: u32) -> bool {
    true
}
