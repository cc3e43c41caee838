//! Where the configuration, the state and the runtime files are on this platform.

use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The configuration file when no other is named: `lamplighter/config.toml` in the platform's folder for
/// configuration (`$XDG_CONFIG_HOME` or `~/.config` on Linux, `~/Library/Application Support` on macOS,
/// `%APPDATA%` on Windows).
#[must_use]
pub fn default_path() -> PathBuf {
    dirs::config_dir().unwrap_or_else(|| without_home("etc")).join("lamplighter").join("config.toml")
}

/// The folder for what we keep ourselves: `$XDG_STATE_HOME/lamplighter` or `~/.local/state/lamplighter` on Linux,
/// beside other applications' data elsewhere. It may not exist yet.
#[must_use]
pub fn state_dir() -> PathBuf {
    dirs::state_dir()
        .or_else(dirs::data_local_dir)
        .unwrap_or_else(|| without_home("var/lib"))
        .join("lamplighter")
}

/// The folder for files that live as long as the session: `$XDG_RUNTIME_DIR/lamplighter`, else [`state_dir`]. It may
/// not exist yet.
#[must_use]
pub fn runtime_dir() -> PathBuf {
    dirs::runtime_dir().map_or_else(state_dir, |folder| folder.join("lamplighter"))
}

/// Tells configuration files apart in file names: 16 hex digits of the SHA-256 of the file's real path.
#[must_use]
pub fn fingerprint(path: &Path) -> String {
    let real = fs::canonicalize(path).or_else(|_| beside(path)).unwrap_or_else(|_| path.to_owned());
    let digest = Sha256::digest(real.as_os_str().as_encoded_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Do both name one file, which may not exist yet?
#[must_use]
pub fn same_file(one: &Path, other: &Path) -> bool {
    fingerprint(one) == fingerprint(other)
}

/// The real path of a file that does not exist yet: its folder may be reached in several ways.
fn beside(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let Some((folder, name)) = absolute.parent().zip(absolute.file_name()) else { return Ok(absolute) };
    Ok(fs::canonicalize(folder).map_or(absolute.clone(), |folder| folder.join(name)))
}

/// For a user who has no home, in a container for example: the folders of the system.
fn without_home(folder: &str) -> PathBuf {
    Path::new("/").join(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_fingerprint_however_it_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.toml");
        let before = fingerprint(&file);
        fs::write(&file, "").unwrap();
        fs::create_dir(home.path().join("x")).unwrap();
        assert_eq!(fingerprint(&file), before, "it does not change when the file appears");
        assert_eq!(fingerprint(&home.path().join("x/../config.toml")), before);
        assert_ne!(fingerprint(&home.path().join("other.toml")), before);
        assert_eq!(before.len(), 16);
    }

    #[test]
    fn every_folder_is_our_own() {
        assert!(default_path().ends_with("lamplighter/config.toml"));
        assert!(state_dir().ends_with("lamplighter"));
        assert!(runtime_dir().ends_with("lamplighter"));
    }
}
