//! Keys: read where the configuration says they are kept, and wrapped so that no log can print them.

use lamplighter_core::config::Secret;
use std::{
    env,
    ffi::OsString,
    fmt,
    fs::{File, Metadata},
    io::Read,
    path::{Path, PathBuf},
};

/// Largest file that a key is read from, in bytes.
const BYTES_MAX: u64 = 64 << 10;

/// Reads the key that `secret` points to. Relative paths start at `base_dir`, the folder of the configuration file;
/// `~/` is the user's home. White space at the end is cut.
///
/// # Errors
/// Says what is wrong and what to do: not set, not there, empty, open to others, not fit for a header. Never repeats
/// the key.
pub fn resolve(secret: &Secret, base_dir: &Path) -> Result<Sensitive, String> {
    resolve_with(secret, base_dir, |name| env::var_os(name))
}

fn resolve_with(
    secret: &Secret,
    base_dir: &Path,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Sensitive, String> {
    match secret {
        Secret::Env(name) => {
            let place = format!("environment variable {name}");
            let value = variable(name).ok_or_else(|| format!("{place} is not set"))?;
            key(value.as_encoded_bytes(), &place)
        }
        Secret::File(path) => {
            let path = expand(path, base_dir);
            key(&read_private(&path)?, &path.display().to_string())
        }
    }
}

/// The key in `bytes`; `place` is only named in complaints.
fn key(bytes: &[u8], place: &str) -> Result<Sensitive, String> {
    let bytes = bytes.trim_ascii_end();
    if bytes.is_empty() {
        return Err(format!("{place} is empty: it should hold a key"));
    }
    // It is sent in a header: RFC 9110, 5.5 allows more, no key needs it.
    match str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(u8::is_ascii_graphic) => Ok(Sensitive(text.to_owned())),
        _ => {
            let at = bytes.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(0) + 1;
            Err(format!("{place} does not hold a key: character {at} is not a visible ASCII character"))
        }
    }
}

/// The file that `secret` is read from, when it is one.
#[must_use]
pub fn file_of(secret: &Secret, base_dir: &Path) -> Option<PathBuf> {
    match secret {
        Secret::Env(_) => None,
        Secret::File(path) => Some(expand(path, base_dir)),
    }
}

fn expand(path: &str, base_dir: &Path) -> PathBuf {
    match path.strip_prefix("~/").zip(dirs::home_dir()) {
        Some((rest, home)) => home.join(rest),
        None => base_dir.join(path),
    }
}

fn read_private(path: &Path) -> Result<Vec<u8>, String> {
    let place = path.display();
    let unreadable = |error: std::io::Error| format!("{place} cannot be read: {error}");
    let refuse = |about: &Metadata| {
        if !about.is_file() {
            return Err(format!("{place} is not a regular file"));
        }
        if about.len() > BYTES_MAX {
            return Err(format!("{place} is larger than 64 KiB: that is no key"));
        }
        refuse_open_to_others(path, about)
    };
    // Before it is opened, since opening a pipe could take for ever; and again on what was opened.
    refuse(&path.metadata().map_err(unreadable)?)?;
    let file = File::open(path).map_err(unreadable)?;
    refuse(&file.metadata().map_err(unreadable)?)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(unix)]
fn refuse_open_to_others(path: &Path, about: &Metadata) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(format!("{path} holds a key and is open to other users (mode {mode:04o}): run `chmod 600 {path}`"))
}

/// Elsewhere the rights of the user's folder keep others out.
#[cfg(not(unix))]
fn refuse_open_to_others(_: &Path, _: &Metadata) -> Result<(), String> {
    Ok(())
}

/// A text that is never printed: Debug and Display show `…`, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Sensitive(String);

