//! Writes a file so that a crash at any moment leaves the old one or the new one, whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Replaces the file at `path` by one with these bytes: written beside it, synced, renamed over it, folder synced.
///
/// `mode` is the file's mode on Unix (0600 for anything private); elsewhere the folder's rights apply. Missing folders
/// are created for their owner alone. Where `path` is a symbolic link, the file it leads to is replaced, not the link.
///
/// # Errors
/// Those of the file system. The old file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = if path.is_symlink() { fs::canonicalize(path)? } else { path.to_owned() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_private_folder(folder)?;
    let beside = temporary_name(&path)?;
    let written = write_synced(&beside, bytes, mode).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        // Nothing more can be done about a leftover; the first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written?;
    sync_folder(folder)
}

/// A file that exists keeps its rights; a new one is its owner's.
#[cfg(unix)]
#[must_use]
pub fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
#[must_use]
pub fn mode_of(_path: &Path) -> u32 {
    0o600
}

/// Creates a folder, and those above it that are missing, for their owner alone (0700). One that exists stays as it is.
///
/// # Errors
/// Those of the file system.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A name in the same folder that no other writer uses: rename works only within one file system.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(hidden))
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    // Only once it is complete may others see it, and whatever the umask says.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = mode;
    file.sync_all()
}

/// The rename itself survives a power cut only when the folder is synced as well.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("new/deep/x.toml");
        write_atomically(&file, b"a long first text", 0o600).unwrap();
        write_atomically(&file, b"short", 0o600).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"short");
        assert_eq!(names(file.parent().unwrap()), ["x.toml"]);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_no_rubbish() {
        let home = tempfile::tempdir().unwrap();
        // A folder cannot be replaced by a file: the rename fails after the writing.
        let taken = home.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(write_atomically(&taken, b"text", 0o600).is_err());
        assert_eq!(names(home.path()), ["taken"]);
        assert!(taken.join("inside").is_dir());
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_as_asked_and_links_stay_links() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = home.path().join("state/real");
        write_atomically(&file, b"1", 0o600).unwrap();
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"2", 0o644).unwrap();
        assert!(link.is_symlink());
        assert_eq!((fs::read(&file).unwrap().as_slice(), mode(&file)), (b"2".as_slice(), 0o644));
    }
}
