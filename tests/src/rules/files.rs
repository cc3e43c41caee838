//! The files of the project, without what is built or fetched.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

/// Folders that hold nothing of ours: built, fetched or git's own.
const NOT_OURS: [&str; 6] = ["target", "node_modules", "dist", ".git", "gen", "__pycache__"];

/// The text files of the project.
#[derive(Debug)]
pub(super) struct Tree {
    files: Vec<File>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct File {
    /// From the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Tree {
    /// Reads every file under `root` that is text.
    ///
    /// # Panics
    /// When one cannot be read.
    pub(super) fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        for path in known_to_git(root).unwrap_or_else(|| all(root)) {
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // Deleted and not committed yet, or a test's own that has just gone.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => panic!("{}: {error}", path.display()),
            };
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path: relative(root, &path), text });
            }
        }
        Self { files }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// Files under `folder` whose names end so.
    pub(super) fn under(&self, folder: &str, ending: &str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.path.starts_with(folder) && file.path.ends_with(ending))
    }

    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// What git tracks or would track. `None` where there is no repository, as in a copy.
fn known_to_git(root: &Path) -> Option<Vec<PathBuf>> {
    if !root.join(".git").exists() {
        return None;
    }
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listed = list.output().ok().filter(|listed| listed.status.success())?;
    let names = String::from_utf8(listed.stdout).ok()?;
    Some(names.split_terminator('\0').map(|name| root.join(name)).filter(|path| !path.is_symlink()).collect())
}

fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("a folder's entry");
        let kind = entry.file_type().expect("a kind of file");
        let name = entry.file_name();
        if kind.is_dir() && !NOT_OURS.iter().any(|other| name == *other) {
            found.extend(all(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn relative(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).expect("under the root").components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