impl Sensitive {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: for the header it is sent in, nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Display for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn from_env(value: Option<&str>) -> Result<String, String> {
        let secret = Secret::Env("MY_KEY".into());
        resolve_with(&secret, Path::new(""), |name| (name == "MY_KEY").then_some(value?.into()))
            .map(|key| key.expose().to_owned())
    }

    /// A file with `bytes` and `mode`, and what resolving it gives; the folder's path is cut from errors.
    fn from_file(bytes: &[u8], mode: u32) -> Result<String, String> {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("key");
        fs::write(&file, bytes).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let key = resolve(&Secret::File("key".into()), home.path()).map(|key| key.expose().to_owned());
        key.map_err(|why| why.replace(&format!("{}/", home.path().display()), ""))
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = Sensitive::new("sk-123".into());
        assert_eq!(format!("{key} {key:?} {:?}", Some(&key)), "… … Some(…)");
        assert_eq!(key.expose(), "sk-123");
    }

    #[test]
    fn from_the_environment() {
        assert_eq!(from_env(Some("sk-123\n")), Ok("sk-123".into()));
        assert_eq!(from_env(None), Err("environment variable MY_KEY is not set".into()));
        assert_eq!(
            from_env(Some(" \n")),
            Err("environment variable MY_KEY is empty: it should hold a key".into())
        );
        // Cargo sets this one for every test: the real environment is read as well.
        let real = resolve(&Secret::Env("CARGO_PKG_NAME".into()), Path::new(""));
        assert_eq!(real.unwrap().expose(), env!("CARGO_PKG_NAME"));
    }

    #[test]
    fn from_a_file() {
        assert_eq!(from_file(b"sk-123\r\n", 0o600), Ok("sk-123".into()));
        assert_eq!(from_file(b"sk-123", 0o400), Ok("sk-123".into()));
        assert_eq!(from_file(b"\n", 0o600), Err("key is empty: it should hold a key".into()));
        assert_eq!(from_file(&[b'a'; 65536], 0o600).map(|key| key.len()), Ok(65536));
        assert_eq!(from_file(&[b'a'; 65537], 0o600), Err("key is larger than 64 KiB: that is no key".into()));
    }

    #[test]
    fn what_does_not_fit_into_a_header_is_refused_and_not_repeated() {
        for (text, at) in [("sk 123", 3), ("sk-123\nsk-456", 7), ("sk-é123", 4), ("\u{7f}", 1)] {
            let why = from_file(text.as_bytes(), 0o600).unwrap_err();
            assert_eq!(
                why,
                format!("key does not hold a key: character {at} is not a visible ASCII character")
            );
        }
        assert!(from_file(b"\xff\xfe", 0o600).unwrap_err().contains("character 1"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_open_is_refused_with_the_command_that_helps() {
        for mode in [0o644, 0o640, 0o604, 0o660, 0o610] {
            let why = from_file(b"sk-123", mode).unwrap_err();
            let said =
                format!("key holds a key and is open to other users (mode {mode:04o}): run `chmod 600 ");
            assert!(why.starts_with(&said) && !why.contains("123"), "{why}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let home = tempfile::tempdir().unwrap();
        let resolve =
            |name: &str| resolve(&Secret::File(name.into()), home.path()).map(|key| key.expose().to_owned());
        assert!(resolve("missing").unwrap_err().contains("missing cannot be read: No such file"));
        assert!(resolve(".").unwrap_err().contains("is not a regular file"));
        assert!(resolve("/dev/zero").unwrap_err().contains("is not a regular file"));
    }

    #[test]
    fn paths_start_at_the_configuration_or_at_home() {
        let base = Path::new("/etc/lamp");
        assert_eq!(expand("keys/a", base), Path::new("/etc/lamp/keys/a"));
        assert_eq!(expand("/run/key", base), Path::new("/run/key"));
        assert_eq!(expand("~/key", base), dirs::home_dir().unwrap().join("key"));
        assert_eq!(expand("~other/key", base), Path::new("/etc/lamp/~other/key"));
    }
}
