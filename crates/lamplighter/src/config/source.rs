//! The configuration file as bytes and as text: what cannot be one is told from what says nothing.

use super::located::{Located, Text};
use lamplighter_core::config::Severity;
use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::Path,
};

/// Largest file that is read, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// The bytes of the file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Located> {
    let wrong = |message: String| Err(Located::whole(path, Severity::Error, message));
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    // Looked at before it is opened: opening a pipe that nobody writes to would never come back.
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return unreadable(error),
        Ok(about) if about.is_dir() => {
            return wrong("is a folder: name the file in it, for example config.toml".into());
        }
        Ok(about) if !about.is_file() => return wrong("is not a regular file".into()),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => unreadable(error),
        Ok(count) if count > BYTES_MAX => wrong("is larger than 1 MiB: that is no configuration".into()),
        Ok(_) => Ok(Some(bytes)),
    }
}

/// The text in `bytes`, without a byte order mark.
pub(super) fn text<'b>(bytes: &'b [u8], path: &Path) -> Result<&'b str, Located> {
    let whole = |message: &str| Err(Located::whole(path, Severity::Error, message.into()));
    if bytes.is_empty() {
        return whole(
            "the file is empty (0 bytes), so it is probably damaged: restore it, or delete it to start without nodes",
        );
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return whole("this is UTF-16 text: save the file as UTF-8");
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let at = |offset: usize, message: String| {
        // Up to there it is text, so that the place can be told.
        let before = Text::new(path, str::from_utf8(&bytes[..offset]).unwrap_or_default());
        Err(before.locate(offset..offset, Severity::Error, message).without_excerpt())
    };
    let valid = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let offset = error.valid_up_to();
            if let Some(nul) = memchr::memchr(0, &bytes[..offset]) {
                return at(nul, nul_message(nul));
            }
            let message =
                format!("byte {offset} (0x{:02x}) is not UTF-8: save the file as UTF-8", bytes[offset]);
            return at(offset, message);
        }
    };
    match memchr::memchr(0, bytes) {
        Some(nul) => at(nul, nul_message(nul)),
        None => Ok(valid),
    }
}

fn nul_message(offset: usize) -> String {
    format!("byte {offset} is NUL (0x00): the file is damaged, perhaps by a crash while it was written")
}
